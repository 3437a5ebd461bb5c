/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of a service whose limit finds itself: `adaptive`, and `capacity` as a range. Private to config/. */
#pragma once

#include "config/schema.h"

/* A lower and an upper bound, as they are given: 0 where one is not. */
struct bounds {
	double minimum, maximum;             /* packets a second */
	double minimum_bytes, maximum_bytes; /* bytes a second */
};

/* What the keys say, in whatever order they come, until it is known which of them are there. */
struct adaptive_keys {
	struct config_mark place, capacity_place; /* 0: the key is not there, or at fault */
	struct bounds level, capacity;
	bool capacity_is_range; /* else a number, as of any service */
	double target_response_s, burst_s;
};

/* Read `adaptive: {...}`, and `capacity:`, a number or a range. */
void adaptive_read(struct reading *reading, const yaml_node_t *node, struct adaptive_keys *keys);
void adaptive_read_capacity(struct reading *reading, const yaml_node_t *node, struct adaptive_keys *keys);

/* Once all keys are read: checks them against each other, and gives the service what they say. Its `maximum` becomes
 * its limit, which is what counts without a controller. */
void adaptive_settle(struct config_faults *faults, const struct adaptive_keys *keys, struct config_service *service);
