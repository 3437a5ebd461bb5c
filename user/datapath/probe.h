/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs from kernel to kernel, asked of the kernel itself: never of its version, which says little where
 * distributions carry patches back. */
#pragma once

#include <stdbool.h>

/* Whether XDP programs may take frames in several buffers (kernel 5.18). */
bool probe_frags(void);

/* Whether the kernel's configuration can be read, and with it the length of a jiffy. */
bool probe_configuration(void);
