/* SPDX-License-Identifier: GPL-2.0-only */
/* An input as a file that has a path, for what reads files: in memory, and there while its descriptor is open. */
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/require.h"

#define MEMORY_FILE_PATH_MAX 32

/* Returns the descriptor, for close(), and its path in `path`. */
static inline int memory_file(const void *bytes, size_t size, char path[MEMORY_FILE_PATH_MAX])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	REQUIRE(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, MEMORY_FILE_PATH_MAX, "/proc/self/fd/%d", fd);
	return fd;
}
