/* SPDX-License-Identifier: GPL-2.0-only */
/* How services and the host feel, as the kernel measures it: response times of sampled requests, requests that nobody
 * answered, what the host's queues dropped, and what tasks waited for. Reads memory shared with the kernel: a service
 * costs no system call. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "datapath/datapath.h"
#include "observe/pressure.h"

struct signals;

/* Returns 0 with `*out` owned by the caller, or -ENOMEM. `dp` is borrowed. */
int signals_new(struct signals **out, struct datapath *dp, struct error *err);
void signals_free(struct signals *signals);

/* Counts requests that are overdue, and looks at the host. To be called at least twice a second for a service that
 * stops answering to be told within two; more often costs little. `now_s` is CLOCK_MONOTONIC in seconds, here and
 * below. */
void signals_tick(struct signals *signals, double now_s);

/* What was measured of a service since its last reading. Requests are those that were sampled: all of a quiet service,
 * a thousand a second and processor at the most of a busy one. */
struct service_signals {
	double elapsed_s; /* since the last reading */
	bool fresh;       /* there was one, and not longer ago than SIGNALS_STALE_S */
	bool measured;    /* response times are measured: of this service, on this host */
	bool replies;     /* the service has ever been seen to answer: what never does is not to be called dead */
	unsigned requests;
	unsigned responses;    /* to those and earlier ones; SYN-ACKs are none: the kernel sends them for a dead service
	                          too */
	unsigned unanswered;   /* requests and SYNs that have waited for RESPONSE_OVERDUE_NS by now */
	double response_p50_s; /* of the responses; NAN where there were none. Within 4 %, or 4 us */
	double response_p99_s;
	double overflows;     /* packets that queues of the host dropped: of listeners, sockets, the receive backlog */
	double host_pressure; /* pressure_most() */
};
#define SIGNALS_STALE_S 1.0

/* One reader a service: the controller. Of any other number than a service's nothing is measured. */
void signals_read(struct signals *signals, unsigned service, double now_s, struct service_signals *out);

/* Everything since the state was made, for whoever shows it, and the percentiles of the last 5 to 10 s. */
#define SIGNALS_BOUNDS 18
struct signals_histogram {
	bool measured;
	__u64 requests, unanswered;
	__u64 count;                  /* of responses */
	double sum_s;                 /* of their times */
	__u64 within[SIGNALS_BOUNDS]; /* how many took no longer than signals_bound_s() */
	double p50_s, p99_s;          /* NAN: none lately */
};
void signals_histogram(const struct signals *signals, unsigned service, struct signals_histogram *out);

/* The upper bound of `within[i]`: 65.536 us, doubled `i` times. */
double signals_bound_s(unsigned i);

/* The host's pressure by resource, as of the last tick: see pressure_read(). */
double signals_pressure(const struct signals *signals, enum pressure_resource resource);

/* What the host grants of all this, and why not the rest. */
struct signals_feature {
	const char *name;
	bool on;
	const char *why; /* of either; valid until the next change of the data path */
};
#define SIGNALS_FEATURES_MAX 4
size_t signals_features(const struct signals *signals, struct signals_feature out[SIGNALS_FEATURES_MAX]);
