/* SPDX-License-Identifier: GPL-2.0-only */
/* How services and the host feel, as the kernel measures it: response times of sampled requests, requests that nobody
 * answered, what the host's queues dropped, and what tasks waited for. Reads memory shared with the kernel: a service
 * costs no system call. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "control/controller.h"
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

/* Fills what was measured of a service since its last reading: all of `inout` but `offered_pps` and `admitted_pps`.
 *
 *  - `fresh` is false at the first reading, and where the last one is longer ago than SIGNALS_STALE_S.
 *  - Requests are those that were sampled: all of a quiet service, a thousand a second and processor at the most of a
 *    busy one. Responses answer those and earlier ones; SYN-ACKs are none, since the kernel sends them for a dead
 * service too. Unanswered are requests and SYNs that have waited for RESPONSE_OVERDUE_NS (1.5 s) by now.
 *  - Percentiles are within 4 %, or 4 us. They are NAN where nothing was answered or response times are not measured:
 * the service has no replies, or the host refuses; requests are 0 then.
 *  - `overflows` are packets that queues of the host dropped: of listeners, of sockets, the receive backlog. NAN where
 *    the host does not tell.
 *  - `host_pressure` is pressure_most().
 *
 * There may be one reader a service: the controller. */
#define SIGNALS_STALE_S 1.0
void signals_read(struct signals *signals, unsigned service, double now_s, struct controller_signals *inout);

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
