/* SPDX-License-Identifier: GPL-2.0-only */
/* What the users of one service ask for, as the water level wants it: one by one while they are few, and those that ask
 * for nearly the same as one where they are many. The level that comes of a million users is the same within the width
 * of a bin, and found in a thousandth of the time. Private to observe/. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "control/level.h"

#define DEMANDS_SINGLE  2048 /* users that are kept one by one */
#define DEMANDS_SHARPER 6    /* bits: a bin is at most 2^-6, 1.6 %, wide */

struct demands;

/* NULL where there is no memory. */
struct demands *demands_new(void);
void demands_free(struct demands *demands);

/* One more user of those that are being gathered. */
void demands_add(struct demands *demands, double rate, double weight, bool tenured);

/* All users have been added: they are now what demands_list() gives, and gathering begins anew. */
void demands_settle(struct demands *demands);

/* Good until the next call of either. It may be written to: the caller gets a fresh copy each time. */
struct demand *demands_list(struct demands *demands, size_t *count);

DEFINE_CLEANUP(struct demands, demands_free)
