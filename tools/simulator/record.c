/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANSWERED_WELL 0.99
#define WINDOW_TICKS  10 /* over which a share is taken, where it is one of a moment */

void record_open(struct record *record, const struct scenario *scenario, double tick_s)
{
	*record = (struct record){.scenario = scenario, .tick_s = tick_s};
	record->count = (size_t)ceil(scenario->seconds / tick_s);
	record->ticks = calloc(record->count, sizeof(*record->ticks));
	if (!record->ticks)
		abort();
	for (size_t i = 0; i < scenario->expectation_count; i++) {
		unsigned most = 1;
		for (size_t k = 0; k < scenario->crowd_count; k++)
			most = scenario->crowds[k].count > most ? scenario->crowds[k].count : most;
		record->followed[i].admitted = calloc(most, sizeof(uint32_t));
		if (!record->followed[i].admitted)
			abort();
	}
}

void record_close(struct record *record)
{
	for (size_t i = 0; i < record->scenario->expectation_count; i++)
		free(record->followed[i].admitted);
	free(record->ticks);
}

struct tick *record_at(struct record *record, double at_s)
{
	size_t index = at_s > 0 ? (size_t)(at_s / record->tick_s) : 0;

	return &record->ticks[index < record->count ? index : record->count - 1];
}

static bool concerns(const struct record *record, const struct expectation *expectation, unsigned crowd, double at_s)
{
	return at_s >= expectation->from_s && at_s < expectation->until_s &&
	       (!expectation->crowd[0] || strcmp(expectation->crowd, record->scenario->crowds[crowd].name) == 0);
}

void record_admitted(struct record *record, unsigned crowd, uint32_t user, double at_s)
{
	for (size_t i = 0; i < record->scenario->expectation_count; i++) {
		const struct expectation *expectation = &record->scenario->expectations[i];
		if (expectation->measure == MEASURE_UNEVEN && concerns(record, expectation, crowd, at_s))
			record->followed[i].admitted[user]++;
	}
}

void record_response(struct record *record, unsigned crowd, double asked_s, double response_s)
{
	for (size_t i = 0; i < record->scenario->expectation_count; i++) {
		const struct expectation *expectation = &record->scenario->expectations[i];
		if ((expectation->measure == MEASURE_P50 || expectation->measure == MEASURE_P99) &&
		    concerns(record, expectation, crowd, asked_s))
			responses_add(&record->followed[i].responses, response_s);
	}
}

/* Measures ------------------------------------------------------------------------------------------------------- */

struct span {
	const struct record *record;
	const struct expectation *expectation;
	const struct followed *followed;
	size_t first, end;
};

/* The crowds' sum over some ticks. */
static struct crowd_tick sum(const struct span *span, size_t first, size_t end)
{
	const struct scenario *scenario = span->record->scenario;
	double asked = 0, answered = 0, offered = 0, spilled = 0;

	for (size_t i = first; i < end; i++) {
		for (size_t k = 0; k < scenario->crowd_count; k++) {
			const struct crowd_tick *crowd = &span->record->ticks[i].crowds[k];
			if (span->expectation->crowd[0] &&
			    strcmp(span->expectation->crowd, scenario->crowds[k].name) != 0)
				continue;
			asked += (double)crowd->asked;
			answered += (double)crowd->answered;
			offered += (double)crowd->offered;
			spilled += (double)crowd->spilled;
		}
	}
	return (struct crowd_tick){(float)asked, (float)answered, (float)offered, (float)spilled};
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : NAN;
}

static double measure_answered(const struct span *span)
{
	struct crowd_tick all = sum(span, span->first, span->end);

	return share((double)all.answered, (double)all.asked);
}

static double measure_spilled(const struct span *span)
{
	struct crowd_tick all = sum(span, span->first, span->end);

	return share((double)all.spilled, (double)all.offered);
}

static double measure_p50(const struct span *span)
{
	return responses_quantile(&span->followed->responses, 0.5) * 1e3;
}

static double measure_p99(const struct span *span)
{
	return responses_quantile(&span->followed->responses, 0.99) * 1e3;
}

static double measure_goodput(const struct span *span)
{
	struct crowd_tick all = sum(span, span->first, span->end);
	double seconds = (double)(span->end - span->first) * span->record->tick_s;

	return (double)all.answered / seconds / scenario_capacity(span->record->scenario);
}

static double measure_uneven(const struct span *span)
{
	const struct scenario *scenario = span->record->scenario;

	for (size_t k = 0; k < scenario->crowd_count; k++) {
		if (strcmp(span->expectation->crowd, scenario->crowds[k].name) != 0)
			continue;
		double least = INFINITY, most = 0, total = 0;
		for (unsigned i = 0; i < scenario->crowds[k].count; i++) {
			double admitted = span->followed->admitted[i];
			least = fmin(least, admitted);
			most = fmax(most, admitted);
			total += admitted;
		}
		return share((most - least) * scenario->crowds[k].count, total);
	}
	return NAN;
}

/* From the window's begin to the first tick from which on every half second is well answered. */
static double measure_recovered(const struct span *span)
{
	size_t since = span->end;

	for (size_t i = span->end; i-- > span->first;) {
		size_t end = i + WINDOW_TICKS < span->end ? i + WINDOW_TICKS : span->end;
		struct crowd_tick window = sum(span, i, end);
		if ((double)window.answered < ANSWERED_WELL * (double)window.asked)
			break;
		since = i;
	}
	return (double)(since - span->first) * span->record->tick_s;
}

static double measure_released(const struct span *span)
{
	size_t since = span->end;

	for (size_t i = span->end; i-- > span->first;) {
		if (isfinite(span->record->ticks[i].level_pps) || sum(span, i, i + 1).spilled > 0)
			break;
		since = i;
	}
	return (double)(since - span->first) * span->record->tick_s;
}

static double measure_swing(const struct span *span)
{
	double least = INFINITY, most = 0, total = 0;

	for (size_t i = span->first; i < span->end; i++) {
		double level = (double)span->record->ticks[i].level_pps;
		least = fmin(least, level);
		most = fmax(most, level);
		total += level;
	}
	return isfinite(most) ? share((most - least) * (double)(span->end - span->first), total) : INFINITY;
}

static double measure_level(const struct span *span)
{
	double least = INFINITY;

	for (size_t i = span->first; i < span->end; i++)
		least = fmin(least, (double)span->record->ticks[i].level_pps);
	return least;
}

static double measure_faults(const struct span *span)
{
	double faults = 0;

	for (size_t i = span->first; i < span->end; i++)
		faults += span->record->ticks[i].fault_begins;
	return faults;
}

static double measure_noticed(const struct span *span)
{
	for (size_t i = span->first; i < span->end; i++) {
		if (span->record->ticks[i].fault_begins)
			return (double)(i - span->first) * span->record->tick_s;
	}
	return INFINITY;
}

static const struct {
	const char *name;
	double (*measure)(const struct span *span);
} measures[] = {
	[MEASURE_ANSWERED] = {"answered", measure_answered},
	[MEASURE_SPILLED] = {"spilled", measure_spilled},
	[MEASURE_P50] = {"p50", measure_p50},
	[MEASURE_P99] = {"p99", measure_p99},
	[MEASURE_GOODPUT] = {"goodput", measure_goodput},
	[MEASURE_UNEVEN] = {"uneven", measure_uneven},
	[MEASURE_RECOVERED] = {"recovered", measure_recovered},
	[MEASURE_RELEASED] = {"released", measure_released},
	[MEASURE_SWING] = {"swing", measure_swing},
	[MEASURE_LEVEL] = {"level", measure_level},
	[MEASURE_FAULTS] = {"faults", measure_faults},
	[MEASURE_NOTICED] = {"noticed", measure_noticed},
};

const char *measure_name(enum measure measure)
{
	return measures[measure].name;
}

double record_measure(const struct record *record, size_t expectation)
{
	const struct expectation *expected = &record->scenario->expectations[expectation];
	double end = fmin(expected->until_s, record->scenario->seconds);
	struct span span = {
		.record = record,
		.expectation = expected,
		.followed = &record->followed[expectation],
		.first = (size_t)(expected->from_s / record->tick_s + 0.5),
		.end = (size_t)(end / record->tick_s + 0.5),
	};

	return span.first < span.end ? measures[expected->measure].measure(&span) : NAN;
}

bool record_meets(const struct expectation *expectation, double value)
{
	if (isnan(value))
		return false;
	return !(value < expectation->least) && !(value > expectation->most);
}

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

json_t *record_json(const struct record *record)
{
	json_t *series = json_array(), *expectations = json_array();

	for (size_t i = 0; i < record->count; i++) {
		const struct tick *tick = &record->ticks[i];
		json_array_append_new(series,
		                      json_pack("{s:f,s:f,s:f,s:f,s:o,s:o,s:o}", "second", (double)i * record->tick_s,
		                                "offered", (double)tick->offered_pps, "admitted",
		                                (double)tick->admitted_pps, "answered", (double)tick->answered_pps,
		                                "response_milliseconds", number((double)tick->response_s * 1e3),
		                                "level", number((double)tick->level_pps), "capacity",
		                                number((double)tick->capacity_pps)));
	}
	for (size_t i = 0; i < record->scenario->expectation_count; i++) {
		const struct expectation *expected = &record->scenario->expectations[i];
		double value = record_measure(record, i);
		json_array_append_new(expectations, json_pack("{s:s,s:s,s:f,s:o,s:o,s:o,s:b}", "measure",
		                                              measure_name(expected->measure), "of", expected->crowd,
		                                              "from", expected->from_s, "value", number(value), "least",
		                                              number(expected->least), "most", number(expected->most),
		                                              "met", record_meets(expected, value)));
	}
	return json_pack("{s:s,s:s,s:o,s:o}", "scenario", record->scenario->name, "about", record->scenario->about,
	                 "expectations", expectations, "ticks", series);
}
