/* SPDX-License-Identifier: GPL-2.0-only */
/* The controller of one service: from what it feels and what its users ask for to its capacity and its level, with the
 * reason in words. Pure: no clock, no I/O, nothing allocated. One struct a service, one step a tick (100 ms; any other
 * will do, and it may vary).
 *
 *     struct controller controller;
 *     controller_init(&controller);
 *     each tick: controller_step(&controller, &bounds, &signals, users, count, rest_pps, &decision);
 *
 * What it makes of bad input:
 *
 *     not fresh, no time passed, a pause     holds everything and learns nothing; after half a minute of that, lets go
 *     NaN, negative, absurd                  that measurement counts as missing
 *     missing                                goes by those that are left; without any, nothing is limited
 *     no traffic                             holds, then lets go as after any overload
 *     no replies, where none ever came       no fault: its response is unknown, and overflows are what counts
 *     minimum above maximum                  the minimum counts, for both
 *     slow for a reason that is not its load (what it depends on; another service of the same process)
 *                                            sheds, sees that it does not help, and lets the target be */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "control/capacity.h"
#include "control/level.h"

/* What the operator allows. */
struct controller_bounds {
	double level_minimum, level_maximum;       /* packets a second for a user of weight 1; a maximum of 0: none */
	double capacity_minimum, capacity_maximum; /* packets a second for the service; a maximum of 0: none */
	double target_response_s;                  /* that half of the requests should keep; 0: learnt */
	bool replies; /* it answers its requests. False (or where it never did): their absence is no fault */
	bool bytes;   /* all rates, bounds included, are bytes a second: it matters to the words alone */
};

/* What was measured since the step before. NAN, or a negative number: not measured. */
struct controller_signals {
	double elapsed_s; /* since the step before, by a monotonic clock */
	bool fresh;       /* the figures are of this interval. False (a late tick, a frozen source): all is held */
	double offered_pps, admitted_pps;
	unsigned requests, responses, unanswered; /* of those sampled; unanswered: given up on in this interval */
	unsigned connects;                        /* SYNs among those sampled: the host answers them, not the service */
	double connections; /* SYNs offered since the step before, all of them; of services in bytes none */
	double done;        /* packets (or bytes) admitted for which the responses stand */
	double response_p50_s, response_p99_s; /* of the responses of this interval; NAN: none */
	double overflows; /* packets that the service's own queues dropped in this interval, after they were admitted */
	double host_pressure; /* 0 to 1: the highest share of time that work of this host stood still for want of
	                         something */
};

struct controller_decision {
	double capacity_pps;                  /* INFINITY: none */
	double capacity_burst;                /* packets that may come at once, beside what every capacity bears */
	struct capacity_costs costs;          /* how much of it a packet takes */
	double level_pps;                     /* for a user of weight 1, within its bounds; INFINITY: none */
	double capacity_before, level_before; /* of the step before, the same way */
	/* Worth an event: it began or ceased to be felt, or is a tenth away from what was told last. The values above
	 * are to be written in any case. */
	bool capacity_moved, level_moved;
	bool fault_begins, fault_ends;
	bool faulty;        /* between those two */
	bool excused;       /* the response is beyond its target, but shedding was seen not to help */
	bool overloaded;    /* a level or capacity is felt, or was of late: pass over the table of users often */
	size_t users_above; /* that ask for more than their weight * level */
	/* Who asks for too much: "few" users, "nameless" (forged, say: none stays long enough to be known),
	 * "newcomers" from whom the tenured are guarded, a "crowd" that shares equally, or "none". */
	const char *excess_by;
	/* What decided: "response" (seconds), "overflows" (a share of the packets), "replies" (seconds without any),
	 * "host" (a share), "rate" (packets a second), "stale" (seconds) or "none"; and what it was held against. */
	const char *signal;
	double value, target; /* NAN: there is none */
	/* What has been learnt, for `status`; NAN: nothing yet (of a rate, 0). */
	double best_response_s, target_response_s, proven_pps;
};

/* The decision in words, cut to `size` (CONTROLLER_WHY_MAX is enough). Apart from the step, which comes a thousand
 * times more often than anybody asks. */
#define CONTROLLER_WHY_MAX 256
void controller_why(const struct controller_decision *decision, char *out, size_t size);

/* Private to controller.c but for its size. */
struct controller {
	struct capacity capacity;
	double level_pps;   /* INFINITY: none felt */
	double wanted_pps;  /* the level that demands call for, averaged; counts where there is a level */
	double leveled_pps; /* the capacity that the level was last made for; 0: none yet */
	double told_capacity, told_level;
	double many_s;    /* how long what is too much has been asked for by more than a few */
	bool nameless;    /* were those few of whom so much was heard last */
	double margin;    /* of the capacity in force above the one that is believed in */
	double level_s;   /* how long there has been one */
	double held_s;    /* how long no level has been needed */
	double silence_s; /* since the first request that nothing has followed */
	double silent_requests;
	double stale_s;
	bool replied; /* ever */
	bool faulty;
};

void controller_init(struct controller *controller);

/* The same where what an earlier one decided is still in force; INFINITY for what was not. It goes on from there. */
void controller_resume(struct controller *controller, double capacity_pps, double level_pps);

/* One tick. `users` are the heavy users' demands of the newest pass over the table, which may be older than the
 * signals; they come back in another order. `rest_pps` is what all others offered; NAN: what `offered_pps` has beyond
 * the users' sum. `*out` is filled whole. Takes some 20 ms with 1,000,000 users, and no time to speak of with 1,000. */
void controller_step(struct controller *controller, const struct controller_bounds *bounds,
                     const struct controller_signals *signals, struct demand *users, size_t count, double rest_pps,
                     struct controller_decision *out);
