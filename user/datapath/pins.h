/* SPDX-License-Identifier: GPL-2.0-only */
/* The directory of pins: bpffs below it, nobody else in it. */
#pragma once

#include <limits.h>
#include <stddef.h>

#include "base/error.h"

#define PIN_STATE       "state" /* bpf/abi.h: struct state, the map of global variables */
#define PIN_LINK_PREFIX "link_" /* + the device's index: a name may hold a dot, which bpffs refuses */

/* Makes sure that `dir` is a directory on bpffs (mounts /sys/fs/bpf when it is not), ours and closed to others, and
 * locks it. Returns the descriptor that holds the lock, or -errno: -EBUSY where another process holds it. */
int pins_lock(const char *dir, struct error *err);

/* Locks it only where it exists: -ENOENT else. */
int pins_lock_existing(const char *dir, struct error *err);

void pins_path(const char *dir, const char *name, char out[PATH_MAX]);

/* Calls `visit` with each name in `dir`. */
int pins_each(const char *dir, void (*visit)(const char *dir, const char *name, void *argument), void *argument,
              struct error *err);
