/* SPDX-License-Identifier: GPL-2.0-only */
/* Hot spots: which users, prefixes of users and services stand out now, by rules that can be said in a sentence. Pure:
 * rates in, beginnings and ends out; no clock, no I/O.
 *
 *   a user is hot      that sends `level` times what it may;
 *                      or at least `packets_per_second`, and `share` of its service, and thrice what the others send on
 *                      average (one of three equal users does not stand out);
 *                      or at least `packets_per_second`, and `past` times its usual
 *   a prefix is hot    (/24, /16; /48, /32) whose users, those left out that are hot themselves, together send at least
 *                      `packets_per_second`, and `share` of the service, and `past` times their usual: hierarchical
 * heavy hitters, so that of a /16 only what no hot /24 of it accounts for counts a service is hot   that receives more
 * than its capacity; or at least `packets_per_second`, and `past` times its usual
 *
 * The usual is the mean of the last five minutes (slower while it is hot). Who has no past of ten seconds is held
 * against the others: a user against the lightest of the heaviest list where that is full, else against the others'
 * average; a prefix against nothing. A service of less than ten seconds is held against no past at all.
 *
 * A hot spot begins with the pass that shows it, and ends when for HOTSPOT_HOLD_S everything has been below
 * HOTSPOT_END_SHARE of what would begin it: a rate that wavers about a threshold begins one and no more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define HOTSPOT_HOLD_S       1.8 /* two passes, which do not come to the millisecond */
#define HOTSPOT_END_SHARE    0.6
#define HOTSPOT_END_CAPACITY 0.9 /* the same of a capacity, which may be well used */
#define HOTSPOT_LEARN_S      10.0
#define HOTSPOT_USUAL_S      300.0   /* time constant of the usual */
#define HOTSPOT_USUAL_HOT_S  21600.0 /* of what is hot: an attack of an hour does not become usual */
#define HOTSPOTS_MAX         256     /* at once */
#define HOTSPOTS_USERS_MAX   10      /* of one service: the heaviest; those beyond count for their prefix */
#define HOTSPOT_SERVICES_MAX 1025
#define HOTSPOT_USERS_LEAST  4 /* of a prefix: fewer are named one by one */
#define HOTSPOT_WHY_MAX      200

/* From the configuration. */
struct hotspot_settings {
	double share; /* 0 to 1 */
	double past;  /* times the usual; 0: no such rule. So is the next one */
	double level; /* times what a user may send */
	double least_pps;
};

enum hotspot_kind {
	HOTSPOT_USER,
	HOTSPOT_PREFIX,
	HOTSPOT_SERVICE,
};

/* A user in this pass. */
struct hotspot_user {
	uint64_t key[2]; /* of a source: its address in network order, IPv4 mapped */
	int kind;        /* the caller's, and shown to it again */
	bool source;     /* counted by source, so that it has prefixes */
	bool ipv6;
	double pps;
	double limit_pps; /* what it may send; 0: any */
};

struct hotspot {
	enum hotspot_kind kind;
	unsigned service;
	uint64_t key[2]; /* of a user: as given; of a prefix: the address of 16 bytes, IPv4 mapped, in network order */
	int user_kind;   /* of a user: as given */
	bool source, ipv6;
	unsigned length; /* of a prefix: 24, 16; 48, 32 */
	double since_s;  /* in the caller's time */
	double pps, peak_pps, usual_pps;
	double share;         /* of its service, 0 to 1 */
	double below_since_s; /* since when all is below the ends; 0: it is not */
	char why[HOTSPOT_WHY_MAX];
};

struct hotspots;

/* A change, good during the call: `begins`, or has ended, and `spot->why` says why in words and figures. */
typedef void hotspot_change(const struct hotspot *spot, bool begins, void *argument);

int hotspots_new(struct hotspots **out, struct error *err);
void hotspots_free(struct hotspots *hotspots);

/* A pass in three steps. First each active user, in no order: some nanoseconds each. What it may send does not matter
 * here. */
void hotspots_count(struct hotspots *hotspots, unsigned service, const struct hotspot_user *user);

/* Then the services, between begin and end: what each receives, its capacity (0: any), and its heaviest users, heaviest
 * first (by whatever time: it says who is in the list); `full`: there are lighter ones that are not. A service that is
 * not given has no traffic. `now_s` is above 0 and grows from pass to pass. */
struct hotspot_service {
	double pps, capacity_pps;
	size_t active_users;
	const struct hotspot_user *heaviest;
	size_t heaviest_count;
	bool full;
};
void hotspots_begin(struct hotspots *hotspots, const struct hotspot_settings *settings, double now_s,
                    hotspot_change *change, void *argument);
void hotspots_service(struct hotspots *hotspots, unsigned number, const struct hotspot_service *seen);
void hotspots_end(struct hotspots *hotspots);

/* What is hot now; good until the next hotspots_begin(). */
const struct hotspot *hotspots_now(const struct hotspots *hotspots, size_t *count);

/* Forgets a service: its number is another one's from now on. What was hot there ends without a word. */
void hotspots_forget(struct hotspots *hotspots, unsigned number);

DEFINE_CLEANUP(struct hotspots, hotspots_free)
