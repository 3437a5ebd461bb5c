/* SPDX-License-Identifier: GPL-2.0-only */
/* What the counters say over time: rates of services each second (each tick where they are followed), and from a pass
 * over the table of users who is active, how fast, and who is heaviest. Reads the data path, changes nothing. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "control/level.h"
#include "datapath/datapath.h"

#define OBSERVER_TICK_MS     100
#define OBSERVER_PASS_S      1    /* from one pass over the table to the next */
#define OBSERVER_HURRY_S     0.25 /* the same while somebody is in a hurry */
#define OBSERVER_PASS_SHARE  0.08 /* of one core, at most: where a pass takes long, the next one comes later */
#define OBSERVER_ACTIVE_S    2    /* who has sent nothing for so long is no longer active */
#define OBSERVER_SMOOTHING_S 0.5  /* time constant of what users ask for now */
#define OBSERVER_HEAVIEST    100  /* users kept for each service */
#define OBSERVER_VISITORS    4

struct observer;

struct observed_user {
	__u64 key[2]; /* of a source in network order, IPv4 mapped; else what the kind says */
	enum user_kind kind;
	bool ipv6;
	bool tenured;              /* has meaning where the service has a capacity */
	double packets_per_second; /* offered, passed and spilled, over the last two passes: counted, not smoothed */
	double lately_per_second;  /* the same as it is now: smoothed over OBSERVER_SMOOTHING_S */
	double bytes_per_second;
	__u64 passed_packets, spilled_packets, shadow_packets;
};

/* Whether both are the same user of a service. */
static inline bool observed_same_user(const struct observed_user *a, const struct observed_user *b)
{
	return a->key[0] == b->key[0] && a->key[1] == b->key[1] && a->kind == b->kind && a->ipv6 == b->ipv6;
}

struct observed_service {
	struct service_tallies tallies;
	struct datapath_paces paces;          /* in force */
	double packets_per_second;            /* received */
	size_t active_users;                  /* that sent something within OBSERVER_ACTIVE_S */
	const struct observed_user *heaviest; /* heaviest first */
	size_t heaviest_count;
};

struct observed_table {
	size_t cells, used, bytes;
	size_t overflowed; /* packets metered in shared cells */
	size_t newcomers;  /* users of a single packet in the last window: they have no name yet, and no service */
};

/* The last pass over the table. */
struct observed_pass {
	unsigned long number; /* passes so far */
	double ended_s;       /* monotonic, as given to observer_tick() */
	double cost_s;        /* of this thread's time */
};

int observer_new(struct observer **out, struct datapath *dp, struct error *err);
void observer_free(struct observer *observer);

/* Reads counters, and when it is time the table. To be called each OBSERVER_TICK_MS; `now_s` is monotonic. Returns 0,
 * or -errno where a counter or the clock could not be read: what was known stays, and the next tick tries again. */
int observer_tick(struct observer *observer, double now_s, struct error *err);

/* Looks at the table each OBSERVER_HURRY_S, and at once, for as long as it is so. */
void observer_hurry(struct observer *observer, bool hurry);

/* Called in a pass for each active user, in no order; a pass has them all. Some million calls a second are possible:
 * it should take nanoseconds. `user` is gone after the call. A pass comes about each second, whoever is in a hurry;
 * observer_pass() says when it is over: its number is then another one. */
typedef void observer_visitor(unsigned service, const struct observed_user *user, void *argument);

/* From the next pass on, for good. Returns 0, or -E2BIG beyond OBSERVER_VISITORS. */
int observer_visit(struct observer *observer, observer_visitor *visitor, void *argument);

/* The last pass that visitors have seen. */
struct observed_pass observer_pass(const struct observer *observer);

/* Followed services: their counters are read each tick, and what their users ask for is gathered in each pass. In bytes
 * where `bytes`, else in packets. Returns 0, or -ENOMEM; following again, or anew in the other unit, is no fault. */
int observer_follow(struct observer *observer, unsigned service, bool bytes, struct error *err);
void observer_unfollow(struct observer *observer, unsigned service);

/* How much a user of that kind and key counts relative to others; 1 where nobody says. Called for each user of a
 * followed service in each pass. */
typedef double observer_weigher(enum user_kind kind, const __u64 key[2], void *argument);
void observer_weigh(struct observer *observer, observer_weigher *weigh, void *argument);

/* What came for a followed service between the last two ticks, a second, in its unit. What lists, drills and other
 * regions take is not offered to it. */
struct observed_traffic {
	double elapsed_s; /* 0: there are no two readings yet, and the rest says nothing */
	double offered, admitted;
};
struct observed_traffic observer_traffic(const struct observer *observer, unsigned service);

/* What has come for a followed service since the last tick, in its unit, as its counters say now. Returns 0, or -errno
 * with `*out` as it was: a counter could not be read. */
int observer_arrived(const struct observer *observer, unsigned service, double *out, struct error *err);

/* What the users of a followed service ask for, as of the newest pass, smoothed as their rates are; beyond some
 * thousands, users who ask for nearly the same are one demand. `*rest` is what all others offered: users of a single
 * packet, and those without a place in the table. The list is the caller's to change until the next call. */
struct demand *observer_demands(struct observer *observer, unsigned service, size_t *count, double *rest);

/* The newest figures; counters are read at the call, so that they are never older than the question. */
int observer_service(struct observer *observer, unsigned number, struct observed_service *out, struct error *err);

/* The same as the last reading has left it, which was at `*read_s` (0: none yet), without the paces: no system call. */
struct observed_service observer_last(const struct observer *observer, unsigned number, double *read_s);

struct observed_table observer_table(const struct observer *observer);

/* How many users the last pass found active, of all services, newcomers among them. */
size_t observer_active(const struct observer *observer);
