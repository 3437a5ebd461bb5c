/* SPDX-License-Identifier: GPL-2.0-only */
/* What the packet path does, as a model: GCRA of each user at the level, GCRA of the service at its capacity with the
 * tenured before newcomers (bpf/meter.h, bpf/capacity.h), samples of requests, and what a pass over the table finds. */
#pragma once

#include "control/controller.h"
#include "simulator/scenario.h"

#define USER_FORGED UINT32_MAX /* of a source that comes but once */
#define SAMPLE_NONE UINT32_MAX

#define RESPONSE_BUCKETS 512

/* Response times on a logarithmic scale, eight buckets an octave from a microsecond on: a twelfth apart. */
struct responses {
	uint32_t counts[RESPONSE_BUCKETS];
	uint32_t total;
};

void responses_add(struct responses *responses, double response_s);
double responses_quantile(const struct responses *responses, double share); /* NAN: none */

struct host_user {
	double tat_s;
	uint32_t window_packets; /* offered since the last pass */
	uint32_t packets;        /* offered since the first that passed: from the second on it has a name */
	double lately;           /* packets offered a second, smoothed; 0: none */
	float weight;
	bool tenured;
};

struct sample {
	double at_s;
	unsigned stands_for; /* packets let in since the request that was sampled before it */
	bool answered;
};

struct host {
	struct host_user *users;
	size_t user_count;
	double level_pps, capacity_pps; /* INFINITY: none */
	double capacity_burst;          /* packets */
	double burst_s;
	double tat_s;   /* of the capacity */
	double named_s; /* when a newcomer without room was last given a name */

	/* since the last tick */
	unsigned offered, admitted, overflows;
	unsigned requests, connects, replies, unanswered;
	struct responses responses;

	struct sample *samples; /* a ring */
	uint32_t sample_first, sample_overdue, sample_next;
	unsigned let_in, stood_for; /* packets, ever; and when a request was sampled last */
	double done;
	double sample_s; /* when the next one may be taken: GCRA */

	struct demand *demands;
	size_t demand_count;
	double demand_rest;
	double passed_s; /* when the last pass was */
	unsigned window_offered;
};

void host_open(struct host *host, const struct scenario *scenario);
void host_close(struct host *host);

/* What is in force from now on; INFINITY: none. */
void host_set(struct host *host, double level_pps, double capacity_pps, double capacity_burst, double now_s);

/* Whether a packet is let in. `connects`: it is a SYN. */
bool host_admit(struct host *host, uint32_t user, bool connects, double now_s);

/* A request that was let in, perhaps sampled: what its reply will name, or SAMPLE_NONE. */
uint32_t host_sample(struct host *host, double now_s);
void host_reply(struct host *host, uint32_t sample, double now_s);

/* A SYN that was let in, perhaps sampled. */
void host_connect(struct host *host, double now_s);

/* A pass over the table, which fills `demands`. */
void host_pass(struct host *host, double now_s);

/* The signals since the last tick; begins the next one. */
void host_read(struct host *host, double now_s, double elapsed_s, struct controller_signals *out);
