/* SPDX-License-Identifier: GPL-2.0-only */
#include "control/knee.h"

#include <math.h>

#define SLOW_S     1.0 /* over which the response is averaged, for slow moves */
#define PATIENCE_S 0.5

/* Draining. */
#define CUT         0.7  /* a step, while a backlog grows */
#define CUT_STEADY  0.95 /* where it is neither more nor less */
#define DRAINED_S   1.0  /* after which it should be worked off */
#define DRAIN_LEAST 0.3  /* of the knee is let in all the while */
#define FLOOR_KNEE  0.75 /* of the knee leaves room to drain */
#define ALARMS      9    /* steps of a severe strain that count, near a knee that is known; */
#define ALARM_GROWS 3    /* so many times where a backlog grows */

/* The knee. */
#define KNEE_SEEN     6 /* figures that any strain gives; beyond those, only one with a backlog */
#define KNEE_LEARNS   0.3
#define KNEE_SHARE    0.9
#define KNEE_NEAR     0.93
#define KNEE_GONE     1.25 /* times the knee went well, */
#define KNEE_GONE_S   1.0  /* for so long: it is another one */
#define TRUSTED_S     5.0  /* of calm, before more is tried; twice as long each time that fails, */
#define TRUSTED_MOST  40.0 /* up to so long */
#define TRUSTED_HASTE 0.25
#define TRUSTED_KNOWN 10.0 /* so much shorter below what is proven: a knee that was learnt in a jam may be wrong */

/* Settled. */
#define SETTLES     0.8 /* of the target, on average */
#define ERROR_UP    0.5
#define ERROR_DOWN  4.0
#define GAIN        0.1  /* of the error, a second */
#define USED        0.85 /* of the capacity must be used before more is tried */
#define FAR_BELOW   0.4  /* of the target: there it rises faster */
#define HASTE_S     3.0  /* of calm double the speed at which it rises */
#define HASTE_FAR_S 1.0
#define RISE_KNOWN  1.1 /* a step, to what went well before */
#define RISE_MOST   1.25

/* What it remembers: all zero when an overload begins. */
struct knee {
	double slow;     /* the strain, averaged */
	double pps;      /* 0: not known */
	double seen;     /* figures that it rests on */
	double draining; /* 1: a queue stands */
	double alarms;
	double trust_s; /* how long after a strain it is not to be tried again */
};

_Static_assert(sizeof(struct knee) <= sizeof(((struct capacity *)0)->memory), "the law's memory");

/* The first figure, of a moment of change, may be far off. */
static void knee_learn(struct knee *knee, const struct capacity_view *view)
{
	double done = view->done_pps;

	knee->seen = knee->pps > 0 ? knee->seen + 1 : 1;
	if (knee->pps > 0)
		knee->pps += fmax(1 / knee->seen, KNEE_LEARNS) * (done - knee->pps);
	else
		knee->pps = fmax(view->proven_pps > 0 ? fmin(done, 2 * view->proven_pps) : done, view->proven_pps);
}

/* Below a knee that is known, a queue that a burst has made drains by itself: it takes one that grows, or stays. */
static bool knee_alarmed(struct knee *knee, const struct capacity_view *view)
{
	bool severe = view->severe || (view->unproven && view->strain > 1 && knee->pps <= 0);

	knee->alarms = !severe ? 0 : knee->alarms + (view->backlog < 1 ? ALARM_GROWS : 1);
	if (knee->pps > 0 && knee->draining <= 0 && !view->lossy && knee->alarms < ALARMS)
		return false;
	return severe;
}

static double knee_drain(struct capacity *capacity, const struct knee *knee, const struct capacity_view *view)
{
	double most = fmin(capacity->pps, fmax(view->proven_pps, view->done_pps));

	if (capacity->strained_s > PATIENCE_S)
		capacity->floor_pps = fmin(capacity->floor_pps, FLOOR_KNEE * knee->pps);
	if (view->lossy || view->backlog < 1)
		return most * CUT;
	if (view->backlog <= 1)
		return most * CUT_STEADY;
	double drain = 1 - (view->response_s - view->target_s) / DRAINED_S;
	return fmin(capacity->pps, knee->pps * fmax(drain, DRAIN_LEAST));
}

/* Up: the longer nothing was wrong, the faster; near the knee only once it has been let be for long enough. */
static double knee_rise(const struct capacity *capacity, const struct knee *knee, const struct capacity_view *view,
                        double error)
{
	bool near = capacity->pps > KNEE_NEAR * knee->pps, far = knee->slow < FAR_BELOW;
	double calm_s = near ? fmax(view->calm_s - knee->trust_s, 0) : view->calm_s;
	bool trusted = near && calm_s <= 0;

	if (view->admitted_pps < USED * capacity->pps)
		return capacity->pps;
	if (far && capacity->pps < KNEE_SHARE * view->proven_pps &&
	    (!trusted || view->calm_s > knee->trust_s / TRUSTED_KNOWN))
		return capacity->pps * RISE_KNOWN;
	double haste = trusted ? TRUSTED_HASTE : 1 + calm_s / (far ? HASTE_FAR_S : HASTE_S);
	return capacity->pps * fmin(1 + error * haste * GAIN * view->elapsed_s, RISE_MOST);
}

double capacity_law_knee(struct capacity *capacity, const struct capacity_view *view)
{
	struct knee *knee = (struct knee *)capacity->memory;
	bool alarmed = knee_alarmed(knee, view), draining = alarmed || (knee->draining > 0 && view->strain > 1);
	bool backlog = view->backlog < 1 || view->backlog > 1; /* else what gets done is what is let in */

	knee->slow = knee->slow > 0 ? knee->slow + (1 - exp(-view->elapsed_s / SLOW_S)) * (view->strain - knee->slow)
	                            : view->strain;
	if (draining && view->done_pps > 0 && (backlog || knee->pps <= 0 || knee->seen < KNEE_SEEN))
		knee_learn(knee, view);
	if (alarmed && knee->draining <= 0) /* a knee that is met again is trusted longer */
		knee->trust_s = fmax(fmin(2 * knee->trust_s, TRUSTED_MOST), TRUSTED_S);
	knee->draining = draining;
	if (draining) {
		knee->slow = view->strain;
		return knee_drain(capacity, knee, view);
	}
	if (capacity->pps < KNEE_SHARE * knee->pps)
		return fmin(capacity->pps * RISE_MOST, KNEE_SHARE * knee->pps);
	double error = fmax(fmin(SETTLES - knee->slow, ERROR_UP), -ERROR_DOWN);
	double wanted = error > 0 ? knee_rise(capacity, knee, view, error)
	                          : capacity->pps * (1 + error * GAIN * view->elapsed_s);
	if (capacity->pps > KNEE_GONE * knee->pps && view->calm_s > KNEE_GONE_S)
		knee->pps = knee->trust_s = 0;
	return wanted;
}
