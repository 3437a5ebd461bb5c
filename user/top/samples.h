/* SPDX-License-Identifier: GPL-2.0-only */
/* What the live view knows: the daemon's newest documents, and from one to the next the rates of each service. Pure:
 * documents come in, nothing is asked and nothing drawn. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define SAMPLES_KEPT 120 /* of a service's past */

struct sampled_rates {
	double received, passed, spilled, shadow; /* packets a second; NAN before there are two documents */
};

struct sampled_service {
	char name[64];
	const json_t *document; /* of the newest status; borrowed */
	struct sampled_rates now;
	double spilled_past[SAMPLES_KEPT]; /* oldest first, with the newest at the end; 0 before the first */
	double received_past[SAMPLES_KEPT];
	double counted[4]; /* the counters at the newest document */
	bool seen;
};

struct samples {
	json_t *status, *users; /* NULL before the first */
	struct sampled_service *services;
	size_t count;
	double uptime_s; /* of the newest status */
};

/* Takes both documents over, as /api/v1/status and /api/v1/users give them. Returns 0, -EINVAL where the first is no
 * status, or -ENOMEM; what was known then stays. A daemon that has started anew begins with no rates. */
int samples_take(struct samples *samples, json_t *status, json_t *users);
void samples_free(struct samples *samples);

/* The number under that key of a document, NAN where there is none. */
double sample_number(const json_t *document, const char *key);

/* The text under that key, "" where there is none. */
const char *sample_text(const json_t *document, const char *key);
