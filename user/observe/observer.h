/* SPDX-License-Identifier: GPL-2.0-only */
/* What the counters say over time: rates of services each second, and from a pass over the table of users every two
 * seconds who is active and who is heaviest. Reads the data path, changes nothing. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "datapath/datapath.h"

#define OBSERVER_TICK_S   1
#define OBSERVER_PASS_S   2   /* the window of users' rates */
#define OBSERVER_HEAVIEST 100 /* users kept for each service */

struct observer;

struct observed_user {
	__u64 key[2]; /* of a source in network order, IPv4 mapped; else what the kind says */
	enum user_kind kind;
	bool ipv6;
	bool tenured;              /* has meaning where the service has a capacity */
	double packets_per_second; /* offered: passed and spilled */
	double bytes_per_second;
	__u64 passed_packets, spilled_packets, shadow_packets;
};

struct observed_service {
	struct service_tallies tallies;
	double packets_per_second;            /* received */
	size_t active_users;                  /* that sent something in the last pass's window */
	const struct observed_user *heaviest; /* heaviest first */
	size_t heaviest_count;
};

struct observed_table {
	size_t cells, used, bytes;
	size_t overflowed; /* packets metered in shared cells */
	size_t newcomers;  /* users of a single packet in the last window: they have no name yet, and no service */
};

int observer_new(struct observer **out, struct datapath *dp, struct error *err);
void observer_free(struct observer *observer);

/* Reads counters, and each OBSERVER_PASS_S the table. `now_s` is monotonic. */
int observer_tick(struct observer *observer, double now_s, struct error *err);

/* The newest figures; counters are read at the call, so that they are never older than the question. */
int observer_service(struct observer *observer, unsigned number, struct observed_service *out, struct error *err);
struct observed_table observer_table(const struct observer *observer);
