/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/timeline.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "verbs/ask.h"
#include "verbs/prometheus.h"
#include "verbs/verbs.h"

#define QUERY_MAX     1024
#define NAME_MAX_SAID 10 /* services that a complaint names */
#define WINDOW_LEAST  60 /* seconds: a rate needs two scrapes */

void timeline_database(const struct timeline_source *source, char out[PATH_MAX])
{
	json_t *status = NULL;
	struct error err;

	if (!source->database) /* without a daemon there is the default */
		ask_quietly(source->socket, "/api/v1/status", NULL, &status, &err);
	const char *told = json_string_value(json_object_get(json_object_get(status, "history"), "path"));

	snprintf(out, PATH_MAX, "%s", source->database ? source->database : told ? told : CONFIG_HISTORY_PATH_DEFAULT);
	json_decref(status);
}

static int complain(const struct error *err)
{
	fprintf(stderr, "spillway: %s\n", err->text);
	return EXIT_FAILED;
}

int timeline_open(const struct timeline_source *source, struct history_reader **out)
{
	char path[PATH_MAX];
	struct error err;

	timeline_database(source, path);
	return history_reader_open(out, path, &err) < 0 ? complain(&err) : EXIT_DONE;
}

int timeline_service(struct history_reader *reader, const char *name, unsigned *out)
{
	_cleanup_free_ struct history_service *services = NULL;
	struct error err;
	size_t count;

	*out = 0;
	if (!name)
		return EXIT_DONE;
	if (history_reader_services(reader, &services, &count, &err) < 0)
		return complain(&err);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(services[i].name, name) != 0)
			continue;
		*out = services[i].number;
		return EXIT_DONE;
	}
	fprintf(stderr, "spillway: service %s: the history has none of that name: it has", name);
	for (size_t i = 0; i < count && i < NAME_MAX_SAID; i++)
		fprintf(stderr, "%s %s", i ? "," : "", services[i].name);
	fprintf(stderr, "%s\n", !count ? " none yet" : count > NAME_MAX_SAID ? " and more" : "");
	return EXIT_FAILED;
}

static int read_database(const struct timeline_source *source, const char *service, enum history_step step,
                         int64_t from_s, int64_t to_s, struct timeline *out)
{
	_cleanup_(history_reader_closep) struct history_reader *reader = NULL;
	struct error err;
	unsigned number;

	int status = timeline_open(source, &reader);
	if (status == EXIT_DONE)
		status = timeline_service(reader, service, &number);
	if (status != EXIT_DONE)
		return status;
	if (history_reader_samples(reader, number, step, from_s, to_s, &out->samples, &out->count, &err) < 0)
		return complain(&err);
	return EXIT_DONE;
}

/* Where a field comes from: a query in parts, between which the service's matcher and the window go. Shadow packets
 * count as passed, too. */
struct metric {
	enum sample_field field;
	const char *outer, *before, *after; /* of the service's matcher */
	const char *end;                    /* of the window; NULL: a gauge */
	double unit;                        /* of a gauge; 0: a rate, to be multiplied by the step */
};

static const struct metric metrics[] = {
	{SAMPLE_PACKETS, "sum(", "rate(spillway_packets_total{verdict=~\"passed|spilled\"", "}[", "s]))", 0},
	{SAMPLE_BYTES, "sum(", "rate(spillway_bytes_total{verdict=~\"passed|spilled\"", "}[", "s]))", 0},
	{SAMPLE_SPILLED, "sum(", "rate(spillway_packets_total{verdict=\"spilled\"", "}[", "s]))", 0},
	{SAMPLE_SHADOW, "sum(", "rate(spillway_packets_total{verdict=\"shadow\"", "}[", "s]))", 0},
	{SAMPLE_USERS, "sum(", "spillway_active_users{service=~\".*\"", "})", NULL, 1},
	{SAMPLE_LEVEL, "min(", "spillway_level_packets_per_second{service=~\".*\"", "})", NULL, 1e-3},
	{SAMPLE_CAPACITY, "sum(", "spillway_capacity_packets_per_second{service=~\".*\"", "})", NULL, 1e-3},
	{SAMPLE_P50_US, "histogram_quantile(0.5, sum by (le) (",
         "rate(spillway_response_seconds_bucket{service=~\".*\"", "}[", "s])))", 1e-6},
	{SAMPLE_P99_US, "histogram_quantile(0.99, sum by (le) (",
         "rate(spillway_response_seconds_bucket{service=~\".*\"", "}[", "s])))", 1e-6},
};

/* A sample that is shorter than a rate's window gets the rate of the last two scrapes. */
static void make_query(const struct metric *metric, const char *service, unsigned step_s, char out[QUERY_MAX])
{
	unsigned window_s = step_s > WINDOW_LEAST ? step_s : WINDOW_LEAST;
	char quoted[128], window[16] = "";

	if (service)
		prometheus_quote(service, quoted, sizeof(quoted));
	if (metric->end)
		snprintf(window, sizeof(window), "%u", window_s);
	snprintf(out, QUERY_MAX, "%s%s%s%s%s%s%s%s%s", metric->outer, metric->end && step_s < 60 ? "i" : "",
	         metric->before, service ? ",service=\"" : "", service ? quoted : "", service ? "\"" : "",
	         metric->after, window, metric->end ? metric->end : "");
}

static int read_prometheus(const struct timeline_source *source, const char *service, int64_t from_s, int64_t to_s,
                           struct timeline *out)
{
	unsigned step_s = history_steps[out->step].seconds;
	size_t count = (size_t)((to_s - from_s + step_s - 1) / step_s);
	_cleanup_free_ double *values = NULL;
	_cleanup_free_ struct sample *samples = NULL;
	char query[QUERY_MAX];
	struct error err;

	if (count > HISTORY_SAMPLES_MOST) {
		fputs("spillway: more than a million samples: name a coarser --step, or a shorter time\n", stderr);
		return EXIT_FAILED;
	}
	values = calloc(count + 1, sizeof(*values));
	samples = calloc(count + 1, sizeof(*samples));
	if (!values || !samples)
		return EXIT_FAILED;
	for (size_t m = 0; m < sizeof(metrics) / sizeof(*metrics); m++) {
		const struct metric *metric = &metrics[m];
		make_query(metric, service, step_s, query);
		/* A rate at the end of a sample's time is the sample's. */
		if (prometheus_range(source->prometheus, query, from_s + step_s, step_s, values, count, &err) < 0)
			return complain(&err);
		for (size_t i = 0; i < count; i++) {
			double value = metric->unit > 0 ? values[i] / metric->unit : values[i] * step_s;
			if (isfinite(value) && value >= 0 && value < 9e18)
				samples[i].values[metric->field] = (uint64_t)llround(value);
			if (m == 0 && isfinite(value))
				samples[i].values[SAMPLE_SECONDS] = step_s;
		}
	}
	out->samples = TAKE_PTR(samples);
	out->count = count;
	return EXIT_DONE;
}

int timeline_read(const struct timeline_source *source, const char *service, enum history_step step, int64_t from_s,
                  int64_t to_s, struct timeline *out)
{
	out->step = step;
	out->from_s = from_s / history_steps[step].seconds * history_steps[step].seconds;
	return source->prometheus ? read_prometheus(source, service, out->from_s, to_s, out)
	                          : read_database(source, service, step, out->from_s, to_s, out);
}

enum history_step timeline_step(int64_t from_s, int64_t to_s)
{
	int64_t span_s = to_s - from_s;

	return span_s <= 600 ? STEP_SECOND : span_s <= 43200 ? STEP_MINUTE : STEP_QUARTER;
}

double timeline_rate(const struct sample *sample, enum sample_field field)
{
	uint64_t seconds = sample->values[SAMPLE_SECONDS];

	return seconds ? (double)sample->values[field] / (double)seconds : NAN;
}
