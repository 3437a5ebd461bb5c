/* SPDX-License-Identifier: GPL-2.0-only */
/* The last minutes of each service, second by second, in memory: what a live page shows when it is opened in the middle
 * of something. What is older, or was before the daemon, is the history's. 9.6 kB a service. */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "observe/sums.h"

#define RECENT_SECONDS 300

struct recent;

/* Packets a second; NAN: not known, or there is none. */
struct recent_sample {
	float received, passed, spilled, shadow, level, capacity;
	float p50_s, p99_s; /* response times */
};

struct recent_row {
	double at_s; /* monotonic */
	struct recent_sample sample;
};

int recent_new(struct recent **out, struct error *err);
void recent_free(struct recent *recent);

/* Another second: what is added from now on belongs to it. */
void recent_begin(struct recent *recent, double now_s);

/* One service's: its counters as they stand, from which the rates of `sample` are made (what stands there is not looked
 * at), and the rest of it. A number that has another name than before is another service, of which nothing is known. */
void recent_add(struct recent *recent, unsigned number, const char *name, const struct sums *sums,
                const struct recent_sample *sample);

/* The oldest first; returns how many, RECENT_SECONDS at most. */
size_t recent_read(const struct recent *recent, unsigned number, struct recent_row out[RECENT_SECONDS]);

DEFINE_CLEANUP(struct recent, recent_free)
