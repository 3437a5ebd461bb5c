/* SPDX-License-Identifier: GPL-2.0-only */
/* How much a service can take, as far as its own delay tells. Learns the service's best response time and the highest
 * rate at which it still responded well; a law then moves the capacity. Pure: no clock, no I/O.
 *
 * The law proper is exchangeable, so that the simulator compares several under the same conditions. */
#pragma once

#include <stdbool.h>

#define CAPACITY_WINDOWS 10 /* of learning: the oldest is forgotten when a new one begins */
#define CAPACITY_PROOF   10 /* steps for which a rate must go well before it is proven */

/* What was measured in one interval: sane, or NAN where it was not measured. */
struct capacity_sample {
	double elapsed_s;
	double offered_pps, admitted_pps;
	double response_s; /* median of the interval */
	double requests, responses, unanswered;
	double overflows;     /* packets */
	double host_pressure; /* 0 to 1 */
};

/* What the operator allows. */
struct capacity_limits {
	double minimum_pps, maximum_pps; /* INFINITY: none */
	double target_s;                 /* 0: learnt */
};

/* One interval, as a law sees it. */
struct capacity_view {
	double elapsed_s;
	double offered_pps, admitted_pps;
	double answered_pps; /* admitted_pps times responses to requests: what the service gets done. NAN: not known */
	double response_s;   /* median, smoothed; NAN: nothing answered */
	double target_s;     /* what it may be; NAN: nothing is known yet */
	double best_s;       /* NAN: nothing is known yet */
	double proven_pps;   /* 0: nothing is known yet */
	double loss;         /* the share of packets, or of requests, that were let pass in vain */
	bool binding;        /* the capacity is what keeps more from being admitted */
};

struct capacity;

/* From the capacity as it is (finite) to the one it wants; bounds and the size of steps are its caller's. */
typedef double capacity_law(struct capacity *capacity, const struct capacity_view *view);

struct capacity {
	capacity_law *law; /* capacity_init() sets the one of this module */
	double memory[4];  /* the law's own; all zero at the start of each overload */

	double pps; /* what the service can take; INFINITY while nothing speaks against it */

	double response_s; /* median, smoothed */
	double samples;    /* how many answers that rests on, faded */
	double answered;   /* responses to requests, smoothed */
	double best_s[CAPACITY_WINDOWS];
	double window_s;   /* how long the newest of them has run */
	double proven_pps; /* fades over hours */
	double proof[CAPACITY_PROOF];
	unsigned proof_at;
	double learnt_s;   /* how long it has seen traffic go well */
	double strained_s; /* how long the response has been beyond its target; 0: it is not */
	double calm_s;     /* how long nothing has been wrong */
};

/* What decided, for people. */
struct capacity_verdict {
	const char *signal; /* "response", "overflows", "replies", "host", "rate" or "none" */
	double value, target;
	double best_s, target_s; /* NAN: nothing is known yet */
	bool strained;
};

void capacity_init(struct capacity *capacity);

/* One interval; sets capacity->pps. */
void capacity_step(struct capacity *capacity, const struct capacity_limits *limits,
                   const struct capacity_sample *sample, struct capacity_verdict *out);
