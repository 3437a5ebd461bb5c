/* SPDX-License-Identifier: GPL-2.0-only */
/* The program's one global variable: what user space writes and every packet reads, and what services have used of
 * their capacity. It lies in .bss, which is pinned as `state` and mapped by user space. */
#pragma once

#include "abi.h"

struct state state;
