/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/minutes.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "daemon/daemon.h"
#include "observe/recent.h"

struct minutes {
	struct daemon *daemon;
	struct recent *recent;
	struct event *timer;
};

static float pace(double per_second)
{
	return per_second > 0 ? (float)per_second : NAN;
}

static void on_second(evutil_socket_t fd, short what, void *argument)
{
	struct minutes *minutes = argument;
	struct daemon *daemon = minutes->daemon;
	const struct catalogue_slot *catalogue = datapath_catalogue(daemon->datapath);
	(void)fd, (void)what;

	recent_begin(minutes->recent, daemon_clock_s());
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct observed_service observed;
		struct signals_histogram times;
		struct error err;
		/* What cannot be read is told by the tick, which reads the same. */
		if (!catalogue->names[number][0] || observer_service(daemon->observer, number, &observed, &err) < 0)
			continue;
		signals_histogram(daemon->signals, number, &times);
		struct sums sums = sums_of(&observed.tallies);
		struct recent_sample sample = {.level = pace(observed.paces.level_packets),
		                               .capacity = pace(observed.paces.capacity_packets),
		                               .p50_s = (float)times.p50_s,
		                               .p99_s = (float)times.p99_s};
		recent_add(minutes->recent, number, catalogue->names[number], &sums, &sample);
	}
}

int minutes_new(struct minutes **out, struct daemon *daemon, struct error *err)
{
	static const struct timeval second = {.tv_sec = 1};
	_cleanup_(minutes_freep) struct minutes *minutes = calloc(1, sizeof(*minutes));

	if (!minutes)
		return error_set(err, -ENOMEM, "the last minutes: no memory");
	minutes->daemon = daemon;
	int failure = recent_new(&minutes->recent, err);
	if (failure)
		return failure;
	minutes->timer = event_new(daemon->loop, -1, EV_PERSIST, on_second, minutes);
	if (!minutes->timer || event_add(minutes->timer, &second) < 0)
		return error_set(err, -ENOMEM, "the last minutes: no memory");
	*out = TAKE_PTR(minutes);
	return 0;
}

void minutes_free(struct minutes *minutes)
{
	if (minutes->timer)
		event_free(minutes->timer);
	if (minutes->recent)
		recent_free(minutes->recent);
	free(minutes);
}

/* Four digits are more than a chart shows. */
static json_t *rounded(double value)
{
	if (!isfinite(value))
		return json_null();
	double unit = value != 0 ? pow(10, floor(log10(fabs(value))) - 3) : 1;
	return json_real(round(value / unit) * unit);
}

static float value_at(const struct recent_sample *sample, size_t offset)
{
	float value;

	memcpy(&value, (const char *)sample + offset, sizeof(value));
	return value;
}

json_t *minutes_document(const struct minutes *minutes, unsigned service)
{
	static const struct {
		const char *name;
		size_t offset;
		double factor;
	} columns[] = {
		{"received_packets_per_second", offsetof(struct recent_sample, received), 1},
		{"passed_packets_per_second", offsetof(struct recent_sample, passed), 1},
		{"spilled_packets_per_second", offsetof(struct recent_sample, spilled), 1},
		{"shadow_packets_per_second", offsetof(struct recent_sample, shadow), 1},
		{"level_packets_per_second", offsetof(struct recent_sample, level), 1},
		{"capacity_packets_per_second", offsetof(struct recent_sample, capacity), 1},
		{"response_p50_milliseconds", offsetof(struct recent_sample, p50_s), 1000},
		{"response_p99_milliseconds", offsetof(struct recent_sample, p99_s), 1000},
	};
	struct recent_row rows[RECENT_SECONDS];
	size_t count = recent_read(minutes->recent, service, rows);
	json_t *document = json_object(), *times = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(times,
		                      json_real(round((rows[i].at_s - minutes->daemon->started_s) * 1000) / 1000));
	json_object_set_new(document, "uptime_seconds", times);
	for (size_t column = 0; column < sizeof(columns) / sizeof(*columns); column++) {
		json_t *values = json_array();
		for (size_t i = 0; i < count; i++)
			json_array_append_new(values,
			                      rounded((double)value_at(&rows[i].sample, columns[column].offset) *
			                              columns[column].factor));
		json_object_set_new(document, columns[column].name, values);
	}
	return document;
}
