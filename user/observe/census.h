/* SPDX-License-Identifier: GPL-2.0-only */
/* A pass over the table of users: who is active in which service, how fast, who is heaviest. Private to observe/:
 * observer.h is what others read. */
#pragma once

#include "observe/demands.h"
#include "observe/observer.h"

struct census;

/* What the last pass found of one service. */
struct census_service {
	size_t active;
	const struct observed_user *heaviest; /* heaviest first; until the next pass */
	size_t heaviest_count;
	double named_rate; /* of a followed service: what users with a name have sent since the pass before, a second */
};

struct census_table {
	size_t used;      /* cells */
	size_t active;    /* users of any service */
	size_t newcomers; /* users of a single packet since the pass before */
};

int census_new(struct census **out, struct datapath *dp, struct error *err);
void census_free(struct census *census);

/* Adds a visitor, as observer_visit() says. */
int census_visit(struct census *census, observer_visitor *visitor, void *argument);

/* Gathers what the users of a service ask for, in packets or in bytes; NULL ends that. `demands` is borrowed. */
void census_follow(struct census *census, unsigned service, struct demands *demands, bool bytes);

/* Users weigh 1, or what `weigh` says. */
void census_weigh(struct census *census, observer_weigher *weigh, void *argument);

/* Begins a pass. `visited`: visitors see it. Returns 0, or -errno where the packet path's clock could not be asked. */
int census_begin(struct census *census, bool visited, struct error *err);

/* Goes on with it for about so many seconds. Returns whether it is over: what is told of it is then the new one's. Each
 * rate is by the time at which its own cell was read, so that pauses do no harm. */
bool census_go_on(struct census *census, double seconds);

/* No pass was made, since nothing has come before `until_s` (CLOCK_MONOTONIC) that the last one has not seen. */
void census_idle(struct census *census, double until_s);

struct census_service census_service(const struct census *census, unsigned service);
struct census_table census_table(const struct census *census);
