/* SPDX-License-Identifier: GPL-2.0-only */
/* Scope-bound resources: a variable marked `_cleanup_*_` is released when its scope ends, whichever way it ends, so
 * that a reader sees in one place that a function leaks nothing. Ownership leaves a scope only through TAKE_PTR and
 * TAKE_FD. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_free_      _cleanup_(cleanup_free)
#define _cleanup_close_     _cleanup_(cleanup_close)
#define _cleanup_fclose_    _cleanup_(cleanup_fclose)
#define _cleanup_closedir_  _cleanup_(cleanup_closedir)

/* Yields the pointer and leaves NULL behind: the cleanup of this scope then has nothing to release. */
#define TAKE_PTR(pointer)                               \
	__extension__({                                 \
		__typeof__(pointer) _taken = (pointer); \
		(pointer) = NULL;                       \
		_taken;                                 \
	})

/* Yields the descriptor and leaves -1 behind. */
#define TAKE_FD(fd)                \
	__extension__({            \
		int _taken = (fd); \
		(fd) = -1;         \
		_taken;            \
	})

/* Makes `_cleanup_(RELEASEp)` out of `void RELEASE(TYPE *)`, for variables that point to what they own. */
#define DEFINE_CLEANUP(type, release)                 \
	static inline void release##p(type **pointer) \
	{                                             \
		if (*pointer)                         \
			release(*pointer);            \
	}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_closedir(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}
