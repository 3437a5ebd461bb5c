/* SPDX-License-Identifier: GPL-2.0-only */
/* The map between those who tag connections and those who judge their packets. Each entry is one open socket's, and
 * goes with it. It takes memory as it fills. */
#pragma once

#include "abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TAGS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tag_key);
	__type(value, struct tag);
} tags SEC(".maps");
