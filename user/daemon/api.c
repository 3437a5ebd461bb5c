/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/api.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/times.h"
#include "base/utf8.h"
#include "daemon/adaptive.h"
#include "daemon/daemon.h"
#include "daemon/hotspots.h"
#include "daemon/lists.h"
#include "daemon/names.h"
#include "daemon/recorder.h"
#include "datapath/image.h"
#include "observe/sums.h"
#include "privilege/broker.h"

int api_service_number(const struct daemon *daemon, const char *name)
{
	return name[0] ? catalogue_find(datapath_catalogue(daemon->datapath), name) : -1;
}

json_t *api_time(int64_t time_s)
{
	char text[TIMES_TEXT_MAX];

	times_format_utc(time_s, text);
	return json_string(text);
}

/* A service's name: what lies in a pinned map may have been damaged, and JSON is UTF-8 or nothing. */
static json_t *service_name(const struct daemon *daemon, unsigned number)
{
	const char *name = datapath_catalogue(daemon->datapath)->names[number];
	char text[SERVICE_NAME_MAX];

	snprintf(text, sizeof(text), "%.*s", SERVICE_NAME_MAX - 1, name);
	utf8_mend(text);
	return json_string(text);
}

static const char *mode_name(bool observe)
{
	return observe ? "observe" : "enforce";
}

static json_t *reasons_document(const struct service_tallies *tallies)
{
	json_t *document = json_object();

	for (int reason = 0; reason < REASONS; reason++)
		json_object_set_new(document, reason_names[reason],
		                    json_integer((json_int_t)tallies->outcomes[OUTCOME_SPILLED + reason].packets));
	return document;
}

static void set_tally(json_t *document, const char *name, const struct tally *tally)
{
	char key[40];

	snprintf(key, sizeof(key), "%s_packets", name);
	json_object_set_new(document, key, json_integer((json_int_t)tally->packets));
	snprintf(key, sizeof(key), "%s_bytes", name);
	json_object_set_new(document, key, json_integer((json_int_t)tally->bytes));
}

/* A pace in packets a second, where there is one. */
static json_t *pace_number(double per_second)
{
	return per_second > 0 ? json_real(per_second) : json_null();
}

static void set_paces(json_t *document, const struct datapath_paces *paces)
{
	json_object_set_new(document, "level_packets_per_second", pace_number(paces->level_packets));
	json_object_set_new(document, "level_bytes_per_second", pace_number(paces->level_bytes));
	json_object_set_new(document, "capacity_packets_per_second", pace_number(paces->capacity_packets));
	json_object_set_new(document, "capacity_bytes_per_second", pace_number(paces->capacity_bytes));
}

static json_t *finite_number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* What the controller of an adaptive service wants beside what is in force, and why. */
static void set_wishes(json_t *document, const struct daemon *daemon, unsigned number)
{
	struct adaptive_service service = {.level = INFINITY, .capacity = INFINITY};
	bool on = adaptive_service(daemon->adaptive, number, &service);
	const struct controller_decision *last = service.last;
	char why[CONTROLLER_WHY_MAX] = "";

	if (last)
		controller_why(last, why, sizeof(why));
	json_object_set_new(document, "wished_level_packets_per_second",
	                    service.bytes ? json_null() : finite_number(service.level));
	json_object_set_new(document, "wished_level_bytes_per_second",
	                    service.bytes ? finite_number(service.level) : json_null());
	json_object_set_new(document, "wished_capacity_packets_per_second",
	                    service.bytes ? json_null() : finite_number(service.capacity));
	json_object_set_new(document, "wished_capacity_bytes_per_second",
	                    service.bytes ? finite_number(service.capacity) : json_null());
	json_object_set_new(
		document, "adaptive",
		on && last ? json_pack("{s:b,s:b,s:b,s:s,s:b,s:s,s:o,s:o,s:o,s:o,s:I,s:I,s:s}", "level_held",
	                               service.level_held, "capacity_held", service.capacity_held, "overloaded",
	                               last->overloaded, "excess_by", last->excess_by, "fault", last->faulty, "signal",
	                               last->signal, "value", finite_number(last->value), "target",
	                               finite_number(last->target), "best_response_milliseconds",
	                               finite_number(last->best_response_s * 1e3), "target_response_milliseconds",
	                               finite_number(last->target_response_s * 1e3), "users_above",
	                               (json_int_t)last->users_above, "level_changes",
	                               (json_int_t)service.level_changes, "why", why)
			   : json_null());
}

static json_t *milliseconds(double seconds)
{
	return isnan(seconds) ? json_null() : json_real(seconds * 1e3);
}

static json_t *response_document(const struct daemon *daemon, unsigned number)
{
	struct signals_histogram times;

	signals_histogram(daemon->signals, number, &times);
	return json_pack("{s:o,s:o,s:I,s:I}", "p50", milliseconds(times.p50_s), "p99", milliseconds(times.p99_s),
	                 "sampled", (json_int_t)times.requests, "unanswered", (json_int_t)times.unanswered);
}

static json_t *service_document(struct daemon *daemon, unsigned number, struct error *err)
{
	const struct policy *policy = &datapath_policies(daemon->datapath)->policies[number];
	struct observed_service observed;

	if (observer_service(daemon->observer, number, &observed, err) < 0)
		return NULL;
	struct sums sums = sums_of(&observed.tallies);
	json_t *document = json_pack("{s:o,s:s,s:s}", "name", service_name(daemon, number), "class",
	                             class_names[policy->class], "mode", mode_name(policy->flags & POLICY_OBSERVE));
	set_tally(document, "received", &sums.received);
	set_tally(document, "passed", &sums.passed);
	set_tally(document, "spilled", &sums.spilled);
	set_tally(document, "shadow", &sums.shadow);
	json_object_set_new(document, "spilled_by_reason", reasons_document(&observed.tallies));
	json_object_set_new(document, "packets_per_second", json_real(observed.packets_per_second));
	set_paces(document, &observed.paces);
	set_wishes(document, daemon, number);
	json_object_set_new(document, "active_users", json_integer((json_int_t)observed.active_users));
	json_object_set_new(document, "response_milliseconds", response_document(daemon, number));
	return document;
}

json_t *api_services(struct daemon *daemon, struct error *err)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(daemon->datapath);
	json_t *services = json_array();

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (!catalogue->names[number][0])
			continue;
		json_t *document = service_document(daemon, number, err);
		if (!document) {
			json_decref(services);
			return NULL;
		}
		json_array_append_new(services, document);
	}
	return services;
}

static json_t *interfaces_document(const struct daemon *daemon)
{
	json_t *interfaces = json_array();
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	for (size_t i = 0; i < count; i++) {
		bool attached = links[i].index != 0;
		json_array_append_new(
			interfaces,
			json_pack("{s:s,s:o,s:o,s:b,s:o}", "name", links[i].name, "index",
		                  attached ? json_integer(links[i].index) : json_null(), "mode",
		                  attached ? json_string(links[i].generic ? "generic" : "native") : json_null(),
		                  "attached", attached, "since", attached ? api_time(links[i].since_s) : json_null()));
	}
	return interfaces;
}

static json_t *malformed_document(struct daemon *daemon, struct error *err)
{
	struct tally counted[MALFORMATIONS];
	json_t *document = json_object();

	if (datapath_read_malformations(daemon->datapath, counted, err) < 0) {
		json_decref(document);
		return NULL;
	}
	for (int why = 0; why < MALFORMATIONS; why++)
		json_object_set_new(document, malformation_names[why], json_integer((json_int_t)counted[why].packets));
	return document;
}

static json_t *feature(const char *name, bool on, const char *why_on, const char *why_off)
{
	return json_pack("{s:s,s:b,s:s}", "name", name, "on", on, "why", on ? why_on : why_off);
}

/* What a host may refuse, with why it did: the rest runs without it. */
static json_t *features_document(const struct daemon *daemon)
{
	struct datapath_grants grants = datapath_grants(daemon->datapath);
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);
	const char *generic = NULL;
	char why[96] = "";

	for (size_t i = 0; i < count && !generic; i++)
		if (links[i].index && links[i].generic)
			generic = links[i].name;
	if (generic)
		snprintf(why, sizeof(why), "the driver of %s has none: generic mode, several times slower", generic);
	json_t *features = json_pack(
		"[o,o,o,o]", feature("native_xdp", !generic, "every attached driver has it", why),
		feature("frags", grants.frags, "the kernel has XDP for frames in several buffers",
	                "the kernel has no XDP for frames in several buffers (5.18 brought it): large MTUs are "
	                "refused"),
		feature("jiffies", grants.jiffies, "the kernel shows its configuration",
	                "neither /boot/config-* nor /proc/config.gz can be read: each packet asks the clock"),
		feature("short_way", grants.flat, "the kernel has maps of large values",
	                "the kernel has no maps of values that large (5.19 brought them): each packet goes the whole "
	                "way"));
	struct datapath_tags tags = datapath_tags(daemon->datapath);
	if (tags.used)
		json_array_append_new(
			features,
			feature("tags", tags.on, "applications can name the users of their connections", tags.why));
	struct signals_feature signals[SIGNALS_FEATURES_MAX];
	size_t signals_count = signals_features(daemon->signals, signals);
	for (size_t i = 0; i < signals_count; i++)
		json_array_append_new(features,
		                      feature(signals[i].name, signals[i].on, signals[i].why, signals[i].why));
	json_t *history = recorder_document(daemon->recorder);
	const char *stalled = json_string_value(json_object_get(history, "why"));
	if (!json_is_null(history))
		json_array_append_new(features, feature("history", !stalled, "it is being written", stalled));
	json_decref(history);
	return features;
}

/* What stands between the daemon and the host. */
static json_t *protections_document(const struct daemon *daemon)
{
	json_t *document = json_array();

	for (int which = 0; which < PROTECTIONS; which++) {
		const struct protection_state *state = &daemon->protections.states[which];
		json_array_append_new(document,
		                      feature(protection_names[which], state->on, state->text.text, state->text.text));
	}
	return document;
}

/* Ratios from 0 to 1 by resource; null where the host does not say. */
static json_t *pressure_document(const struct daemon *daemon)
{
	json_t *document = json_object();

	for (int resource = 0; resource < PRESSURES; resource++) {
		double ratio = signals_pressure(daemon->signals, (enum pressure_resource)resource);
		json_object_set_new(document, pressure_names[resource], isnan(ratio) ? json_null() : json_real(ratio));
	}
	return document;
}

static json_t *controller_document(const struct daemon *daemon)
{
	struct adaptive_pace pace = adaptive_pace(daemon->adaptive, daemon_clock_s());

	return json_pack("{s:b,s:f,s:f,s:I,s:I}", "alive", pace.alive, "tick_milliseconds", pace.interval_s * 1e3,
	                 "longest_tick_milliseconds", pace.longest_s * 1e3, "late_ticks", (json_int_t)pace.late,
	                 "early_ticks", (json_int_t)pace.early);
}

json_t *api_status(struct daemon *daemon, struct error *err)
{
	/* Of the moment at which the counters are read, to the millisecond: by it two documents make a rate. */
	double uptime_s = round((daemon_clock_s() - daemon->started_s) * 1000) / 1000;
	struct observed_table table = observer_table(daemon->observer);
	json_t *malformed = malformed_document(daemon, err);
	json_t *services = malformed ? api_services(daemon, err) : NULL;

	if (!services) {
		json_decref(malformed);
		return NULL;
	}
	json_t *document = json_pack("{s:s,s:s,s:s,s:s,s:f}", "version", SPILLWAY_VERSION, "kernel", daemon->kernel,
	                             "host", daemon->host, "mode", mode_name(daemon->config->mode == CONFIG_OBSERVE),
	                             "uptime_seconds", uptime_s);
	json_object_set_new(document, "interfaces", interfaces_document(daemon));
	json_object_set_new(document, "features", features_document(daemon));
	json_object_set_new(document, "protections", protections_document(daemon));
	pid_t broker = daemon->broker ? broker_process(daemon->broker) : getpid(); /* a test's daemon is both */
	json_object_set_new(document, "processes",
	                    json_pack("{s:i,s:i}", "daemon", (int)getpid(), "broker", (int)broker));
	json_object_set_new(document, "table",
	                    json_pack("{s:I,s:I,s:I,s:I,s:I,s:b}", "cells", (json_int_t)table.cells, "used",
	                              (json_int_t)table.used, "newcomers", (json_int_t)table.newcomers, "overflowed",
	                              (json_int_t)table.overflowed, "bytes", (json_int_t)table.bytes, "batches",
	                              datapath_batches(daemon->datapath)));
	json_object_set_new(document, "controller", controller_document(daemon));
	json_object_set_new(document, "pressure", pressure_document(daemon));
	json_object_set_new(document, "malformed", malformed);
	json_object_set_new(document, "services", services);
	json_object_set_new(document, "hotspots", heat_document(daemon->heat));
	json_object_set_new(document, "lists", api_lists_totals(daemon));
	json_object_set_new(document, "history", recorder_document(daemon->recorder));
	return document;
}

static void bytes_text(const void *bytes, unsigned count, char out[API_USER_TEXT_MAX])
{
	for (unsigned i = 0; i < count; i++)
		snprintf(out + (size_t)2 * i, 3, "%02x", ((const __u8 *)bytes)[i]);
}

static void source_text(const struct policy *policy, const struct observed_user *user, char out[API_USER_TEXT_MAX])
{
	struct prefix prefix = {.ipv4 = !user->ipv6, .length = 0};

	memcpy(prefix.address, user->key, sizeof(prefix.address));
	for (int half = 0; half < 2; half++)
		prefix.length = (uint8_t)(prefix.length + __builtin_popcountll(policy->ipv6_mask[half]));
	if (!user->ipv6)
		prefix.length = (uint8_t)(96 + __builtin_popcount(policy->ipv4_mask));
	prefix_format(&prefix, out);
}

static const struct config_tenant *tenant_of(const struct daemon *daemon, const struct observed_user *user)
{
	return user->kind == USER_TENANT ? config_find_tenant(daemon->config, user->key[0]) : NULL;
}

void api_user_text(const struct daemon *daemon, unsigned number, const struct observed_user *user,
                   char out[API_USER_TEXT_MAX])
{
	const struct policy_slot *slot = datapath_policies(daemon->datapath);
	const struct config_tenant *tenant = tenant_of(daemon, user);
	unsigned bytes = PAYLOAD_BYTES(slot->payload_spans[number]);

	if (tenant)
		snprintf(out, API_USER_TEXT_MAX, "%s", tenant->name);
	else if (user->kind == USER_TENANT) /* no longer configured: of its name only the key is left */
		bytes_text(user->key, sizeof(user->key[0]), out);
	else if (user->kind ==
	         USER_PAYLOAD) /* of a service whose users were named otherwise by now, all that there is */
		bytes_text(user->key, bytes ? bytes : PAYLOAD_BYTES_MAX, out);
	else if (user->kind == USER_TAG)
		snprintf(out, API_USER_TEXT_MAX, "%llu", user->key[1]);
	else
		source_text(&slot->policies[number], user, out);
}

static json_t *user_document(struct daemon *daemon, unsigned number, double level, const struct observed_user *user)
{
	const struct policy *policy = &datapath_policies(daemon->datapath)->policies[number];
	const struct config_tenant *tenant = tenant_of(daemon, user);
	double limit = level * (tenant ? tenant->weight : 1);
	char text[API_USER_TEXT_MAX];

	api_user_text(daemon, number, user, text);
	return json_pack("{s:o,s:s,s:s,s:f,s:f,s:I,s:I,s:I,s:o,s:o}", "service", service_name(daemon, number), "user",
	                 text, "kind", kind_names[user->kind], "packets_per_second", user->packets_per_second,
	                 "bytes_per_second", user->bytes_per_second, "passed_packets", (json_int_t)user->passed_packets,
	                 "spilled_packets", (json_int_t)user->spilled_packets, "shadow_packets",
	                 (json_int_t)user->shadow_packets, "limit_packets_per_second", pace_number(limit), "tenured",
	                 policy->flags & POLICY_CAPACITY ? json_boolean(user->tenured) : json_null());
}

struct ranked_user {
	unsigned service;
	double level;
	const struct observed_user *user;
};

static int heavier_first(const void *left, const void *right)
{
	double a = ((const struct ranked_user *)left)->user->packets_per_second;
	double b = ((const struct ranked_user *)right)->user->packets_per_second;

	return (a < b) - (a > b);
}

json_t *api_users(struct daemon *daemon, const char *service, size_t limit, struct error *err)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(daemon->datapath);
	_cleanup_free_ struct ranked_user *ranked = calloc((size_t)SERVICES_MAX * OBSERVER_HEAVIEST, sizeof(*ranked));
	json_t *users = json_array();
	size_t count = 0;

	for (unsigned number = 0; ranked && number < SERVICES_MAX; number++) {
		struct observed_service observed;
		if (!catalogue->names[number][0] || (service && strcmp(service, catalogue->names[number]) != 0))
			continue;
		if (observer_service(daemon->observer, number, &observed, err) < 0) {
			json_decref(users);
			return NULL;
		}
		for (size_t i = 0; i < observed.heaviest_count; i++)
			ranked[count++] =
				(struct ranked_user){number, observed.paces.level_packets, &observed.heaviest[i]};
	}
	if (count)
		qsort(ranked, count, sizeof(*ranked), heavier_first);
	for (size_t i = 0; i < count && i < limit; i++)
		json_array_append_new(users, user_document(daemon, ranked[i].service, ranked[i].level, ranked[i].user));
	return users;
}

static int set_mode(struct override *override, const json_t *value, struct error *err)
{
	const char *mode = json_string_value(value);

	if (!mode || (strcmp(mode, "observe") != 0 && strcmp(mode, "enforce") != 0))
		return error_set(err, -EINVAL, "mode=%s: 'observe' or 'enforce' was expected", mode ? mode : "?");
	override->has_mode = true;
	override->mode = strcmp(mode, "observe") == 0 ? CONFIG_OBSERVE : CONFIG_ENFORCE;
	return 0;
}

static int set_class(struct override *override, const json_t *value, struct error *err)
{
	static const enum config_class classes[CLASSES] = {[CLASS_SHEDDABLE] = CONFIG_SHEDDABLE,
	                                                   [CLASS_NORMAL] = CONFIG_NORMAL,
	                                                   [CLASS_CRITICAL] = CONFIG_CRITICAL};
	const char *name = json_string_value(value);

	for (int class = 0; name && class < CLASSES; class ++)
		if (strcmp(name, class_names[class]) == 0) {
			override->has_class = true;
			override->class = classes[class];
			return 0;
		}
	return error_set(err, -EINVAL, "class=%s: 'sheddable', 'normal' or 'critical' was expected", name ? name : "?");
}

#define PACKETS_MOST 1e8
#define BYTES_LEAST  64
#define BYTES_MOST   1e11

/* What was read fits the unit of the service. */
static int check_paces(const struct override *override, bool bytes, struct error *err)
{
	double least = bytes ? BYTES_LEAST : 0, most = bytes ? BYTES_MOST : PACKETS_MOST;
	bool level = !override->has_level || (override->level_pps >= least && override->level_pps <= most);
	bool capacity = !override->has_capacity || (override->capacity_pps >= least && override->capacity_pps <= most);

	if (level && capacity)
		return 0;
	return error_set(err, -EINVAL,
	                 bytes ? "%s: bytes a second from 64 to 100G were expected"
	                       : "%s: packets a second up to 100M were expected",
	                 level ? "capacity" : "level");
}

static int set_capacity(struct override *override, const json_t *value, struct error *err)
{
	double capacity = json_number_value(value);

	if (!(capacity >= 1 && capacity <= BYTES_MOST))
		return error_set(err, -EINVAL, "capacity: packets a second from 1 to 100M were expected");
	override->has_capacity = true;
	override->capacity_pps = capacity;
	return 0;
}

static int set_level(struct override *override, const json_t *value, struct error *err)
{
	double level = json_number_value(value);

	if (!(level >= 0.1 && level <= BYTES_MOST))
		return error_set(err, -EINVAL, "level: packets a second from 0.1 to 100M were expected");
	override->has_level = true;
	override->level_pps = level;
	return 0;
}

int api_set(struct daemon *daemon, const json_t *wish, struct error *err)
{
	const char *service = json_string_value(json_object_get(wish, "service"));
	static const struct {
		const char *key;
		int (*set)(struct override *override, const json_t *value, struct error *err);
	} keys[] = {{"mode", set_mode}, {"level", set_level}, {"capacity", set_capacity}, {"class", set_class}};
	const json_t *lapse = json_object_get(wish, "for_seconds");
	double for_s = json_number_value(lapse);
	struct override override = {0};
	bool any = false;

	if (!service)
		return error_set(err, -EINVAL, "the request: a JSON object with the name of a 'service' was expected");
	if (strcmp(service, "other") == 0)
		return error_set(err, -EINVAL, "service other: what matches no service is counted, never spilled");
	if (lapse && !(for_s > 0 && for_s <= API_FOR_S_MOST))
		return error_set(err, -EINVAL, "for_seconds: a time above 0, of 100 years at most, was expected");
	if (!daemon_service(daemon, service))
		return error_set(err, -EINVAL, "service %s: there is none of that name: 'spillway services' lists them",
		                 service);
	snprintf(override.service, sizeof(override.service), "%s", service);
	override.for_s = for_s;
	override.until_s = for_s > 0 ? daemon_clock_s() + for_s : 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const json_t *value = json_object_get(wish, keys[i].key);
		int failure = value ? keys[i].set(&override, value, err) : 0;
		if (failure)
			return failure;
		any |= value != NULL;
	}
	if (!any)
		return error_set(err, -EINVAL, "nothing to set: name mode, level, capacity or class");
	int failure = check_paces(&override, daemon_service(daemon, service)->adaptive.bytes, err);
	return failure ? failure : daemon_override(daemon, &override, err);
}

bool api_ready(const struct daemon *daemon)
{
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	for (size_t i = 0; i < count; i++)
		if (!links[i].index)
			return false;
	return count > 0;
}
