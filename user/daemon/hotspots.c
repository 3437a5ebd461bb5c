/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/hotspots.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/hotspot.h"
#include "daemon/api.h"
#include "daemon/daemon.h"

/* What the rules do not ask for, and a name needs. */
struct heat {
	struct daemon *daemon;
	struct hotspots *hotspots;
	unsigned long pass; /* the last one that was judged */
	char names[SERVICES_MAX][SERVICE_NAME_MAX];
};

static struct hotspot_user hotspot_user_of(const struct observed_user *user)
{
	return (struct hotspot_user){.key = {user->key[0], user->key[1]},
	                             .kind = user->kind,
	                             .source = user->kind == USER_SOURCE,
	                             .ipv6 = user->ipv6,
	                             .pps = user->lately_per_second};
}

static void count_user(unsigned service, const struct observed_user *user, void *argument)
{
	struct heat *heat = argument;
	struct hotspot_user counted = hotspot_user_of(user);

	hotspots_count(heat->hotspots, service, &counted);
}

int heat_new(struct heat **out, struct daemon *daemon, struct error *err)
{
	_cleanup_(heat_freep) struct heat *heat = calloc(1, sizeof(*heat));
	if (!heat)
		return error_set(err, -ENOMEM, "hot spots: no memory");
	_Static_assert(SERVICES_MAX <= HOTSPOT_SERVICES_MAX, "every service can be hot");

	heat->daemon = daemon;
	int failure = hotspots_new(&heat->hotspots, err);
	if (failure)
		return failure;
	if (observer_visit(daemon->observer, count_user, heat) < 0)
		return error_set(err, -E2BIG, "hot spots: the observer has no room for another visitor");
	*out = TAKE_PTR(heat);
	return 0;
}

void heat_free(struct heat *heat)
{
	if (!heat)
		return;
	hotspots_free(heat->hotspots);
	free(heat);
}

/* Empty where the service as a whole is hot. */
static void name_of(const struct heat *heat, const struct hotspot *spot, char out[API_USER_TEXT_MAX])
{
	struct prefix prefix = {.ipv4 = !spot->ipv6, .length = (uint8_t)(spot->length + (spot->ipv6 ? 0 : 96))};
	struct observed_user user = {
		.key = {spot->key[0], spot->key[1]}, .kind = (enum user_kind)spot->user_kind, .ipv6 = spot->ipv6};

	out[0] = '\0';
	if (spot->kind == HOTSPOT_USER) {
		api_user_text(heat->daemon, spot->service, &user, out);
	} else if (spot->kind == HOTSPOT_PREFIX) {
		memcpy(prefix.address, spot->key, sizeof(prefix.address));
		prefix_format(&prefix, out);
	}
}

static const char *const kinds[] = {
	[HOTSPOT_USER] = "user", [HOTSPOT_PREFIX] = "prefix", [HOTSPOT_SERVICE] = "service"};

static void tell(const struct hotspot *spot, bool begins, void *argument)
{
	const struct heat *heat = argument;
	char name[API_USER_TEXT_MAX];

	name_of(heat, spot, name);
	events_tell(heat->daemon->events, begins ? "hotspot_begin" : "hotspot_end", heat->names[spot->service],
	            name[0] ? name : NULL,
	            json_pack("{s:s,s:f,s:f,s:f}", "kind", kinds[spot->kind], "packets_per_second", spot->pps,
	                      "peak_packets_per_second", spot->peak_pps, "share", spot->share),
	            "%s", spot->why);
}

static double weight_of(const struct heat *heat, const struct observed_user *user)
{
	const struct config_tenant *tenant =
		user->kind == USER_TENANT ? config_find_tenant(heat->daemon->config, user->key[0]) : NULL;

	return tenant ? tenant->weight : 1;
}

static void judge_service(struct heat *heat, unsigned number)
{
	static struct hotspot_user heaviest[OBSERVER_HEAVIEST];
	double read_s;
	struct observed_service observed = observer_last(heat->daemon->observer, number, &read_s);
	struct datapath_paces paces = {0};

	datapath_paces(heat->daemon->datapath, number, &paces, NULL); /* without them there are no limits to exceed */
	for (size_t i = 0; i < observed.heaviest_count; i++) {
		heaviest[i] = hotspot_user_of(&observed.heaviest[i]);
		heaviest[i].limit_pps = paces.level_packets * weight_of(heat, &observed.heaviest[i]);
	}
	struct hotspot_service seen = {.pps = observed.packets_per_second,
	                               .capacity_pps = paces.capacity_packets,
	                               .active_users = observed.active_users,
	                               .heaviest = heaviest,
	                               .heaviest_count = observed.heaviest_count,
	                               .full = observed.heaviest_count == OBSERVER_HEAVIEST};
	hotspots_service(heat->hotspots, number, &seen);
}

/* A number that another service has got, or none, is forgotten. */
static void follow_names(struct heat *heat)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(heat->daemon->datapath);

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (strcmp(heat->names[number], catalogue->names[number]) == 0)
			continue;
		hotspots_forget(heat->hotspots, number);
		snprintf(heat->names[number], SERVICE_NAME_MAX, "%s", catalogue->names[number]);
	}
}

void heat_tick(struct heat *heat)
{
	const struct config_hotspots *config = &heat->daemon->config->hotspots;
	struct hotspot_settings settings = {
		.share = config->share, .past = config->past, .level = config->level, .least_pps = config->least_pps};
	struct observed_pass pass = observer_pass(heat->daemon->observer);

	if (pass.number == heat->pass)
		return;
	heat->pass = pass.number;
	follow_names(heat);
	hotspots_begin(heat->hotspots, &settings, pass.ended_s, tell, heat);
	for (unsigned number = 0; number < SERVICES_MAX; number++)
		if (heat->names[number][0])
			judge_service(heat, number);
	hotspots_end(heat->hotspots);
}

/* Monotonic seconds as the time of day that they were. */
static json_t *time_text(double then_s)
{
	return api_time(llround((double)time(NULL) - (daemon_clock_s() - then_s)));
}

static int longer_hot(const void *left, const void *right)
{
	double a = (*(const struct hotspot *const *)left)->since_s,
	       b = (*(const struct hotspot *const *)right)->since_s;

	return (a > b) - (a < b);
}

json_t *heat_document(const struct heat *heat)
{
	json_t *document = json_array();
	const struct hotspot *sorted[HOTSPOTS_MAX];
	size_t count = 0;
	const struct hotspot *spots = heat ? hotspots_now(heat->hotspots, &count) : NULL;

	for (size_t i = 0; i < count; i++)
		sorted[i] = &spots[i];
	if (count)
		qsort(sorted, count, sizeof(*sorted), longer_hot);
	for (size_t i = 0; i < count; i++) {
		char name[API_USER_TEXT_MAX];
		name_of(heat, sorted[i], name);
		json_array_append_new(document,
		                      json_pack("{s:s,s:o,s:s,s:o,s:f,s:f,s:f,s:s}", "service",
		                                heat->names[sorted[i]->service], "user",
		                                name[0] ? json_string(name) : json_null(), "kind",
		                                kinds[sorted[i]->kind], "since", time_text(sorted[i]->since_s),
		                                "packets_per_second", sorted[i]->pps, "peak_packets_per_second",
		                                sorted[i]->peak_pps, "share", sorted[i]->share, "why", sorted[i]->why));
	}
	return document;
}

void heat_each(const struct heat *heat, void (*each)(const char *service, const char *user, void *argument),
               void *argument)
{
	size_t count = 0;
	const struct hotspot *spots = heat ? hotspots_now(heat->hotspots, &count) : NULL;
	char name[API_USER_TEXT_MAX];

	for (size_t i = 0; i < count; i++) {
		name_of(heat, &spots[i], name);
		each(heat->names[spots[i].service], name, argument);
	}
}
