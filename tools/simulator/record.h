/* SPDX-License-Identifier: GPL-2.0-only */
/* What happened, by ticks; and what is expected of it. */
#pragma once

#include <jansson.h>

#include "simulator/host.h"
#include "simulator/scenario.h"

struct crowd_tick {
	float asked, answered;  /* requests, by when they were first asked; answered in time */
	float offered, spilled; /* packets */
};

struct tick {
	float offered_pps, admitted_pps, answered_pps;
	float response_s;              /* NAN: none */
	float level_pps, capacity_pps; /* INFINITY: none felt */
	bool fault_begins;
	struct crowd_tick crowds[CROWDS_MAX];
};

/* What an expectation needs that ticks do not hold. */
struct followed {
	struct responses responses;
	uint32_t *admitted; /* by user of its crowd */
};

struct record {
	const struct scenario *scenario;
	double tick_s;
	struct tick *ticks;
	size_t count;
	struct followed followed[EXPECTATIONS_MAX];
};

void record_open(struct record *record, const struct scenario *scenario, double tick_s);
void record_close(struct record *record);

struct tick *record_at(struct record *record, double at_s);
void record_admitted(struct record *record, unsigned crowd, uint32_t user, double at_s);
void record_response(struct record *record, unsigned crowd, double asked_s, double response_s);

/* What came of an expectation; NAN where there was nothing to measure. */
double record_measure(const struct record *record, size_t expectation);
bool record_meets(const struct expectation *expectation, double value);
const char *measure_name(enum measure measure);

/* The whole of it: one value a second of each series. */
json_t *record_json(const struct record *record);
