/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of prefixes, one a line. Blank lines say nothing, nor does what follows a '#'. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/prefix.h"

#define PREFIX_FILE_MOST 16000000 /* prefixes in one file */

/* Reads the whole file. Returns 0 with `*out` the caller's (free), or -errno: -EINVAL where a line is no prefix, which
 * the words name, and nothing of the file counts then. */
int prefix_file_read(const char *path, struct prefix **out, size_t *out_count, struct error *err);
