/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/adaptive.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/daemon.h"

#define LATE_S         0.5  /* a tick that comes so late has figures of another time */
#define REFRESH_S      1.0  /* the kernel is told again that somebody stands by what it was told */
#define NEWS           1e-3 /* a change by less is none */
#define NEAR           0.8  /* of its capacity: look closely */
#define JUMP           1.5  /* times what the last pass saw: look at once */
#define JUMP_LEAST     50   /* a second; less than that is no flood */
#define ALIVE_S        1.0
#define IDLE_STEP_S    0.5 /* a service that nothing comes to is looked at so often */
#define PACE_WEIGHT    0.1
#define LONGEST_KEPT_S 10
#define GLANCES        16 /* services looked at between two ticks, each time */

/* A value as the kernel was told it. */
struct written {
	double value, at_s; /* 0: never */
};

/* One adaptive service. */
struct adapted {
	char name[CONFIG_NAME_MAX];
	unsigned number;
	struct controller_bounds bounds;
	struct controller controller;
	struct controller_decision last;
	bool decided;
	bool used;        /* something came since the tick before the last */
	double stepped_s; /* when that was */
	struct written level, capacity, connect_cost;
	uint64_t connects;                /* as last counted */
	double told_level, told_capacity; /* by events; INFINITY: none */
	uint64_t level_changes;
	bool failed; /* its last write, which has been logged */
};

struct adaptive {
	struct daemon *daemon;
	struct adapted *services[SERVICES_MAX];
	double ticked_s; /* 0: never */
	double interval_s;
	double longest_s[2], longest_since_s; /* of the current and the last LONGEST_KEPT_S */
	uint64_t late, early;
	unsigned glanced; /* the number of the service that was looked at last between two ticks */
};

static double tenant_weight(enum user_kind kind, const __u64 key[2], void *argument)
{
	const struct daemon *daemon = argument;
	const struct config_tenant *tenant = kind == USER_TENANT ? config_find_tenant(daemon->config, key[0]) : NULL;

	return tenant ? tenant->weight : 1;
}

int adaptive_new(struct adaptive **out, struct daemon *daemon, struct error *err)
{
	struct adaptive *adaptive = calloc(1, sizeof(*adaptive));

	if (!adaptive)
		return error_set(err, -ENOMEM, "adaptive services: no memory");
	adaptive->daemon = daemon;
	adaptive->interval_s = OBSERVER_TICK_MS / 1000.0;
	observer_weigh(daemon->observer, tenant_weight, daemon);
	adaptive_follow(adaptive);
	*out = adaptive;
	return 0;
}

void adaptive_free(struct adaptive *adaptive)
{
	if (!adaptive)
		return;
	for (unsigned number = 0; number < SERVICES_MAX; number++)
		free(adaptive->services[number]);
	free(adaptive);
}

/* Which services ----------------------------------------------------------------------------------------------------
 */

static const struct policy *policy_of(const struct adaptive *adaptive, unsigned number)
{
	return &datapath_policies(adaptive->daemon->datapath)->policies[number];
}

static struct controller_bounds bounds_of(const struct config_service *config)
{
	return (struct controller_bounds){
		.level_minimum = config->adaptive.minimum,
		.level_maximum = config->adaptive.maximum,
		.capacity_minimum = config->adaptive.capacity_minimum,
		.capacity_maximum = config->capacity_pps,
		.target_response_s = config->adaptive.target_response_s,
		.replies = config->replies,
		.bytes = config->adaptive.bytes,
	};
}

/* What an earlier daemon decided and the kernel still stands by. */
static void resume(const struct adaptive *adaptive, struct adapted *service)
{
	struct datapath_paces paces;
	struct error err;

	if (datapath_paces(adaptive->daemon->datapath, service->number, &paces, &err) < 0)
		return;
	double level = service->bounds.bytes ? paces.level_bytes : paces.level_packets;
	double capacity = service->bounds.bytes ? paces.capacity_bytes : paces.capacity_packets;
	if (level < service->bounds.level_maximum * (1 - NEWS))
		service->told_level = level;
	if (capacity > 0 && !(capacity >= service->bounds.capacity_maximum * (1 - NEWS)))
		service->told_capacity = capacity;
	controller_resume(&service->controller, service->told_capacity, service->told_level);
}

static void take_up(struct adaptive *adaptive, unsigned number, const struct config_service *config)
{
	struct adapted *service = calloc(1, sizeof(*service));
	struct error err;

	if (!service || observer_follow(adaptive->daemon->observer, number, config->adaptive.bytes, &err) < 0) {
		log_error("service %s: no memory to adapt it: its maximum counts", config->name);
		free(service);
		return;
	}
	memcpy(service->name, config->name, sizeof(service->name));
	service->number = number;
	service->bounds = bounds_of(config);
	service->told_level = service->told_capacity = INFINITY;
	service->connects = datapath_connects(adaptive->daemon->datapath, number);
	controller_init(&service->controller);
	resume(adaptive, service);
	adaptive->services[number] = service;
}

static void let_go(struct adaptive *adaptive, unsigned number)
{
	observer_unfollow(adaptive->daemon->observer, number);
	free(adaptive->services[number]);
	adaptive->services[number] = NULL;
}

void adaptive_follow(struct adaptive *adaptive)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(adaptive->daemon->datapath);

	for (unsigned number = 1; number < SERVICES_MAX; number++) {
		const char *name = catalogue->names[number];
		const struct config_service *config = name[0] ? daemon_service(adaptive->daemon, name) : NULL;
		struct adapted **service = &adaptive->services[number];
		bool wanted = config && config->adaptive.on;

		if (*service && (!wanted || strcmp((*service)->name, name) != 0 ||
		                 (*service)->bounds.bytes != config->adaptive.bytes))
			let_go(adaptive, number);
		if (!*service && wanted)
			take_up(adaptive, number, config);
		if (*service)
			(*service)->bounds = bounds_of(config);
	}
}

/* One service, one tick ------------------------------------------------------------------------------------------- */

/* Of a service that was idle until this tick they are of this tick as well, however long ago they were last read. */
static struct controller_signals signals_of(const struct adaptive *adaptive, struct adapted *service,
                                            const struct observed_traffic *traffic, double now_s, bool fresh)
{
	struct controller_signals signals = {0};

	signals_read(adaptive->daemon->signals, service->number, now_s, &signals);
	signals.fresh &= fresh && traffic->elapsed_s > 0;
	if (traffic->offered > 0)
		signals.elapsed_s = traffic->elapsed_s;
	signals.offered_pps = traffic->offered;
	signals.admitted_pps = traffic->admitted;
	uint64_t connects = datapath_connects(adaptive->daemon->datapath, service->number);
	if (!service->bounds.bytes)
		signals.connections = (double)(connects - service->connects);
	service->connects = connects;
	return signals;
}

static bool differs(double before, double after)
{
	if (isfinite(before) != isfinite(after))
		return true;
	return isfinite(after) && fabs(after - before) > NEWS * before;
}

static bool is_news(const struct written *written, double value, double now_s)
{
	return now_s - written->at_s >= REFRESH_S || differs(written->value, value);
}

static int write_level(struct adaptive *adaptive, struct adapted *service, double now_s, struct error *err)
{
	double level = service->last.level_pps;

	if (!(policy_of(adaptive, service->number)->flags & POLICY_LEVEL) || !is_news(&service->level, level, now_s))
		return 0;
	service->level = (struct written){level, now_s};
	return datapath_set_level(adaptive->daemon->datapath, service->number, level, err);
}

static int write_capacity(struct adaptive *adaptive, struct adapted *service, double now_s, struct error *err)
{
	const struct controller_decision *last = &service->last;

	if (!(policy_of(adaptive, service->number)->flags & POLICY_MOVES) ||
	    !(is_news(&service->capacity, last->capacity_pps, now_s) ||
	      is_news(&service->connect_cost, last->costs.connect, now_s)))
		return 0;
	service->capacity = (struct written){last->capacity_pps, now_s};
	service->connect_cost = (struct written){last->costs.connect, now_s};
	return datapath_set_capacity(adaptive->daemon->datapath, service->number,
	                             &(struct datapath_capacity){.per_second = last->capacity_pps,
	                                                         .burst = last->capacity_burst,
	                                                         .packet_cost = last->costs.packet,
	                                                         .connect_cost = last->costs.connect},
	                             err);
}

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static void tell(const struct adaptive *adaptive, const struct adapted *service, const char *event, double before,
                 double after)
{
	const struct controller_decision *last = &service->last;
	char why[CONTROLLER_WHY_MAX];
	json_t *figures = json_pack("{s:s,s:o,s:o,s:s,s:o,s:o,s:I,s:s}", "signal", last->signal, "value",
	                            number(last->value), "target", number(last->target), "unit",
	                            service->bounds.bytes ? "bytes_per_second" : "packets_per_second", "before",
	                            number(before), "after", number(after), "users_above",
	                            (json_int_t)last->users_above, "excess_by", last->excess_by);

	controller_why(last, why, sizeof(why));
	events_tell(adaptive->daemon->events, event, service->name, NULL, figures, "%s", why);
}

/* What is known to be the capacity: where nothing was told, the configured one, if there is one. */
static double capacity_told(const struct adapted *service)
{
	double most = service->bounds.capacity_maximum;

	return most > 0 ? fmin(service->told_capacity, most) : service->told_capacity;
}

/* A wish that is not in force is no event: `spillway services` has it. */
static void tell_moves(const struct adaptive *adaptive, struct adapted *service)
{
	const struct controller_decision *last = &service->last;
	__u32 flags = policy_of(adaptive, service->number)->flags;
	double capacity = capacity_told(service);

	if (last->fault_begins)
		tell(adaptive, service, "fault", capacity, last->capacity_pps);
	if (last->fault_ends)
		tell(adaptive, service, "recovery", capacity, last->capacity_pps);
	if (last->capacity_moved && flags & POLICY_MOVES) {
		if (differs(capacity, last->capacity_pps))
			tell(adaptive, service, "capacity", capacity, last->capacity_pps);
		service->told_capacity = last->capacity_pps;
	}
	if (last->level_moved && flags & POLICY_LEVEL) {
		tell(adaptive, service, "level", fmin(service->told_level, service->bounds.level_maximum),
		     last->level_pps);
		service->told_level = last->level_pps;
		service->level_changes++;
	}
}

/* Whether the users' demands are to be known better than once a second. */
static bool wants_a_closer_look(const struct adapted *service, double offered, double known)
{
	double capacity = service->last.capacity_pps;

	return service->last.overloaded || (isfinite(capacity) && offered > NEAR * capacity) ||
	       (offered > JUMP * known && offered > known + JUMP_LEAST);
}

/* Nothing comes, nothing is felt, nobody waits for a reply: whatever its controller would decide, it has. */
static bool is_idle(const struct adapted *service, const struct observed_traffic *traffic, double now_s)
{
	return service->decided && traffic->elapsed_s > 0 && traffic->offered <= 0 && !service->last.overloaded &&
	       service->controller.silence_s <= 0 && now_s - service->stepped_s < IDLE_STEP_S;
}

/* Returns whether it wants a closer look at its users. */
static bool service_tick(struct adaptive *adaptive, struct adapted *service, double now_s, bool fresh)
{
	struct observed_traffic traffic = observer_traffic(adaptive->daemon->observer, service->number);
	struct error err;
	double rest, known;
	size_t count;

	service->used = traffic.offered > 0;
	if (fresh && is_idle(service, &traffic, now_s))
		return false;
	service->stepped_s = now_s;
	struct controller_signals signals = signals_of(adaptive, service, &traffic, now_s, fresh);
	struct demand *users = observer_demands(adaptive->daemon->observer, service->number, &count, &rest);
	known = rest;
	for (size_t i = 0; i < count; i++)
		known += users[i].rate;
	controller_step(&service->controller, &service->bounds, &signals, users, count, rest, &service->last);
	service->decided = true;
	int failure = write_level(adaptive, service, now_s, &err);
	if (!failure)
		failure = write_capacity(adaptive, service, now_s, &err);
	if (failure && !service->failed)
		log_error("service %s: %s", service->name, err.text);
	service->failed = failure;
	tell_moves(adaptive, service);
	return wants_a_closer_look(service, signals.offered_pps, known);
}

void adaptive_tick(struct adaptive *adaptive, double now_s)
{
	double elapsed_s = now_s - adaptive->ticked_s;
	bool first = adaptive->ticked_s <= 0, fresh = !first && elapsed_s <= LATE_S, hurry = false;

	for (unsigned number = 1; number < SERVICES_MAX; number++)
		if (adaptive->services[number])
			hurry |= service_tick(adaptive, adaptive->services[number], now_s, fresh);
	observer_hurry(adaptive->daemon->observer, hurry);
	adaptive->late += !first && !fresh;
	if (!first)
		adaptive->interval_s += PACE_WEIGHT * (elapsed_s - adaptive->interval_s);
	adaptive->ticked_s = now_s;
}

/* Something comes, all of it is let in, and how much may be is known. */
static bool is_floodable(const struct adapted *service)
{
	return service->decided && service->used && !service->last.overloaded && isfinite(service->last.capacity_pps);
}

bool adaptive_is_watchful(const struct adaptive *adaptive)
{
	for (unsigned number = 1; number < SERVICES_MAX; number++)
		if (adaptive->services[number] && is_floodable(adaptive->services[number]))
			return true;
	return false;
}

static bool surges(const struct adaptive *adaptive, const struct adapted *service, double now_s)
{
	struct error err;
	double arrived;

	/* The next tick fails to read it as well, and tells. */
	return observer_arrived(adaptive->daemon->observer, service->number, &arrived, &err) == 0 &&
	       capacity_surges(&service->controller.capacity, arrived, now_s - adaptive->ticked_s);
}

bool adaptive_surges(struct adaptive *adaptive, double now_s)
{
	unsigned looked = 0;

	for (unsigned i = 1; i < SERVICES_MAX && looked < GLANCES; i++) {
		adaptive->glanced = adaptive->glanced % (SERVICES_MAX - 1) + 1;
		const struct adapted *service = adaptive->services[adaptive->glanced];
		if (!service || !is_floodable(service))
			continue;
		looked++;
		if (surges(adaptive, service, now_s)) {
			adaptive->early++;
			return true;
		}
	}
	return false;
}

void adaptive_tick_ends(struct adaptive *adaptive, double now_s)
{
	if (now_s - adaptive->longest_since_s >= LONGEST_KEPT_S) {
		adaptive->longest_since_s = now_s;
		adaptive->longest_s[1] = adaptive->longest_s[0];
		adaptive->longest_s[0] = 0;
	}
	adaptive->longest_s[0] = fmax(adaptive->longest_s[0], now_s - adaptive->ticked_s);
}

struct adaptive_pace adaptive_pace(const struct adaptive *adaptive, double now_s)
{
	return (struct adaptive_pace){
		.alive = adaptive->ticked_s > 0 && now_s - adaptive->ticked_s <= ALIVE_S,
		.interval_s = adaptive->interval_s,
		.longest_s = fmax(adaptive->longest_s[0], adaptive->longest_s[1]),
		.late = adaptive->late,
		.early = adaptive->early,
	};
}

bool adaptive_service(const struct adaptive *adaptive, unsigned number, struct adaptive_service *out)
{
	const struct adapted *service = number < SERVICES_MAX ? adaptive->services[number] : NULL;

	if (!service)
		return false;
	__u32 flags = policy_of(adaptive, number)->flags;
	*out = (struct adaptive_service){
		.bytes = service->bounds.bytes,
		.level = service->decided ? service->last.level_pps : INFINITY,
		.capacity = service->decided ? service->last.capacity_pps : INFINITY,
		.level_held = !(flags & POLICY_LEVEL),
		.capacity_held = !(flags & POLICY_MOVES),
		.last = service->decided ? &service->last : NULL,
		.level_changes = service->level_changes,
	};
	return true;
}
