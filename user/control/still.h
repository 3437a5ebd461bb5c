/* SPDX-License-Identifier: GPL-2.0-only */
/* How much is let in while a few ask for too much. What they get is then worth less than that nobody else waits for
 * them, and than that their level, which is what the others leave of it, stands still: it is as much as leaves the
 * slowest answers about what they are when all is well, and it moves as little as can be. Pure. */
#pragma once

#include <stdbool.h>

#include "control/capacity.h"

struct still {
	double pps;    /* packets a second; 0: no few are at work */
	double fine_s; /* how long the slowest answers have been no slower than they may be */
};

/* One step of an overload by a few. `knee_pps` is where a queue begins; where it is 0, unknown, it is set once slow
 * answers tell. `alarmed`: something has just begun to be wrong. `strained_s` is how long something has been wrong. */
void still_step(struct still *still, const struct capacity_view *view, double *knee_pps, bool alarmed,
                double strained_s);
