/* SPDX-License-Identifier: GPL-2.0-only */
/* What happened: one bus, on which every part of the daemon tells its events and whoever wants to hears all of them:
 * the log, the readers of /api/v1/events, the history. All on the loop's thread: no locks, nothing is queued here, and
 * a listener that must wait keeps a bounded queue of its own. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define EVENTS_KINDS_MAX     32 /* names of events that are counted one by one; later ones count together, as "more" */
#define EVENTS_LISTENERS_MAX 16
#define EVENTS_RECENT        256 /* kept for those who come later: fairly, see events_recent() */
#define EVENTS_RUN           32  /* of one kind and service among them */

struct events;

/* One event as it was told. */
struct events_told {
	uint64_t number; /* from 1 on, one more each time */
	const json_t *event;
	const char *line; /* the same as one line of JSON, without a newline: the object's keys in their order */
};

struct events_count {
	const char *event;
	uint64_t count;
};

int events_new(struct events **out, struct error *err);
void events_free(struct events *events);

/* Takes ownership. `event` has at least "event" and "why" ("service", "user" and figures where they apply); "time" (RFC
 * 3339, UTC, milliseconds) is put before them. Never blocks. What is no event (NULL, since there was no memory, too) is
 * counted by events_lost() and told to nobody. A listener may not publish. */
void events_publish(struct events *events, json_t *event);

/* The same from its parts, for most cases: `service` and `user` may be NULL, `figures` (owned from now on; NULL for
 * none) is an object whose keys go before "why", which is made from the printf format. */
__attribute__((format(printf, 6, 7))) void events_tell(struct events *events, const char *event, const char *service,
                                                       const char *user, json_t *figures, const char *why, ...);

/* An event that is for one reader alone, as the line that it would be on the bus: to be freed, NULL where it is none.
 * Takes ownership. */
char *events_line(json_t *event);

/* Every event from now on, as the object and as its one-line text; neither outlives the call. Returns 0, or -ENOSPC
 * where there are EVENTS_LISTENERS_MAX already. */
typedef void events_listener(const json_t *event, const char *line, void *argument);
int events_listen(struct events *events, events_listener *listener, void *argument);

/* Ends what events_listen() began with the same two. */
void events_unlisten(struct events *events, events_listener *listener, void *argument);

/* The newest events, oldest first: at most `most` of the EVENTS_RECENT that are kept. Of one kind and service (those
 * without a service are one) the newest EVENTS_RUN are, and where there is no room for another the longest such run
 * loses its oldest: so that a level which moves ten times a second pushes out neither what began it nor what happened
 * to others. What `out` points to is good until the next event. Returns how many there are. */
size_t events_recent(const struct events *events, struct events_told *out, size_t most);

/* How many were told of each kind since the start, in the order in which they first came; good until the next event. */
const struct events_count *events_counts(const struct events *events, size_t *count);

/* The number of the newest event; 0 before the first. */
uint64_t events_number(const struct events *events);

/* Events that could not be told, since there was no memory for them. */
uint64_t events_lost(const struct events *events);

DEFINE_CLEANUP(struct events, events_free)
