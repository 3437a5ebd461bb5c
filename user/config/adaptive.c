/* SPDX-License-Identifier: GPL-2.0-only */
#include "config/adaptive.h"

#include "config/faults.h"

#define PACKETS_LEAST  0.1
#define PACKETS_MOST   100e6
#define BYTES_LEAST    64
#define BYTES_MOST     100e9
#define CAPACITY_LEAST 1
#define BURST_S        0.02 /* the packet path passes some packets at once at any level */
#define BURST_BYTES_S  0.5
#define BURST_LEAST_S  0.01
#define BURST_MOST_S   60
#define TARGET_LEAST_S 50e-6
#define TARGET_MOST_S  60

/* Whose keys a mapping's are: those of `adaptive`, or the bounds of `capacity`. */
struct target {
	struct bounds *bounds;
	struct adaptive_keys *keys;
};

static void read_minimum(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_number(reading, node, PACKETS_LEAST, PACKETS_MOST, &into->bounds->minimum);
}

static void read_maximum(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_number(reading, node, PACKETS_LEAST, PACKETS_MOST, &into->bounds->maximum);
}

static void read_minimum_bytes(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_bytes(reading, node, BYTES_LEAST, BYTES_MOST, &into->bounds->minimum_bytes);
}

static void read_maximum_bytes(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_bytes(reading, node, BYTES_LEAST, BYTES_MOST, &into->bounds->maximum_bytes);
}

static void read_target_response(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_duration(reading, node, TARGET_LEAST_S, TARGET_MOST_S, &into->keys->target_response_s);
}

static void read_burst(struct reading *reading, const yaml_node_t *node, void *target)
{
	const struct target *into = target;
	schema_read_duration(reading, node, BURST_LEAST_S, BURST_MOST_S, &into->keys->burst_s);
}

/* Whether bounds are in one unit, and the lower one is no higher than the upper one. */
static bool bounds_are_sound(struct reading *reading, const yaml_node_t *node, const struct bounds *bounds)
{
	bool bytes = bounds->minimum_bytes > 0 || bounds->maximum_bytes > 0;
	double minimum = bytes ? bounds->minimum_bytes : bounds->minimum;
	double maximum = bytes ? bounds->maximum_bytes : bounds->maximum;

	if (bytes && (bounds->minimum > 0 || bounds->maximum > 0))
		faults_add(reading->faults, mark_of(node), "bounds in packets and in bytes: expected one of them");
	else if (maximum > 0 && minimum > maximum)
		faults_add(reading->faults, mark_of(node), "minimum %.10g is above maximum %.10g: swap them", minimum,
		           maximum);
	else
		return true;
	return false;
}

void adaptive_read(struct reading *reading, const yaml_node_t *node, struct adaptive_keys *keys)
{
	static const struct schema_key known[] = {
		{"minimum", read_minimum, false},
		{"maximum", read_maximum, false},
		{"minimum_bytes", read_minimum_bytes, false},
		{"maximum_bytes", read_maximum_bytes, false},
		{"target_response", read_target_response, false},
		{"burst", read_burst, false},
		{0},
	};
	static const struct schema schema = {"adaptive", known};
	struct target into = {&keys->level, keys};
	const struct bounds *level = &keys->level;
	size_t faults_before = reading->faults->count;

	schema_read(reading, node, &schema, &into);
	if (reading->faults->count != faults_before || !bounds_are_sound(reading, node, level))
		return;
	if ((level->minimum <= 0 || level->maximum <= 0) && (level->minimum_bytes <= 0 || level->maximum_bytes <= 0))
		faults_add(reading->faults, mark_of(node),
		           "a bound is missing: expected 'minimum' and 'maximum', or 'minimum_bytes' and "
		           "'maximum_bytes'");
	else
		keys->place = mark_of(node);
}

void adaptive_read_capacity(struct reading *reading, const yaml_node_t *node, struct adaptive_keys *keys)
{
	static const struct schema_key known[] = {
		{"minimum", read_minimum, false},
		{"maximum", read_maximum, false},
		{"minimum_bytes", read_minimum_bytes, false},
		{"maximum_bytes", read_maximum_bytes, false},
		{0},
	};
	static const struct schema schema = {"capacity", known};
	struct target into = {&keys->capacity, keys};
	size_t faults_before = reading->faults->count;

	keys->capacity_is_range = node->type == YAML_MAPPING_NODE;
	if (keys->capacity_is_range)
		schema_read(reading, node, &schema, &into);
	else
		schema_read_number(reading, node, CAPACITY_LEAST, PACKETS_MOST, &keys->capacity.maximum);
	if (reading->faults->count == faults_before && bounds_are_sound(reading, node, &keys->capacity))
		keys->capacity_place = mark_of(node);
}

/* What stands in the way of what the service has beside `adaptive`; NULL: nothing. */
static const char *conflict(const struct adaptive_keys *keys, const struct config_service *service)
{
	bool bytes = keys->level.maximum_bytes > 0;
	const struct bounds *capacity = &keys->capacity;

	if (!service->replies && keys->target_response_s > 0)
		return "'target_response' where there are no 'replies' to be timed: remove one of them";
	if (!bytes && service->limit.packets.per_second > 0)
		return "'packets_per_second' beside 'adaptive', whose 'maximum' is that limit: remove one of them";
	if (bytes && service->limit.bytes.per_second > 0)
		return "'bytes_per_second' beside 'adaptive', whose 'maximum_bytes' is that limit: remove one of them";
	if (bytes && (capacity->minimum > 0 || capacity->maximum > 0))
		return "a capacity in packets and a level in bytes: expected 'minimum_bytes' and 'maximum_bytes'";
	if (!bytes && (capacity->minimum_bytes > 0 || capacity->maximum_bytes > 0))
		return "a capacity in bytes and a level in packets: expected 'minimum' and 'maximum'";
	if (bytes && capacity->maximum_bytes > 0 && capacity->maximum_bytes < keys->level.minimum_bytes)
		return "a capacity below what the level grants a single user: raise it, or lower 'minimum_bytes'";
	if (!bytes && capacity->maximum > 0 && capacity->maximum < keys->level.minimum)
		return "a capacity below what the level grants a single user: raise it, or lower 'minimum'";
	return NULL;
}

/* A burst lasts as long at any level: what it holds at the highest one says how long. */
static void limit_set(struct config_pace *pace, double maximum, double burst_s)
{
	pace->per_second = maximum;
	pace->burst = maximum * burst_s > 1 ? maximum * burst_s : 1;
}

void adaptive_settle(struct config_faults *faults, const struct adaptive_keys *keys, struct config_service *service)
{
	struct config_adaptive *adaptive = &service->adaptive;
	bool bytes = keys->level.maximum_bytes > 0;

	if (keys->capacity_place.line && keys->capacity_is_range && !keys->place.line)
		faults_add(faults, keys->capacity_place,
		           "a range of capacities without 'adaptive': expected a number, or add 'adaptive'");
	if (!keys->place.line) {
		service->capacity_pps = keys->capacity.maximum;
		return;
	}
	const char *why = conflict(keys, service);
	if (why) {
		faults_add(faults, keys->place, "%s", why);
		return;
	}
	*adaptive = (struct config_adaptive){
		.on = true,
		.bytes = bytes,
		.minimum = bytes ? keys->level.minimum_bytes : keys->level.minimum,
		.maximum = bytes ? keys->level.maximum_bytes : keys->level.maximum,
		.capacity_minimum = bytes ? keys->capacity.minimum_bytes : keys->capacity.minimum,
		.target_response_s = keys->target_response_s,
	};
	if (adaptive->capacity_minimum < adaptive->minimum)
		adaptive->capacity_minimum = adaptive->minimum;
	service->capacity_pps = bytes ? keys->capacity.maximum_bytes : keys->capacity.maximum;
	double burst_s = keys->burst_s > 0 ? keys->burst_s : bytes ? BURST_BYTES_S : BURST_S;
	limit_set(bytes ? &service->limit.bytes : &service->limit.packets, adaptive->maximum, burst_s);
}
