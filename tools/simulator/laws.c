/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/laws.h"

#include <math.h>
#include <stddef.h>

#include "control/knee.h"

/* Netflix's Gradient2 on a rate: the ratio of what the response may be to what it is, with room for a queue. */
static double law_gradient(struct capacity *capacity, const struct capacity_view *view)
{
	double gradient = fmax(0.5, fmin(1, view->target_s / view->response_s));
	double wanted = gradient * capacity->pps + sqrt(capacity->pps);

	return capacity->pps + 0.2 * (wanted - capacity->pps);
}

/* Breakwater's (and nearly DAGOR's): a step more while the delay is under its target, a cut in proportion beyond. */
static double law_aimd(struct capacity *capacity, const struct capacity_view *view)
{
	if (view->response_s <= view->target_s)
		return capacity->pps + 0.01 * fmax(view->proven_pps, capacity->pps);
	return capacity->pps * fmax(1 - 0.4 * (view->response_s - view->target_s) / view->target_s, 0.5);
}

/* Sentinel's BBR rule: in flight (Little: rate times response) no more than the best response times the highest rate.
 */
static double law_bbr(struct capacity *capacity, const struct capacity_view *view)
{
	double highest = fmax(view->proven_pps,
	                      capacity->memory[0] = fmax(capacity->memory[0] * 0.995,
	                                                 view->admitted_pps * (view->response_s <= view->target_s)));
	double in_flight = view->admitted_pps * view->response_s, most = view->target_s * highest;

	return in_flight <= most ? capacity->pps * 1.02 : highest * fmax(0.3, most / in_flight);
}

/* Cinnamon's: a PID on the relative error. */
static double law_pid(struct capacity *capacity, const struct capacity_view *view)
{
	double error = fmin((view->response_s - view->target_s) / view->target_s, 3);
	double *memory = capacity->memory; /* the error and the one before it */
	double change = 0.06 * error + 0.1 * (error - memory[0]) + 0.03 * (error - 2 * memory[0] + memory[1]);

	memory[1] = memory[0];
	memory[0] = error;
	return capacity->pps * exp(-change);
}

const struct law laws[] = {
	{"knee", "cut to what gets done, straight back to below that, then slowly (Spillway)", capacity_law_knee},
	{"gradient", "target to response, and room for a queue (Netflix Gradient2, Vegas)", law_gradient},
	{"aimd", "a step up, a cut in proportion (Breakwater, DAGOR)", law_aimd},
	{"bbr", "in flight under best response times highest rate (Sentinel)", law_bbr},
	{"pid", "PID on the delay (Cinnamon)", law_pid},
	{"none", "nothing at all", NULL},
	{0},
};
