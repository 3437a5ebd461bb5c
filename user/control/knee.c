/* SPDX-License-Identifier: GPL-2.0-only */
#include "control/knee.h"

#include <math.h>

#include "control/average.h"
#include "control/still.h"

#define SLOW_S     1.0 /* over which the response is averaged, for slow moves */
#define PATIENCE_S 0.5

/* Draining. */
#define CUT            0.7  /* a step, while a backlog grows and nobody knows the knee */
#define CUT_STEADY     0.95 /* where it is neither more nor less */
#define DRAINED_S      0.5  /* after which it should be worked off */
#define DRAINED_TIMES  2.0
#define DRAIN_LEAST    0.3  /* of the knee is let in all the while */
#define DRAIN_ORDINARY 1.2  /* times what is ordinary */
#define FLOOR_KNEE     0.75 /* of the knee leaves room to drain */

/* The knee. */
#define KNEE_SEEN     6 /* figures that any strain gives; beyond those, only one with a backlog */
#define KNEE_BEGINS   3 /* figures, until when a surge is one wherever it strains: how much it is, is known later */
#define KNEE_LEARNS   0.1
#define KNEE_MOST     2.0  /* times what is proven */
#define KNEE_MOVES    0.03 /* seconds a second: a queue that grows or shrinks so */
#define MOMENT_S      0.3
#define KNEE_STANDS   8.0 /* targets: a queue that is worked off and still stands, else what gets done may be its end */
#define KNEE_STILL    0.5 /* of it gets done: for a moment that says that the host stands still, */
#define KNEE_STILL_S  1.0 /* and longer, that it is another one */
#define KNEE_BUSY     0.97 /* of it, while there is any strain */
#define KNEE_SHARE    0.98 /* of it is let in, */
#define KNEE_ROOM     0.02 /* and so much more, at most, with next to no queue: the service would be idle by chance */
#define KNEE_SHORT    0.85 /* of the target: a shorter queue says that the knee lies higher, */
#define KNEE_LIFTS    0.05 /* by so much of what it is too short by, a second */
#define KNEE_GUARDED  0.85
#define KNEE_STEADY   0.4 /* shedding below that, where no backlog changes, is for nothing */
#define KNEE_EASED    0.8
#define FILLED_S      0.5 /* in which a queue that is too short may come to its length, */
#define EASED_S       0.8 /* and one too long, at least: told late, it would overshoot, and the service be idle */
#define KNEE_NEAR     0.95
#define KNEE_GONE     1.25 /* times the knee went well, */
#define KNEE_GONE_S   1.0  /* for so long: it is another one */
#define TRUSTED_S     5.0  /* of calm, before more is tried; twice as long each time that fails, */
#define TRUSTED_MOST  40.0 /* up to so long */
#define TRUSTED_KNOWN 10.0 /* so much shorter below what is proven: a knee that was learnt in a jam may be wrong */

/* Settled. */
#define SETTLES           0.65 /* of the target, on average */
#define ERROR_UP          0.5
#define ERROR_DOWN        4.0
#define GAIN              0.1  /* of the error, a second */
#define USED              0.85 /* of the capacity must be used before more is tried */
#define USED_KNOWN        0.6  /* will do well below what is proven */
#define FAR_BELOW         0.4  /* of the target: there it rises faster */
#define HASTE_S           3.0  /* of calm double the speed at which it rises */
#define HASTE_FAR_S       1.0
#define RISE_KNOWN        1.1 /* a step, to what went well before */
#define RISE_MOST         1.25
#define START             0.7  /* a second, while no queue was ever seen and none is near; */
#define START_AGAIN       0.2  /* where one was; */
#define START_GUARDED     0.06 /* where it would be one before the tenured */
#define RISE_GUARDED      0.03
#define RISE_GUARDED_NEAR 0.003 /* it is the tenured who meet the queue that says where the knee is */
#define ROOM_GUARDED      1.5   /* times what is ordinary is for the tenured's bursts, used or not */
#define TAIL_GUARDED      1.5   /* times the ordinary one: there it rises no more, */
#define TAIL_YIELDS       2.0   /* and there it is too near: it falls by */
#define YIELDS            0.2   /* of it a second, down to what they ask for */
#define RISE_BEYOND       0.1 /* a second, where a knee may be near: the queue that is made until it is seen is short; */
#define FLAT              1.5 /* best responses: no queue at all, so that a knee which is believed to be near is not; */
#define FLAT_S            1.0
#define RISE_HASTE_S      10.0 /* of calm, and it may be by so much a second */

/* What it remembers: all zero when an overload begins. */
struct knee {
	double slow_s;   /* the response, averaged */
	double pps;      /* 0: not known */
	double seen;     /* figures that it rests on */
	double draining; /* 1: a queue stands */
	double trust_s;  /* how long after a strain it is not to be tried again */
	double before_s; /* the response of the step before */
	double growth;   /* of the response: seconds a second, over a moment */
	double quiet_s;  /* since the guarded last waited too long */
	struct still still;
};

_Static_assert(sizeof(struct knee) <= sizeof(((struct capacity *)0)->memory), "the law's memory");

/* The first figure, of a moment of change, may be far off. */
static void knee_learn(const struct capacity *capacity, struct knee *knee, const struct capacity_view *view)
{
	double done = view->done_pps;

	if (view->proven_pps > 0 && done > KNEE_MOST * view->proven_pps)
		return; /* what comes is of another kind than ever; or there is no knee near */
	if (done < KNEE_STILL * knee->pps && capacity->strained_s < KNEE_STILL_S)
		return;
	knee->seen = knee->pps > 0 ? knee->seen + 1 : 1;
	if (knee->pps > 0)
		knee->pps += fmax(1 / knee->seen, KNEE_LEARNS) * (done - knee->pps);
	else
		knee->pps = fmax(done, view->proven_pps);
}

static void knee_follow(struct knee *knee, const struct capacity_view *view)
{
	double growth = knee->before_s > 0 ? (view->response_s - knee->before_s) / view->elapsed_s : 0;

	knee->growth += average_weight(view->elapsed_s, MOMENT_S) * (growth - knee->growth);
	knee->before_s = view->response_s;
}

/* What lets the queue be worked off in a moment, or in two of its lengths. */
static double knee_draining(const struct knee *knee, const struct capacity_view *view)
{
	double queue_s = view->response_s - view->best_s;
	double drain = KNEE_BUSY - queue_s / fmax(DRAINED_S, DRAINED_TIMES * queue_s);

	return knee->pps * fmax(drain, DRAIN_LEAST);
}

static double knee_drain(struct capacity *capacity, const struct knee *knee, const struct capacity_view *view)
{
	double most = fmin(capacity->pps, fmax(view->proven_pps, view->done_pps));

	if (!view->ordinary && knee->pps > 0 && capacity->strained_s > PATIENCE_S)
		capacity->floor_pps = fmin(capacity->floor_pps, FLOOR_KNEE * knee->pps);
	if (view->lossy || (view->backlog < 1 && knee->seen < KNEE_SEEN))
		return most * CUT;
	if (view->backlog < 1)
		return fmin(most, knee_draining(knee, view));
	if (view->backlog <= 1)
		return fmax(most * CUT_STEADY, fmin(most, KNEE_STEADY * knee->pps));
	return fmin(capacity->pps, knee_draining(knee, view));
}

static double share_of(const struct capacity_view *view)
{
	return view->guarded ? KNEE_GUARDED : KNEE_SHARE;
}

/* Where it stays, just below the knee: the lower, the longer the queue. */
static double knee_settled(const struct knee *knee, const struct capacity_view *view)
{
	double queue_s = view->response_s - view->best_s, short_s = SETTLES * view->target_s - queue_s;

	if (view->guarded)
		return KNEE_GUARDED * knee->pps;
	double room = short_s / (short_s > 0 ? FILLED_S : fmax(EASED_S, DRAINED_TIMES * queue_s));
	return knee->pps * (KNEE_SHARE + fmin(room, KNEE_ROOM));
}

/* With too long a queue, but nothing to be alarmed about. */
static double knee_eased(const struct capacity *capacity, const struct knee *knee, const struct capacity_view *view)
{
	double wanted = view->guarded ? knee_draining(knee, view) : knee_settled(knee, view);

	return fmin(capacity->pps, fmax(wanted, KNEE_EASED * knee->pps));
}

/* The capacity is used, and still the queue is too short: the knee lies higher than where it was seen, while the
 * host was slow perhaps. Far below what is proven that is not enough to say: there knee_rise() forgets it. */
static void knee_lift(const struct capacity *capacity, struct knee *knee, const struct capacity_view *view)
{
	double spare = KNEE_SHORT - knee->slow_s / view->target_s;

	if (spare > 0 && !view->guarded && !view->known && view->used_pps > USED * capacity->pps)
		knee->pps *= 1 + KNEE_LIFTS * spare * view->elapsed_s;
}

/* How fast it rises, where no knee is known. */
static double start_of(const struct knee *knee, const struct capacity_view *view)
{
	if (view->guarded)
		return START_GUARDED;
	return knee->seen > 0 ? START_AGAIN : START;
}

/* Up: the longer nothing was wrong, the faster; near the knee only once it has been let be for long enough. */
static double knee_rise(const struct capacity *capacity, struct knee *knee, const struct capacity_view *view,
                        double error)
{
	if (view->calm_s > FLAT_S && knee->slow_s < FLAT * view->best_s && (view->known || !view->guarded))
		knee->pps = 0;
	bool near = capacity->pps > (view->guarded ? KNEE_GUARDED : KNEE_NEAR) * knee->pps,
	     far = knee->slow_s < FAR_BELOW * view->target_s;
	double quiet_s = view->guarded ? fmin(view->calm_s, knee->quiet_s) : view->calm_s;
	double calm_s = near ? fmax(quiet_s - knee->trust_s, 0) : quiet_s;
	bool trusted = near && calm_s <= 0;

	if (view->guarded && (trusted || view->tail > TAIL_GUARDED)) /* it is the tenured who wait */
		return capacity->pps;
	bool needed = view->guarded && capacity->pps < ROOM_GUARDED * view->ordinary_pps;
	if (!needed && view->used_pps < (view->known ? USED_KNOWN : USED) * capacity->pps)
		return capacity->pps;
	if (far && capacity->pps < share_of(view) * view->proven_pps &&
	    (!trusted || quiet_s > knee->trust_s / TRUSTED_KNOWN))
		return capacity->pps * RISE_KNOWN;
	if (far && knee->pps <= 0)
		return capacity->pps * (1 + start_of(knee, view) * view->elapsed_s);
	double haste = 1 + calm_s / (far ? HASTE_FAR_S : HASTE_S);
	double most = view->guarded   ? (near ? RISE_GUARDED_NEAR : RISE_GUARDED)
	              : knee->pps > 0 ? RISE_BEYOND
	                              : RISE_BEYOND + view->calm_s / RISE_HASTE_S;
	return capacity->pps * (1 + fmin(error * haste * GAIN, most) * view->elapsed_s);
}

/* What was taken for the knee while a few were at work, and on few figures, is not one for a crowd; where the tenured
 * are guarded it is better than none. */
static void still_leave(struct knee *knee, bool guarded)
{
	if (knee->still.pps > 0 && knee->seen < KNEE_SEEN && !guarded)
		knee->pps = knee->seen = 0;
	knee->still.pps = 0;
}

/* What the interval says: whether a queue stands, where the knee is, how long that is to be believed. */
static void knee_observe(struct capacity *capacity, struct knee *knee, const struct capacity_view *view)
{
	bool begins = view->surge && knee->seen < KNEE_BEGINS;
	bool alarmed = view->severe || (view->strain > 1 && (begins || (view->unproven && knee->pps <= 0)));
	bool stands = view->strain > KNEE_STANDS || view->done_pps > knee->pps, new = alarmed && knee->draining <= 0;

	knee->quiet_s += view->elapsed_s;
	knee_follow(knee, view);
	/* Else what gets done is what is let in. */
	bool backlog = view->backlog < 1 || (view->backlog > 1 && stands) || fabs(knee->growth) > KNEE_MOVES;
	if (view->strain > 1 && view->done_pps > 0 && view->unanswered <= 0 &&
	    (backlog || knee->pps <= 0 || knee->seen < KNEE_SEEN))
		knee_learn(capacity, knee, view);
	if (new) /* a knee that is met again is trusted longer */
		knee->trust_s = fmax(fmin(2 * knee->trust_s, TRUSTED_MOST), TRUSTED_S);
	knee->draining = alarmed || (knee->draining > 0 && view->strain > 1);
	knee->slow_s = knee->draining > 0
	                       ? view->response_s
	                       : average_ratio(knee->slow_s, view->response_s, average_weight(view->elapsed_s, SLOW_S));
	if (knee->seen >= KNEE_BEGINS)
		capacity->knee_pps = knee->pps;
	if (view->few)
		still_step(&knee->still, view, &knee->pps, new, capacity->strained_s);
	else
		still_leave(knee, view->guarded);
	capacity->settled_pps = view->few ? knee->still.pps : share_of(view) * knee->pps;
}

/* No queue stands, but the slowest of the guarded wait for newcomers: wherever the knee is, this is too near. */
static double knee_yield(const struct capacity *capacity, struct knee *knee, const struct capacity_view *view)
{
	double wanted = capacity->pps * (1 - YIELDS * view->elapsed_s);

	wanted = fmin(capacity->pps, fmax(wanted, DRAIN_ORDINARY * view->ordinary_pps));
	knee->pps = fmin(knee->pps > 0 ? knee->pps : INFINITY, wanted / KNEE_GUARDED);
	knee->quiet_s = 0;
	return wanted;
}

/* With no queue that stands, and no few. */
static double knee_hold(const struct capacity *capacity, struct knee *knee, const struct capacity_view *view)
{
	if (view->strain > 1 && knee->pps > 0)
		return knee_eased(capacity, knee, view);
	if (view->guarded && view->tail > TAIL_YIELDS)
		return knee_yield(capacity, knee, view);
	knee_lift(capacity, knee, view);
	double settled = knee_settled(knee, view);
	if (capacity->pps < settled)
		return fmin(capacity->pps * RISE_MOST, settled);
	double error = fmax(fmin(SETTLES - knee->slow_s / view->target_s, ERROR_UP), -ERROR_DOWN);
	double wanted = error > 0 ? knee_rise(capacity, knee, view, error)
	                          : capacity->pps * (1 + error * GAIN * view->elapsed_s);
	if (capacity->pps > KNEE_GONE * knee->pps && view->calm_s > KNEE_GONE_S)
		knee->pps = knee->trust_s = 0;
	return wanted;
}

double capacity_law_knee(struct capacity *capacity, const struct capacity_view *view)
{
	struct knee *knee = (struct knee *)capacity->memory;

	knee_observe(capacity, knee, view);
	if (knee->draining <= 0)
		return view->few ? knee->still.pps : knee_hold(capacity, knee, view);
	double drained = knee_drain(capacity, knee, view);
	if (!view->few && !view->guarded)
		return drained;
	/* Whoever is held back then is not whom it is drained for: down to what is ordinary, at once. */
	return fmin(drained, fmax(DRAIN_ORDINARY * view->ordinary_pps, DRAIN_LEAST * knee->pps));
}
