/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

#define KIND_BYTES    32
#define SERVICE_BYTES 32
#define MORE          "more"

struct kept {
	uint64_t number;
	json_t *event;
	char *line;
	struct run *run;
};

/* Events of one kind that are kept of a service, or of nobody. */
struct run {
	char service[SERVICE_BYTES], kind[KIND_BYTES];
	size_t kept; /* 0: this place is free */
};

struct events {
	struct {
		events_listener *listener;
		void *argument;
	} listeners[EVENTS_LISTENERS_MAX];
	size_t listeners_count;
	struct kept recent[EVENTS_RECENT]; /* oldest first */
	size_t recent_count;
	struct run runs[EVENTS_RECENT];
	uint64_t number, lost;
	char kinds[EVENTS_KINDS_MAX][KIND_BYTES];
	struct events_count counts[EVENTS_KINDS_MAX]; /* the last one is MORE, when it is there */
	size_t counts_count;
};

int events_new(struct events **out, struct error *err)
{
	struct events *events = calloc(1, sizeof(*events));

	if (!events)
		return error_set(err, -ENOMEM, "events: no memory");
	*out = events;
	return 0;
}

static void kept_drop(struct kept *kept)
{
	json_decref(kept->event);
	free(kept->line);
	kept->run->kept--;
}

/* Lets go of a run's oldest event. */
static void run_trim(struct events *events, const struct run *run)
{
	size_t oldest = 0;

	while (events->recent[oldest].run != run)
		oldest++;
	kept_drop(&events->recent[oldest]);
	events->recent_count--;
	memmove(&events->recent[oldest], &events->recent[oldest + 1],
	        (events->recent_count - oldest) * sizeof(*events->recent));
}

static const struct run *longest_run(const struct events *events)
{
	const struct run *longest = &events->runs[0];

	for (size_t i = 1; i < EVENTS_RECENT; i++)
		if (events->runs[i].kept > longest->kept)
			longest = &events->runs[i];
	return longest;
}

/* There is always a place: fewer than EVENTS_RECENT events are kept when it is asked for. */
static struct run *run_of(struct events *events, const char *service, const char *kind)
{
	struct run *vacant = NULL;

	for (size_t i = 0; i < EVENTS_RECENT; i++) {
		struct run *run = &events->runs[i];
		if (run->kept && strncmp(run->service, service, SERVICE_BYTES - 1) == 0 &&
		    strncmp(run->kind, kind, KIND_BYTES - 1) == 0)
			return run;
		if (!run->kept && !vacant)
			vacant = run;
	}
	snprintf(vacant->service, sizeof(vacant->service), "%s", service);
	snprintf(vacant->kind, sizeof(vacant->kind), "%s", kind);
	return vacant;
}

static void recent_add(struct events *events, struct kept kept)
{
	const char *service = json_string_value(json_object_get(kept.event, "service"));
	const char *kind = json_string_value(json_object_get(kept.event, "event"));

	if (events->recent_count == EVENTS_RECENT)
		run_trim(events, longest_run(events));
	kept.run = run_of(events, service ? service : "", kind);
	if (kept.run->kept == EVENTS_RUN)
		run_trim(events, kept.run);
	kept.run->kept++;
	events->recent[events->recent_count++] = kept;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	for (size_t i = 0; i < events->recent_count; i++)
		kept_drop(&events->recent[i]);
	free(events);
}

static json_t *time_now(void)
{
	struct timespec now;
	char text[40];
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!gmtime_r(&now.tv_sec, &utc))
		return json_null();
	size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
	return json_string(text);
}

/* The event with its time in front, or NULL for what is none. */
static json_t *event_complete(json_t *event)
{
	if (!json_is_string(json_object_get(event, "event")) || !json_is_string(json_object_get(event, "why")))
		return NULL;
	json_t *whole = json_pack("{s:o}", "time", time_now());
	if (whole && json_object_update_missing(whole, event) < 0) {
		json_decref(whole);
		return NULL;
	}
	return whole;
}

static void count_kind(struct events *events, const char *kind)
{
	size_t i = 0;

	while (i < events->counts_count && strncmp(events->counts[i].event, kind, KIND_BYTES - 1) != 0)
		i++;
	if (i == EVENTS_KINDS_MAX)
		i--;
	if (i == events->counts_count) {
		snprintf(events->kinds[i], KIND_BYTES, "%s", i == EVENTS_KINDS_MAX - 1 ? MORE : kind);
		events->counts[i].event = events->kinds[i];
		events->counts_count++;
	}
	events->counts[i].count++;
}

void events_publish(struct events *events, json_t *event)
{
	json_t *whole = event_complete(event);
	char *line = whole ? json_dumps(whole, JSON_COMPACT) : NULL;

	json_decref(event);
	if (!line) {
		json_decref(whole);
		events->lost++;
		return;
	}
	events->number++;
	recent_add(events, (struct kept){.number = events->number, .event = whole, .line = line});
	count_kind(events, json_string_value(json_object_get(whole, "event")));
	for (size_t i = 0; i < events->listeners_count; i++)
		events->listeners[i].listener(whole, line, events->listeners[i].argument);
}

char *events_line(json_t *event)
{
	json_t *whole = event_complete(event);
	char *line = whole ? json_dumps(whole, JSON_COMPACT) : NULL;

	json_decref(event);
	json_decref(whole);
	return line;
}

void events_tell(struct events *events, const char *event, const char *service, const char *user, json_t *figures,
                 const char *why, ...)
{
	char text[1400];
	va_list arguments;
	va_start(arguments, why);
	vsnprintf(text, sizeof(text), why, arguments);
	va_end(arguments);
	utf8_mend(text);

	json_t *document = json_pack("{s:s}", "event", event);
	if (service)
		json_object_set_new(document, "service", json_string(service));
	if (user)
		json_object_set_new(document, "user", json_string(user));
	if (figures)
		json_object_update_missing(document, figures);
	json_decref(figures);
	json_object_set_new(document, "why", json_string(text));
	events_publish(events, document);
}

int events_listen(struct events *events, events_listener *listener, void *argument)
{
	if (events->listeners_count == EVENTS_LISTENERS_MAX)
		return -ENOSPC;
	events->listeners[events->listeners_count].listener = listener;
	events->listeners[events->listeners_count++].argument = argument;
	return 0;
}

void events_unlisten(struct events *events, events_listener *listener, void *argument)
{
	size_t kept = 0;

	for (size_t i = 0; i < events->listeners_count; i++)
		if (events->listeners[i].listener != listener || events->listeners[i].argument != argument)
			events->listeners[kept++] = events->listeners[i];
	events->listeners_count = kept;
}

size_t events_recent(const struct events *events, struct events_told *out, size_t most)
{
	size_t count = events->recent_count < most ? events->recent_count : most;

	for (size_t i = 0; i < count; i++) {
		const struct kept *kept = &events->recent[events->recent_count - count + i];
		out[i] = (struct events_told){kept->number, kept->event, kept->line};
	}
	return count;
}

const struct events_count *events_counts(const struct events *events, size_t *count)
{
	*count = events->counts_count;
	return events->counts;
}

uint64_t events_number(const struct events *events)
{
	return events->number;
}

uint64_t events_lost(const struct events *events)
{
	return events->lost;
}
