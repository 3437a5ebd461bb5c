/* SPDX-License-Identifier: GPL-2.0-only */
/* What was: a thread of its own writes what the daemon hands over into a database (observe/history_file.h has its
 * schema), a batch each few seconds. Handing over copies into a bounded queue and never waits for the disk. Whatever is
 * wrong with the file (missing, full, locked, damaged, somebody else's) is told in the status, tried again each
 * two seconds, and meanwhile the queue keeps what it can: what it cannot is counted as lost. A kill loses what was not
 * yet written, HISTORY_BATCH_S (and what whoever hands over has not yet), and nothing else. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "observe/samples.h"

#define HISTORY_BATCH_S     5
#define HISTORY_QUEUE_BYTES (16U << 20) /* two minutes of 1,024 busy services, hours of a few */
#define HISTORY_NAME_MAX    32          /* a service's, with its terminating zero; the host as a whole has none: "" */
#define HISTORY_NUMBERS     1026        /* of entries: below this */

struct history;

/* One service's sample of a second. */
struct history_entry {
	char name[HISTORY_NAME_MAX];
	unsigned number; /* any that usually stays with the name: saves a search */
	struct sample sample;
};

enum history_state {
	HISTORY_OPENING,
	HISTORY_WRITING,
	HISTORY_STALLED, /* `why` says why, and what to do. It goes on by itself when the cause is gone */
};

struct history_status {
	enum history_state state;
	char why[sizeof(((struct error *)NULL)->text)];
	char aside[PATH_MAX]; /* where a damaged file was moved; empty where none was */
	uint64_t bytes;       /* on disk */
	uint64_t lost;        /* records that found no room in the queue, or that could not be written at the end */
	uint64_t queued;      /* records */
	uint64_t batches;     /* written */
	double slowest_s;     /* of the batches, from begin to commit */
};

/* Starts the thread, which opens or makes the file at `path` (see history_file_open()) in its own time: what is wrong
 * with it does not fail here. The file takes at most `bytes`. */
int history_new(struct history **out, const char *path, uint64_t bytes, struct error *err);

/* The same in the place of `*history`, whose thread writes what it has queued and ends first: the new one's waits for
 * that, and nobody else. Where it fails, the old one goes on. */
int history_replace(struct history **history, const char *path, uint64_t bytes, struct error *err);

/* Lets it write what is queued and end in its own time. Nobody waits. */
void history_retire(struct history *history);

/* Writes what is queued and ends; waits for the disk 5 s at most, and leaves the thread behind where it hangs longer:
 * for the end of the program. */
void history_free(struct history *history);

/* The samples of one second, which also tells the time: the minute before it is rolled up when a later one comes. To be
 * called each second, with the host's ("") always among the entries. Copies them. */
void history_record(struct history *history, int64_t time_s, const struct history_entry *entries, size_t count);

/* A service's heaviest users of the minute that begins at `minute_s`, at most SAMPLED_USERS_MAX: what they sent is
 * added to what is there of them. */
void history_record_users(struct history *history, int64_t minute_s, const char *service,
                          const struct sampled_user *users, size_t count);

/* Adds to a service's distribution of the quarter of an hour that `time_s` lies in. */
void history_record_distribution(struct history *history, int64_t time_s, const char *service,
                                 const struct distribution *distribution);

/* An event: `line` is its JSON. `service` and `user` may be NULL. */
void history_record_event(struct history *history, int64_t time_us, const char *event, const char *service,
                          const char *user, const char *line);

struct history_status history_status(struct history *history);

DEFINE_CLEANUP(struct history, history_free)
