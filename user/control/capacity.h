/* SPDX-License-Identifier: GPL-2.0-only */
/* How much a service can take, as far as its own delay tells. Learns the service's best response time and the highest
 * rate at which it still responded well; a law then moves the capacity. Pure: no clock, no I/O.
 *
 * The law proper is exchangeable, so that the simulator compares several under the same conditions. */
#pragma once

#include <stdbool.h>

#define CAPACITY_WINDOWS    10 /* of learning: the oldest is forgotten when a new one begins */
#define CAPACITY_PROOF      10 /* steps for which a rate must go well before it is proven */
#define CAPACITY_PROOF_LATE 3  /* and so many more, before it counts */

/* What was measured in one interval: sane, or NAN where it was not measured. */
struct capacity_sample {
	double elapsed_s;
	double offered_pps, admitted_pps;
	double response_s; /* median of the interval */
	double tail_s;     /* its 99th percentile */
	double requests, responses, unanswered;
	double done;          /* packets admitted that the responses stand for */
	double connects;      /* sampled SYNs: the host answers them by itself */
	double connections;   /* SYNs, all that were offered */
	double overflows;     /* packets */
	double host_pressure; /* 0 to 1 */
};

/* What the operator allows. */
struct capacity_limits {
	double minimum_pps, maximum_pps; /* INFINITY: none */
	double target_s;                 /* 0: learnt */
};

/* One interval of an overload, as a law sees it. */
struct capacity_view {
	double elapsed_s;
	double offered_pps, admitted_pps;
	double used_pps;   /* admitted, over a moment */
	double done_pps;   /* what the service gets done; where that is not known, admitted_pps */
	double response_s; /* median, smoothed */
	double target_s;   /* what it may be */
	double best_s;
	double proven_pps;   /* 0: nothing is known yet */
	double ordinary_pps; /* what comes when all is well; 0: nothing is known yet */
	double tail;         /* the 99th percentile of the response, to what it is when all is well; 0: not known */
	double loss;         /* the share of packets, or of requests, that were let pass in vain */
	double backlog; /* what gets done to what is let in, over a moment: below 1 a backlog grows, above it shrinks */
	double unanswered; /* the share of requests that stayed without a reply, from before the last cut or not */
	double calm_s;     /* how long nothing has been wrong */
	double strain;     /* response_s to target_s; 0: not known */
	bool few;          /* who asks for too much, */
	bool guarded;      /* or newcomers, from whom the tenured are guarded */
	bool lossy;        /* the loss is more than chance */
	bool severe;       /* lossy, or strained so that a queue must stand */
	bool unproven;     /* more is let in than ever went well: any strain is one */
	bool ordinary;     /* no more is asked for than went well; and no fault was before */
	bool known;        /* it has been well above this capacity, and went well */
	bool surge;        /* more is asked for than ever went well, and that is no chance */
};

struct capacity;

/* From the capacity as it is (finite) to the one it wants; bounds and the size of steps are its caller's. Asked only
 * while there is a strain, or the capacity is used; or where it stands, for a few (`settled_pps`). */
typedef double capacity_law(struct capacity *capacity, const struct capacity_view *view);

struct capacity {
	capacity_law *law; /* capacity_init() sets capacity_law_knee */
	double memory[10]; /* the law's own; all zero when an overload begins */

	double pps;    /* what the service can take; INFINITY while nothing speaks against it */
	bool few;      /* whoever asks for too much are a few, and nobody else is to feel it; set by the caller, */
	bool guarded;  /* as is this: the tenured, from newcomers who are too many */
	bool overload; /* the law is at work: from the first strain until nothing has been wrong, nor spilled, for a
	                  while */

	double response_s;              /* median, smoothed: its logarithm is */
	double steady_s;                /* the same over more answers */
	double asked, unanswered;       /* of the last second, faded */
	double samples;                 /* how many answers that rests on, faded */
	double tail_s;                  /* 99th percentile, smoothed likewise; 0: unknown */
	double ordinary_tail_s;         /* the same while all is well, */
	double ordinary_pps;            /* and what comes then; 0: unknown; */
	double ordinary_connections;    /* and how many new connections, a second */
	double offered, admitted, done; /* packets of the last moments, faded */
	double used_pps;                /* that is a rate of, a second */
	double unused_s;                /* how long much of the capacity has not been used, though it was asked for */
	double borne;                   /* the share of what was let in that the service had to bear */
	double connects; /* sampled SYNs to a sampled request, as long as all goes its ordinary way; faded */
	double best_s[CAPACITY_WINDOWS];
	double window_s;              /* how long the newest of them has run */
	double proven_pps;            /* fades over hours */
	double usual_pps, usual_peak; /* the same, and peak_pps, while not overloaded */
	double peak_pps;              /* the highest of single steps, */
	double burst;                 /* and packets of single steps that no such rate explains; they fade likewise */
	double proof[CAPACITY_PROOF + CAPACITY_PROOF_LATE];
	unsigned proof_at, well_steps;
	double learnt_s;      /* how long it has seen traffic go well */
	double strained_s;    /* how long something has been wrong; 0: nothing is */
	double calm_s;        /* how long nothing has been wrong */
	double free_s;        /* how long nothing has been wrong, nor more been offered than the capacity */
	double cut_s;         /* since the last cut */
	double knee_pps;      /* the law's: where a queue began, the last time; fades as the others; 0: unknown */
	double settled_pps;   /* the law's: where it will be once no queue stands; 0: unknown */
	double floor_pps;     /* below which no cut goes, while what was proven has not been disproven */
	double returning_pps; /* up to there it comes back slowly, after a fault; 0: it does not */

	/* Does shedding help? What response and rate were when the trial began. */
	double trial_response_s, trial_pps, trial_s;
	double excused_s; /* the response that shedding did not help: the target is not below 1.5 of it. 0: none */
};

/* What decided, for people. */
struct capacity_verdict {
	const char *signal; /* "response", "overflows", "host" or "none" */
	double value, target;
	double best_s, target_s; /* NAN: nothing is known yet */
	bool strained;
	bool excused; /* the target is one that shedding cannot reach */
};

void capacity_init(struct capacity *capacity);

/* One interval; sets capacity->pps. */
void capacity_step(struct capacity *capacity, const struct capacity_limits *limits,
                   const struct capacity_sample *sample, struct capacity_verdict *out);

/* How many packets may come at once, beside what every capacity bears: some times those that went well; none while the
 * service is overloaded. */
double capacity_burst(const struct capacity *capacity);

/* How much of the capacity a packet takes, and how much a TCP SYN does. */
struct capacity_costs {
	double packet, connect; /* packets */
};

/* While a service is not overloaded, and its connections bring a few packets each, a SYN is charged beforehand for
 * those that come with it, and all packets for so much less that what is ordinary counts as it is: more new connections
 * than capacity there is then have no room from the first on, where their packets would tell of it too late. Else each
 * packet counts for itself. */
struct capacity_costs capacity_costs(const struct capacity *capacity);

/* Whether more has arrived in the time since the last interval, offered to a service that was not overloaded, than it
 * lets in, by more than chance: the next interval need not be waited for. */
bool capacity_surges(const struct capacity *capacity, double arrived, double since_s);

/* After a fault: from `pps` back to what was proven by small steps, whatever was learnt meanwhile forgotten. */
void capacity_return(struct capacity *capacity, double pps);
