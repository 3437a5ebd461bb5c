/* SPDX-License-Identifier: GPL-2.0-only */
/* The history's database, as whoever writes it sees it: whose file it is, rows, roll-ups, and its bounded size. Knows
 * no thread, no queue and no clock. One process at a time writes; any number may read beside it (WAL).
 *
 * The schema, version HISTORY_VERSION (`PRAGMA application_id` is HISTORY_APPLICATION, "Spil"; times are UTC):
 *   services(id INTEGER PRIMARY KEY, name TEXT UNIQUE)   id from 1 on. 0 is the host as a whole: all services' packets,
 *       and a sample for every second that a daemon ran; a service has samples only of seconds in which it had traffic.
 *   seconds(id INTEGER PRIMARY KEY, samples BLOB)        a row: 60 samples of a second,  id = (time / 60)    << 16 |
 * service minutes(the same)                                    60 of a minute,                  id = (time / 3600)  <<
 * 16 | service quarters(the same)                                   96 of a quarter of an hour,      id = (time /
 * 86400) << 16 | service users(id INTEGER PRIMARY KEY, users BLOB)            the heaviest of a minute,        id =
 * (time / 60)    << 16 | service distributions(id INTEGER PRIMARY KEY, bins BLOB)     rates and sizes of a quarter, id
 * = (time / 900)   << 16 | service events(id INTEGER PRIMARY KEY, event TEXT, service TEXT, user TEXT, document TEXT)
 * id = time in microseconds, made unique by adding one How blobs are packed is in observe/samples.h. Rows are in the
 * order of time, so that retention cuts at the front. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "observe/samples.h"

#define HISTORY_APPLICATION  0x5370696c
#define HISTORY_VERSION      1
#define HISTORY_SERVICES_MAX 65535 /* names that a file remembers */
#define HISTORY_HOST         0     /* the service number of the host as a whole */
#define HISTORY_USERS_S      60    /* a row of users, or of a distribution, spans so much */
#define HISTORY_BINS_S       900

/* The tables whose rows are one service's of some time. */
enum history_table {
	TABLE_SECONDS,
	TABLE_MINUTES,
	TABLE_QUARTERS,
	TABLE_USERS,
	TABLE_DISTRIBUTIONS,
	HISTORY_TABLES,
};

#define HISTORY_BLOB_MAX SAMPLES_PACKED_MAX /* the largest of them */

static inline int64_t history_row(int64_t number, unsigned service)
{
	return (int64_t)((uint64_t)number << 16 | service);
}

struct history_file;

/* What becomes of a file of ours that is damaged. */
enum history_damage {
	DAMAGE_MOVES, /* it is moved aside, as PATH.damaged-TIME, and a new one begun */
	DAMAGE_KNOWN, /* the same, even where it looks sound: it was seen to be damaged */
	DAMAGE_STAYS, /* it stays, and is not opened */
};

/* Opens the database at `path` for writing, or makes it. It and its log take at most `bytes`, which may be less than an
 * older file has: it shrinks as it is written. What was cut off by a crash is completed. `aside`, PATH_MAX bytes, names
 * where a damaged file has been moved, and is empty where none was.
 * Returns 0, or -errno with words that say what to do, and nothing changed at `path`: -EMEDIUMTYPE where the file is
 * somebody else's, -EPROTO where a newer version made it, -EBUSY where another process writes it, -ENOENT, -EACCES,
 * -EROFS, -ENOSPC, -EUCLEAN. */
int history_file_open(struct history_file **out, const char *path, uint64_t bytes, enum history_damage damage,
                      char *aside, struct error *err);
void history_file_close(struct history_file *file);

/* All changes are made between begin and commit, and count whole or not at all: after a failure (any of those above,
 * and -EUCLEAN: the file is damaged) roll back. */
int history_file_begin(struct history_file *file, struct error *err);
int history_file_commit(struct history_file *file, struct error *err);
void history_file_rollback(struct history_file *file);

/* The number of a service by its name, a new one where it has none. */
int history_file_service(struct history_file *file, const char *name, unsigned *out, struct error *err);

/* The blob of a row: `*size` is 0 where there is none. `out` has HISTORY_BLOB_MAX bytes. */
int history_file_get(struct history_file *file, enum history_table table, int64_t row, uint8_t *out, size_t *size,
                     struct error *err);
int history_file_put(struct history_file *file, enum history_table table, int64_t row, const uint8_t *blob, size_t size,
                     struct error *err);

/* `service`, `user` may be NULL. */
int history_file_event(struct history_file *file, int64_t time_us, const char *event, const char *service,
                       const char *user, const char *document, struct error *err);

/* Folds the seconds of the minute that begins at `minute_s` (a multiple of 60) into a sample of it for each service,
 * and likewise a quarter of an hour's minutes. May be done again: the newer result counts. */
int history_file_fold_minute(struct history_file *file, int64_t minute_s, struct error *err);
int history_file_fold_quarter(struct history_file *file, int64_t quarter_s, struct error *err);

/* Takes away some of what is older than it is kept, and some of what the size does not allow: the oldest of the finest
 * first (seconds down to an hour, users and then minutes down to a day, events, and last quarters; where that is not
 * enough, seconds down to a quarter of an hour, and so on). A small step a call. */
int history_file_trim(struct history_file *file, int64_t now_s, struct error *err);

/* On disk now, the log included. */
uint64_t history_file_bytes(const struct history_file *file);

/* Whether the file at the path is still the one that is open. */
bool history_file_is_there(const struct history_file *file);

DEFINE_CLEANUP(struct history_file, history_file_close)
