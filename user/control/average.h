/* SPDX-License-Identifier: GPL-2.0-only */
/* Averages that forget. Pure. */
#pragma once

#include <math.h>

/* How much of the way towards what is seen an average goes in `elapsed_s`, if it is one over `over_s`. */
static inline double average_weight(double elapsed_s, double over_s)
{
	return 1 - exp(-elapsed_s / over_s);
}

/* `before`, moved part of the way to `to` by their logarithms; `to` where there is none before. Of response times: a
 * queue is a hundred times as long as none, and is not to be remembered a hundred times as long. */
static inline double average_ratio(double before, double to, double weight)
{
	return before > 0 ? before * pow(to / before, weight) : to;
}
