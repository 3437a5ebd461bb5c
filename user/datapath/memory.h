/* SPDX-License-Identifier: GPL-2.0-only */
/* How much memory this process may have: maps are charged to the control group of whoever makes them (kernel 5.11). */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* The least that any control group around this process allows, in bytes; UINT64_MAX where none sets a limit, or none
 * can be read. `proc` and `cgroup` are where those file systems are: "/proc", "/sys/fs/cgroup". */
uint64_t memory_allowed(const char *proc, const char *cgroup);

/* Returns 0, or -ENOMEM with both figures in `err` where `needed` bytes of maps are more than is allowed. Asked before
 * anything is made, since a group at its limit may have its largest process killed instead of refused. */
int memory_check(uint64_t needed, struct error *err);
