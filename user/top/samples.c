/* SPDX-License-Identifier: GPL-2.0-only */
#include "top/samples.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const counters[] = {"received_packets", "passed_packets", "spilled_packets", "shadow_packets"};

double sample_number(const json_t *document, const char *key)
{
	const json_t *value = json_object_get(document, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *sample_text(const json_t *document, const char *key)
{
	const char *text = json_string_value(json_object_get(document, key));

	return text ? text : "";
}

static const struct sampled_service *find(const struct samples *samples, const char *name)
{
	for (size_t i = 0; i < samples->count; i++)
		if (strcmp(samples->services[i].name, name) == 0)
			return &samples->services[i];
	return NULL;
}

static void past_add(double past[SAMPLES_KEPT], double value)
{
	memmove(past, past + 1, (SAMPLES_KEPT - 1) * sizeof(*past));
	past[SAMPLES_KEPT - 1] = isnan(value) ? 0 : value;
}

/* A counter that fell is another daemon's, or another service of that name: there is no rate yet. */
static double rate(double before, double now, double elapsed_s)
{
	return elapsed_s > 0 && now >= before ? (now - before) / elapsed_s : NAN;
}

static void service_take(struct sampled_service *service, const struct sampled_service *before, const json_t *document,
                         double elapsed_s)
{
	double *rates[] = {&service->now.received, &service->now.passed, &service->now.spilled, &service->now.shadow};

	if (before)
		*service = *before;
	snprintf(service->name, sizeof(service->name), "%s", sample_text(document, "name"));
	service->document = document;
	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
		double counted = sample_number(document, counters[i]);
		*rates[i] = before ? rate(before->counted[i], counted, elapsed_s) : NAN;
		service->counted[i] = counted;
	}
	past_add(service->received_past, service->now.received);
	past_add(service->spilled_past, service->now.spilled + service->now.shadow);
}

int samples_take(struct samples *samples, json_t *status, json_t *users)
{
	const json_t *services = json_object_get(status, "services");
	size_t count = json_array_size(services);
	struct sampled_service *taken = calloc(count + 1, sizeof(*taken));

	if (!taken || !json_is_array(services)) {
		int failure = taken ? -EINVAL : -ENOMEM;
		free(taken);
		json_decref(status);
		json_decref(users);
		return failure;
	}
	double uptime_s = sample_number(status, "uptime_seconds");
	for (size_t i = 0; i < count; i++) {
		const json_t *document = json_array_get(services, i);
		service_take(&taken[i], find(samples, sample_text(document, "name")), document,
		             uptime_s - samples->uptime_s);
	}
	samples_free(samples);
	*samples = (struct samples){
		.status = status, .users = users, .services = taken, .count = count, .uptime_s = uptime_s};
	return 0;
}

void samples_free(struct samples *samples)
{
	free(samples->services);
	json_decref(samples->status);
	json_decref(samples->users);
	*samples = (struct samples){0};
}
