/* SPDX-License-Identifier: GPL-2.0-only */
/* The adaptive services: each tick from what was measured of one to the level and the capacity that the kernel goes by,
 * and an event for each move. What decides is control/controller.h; here is what it needs, and what becomes of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control/controller.h"

struct adaptive;
struct daemon;

/* Takes up the adaptive services of the configuration in force. Where the kernel still stands by what an earlier daemon
 * has set, it goes on from there. Returns 0 with `*out` owned by the caller (adaptive_free), or -ENOMEM. `daemon` is
 * borrowed: its data path, observer, signals and events are there by now. */
int adaptive_new(struct adaptive **out, struct daemon *daemon, struct error *err);
void adaptive_free(struct adaptive *adaptive);

/* The configuration is another one: takes up and lets go of services. Who stays keeps what its controller has learnt.
 */
void adaptive_follow(struct adaptive *adaptive);

/* One tick, after those of the observer and the signals. `now_s` is monotonic. */
void adaptive_tick(struct adaptive *adaptive, double now_s);

/* Whether there is a service that adaptive_surges() would look at: one that is used, and not overloaded. */
bool adaptive_is_watchful(const struct adaptive *adaptive);

/* Between two ticks: whether one of a few services, others each time, is flooded, so that the next tick is due now. A
 * system call for each of them. `now_s` is monotonic. */
bool adaptive_surges(struct adaptive *adaptive, double now_s);

/* What a service's controller wants, and why; what is in force is in struct datapath_paces. */
struct adaptive_service {
	bool bytes;                             /* a second; else packets */
	double level, capacity;                 /* INFINITY: none */
	bool level_held, capacity_held;         /* `spillway set` has said something else */
	const struct controller_decision *last; /* valid until the next tick; NULL before the first */
	uint64_t level_changes;                 /* told of, since the daemon started */
};

/* False where the service is not adaptive. */
bool adaptive_service(const struct adaptive *adaptive, unsigned service, struct adaptive_service *out);

/* How the ticks come. */
struct adaptive_pace {
	bool alive;        /* one came within the last second */
	double interval_s; /* from one to the next, smoothed */
	double longest_s;  /* that one took with all its work, of the last ten seconds or twenty */
	uint64_t late;     /* that came so late that nothing was decided */
	uint64_t early;    /* that came before their time, for a flood */
};
struct adaptive_pace adaptive_pace(const struct adaptive *adaptive, double now_s);

/* All work of the tick that adaptive_tick() was last called for is done. */
void adaptive_tick_ends(struct adaptive *adaptive, double now_s);
