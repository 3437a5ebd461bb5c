/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/recorder.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "daemon/api.h"
#include "daemon/daemon.h"
#include "observe/history.h"
#include "observe/signals.h"

#define FOLLOWED  48 /* users of a service that are followed through a minute */
#define HEAVIEST  10 /* of them are kept */
#define CLOCK_OFF 2  /* seconds by which the wall clock must differ to be followed at once */

/* One of the heaviest users of the present minute. */
struct followed_user {
	struct observed_user last; /* as the last pass saw it, to name it by */
	uint64_t packets, bytes, spilled;
	bool fresh; /* the last pass saw it */
};

struct recorded_service {
	struct service_tallies before;
	char name[SERVICE_NAME_MAX]; /* whose `before` is */
	struct followed_user *users; /* FOLLOWED, made when first needed */
	size_t users_count;
	struct distribution *bins; /* likewise */
};

struct recorder {
	struct daemon *daemon;
	struct history *history; /* NULL: none is kept */
	struct config_history settings;
	struct recorded_service services[SERVICES_MAX];
	struct history_entry *entries; /* SERVICES_MAX + 1 */
	double read_s;                 /* when the counters that are recorded were read */
	double passed_s;
	unsigned long pass;
	int64_t time_s, minute_s;
	uint64_t told_lost;
	char told_why[sizeof(((struct error *)NULL)->text)], told_aside[PATH_MAX];
};

static int64_t wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void take_event(const json_t *event, const char *line, void *argument)
{
	struct recorder *recorder = argument;
	const char *name = json_string_value(json_object_get(event, "event"));

	if (recorder->history && name)
		history_record_event(recorder->history, wall_us(), name,
		                     json_string_value(json_object_get(event, "service")),
		                     json_string_value(json_object_get(event, "user")), line);
}

/* In a pass, each active user: nanoseconds. */
static void take_user(unsigned number, const struct observed_user *user, void *argument)
{
	struct recorder *recorder = argument;
	struct recorded_service *service = &recorder->services[number < SERVICES_MAX ? number : 0];

	if (!recorder->history)
		return;
	if (!service->bins)
		service->bins = calloc(1, sizeof(*service->bins));
	if (service->bins)
		distribution_add_user(service->bins, user->packets_per_second, user->bytes_per_second);
}

static uint64_t offered(const struct observed_user *user)
{
	return user->passed_packets + user->spilled_packets + user->shadow_packets;
}

/* The place of a user among those that are followed: its own, a free one, or the one that says least. */
static struct followed_user *follow(struct recorded_service *service, const struct observed_user *user)
{
	struct followed_user *least = &service->users[0];

	for (size_t i = 0; i < service->users_count; i++) {
		if (observed_same_user(&service->users[i].last, user))
			return &service->users[i];
		if (service->users[i].packets < least->packets)
			least = &service->users[i];
	}
	if (service->users_count < FOLLOWED)
		least = &service->users[service->users_count++];
	*least = (struct followed_user){.last = {.kind = USER_KINDS}};
	return least;
}

static void add_user(struct recorded_service *service, const struct observed_user *user, double elapsed_s)
{
	struct followed_user *followed = follow(service, user);
	uint64_t before = offered(&followed->last);

	if (observed_same_user(&followed->last, user) && offered(user) >= before) {
		followed->packets += offered(user) - before;
		if (user->spilled_packets >= followed->last.spilled_packets)
			followed->spilled += user->spilled_packets - followed->last.spilled_packets;
	} else { /* new to us: what it sent before this pass is not this minute's, unless it is new altogether */
		double sent = user->packets_per_second * elapsed_s, all = (double)offered(user);
		double share = all > 2 * sent + 10 ? sent / all : 1;
		followed->packets += (uint64_t)(share * all);
		followed->spilled += (uint64_t)(share * (double)user->spilled_packets);
	}
	followed->bytes += (uint64_t)(user->bytes_per_second * elapsed_s);
	followed->last = *user;
	followed->fresh = true;
}

static void take_pass(struct recorder *recorder, double elapsed_s)
{
	double read_s;

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct recorded_service *service = &recorder->services[number];
		struct observed_service observed = observer_last(recorder->daemon->observer, number, &read_s);
		if (service->bins)
			service->bins->passes++;
		if (!observed.heaviest_count)
			continue;
		if (!service->users)
			service->users = calloc(FOLLOWED, sizeof(*service->users));
		for (size_t i = 0; service->users && i < observed.heaviest_count && i < HEAVIEST; i++)
			add_user(service, &observed.heaviest[i], elapsed_s);
	}
}

static int heavier_first(const void *left, const void *right)
{
	uint64_t a = ((const struct followed_user *)left)->packets, b = ((const struct followed_user *)right)->packets;

	return (a < b) - (a > b);
}

/* The minute is over: its users are told, and those that are still there are followed on. */
static void tell_users(struct recorder *recorder, unsigned number, const char *name)
{
	struct recorded_service *service = &recorder->services[number];
	struct sampled_user told[HEAVIEST];
	size_t count = 0, kept = 0;

	qsort(service->users, service->users_count, sizeof(*service->users), heavier_first);
	for (size_t i = 0; i < service->users_count && count < HEAVIEST && service->users[i].packets; i++) {
		const struct followed_user *user = &service->users[i];
		told[count] =
			(struct sampled_user){.packets = user->packets, .bytes = user->bytes, .spilled = user->spilled};
		api_user_text(recorder->daemon, number, &user->last, told[count++].user);
	}
	if (count)
		history_record_users(recorder->history, recorder->minute_s, name, told, count);
	for (size_t i = 0; i < service->users_count; i++) {
		struct followed_user *user = &service->users[i];
		if (user->fresh)
			service->users[kept++] = (struct followed_user){.last = user->last};
	}
	service->users_count = kept;
}

static void end_minute(struct recorder *recorder)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(recorder->daemon->datapath);

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct recorded_service *service = &recorder->services[number];
		const char *name = catalogue->names[number];
		if (service->users_count && *name)
			tell_users(recorder, number, name);
		if (service->bins && *name && service->bins->passes) {
			bool any = false;
			for (size_t i = 0; i < BINS_RATES; i++)
				any |= service->bins->rates[i] != 0;
			if (any)
				history_record_distribution(recorder->history, recorder->minute_s, name, service->bins);
			else /* silent for a minute: made again when it is needed */
				free(TAKE_PTR(service->bins));
		}
		if (service->bins)
			memset(service->bins, 0, sizeof(*service->bins));
	}
}

static void add_outcomes(struct sample *sample, const struct service_tallies *now, const struct service_tallies *before)
{
	for (int outcome = 0; outcome < OUTCOMES; outcome++) {
		bool spilled = outcome >= OUTCOME_SPILLED && outcome < OUTCOME_SHADOW;
		uint64_t packets = now->outcomes[outcome].packets - before->outcomes[outcome].packets;
		uint64_t bytes = now->outcomes[outcome].bytes - before->outcomes[outcome].bytes;
		sample->values[SAMPLE_PACKETS] += packets;
		sample->values[SAMPLE_BYTES] += bytes;
		sample->values[SAMPLE_SPILLED] += spilled ? packets : 0;
		sample->values[SAMPLE_SPILLED_BYTES] += spilled ? bytes : 0;
		sample->values[SAMPLE_SHADOW] += outcome >= OUTCOME_SHADOW ? packets : 0;
	}
}

static bool counts_on(const struct service_tallies *now, const struct service_tallies *before)
{
	for (int outcome = 0; outcome < OUTCOMES; outcome++)
		if (now->outcomes[outcome].packets < before->outcomes[outcome].packets)
			return false;
	return true;
}

static uint64_t whole(double value, double unit)
{
	return isfinite(value) && value > 0 ? (uint64_t)llround(value / unit) : 0;
}

/* What is in force, and how the service feels. */
static void sample_feeling(const struct daemon *daemon, unsigned number, struct sample *sample)
{
	struct datapath_paces paces;
	struct signals_histogram times;

	if (datapath_paces(daemon->datapath, number, &paces, NULL) == 0) {
		sample->values[SAMPLE_LEVEL] = whole(paces.level_packets, 1e-3);
		sample->values[SAMPLE_CAPACITY] = whole(paces.capacity_packets, 1e-3);
	}
	signals_histogram(daemon->signals, number, &times);
	sample->values[SAMPLE_P50_US] = whole(times.p50_s, 1e-6);
	sample->values[SAMPLE_P99_US] = whole(times.p99_s, 1e-6);
}

/* What a service did since the last reading; false where it was silent. */
static bool sample_service(struct recorder *recorder, unsigned number, const char *name, struct sample *sample)
{
	struct recorded_service *service = &recorder->services[number];
	double read_s;
	struct observed_service observed = observer_last(recorder->daemon->observer, number, &read_s);
	bool known = strcmp(service->name, name) == 0 && recorder->read_s > 0 &&
	             counts_on(&observed.tallies, &service->before);

	*sample = (struct sample){0};
	if (known)
		add_outcomes(sample, &observed.tallies, &service->before);
	service->before = observed.tallies;
	if (service->name[0] && strcmp(service->name, name) != 0) { /* what was seen of the number's last service */
		service->users_count = 0;
		free(TAKE_PTR(service->bins));
	}
	if (!known)
		snprintf(service->name, sizeof(service->name), "%s", name);
	if (!sample->values[SAMPLE_PACKETS])
		return false;
	sample->values[SAMPLE_USERS] = observed.active_users;
	sample_feeling(recorder->daemon, number, sample);
	return true;
}

static void record_second(struct recorder *recorder, double elapsed_s)
{
	static const enum sample_field summed[] = {SAMPLE_PACKETS,       SAMPLE_BYTES,  SAMPLE_SPILLED,
	                                           SAMPLE_SPILLED_BYTES, SAMPLE_SHADOW, SAMPLE_USERS};
	const struct catalogue_slot *catalogue = datapath_catalogue(recorder->daemon->datapath);
	uint64_t seconds = elapsed_s > 1 ? (uint64_t)llround(elapsed_s) : 1;
	struct history_entry *host = &recorder->entries[0];
	size_t count = 1;

	*host = (struct history_entry){.number = SERVICES_MAX};
	host->sample.values[SAMPLE_SECONDS] = seconds;
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct history_entry *entry = &recorder->entries[count];
		const char *name = catalogue->names[number];
		if (!*name || !sample_service(recorder, number, name, &entry->sample))
			continue;
		entry->number = number;
		entry->sample.values[SAMPLE_SECONDS] = seconds;
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		for (size_t i = 0; i < sizeof(summed) / sizeof(*summed); i++)
			host->sample.values[summed[i]] += entry->sample.values[summed[i]];
		count++;
	}
	history_record(recorder->history, recorder->time_s, recorder->entries, count);
}

/* Readings come a second apart, but not to the microsecond: each gets a second of its own, in step with the wall clock
 * without following its every tremble. */
static int64_t next_second(int64_t last_s)
{
	int64_t now_s = wall_us() / 1000000;

	return last_s && llabs(now_s - (last_s + 1)) < CLOCK_OFF ? last_s + 1 : now_s;
}

static void tell_changes(struct recorder *recorder)
{
	struct history_status status = history_status(recorder->history);
	struct events *events = recorder->daemon->events;

	if (status.state == HISTORY_STALLED && strcmp(status.why, recorder->told_why) != 0) {
		snprintf(recorder->told_why, sizeof(recorder->told_why), "%s", status.why);
		events_tell(events, "fault", NULL, NULL, NULL,
		            "%s; shedding goes on, nothing is recorded until that is mended", status.why);
	}
	if (strcmp(status.aside, recorder->told_aside) != 0) {
		snprintf(recorder->told_aside, sizeof(recorder->told_aside), "%s", status.aside);
		events_tell(events, "fault", NULL, NULL, NULL,
		            "history %s: the file was damaged: it is kept as %s, and a new one begun",
		            recorder->settings.path, status.aside);
	}
	if (status.state == HISTORY_WRITING && *recorder->told_why) {
		recorder->told_why[0] = '\0';
		events_tell(events, "recovery", NULL, NULL,
		            json_pack("{s:I}", "lost_records", (json_int_t)(status.lost - recorder->told_lost)),
		            "history %s: recorded again; %llu records were lost", recorder->settings.path,
		            (unsigned long long)(status.lost - recorder->told_lost));
		recorder->told_lost = status.lost;
	}
}

void recorder_tick(struct recorder *recorder)
{
	struct observed_pass pass = observer_pass(recorder->daemon->observer);
	double read_s;

	if (!recorder->history)
		return;
	if (pass.number != recorder->pass) {
		take_pass(recorder, recorder->passed_s > 0 ? pass.ended_s - recorder->passed_s : OBSERVER_PASS_S);
		recorder->pass = pass.number;
		recorder->passed_s = pass.ended_s;
	}
	observer_last(recorder->daemon->observer, 0, &read_s);
	if (read_s == recorder->read_s)
		return;
	recorder->time_s = next_second(recorder->time_s);
	if (recorder->time_s / 60 * 60 != recorder->minute_s) {
		if (recorder->minute_s)
			end_minute(recorder);
		recorder->minute_s = recorder->time_s / 60 * 60;
	}
	record_second(recorder, recorder->read_s > 0 ? read_s - recorder->read_s : 1);
	recorder->read_s = read_s;
	tell_changes(recorder);
}

/* Starts the history that the configuration asks for, in the place of an older one; without one the daemon goes on.
 * Never waits for a disk. */
static void start_history(struct recorder *recorder)
{
	struct history *before = recorder->history;
	const struct config_history *settings = &recorder->settings;
	struct error err;
	int failure = 0;

	recorder->settings = recorder->daemon->config->history;
	recorder->told_why[0] = recorder->told_aside[0] = '\0';
	recorder->told_lost = 0;
	recorder->read_s = 0;
	if (settings->on)
		failure = before ? history_replace(&recorder->history, settings->path, settings->bytes, &err)
		                 : history_new(&recorder->history, settings->path, settings->bytes, &err);
	if (failure)
		events_tell(recorder->daemon->events, "fault", NULL, NULL, NULL, "%s; nothing is recorded", err.text);
	if (before && (failure || !settings->on)) {
		recorder->history = NULL;
		history_retire(before);
	}
}

/* What is known of the present minute goes into the queue. */
static void flush_minute(struct recorder *recorder)
{
	if (recorder->history && recorder->minute_s)
		end_minute(recorder);
}

int recorder_new(struct recorder **out, struct daemon *daemon, struct error *err)
{
	_cleanup_(recorder_freep) struct recorder *recorder = calloc(1, sizeof(*recorder));

	if (!recorder)
		return error_set(err, -ENOMEM, "history: no memory");
	recorder->daemon = daemon;
	recorder->entries = calloc(SERVICES_MAX + 1, sizeof(*recorder->entries));
	if (!recorder->entries)
		return error_set(err, -ENOMEM, "history: no memory");
	if (events_listen(daemon->events, take_event, recorder) < 0 ||
	    observer_visit(daemon->observer, take_user, recorder) < 0)
		return error_set(err, -ENOSPC, "history: no room among those who listen");
	start_history(recorder);
	*out = TAKE_PTR(recorder);
	return 0;
}

void recorder_free(struct recorder *recorder)
{
	if (!recorder)
		return;
	events_unlisten(recorder->daemon->events, take_event, recorder);
	flush_minute(recorder);
	history_free(recorder->history);
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		free(recorder->services[i].users);
		free(recorder->services[i].bins);
	}
	free(recorder->entries);
	free(recorder);
}

void recorder_reload(struct recorder *recorder)
{
	const struct config_history *wanted = &recorder->daemon->config->history;
	bool same = wanted->on == recorder->settings.on && wanted->bytes == recorder->settings.bytes &&
	            strcmp(wanted->path, recorder->settings.path) == 0;

	if (same)
		return;
	flush_minute(recorder);
	start_history(recorder);
}

json_t *recorder_document(const struct recorder *recorder)
{
	static const char *const states[] = {
		[HISTORY_OPENING] = "opening", [HISTORY_WRITING] = "writing", [HISTORY_STALLED] = "stalled"};

	if (!recorder || !recorder->history)
		return json_null();
	struct history_status status = history_status(recorder->history);
	return json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:f}", "path", recorder->settings.path, "state",
	                 states[status.state], "why",
	                 status.state == HISTORY_STALLED ? json_string(status.why) : json_null(), "bytes",
	                 (json_int_t)status.bytes, "size_bytes", (json_int_t)recorder->settings.bytes, "lost_records",
	                 (json_int_t)status.lost, "queued_records", (json_int_t)status.queued,
	                 "slowest_batch_milliseconds", status.slowest_s * 1000);
}
