/* SPDX-License-Identifier: GPL-2.0-only */
#include "control/still.h"

#include <math.h>

#define TAIL_MUCH   2.0  /* times the ordinary tail: others wait for the few */
#define TAIL_LITTLE 1.5  /* up to so much is as good as none */
#define ORDINARY    1.2  /* times what is ordinary goes well as a rule */
#define BEGINS      0.75 /* of the knee */
#define MOST        0.85
#define CUT         0.9
#define EASES       0.2  /* a second, while others wait; */
#define EASES_S     1.0  /* but before a queue has stood so long, it may be the host's, and gone again */
#define CLIMBS      0.35 /* a second, while nobody knows the knee */
#define RISES       0.005
#define RISES_S     300.0 /* after as long without anybody waiting */
#define USED        0.85  /* of it is used, or more says nothing */

void still_step(struct still *still, const struct capacity_view *view, double *knee_pps, bool alarmed,
                double strained_s)
{
	bool strained = view->strain > 1, stays = strained_s > EASES_S, fine = !strained && view->tail < TAIL_MUCH;
	bool good = fine && view->tail < TAIL_LITTLE && view->used_pps > USED * still->pps;
	double ordinary = ORDINARY * view->ordinary_pps, most = *knee_pps > 0 ? MOST * *knee_pps : INFINITY;
	double known = *knee_pps > 0 ? *knee_pps : view->proven_pps > 0 ? view->proven_pps : view->used_pps;

	if (!(still->pps > 0))
		still->pps = BEGINS * known;
	else if (alarmed) /* unless it is a burst, and no queue */
		still->pps = fmin(view->severe ? CUT * still->pps : still->pps, most);
	else if (strained ? stays : !fine)
		still->pps *= 1 - EASES * view->elapsed_s;
	else if (good && !(*knee_pps > 0))
		still->pps *= 1 + CLIMBS * view->elapsed_s;
	else if (good && still->fine_s > RISES_S && still->pps < most)
		still->pps *= 1 + RISES * view->elapsed_s;
	if (!fine && !(*knee_pps > 0)) /* it is near */
		*knee_pps = still->pps / MOST;
	still->pps = fmax(still->pps, stays ? fmin(ordinary, most) : ordinary);
	still->fine_s = fine ? still->fine_s + view->elapsed_s : 0;
}
