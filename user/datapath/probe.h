/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs from kernel to kernel, asked of the kernel itself: never of its version, which says little where
 * distributions carry patches back. */
#pragma once

#include <stdbool.h>

/* Whether XDP programs may take frames in several buffers (kernel 5.18). */
bool probe_frags(void);

/* Whether a map's value may be larger than what the kernel allocates in one piece (5.19), so that a large table can be
 * one value. */
bool probe_large_values(void);

/* Whether the kernel's configuration can be read, and with it the length of a jiffy. */
bool probe_configuration(void);
