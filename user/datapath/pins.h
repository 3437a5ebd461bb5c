/* SPDX-License-Identifier: GPL-2.0-only */
/* The directory of pins: bpffs below it, nobody else in it. */
#pragma once

#include <limits.h>
#include <stddef.h>

#include "base/error.h"

#define PIN_STATE       "state" /* bpf/abi.h: struct state, the map of global variables */
#define PIN_LINK_PREFIX "link_" /* + the device's index: a name may hold a dot, which bpffs refuses */

#define PIN_TAGS            "tags"        /* bpf/tags.h */
#define PIN_TAG_SOCKETS     "tag_sockets" /* bpf/tag.bpf.c */
#define PIN_TAG_LINK_PREFIX "tag_link_"

#define PIN_HOST_DROPS       "host_drops" /* bpf/drops.bpf.c */
#define PIN_DROP_LINK_PREFIX "drop_link_"

#define PIN_RESPONSE_LINK_PREFIX   "response_link_"   /* + the device's index */
#define PIN_RESPONSE_FILTER_PREFIX "response_filter_" /* the same; a program, where the kernel has no such links */

/* Makes sure that `dir` is a directory on bpffs (mounts /sys/fs/bpf when it is not), ours and closed to others, and
 * locks it. Returns the descriptor that holds the lock, or -errno: -EBUSY where another process holds it. */
int pins_lock(const char *dir, struct error *err);

/* Locks it only where it exists: -ENOENT else. */
int pins_lock_existing(const char *dir, struct error *err);

/* The name of the pin of the link to a device. */
#define PIN_LINK_NAME_MAX 32
void pins_link_name(unsigned device, char out[PIN_LINK_NAME_MAX]);

/* The name under which a map is pinned: its own, but for the program's global variables (PIN_STATE). NULL for the
 * constants of one loaded program, which are nobody else's: libbpf gives both names with a dot. */
const char *pins_map_name(const char *map);

void pins_path(const char *dir, const char *name, char out[PATH_MAX]);

/* Calls `visit` with each name in `dir`. */
int pins_each(const char *dir, void (*visit)(const char *dir, const char *name, void *argument), void *argument,
              struct error *err);
