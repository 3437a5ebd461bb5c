/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/history_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define PAGE_BYTES      4096
#define BUSY_MS         500
#define LOG_SHARE       8 /* a part of the size in so many is the write-ahead log's */
#define LOG_BYTES_MOST  (64U << 20)
#define EVENTS_KEPT_S   (3653 * 86400LL)
#define EVENTS_MOST     200000
#define EVENT_BYTES     320 /* as an event takes, index and all */
#define EVENTS_LEAST    1000
#define TRIM_ROWS       4  /* times of each table that one call takes away for their age */
#define TRIM_ROWS_BOUND 64 /* the same where there is no room */
#define VACUUM_PAGES    2048
#define DATABASE_MAGIC  "SQLite format 3"
#define HEADER_BYTES    100
#define APPLICATION_AT  68 /* in the header: sqlite.org/fileformat2.html section 1.3 */
#define VERSION_AT      60

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	FIND_SERVICE,
	ADD_SERVICE,
	ADD_EVENT,
	COUNT_EVENTS,
	OLDEST_EVENT,
	DROP_EVENTS,
	TRIM_EVENTS,
	PAGES,
	FREE_PAGES,
	STATEMENTS,
};

static const char *const statement_texts[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[FIND_SERVICE] = "SELECT id FROM services WHERE name = ?1",
	[ADD_SERVICE] = "INSERT INTO services(name) VALUES(?1)",
	[ADD_EVENT] = "INSERT OR IGNORE INTO events(id, event, service, user, document) VALUES(?1, ?2, ?3, ?4, ?5)",
	[COUNT_EVENTS] = "SELECT count(*) FROM events",
	[OLDEST_EVENT] = "SELECT min(id) FROM events",
	[DROP_EVENTS] = "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id LIMIT 1 OFFSET ?1)",
	[TRIM_EVENTS] = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < ?1 ORDER BY id LIMIT 1000)",
	[PAGES] = "PRAGMA page_count",
	[FREE_PAGES] = "PRAGMA freelist_count",
};

/* What a table's rows span, how long they are kept, and how much of them stays where there is no room. */
static const struct table {
	int64_t row_s, kept_s, least_s;
} tables[HISTORY_TABLES] = {
	[TABLE_SECONDS] = {60, 86400, 3600},
	[TABLE_MINUTES] = {3600, 31 * 86400LL, 86400},
	[TABLE_QUARTERS] = {86400, 3653 * 86400LL, 86400},
	[TABLE_USERS] = {HISTORY_USERS_S, 31 * 86400LL, 86400},
	[TABLE_DISTRIBUTIONS] = {HISTORY_BINS_S, 3653 * 86400LL, 7 * 86400LL},
};

/* In this order what is dearest in room and cheapest to miss goes: a month of users by name takes twenty times what a
 * day of seconds does, ten years of distributions twenty times what ten years of quarters do. */
static const enum history_table giving_way[] = {TABLE_USERS, TABLE_DISTRIBUTIONS, TABLE_SECONDS, TABLE_MINUTES,
                                                TABLE_QUARTERS};

enum table_statement {
	GET,
	PUT,
	SCAN,
	OLDEST,
	NEWEST,
	DROP,
	TABLE_STATEMENTS,
};

#define TABLE_TEXTS(table, column)                                                            \
	{                                                                                     \
		[GET] = ("SELECT " column " FROM " table " WHERE id = ?1"),                   \
		[PUT] = ("INSERT OR REPLACE INTO " table "(id, " column ") VALUES(?1, ?2)"),  \
		[SCAN] = ("SELECT id, " column " FROM " table " WHERE id >= ?1 AND id < ?2"), \
		[OLDEST] = ("SELECT min(id) FROM " table),                                    \
		[NEWEST] = ("SELECT max(id) FROM " table),                                    \
		[DROP] = ("DELETE FROM " table " WHERE id < ?1"),                             \
	}

static const char *const table_texts[HISTORY_TABLES][TABLE_STATEMENTS] = {
	[TABLE_SECONDS] = TABLE_TEXTS("seconds", "samples"),
	[TABLE_MINUTES] = TABLE_TEXTS("minutes", "samples"),
	[TABLE_QUARTERS] = TABLE_TEXTS("quarters", "samples"),
	[TABLE_USERS] = TABLE_TEXTS("users", "users"),
	[TABLE_DISTRIBUTIONS] = TABLE_TEXTS("distributions", "bins"),
};

struct history_file {
	char path[PATH_MAX];
	int fd; /* holds the lock. Closed after the database: closing it ends SQLite's own locks */
	sqlite3 *database;
	sqlite3_stmt *statements[STATEMENTS];
	sqlite3_stmt *of_tables[HISTORY_TABLES][TABLE_STATEMENTS];
	uint64_t bytes; /* allowed */
	int64_t events; /* rows */
	int64_t last_event_us;
};

static const struct cause {
	int result, code;
	const char *words;
} causes[] = {
	{SQLITE_FULL, -ENOSPC, "no room on the disk"},
	{SQLITE_READONLY, -EROFS, "it may only be read: make it writable for this process"},
	{SQLITE_PERM, -EACCES, "not permitted"},
	{SQLITE_BUSY, -EBUSY, "another process has it locked: end that one"},
	{SQLITE_LOCKED, -EBUSY, "another process has it locked: end that one"},
	{SQLITE_CORRUPT, -EUCLEAN, "the file is damaged"},
	{SQLITE_NOTADB, -EUCLEAN, "the file is damaged"},
	{SQLITE_NOMEM, -ENOMEM, "no memory"},
};

static int fail(const struct history_file *file, int result, struct error *err)
{
	int cause = file->database ? sqlite3_system_errno(file->database) : 0;
	int primary = result & 0xff;

	if (cause == ENOSPC || cause == EDQUOT)
		return error_set(err, -ENOSPC, "history %s: no room on the disk", file->path);
	for (size_t i = 0; i < sizeof(causes) / sizeof(*causes); i++)
		if (causes[i].result == primary)
			return error_set(err, causes[i].code, "history %s: %s", file->path, causes[i].words);
	return error_set(err, primary == SQLITE_CANTOPEN && cause ? -cause : -EIO, "history %s: %s%s%s", file->path,
	                 sqlite3_errstr(result), cause ? ": " : "", cause ? strerror(cause) : "");
}

/* Runs a statement that yields one number at most; 0 where it yields none. */
static int step_number(struct history_file *file, sqlite3_stmt *statement, int64_t *out, struct error *err)
{
	int result = sqlite3_step(statement);

	if (result == SQLITE_ROW) {
		if (out)
			*out = sqlite3_column_int64(statement, 0);
		result = sqlite3_step(statement);
	}
	int failure = result == SQLITE_DONE ? 0 : fail(file, result, err);
	sqlite3_reset(statement);
	return failure;
}

static int run(struct history_file *file, const char *text, struct error *err)
{
	int result = sqlite3_exec(file->database, text, NULL, NULL, NULL);

	return result == SQLITE_OK ? 0 : fail(file, result, err);
}

static int prepare(struct history_file *file, const char *text, sqlite3_stmt **out, struct error *err)
{
	int result = sqlite3_prepare_v3(file->database, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);

	/* What a file of ours lacks has been lost. */
	if (result == SQLITE_ERROR)
		return error_set(err, -EUCLEAN, "history %s: the file is damaged: %s", file->path,
		                 sqlite3_errmsg(file->database));
	return result == SQLITE_OK ? 0 : fail(file, result, err);
}

static int prepare_all(struct history_file *file, struct error *err)
{
	int failure = 0;

	for (size_t i = 0; i < STATEMENTS && !failure; i++)
		failure = prepare(file, statement_texts[i], &file->statements[i], err);
	for (size_t table = 0; table < HISTORY_TABLES; table++) {
		for (size_t i = 0; i < TABLE_STATEMENTS && !failure; i++)
			failure = prepare(file, table_texts[table][i], &file->of_tables[table][i], err);
	}
	return failure;
}

static void database_close(struct history_file *file)
{
	for (size_t i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(file->statements[i]);
	for (size_t table = 0; table < HISTORY_TABLES; table++)
		for (size_t i = 0; i < TABLE_STATEMENTS; i++)
			sqlite3_finalize(file->of_tables[table][i]);
	memset(file->statements, 0, sizeof(file->statements));
	memset(file->of_tables, 0, sizeof(file->of_tables));
	sqlite3_close(file->database);
	file->database = NULL;
}

void history_file_close(struct history_file *file)
{
	if (!file)
		return;
	database_close(file);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

static int database_open(struct history_file *file, const char *path, int flags, struct error *err)
{
	int result = sqlite3_open_v2(path, &file->database, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (result != SQLITE_OK)
		return fail(file, result, err);
	sqlite3_extended_result_codes(file->database, 1);
	sqlite3_busy_timeout(file->database, BUSY_MS);
	return 0;
}

static void path_beside(const struct history_file *file, const char *suffix, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%.*s%s", PATH_MAX - 64, file->path, suffix);
}

/* Renames the file, or what belongs to it, to a name that is free; `aside` gets the name. 0 where there is nothing. */
static int move_aside(const struct history_file *file, const char *suffix, const char *stamp, char *aside,
                      struct error *err)
{
	char from[PATH_MAX], to[PATH_MAX], named[64];

	path_beside(file, suffix, from);
	for (int again = 0; again < 100; again++) {
		snprintf(named, sizeof(named), ".damaged-%s%s%.0d%s", stamp, again ? "-" : "", again, suffix);
		path_beside(file, named, to);
		if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
			if (aside)
				snprintf(aside, PATH_MAX, "%s", to);
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	if (errno == ENOENT)
		return 0;
	return error_set(err, -errno, "history %s: it is damaged, and cannot be moved aside: %s: move it yourself",
	                 from, strerror(errno));
}

static void time_stamp(char out[32])
{
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(out, 32, "%Y%m%dT%H%M%SZ", &utc);
}

/* The write-ahead log goes along: what is in it was not yet in the file. */
static int move_all_aside(const struct history_file *file, char *aside, struct error *err)
{
	char stamp[32], shared[PATH_MAX];

	time_stamp(stamp);
	int failure = move_aside(file, "", stamp, aside, err);
	if (!failure)
		failure = move_aside(file, "-wal", stamp, NULL, err);
	path_beside(file, "-shm", shared);
	if (!failure)
		unlink(shared); /* an index of the log, made anew from it */
	return failure;
}

/* The directory that the file is in, and no other. Where it cannot be made, the file cannot be either, and that says
 * why. */
static void make_parent(const char *path)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", path);
	char *slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		mkdir(parent, 0750);
	}
}

static const char schema[] = "BEGIN;"
			     "PRAGMA application_id = 0x5370696c;" /* HISTORY_APPLICATION */
			     "PRAGMA user_version = 1;"            /* HISTORY_VERSION */
			     "CREATE TABLE services(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
			     "CREATE TABLE seconds(id INTEGER PRIMARY KEY, samples BLOB NOT NULL);"
			     "CREATE TABLE minutes(id INTEGER PRIMARY KEY, samples BLOB NOT NULL);"
			     "CREATE TABLE quarters(id INTEGER PRIMARY KEY, samples BLOB NOT NULL);"
			     "CREATE TABLE users(id INTEGER PRIMARY KEY, users BLOB NOT NULL);"
			     "CREATE TABLE distributions(id INTEGER PRIMARY KEY, bins BLOB NOT NULL);"
			     "CREATE TABLE events(id INTEGER PRIMARY KEY, event TEXT NOT NULL, service TEXT, user TEXT,"
			     "                    document TEXT NOT NULL);"
			     "COMMIT;"
			     "PRAGMA journal_mode = WAL;";

/* Builds the database aside and moves it into place, so that it is there whole or not at all. */
static int create(struct history_file *file, bool replaces_nothing, struct error *err)
{
	char path[PATH_MAX], stamp[32];

	time_stamp(stamp);
	int failure = move_aside(file, "-wal", stamp, NULL,
	                         err); /* of a file that is gone: it must not be played into ours */
	if (failure)
		return failure;
	path_beside(file, ".new", path);
	make_parent(path);
	unlink(path); /* of a start that was killed */
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return error_set(err, -errno, "history %s: cannot make it: %s: %s", file->path, strerror(errno),
		                 errno == ENOENT ? "make the directory, or name another under 'history: {path: ...}'"
		                                 : "give this process the right to, or name another path");
	close(fd);
	failure = database_open(file, path, SQLITE_OPEN_READWRITE, err);
	if (!failure)
		failure = run(file, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;", err);
	if (!failure)
		failure = run(file, schema, err);
	database_close(file);
	if (!failure && renameat2(AT_FDCWD, path, AT_FDCWD, file->path, replaces_nothing ? RENAME_NOREPLACE : 0) < 0)
		failure = error_set(err, -errno, "history %s: cannot make it: %s", file->path, strerror(errno));
	if (failure)
		unlink(path);
	return failure;
}

enum judgement {
	MISSING,
	EMPTY,
	OURS,
	TORN, /* ours as far as can be seen, and no database any more */
};

static int judge_header(const struct history_file *file, const uint8_t *header, ssize_t size, struct error *err)
{
	uint32_t application = 0, version = 0;

	if (size == 0)
		return EMPTY;
	if (memcmp(header, DATABASE_MAGIC, size < 16 ? (size_t)size : 16) != 0)
		return error_set(err, -EMEDIUMTYPE,
		                 "history %s: the file is no database, and not ours: name another path under 'history: "
		                 "{path: ...}'",
		                 file->path);
	if (size < HEADER_BYTES) /* not even the header of a database is left: nobody's data */
		return TORN;
	memcpy(&application, header + APPLICATION_AT, sizeof(application));
	memcpy(&version, header + VERSION_AT, sizeof(version));
	if (be32toh(application) != HISTORY_APPLICATION)
		return error_set(err, -EMEDIUMTYPE,
		                 "history %s: the database is another application's: name another path under 'history: "
		                 "{path: ...}'",
		                 file->path);
	if (be32toh(version) > HISTORY_VERSION)
		return error_set(err, -EPROTO,
		                 "history %s: a newer version of Spillway has written it (%u, this one knows %d): "
		                 "upgrade, or name another path",
		                 file->path, be32toh(version), HISTORY_VERSION);
	return OURS;
}

/* Whose file it is, by its first bytes: nothing is written for it. Keeps the file open, and locked. */
static int judge(struct history_file *file, struct error *err)
{
	uint8_t header[HEADER_BYTES];
	struct stat status;

	if (file->fd >= 0)
		close(file->fd);
	file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 && errno == ENOENT)
		return MISSING;
	if (file->fd < 0)
		return error_set(err, -errno, "history %s: cannot be written: %s", file->path, strerror(errno));
	if (fstat(file->fd, &status) < 0 || !S_ISREG(status.st_mode))
		return error_set(err, -EMEDIUMTYPE, "history %s: it is no file: name another path", file->path);
	if (flock(file->fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, -EBUSY,
		                 "history %s: another daemon writes it: name another path under 'history: {path: ...}'",
		                 file->path);
	return judge_header(file, header, pread(file->fd, header, sizeof(header), 0), err);
}

static uint64_t log_bytes(const struct history_file *file)
{
	uint64_t share = file->bytes / LOG_SHARE;

	return share < LOG_BYTES_MOST ? share : LOG_BYTES_MOST;
}

/* Pages that the database may have: the log's are the rest. */
static int64_t pages_most(const struct history_file *file)
{
	return (int64_t)((file->bytes - 2 * log_bytes(file)) / PAGE_BYTES);
}

static int configure(struct history_file *file, struct error *err)
{
	char text[320];

	snprintf(text, sizeof(text),
	         "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -4096;"
	         "PRAGMA wal_autocheckpoint = %lld; PRAGMA journal_size_limit = %llu; PRAGMA trusted_schema = OFF;"
	         "PRAGMA temp_store = MEMORY;",
	         (long long)(log_bytes(file) / PAGE_BYTES / 4), (unsigned long long)log_bytes(file));
	return run(file, text, err);
}

/* Ours by its header: opens it and completes what a crash cut off. -EUCLEAN where it is damaged. */
static int adopt(struct history_file *file, struct error *err)
{
	int64_t newest = 0;
	int failure = database_open(file, file->path, SQLITE_OPEN_READWRITE, err);
	if (!failure && sqlite3_db_readonly(file->database, "main"))
		failure = fail(file, SQLITE_READONLY, err);
	if (!failure)
		failure = configure(file, err);
	if (!failure)
		failure = prepare_all(file, err);
	if (!failure)
		failure = step_number(file, file->statements[COUNT_EVENTS], &file->events, err);
	if (!failure)
		failure = step_number(file, file->of_tables[TABLE_SECONDS][NEWEST], &newest, err);
	if (!failure && newest) {
		int64_t minute_s = (newest >> 16) * 60;
		failure = history_file_begin(file, err);
		if (!failure)
			failure = history_file_fold_minute(file, minute_s, err);
		if (!failure)
			failure = history_file_fold_quarter(file, minute_s / 900 * 900, err);
		if (!failure)
			failure = history_file_commit(file, err);
		else
			history_file_rollback(file);
	}
	if (failure)
		database_close(file);
	return failure;
}

static int open_at(struct history_file *file, enum history_damage damage, char *aside, struct error *err)
{
	int failure = -EUCLEAN, found = judge(file, err);

	if (found < 0)
		return found;
	if (found == OURS && damage != DAMAGE_KNOWN) {
		failure = adopt(file, err);
		if (failure != -EUCLEAN)
			return failure;
	}
	if (found == OURS || found == TORN) {
		if (damage == DAMAGE_STAYS)
			return error_set(
				err, -EUCLEAN,
				"history %s: the file is damaged again: is the disk sound? Move it away to begin anew",
				file->path);
		failure = move_all_aside(file, aside, err);
		if (failure)
			return failure;
	}
	failure = create(file, found != EMPTY, err);
	if (failure)
		return failure;
	found = judge(file, err);
	failure = found < 0 ? found : adopt(file, err);
	return failure == -EUCLEAN
	               ? error_set(err, -EIO, "history %s: what was just made is damaged: is the disk sound?",
	                           file->path)
	               : failure;
}

int history_file_open(struct history_file **out, const char *path, uint64_t bytes, enum history_damage damage,
                      char *aside, struct error *err)
{
	_cleanup_(history_file_closep) struct history_file *file = calloc(1, sizeof(*file));

	if (!file)
		return error_set(err, -ENOMEM, "history: no memory");
	aside[0] = '\0';
	file->fd = -1;
	file->bytes = bytes;
	snprintf(file->path, sizeof(file->path), "%s", path);
	int failure = open_at(file, damage, aside, err);
	if (!failure)
		*out = TAKE_PTR(file);
	return failure;
}

int history_file_begin(struct history_file *file, struct error *err)
{
	return step_number(file, file->statements[BEGIN], NULL, err);
}

int history_file_commit(struct history_file *file, struct error *err)
{
	return step_number(file, file->statements[COMMIT], NULL, err);
}

void history_file_rollback(struct history_file *file)
{
	/* Where SQLite has rolled back by itself there is nothing to do. */
	if (!sqlite3_get_autocommit(file->database))
		step_number(file, file->statements[ROLLBACK], NULL, NULL);
}

int history_file_service(struct history_file *file, const char *name, unsigned *out, struct error *err)
{
	int64_t number = 0;

	sqlite3_bind_text(file->statements[FIND_SERVICE], 1, name, -1, SQLITE_STATIC);
	int failure = step_number(file, file->statements[FIND_SERVICE], &number, err);
	if (!failure && !number) {
		sqlite3_bind_text(file->statements[ADD_SERVICE], 1, name, -1, SQLITE_STATIC);
		failure = step_number(file, file->statements[ADD_SERVICE], NULL, err);
		number = sqlite3_last_insert_rowid(file->database);
	}
	if (!failure && (number < 1 || number > HISTORY_SERVICES_MAX))
		return error_set(
			err, -E2BIG,
			"history %s: it has seen %d services and knows no further: move it aside to begin anew",
			file->path, HISTORY_SERVICES_MAX);
	if (!failure)
		*out = (unsigned)number;
	return failure;
}

int history_file_get(struct history_file *file, enum history_table table, int64_t row, uint8_t *out, size_t *size,
                     struct error *err)
{
	sqlite3_stmt *get = file->of_tables[table][GET];
	int failure = 0;

	*size = 0;
	sqlite3_bind_int64(get, 1, row);
	int result = sqlite3_step(get);
	if (result == SQLITE_ROW) {
		const void *blob = sqlite3_column_blob(get, 0);
		int bytes = sqlite3_column_bytes(get, 0);
		if (blob && bytes <= HISTORY_BLOB_MAX) {
			memcpy(out, blob, (size_t)bytes);
			*size = (size_t)bytes;
		}
	} else if (result != SQLITE_DONE) {
		failure = fail(file, result, err);
	}
	sqlite3_reset(get);
	return failure;
}

int history_file_put(struct history_file *file, enum history_table table, int64_t row, const uint8_t *blob, size_t size,
                     struct error *err)
{
	sqlite3_stmt *put = file->of_tables[table][PUT];

	if (!size)
		return 0;
	sqlite3_bind_int64(put, 1, row);
	sqlite3_bind_blob64(put, 2, blob, size, SQLITE_STATIC);
	return step_number(file, put, NULL, err);
}

int history_file_event(struct history_file *file, int64_t time_us, const char *event, const char *service,
                       const char *user, const char *document, struct error *err)
{
	sqlite3_stmt *add = file->statements[ADD_EVENT];

	if (time_us <= file->last_event_us && file->last_event_us - time_us < 1000000)
		time_us = file->last_event_us + 1;
	for (int again = 0; again < 1000; again++) {
		sqlite3_bind_int64(add, 1, time_us);
		sqlite3_bind_text(add, 2, event, -1, SQLITE_STATIC);
		sqlite3_bind_text(add, 3, service, -1, SQLITE_STATIC);
		sqlite3_bind_text(add, 4, user, -1, SQLITE_STATIC);
		sqlite3_bind_text(add, 5, document, -1, SQLITE_STATIC);
		int failure = step_number(file, add, NULL, err);
		if (failure)
			return failure;
		if (sqlite3_changes(file->database)) {
			file->events++;
			break;
		}
		time_us++;
	}
	file->last_event_us = time_us;
	return 0;
}

/* Folds each service's row of `from` (samples `first` on, `count` of them) into its sample number `slot` of a row of
 * `to`. */
struct folding_rows {
	enum history_step from, to;
	int64_t from_row, to_row; /* without the service */
	size_t first, count, slot;
};

static int fold_row(struct history_file *file, const struct folding_rows *rows, unsigned service, const void *blob,
                    size_t size, struct error *err)
{
	const struct step *from = &history_steps[rows->from], *to = &history_steps[rows->to];
	struct sample fine[SAMPLES_MAX], coarse[SAMPLES_MAX], folded;
	uint8_t packed[HISTORY_BLOB_MAX];
	int64_t row = history_row(rows->to_row, service);
	enum history_table table = (enum history_table)rows->to;

	if (samples_unpack(blob, size, fine, from->samples) < 0)
		return error_set(err, -EUCLEAN, "history %s: the file is damaged", file->path);
	samples_fold(fine + rows->first, rows->count, &folded);
	if (!folded.values[SAMPLE_SECONDS])
		return 0;
	int failure = history_file_get(file, table, row, packed, &size, err);
	if (failure)
		return failure;
	if (!size)
		memset(coarse, 0, sizeof(coarse));
	else if (samples_unpack(packed, size, coarse, to->samples) < 0)
		return error_set(err, -EUCLEAN, "history %s: the file is damaged", file->path);
	coarse[rows->slot] = folded;
	return history_file_put(file, table, row, packed, samples_pack(coarse, to->samples, packed), err);
}

static int fold_rows(struct history_file *file, const struct folding_rows *rows, struct error *err)
{
	sqlite3_stmt *scan = file->of_tables[rows->from][SCAN];
	int failure = 0, result;

	sqlite3_bind_int64(scan, 1, history_row(rows->from_row, 0));
	sqlite3_bind_int64(scan, 2, history_row(rows->from_row + 1, 0));
	while (!failure && (result = sqlite3_step(scan)) != SQLITE_DONE) {
		if (result == SQLITE_ROW)
			failure = fold_row(file, rows, sqlite3_column_int64(scan, 0) & 0xffff,
			                   sqlite3_column_blob(scan, 1), (size_t)sqlite3_column_bytes(scan, 1), err);
		else
			failure = fail(file, result, err);
	}
	sqlite3_reset(scan);
	return failure;
}

int history_file_fold_minute(struct history_file *file, int64_t minute_s, struct error *err)
{
	return fold_rows(file,
	                 &(struct folding_rows){.from = STEP_SECOND,
	                                        .to = STEP_MINUTE,
	                                        .from_row = minute_s / 60,
	                                        .to_row = minute_s / 3600,
	                                        .count = 60,
	                                        .slot = (size_t)(minute_s / 60 % 60)},
	                 err);
}

int history_file_fold_quarter(struct history_file *file, int64_t quarter_s, struct error *err)
{
	return fold_rows(file,
	                 &(struct folding_rows){.from = STEP_MINUTE,
	                                        .to = STEP_QUARTER,
	                                        .from_row = quarter_s / 3600,
	                                        .to_row = quarter_s / 86400,
	                                        .first = (size_t)(quarter_s / 60 % 60),
	                                        .count = 15,
	                                        .slot = (size_t)(quarter_s / 900 % 96)},
	                 err);
}

/* The time of a table's first or last row, in rows; 0 where it is empty. */
static int row_at_end(struct history_file *file, enum history_table table, enum table_statement end, int64_t *out,
                      struct error *err)
{
	int64_t id = 0;
	int failure = step_number(file, file->of_tables[table][end], &id, err);

	*out = id >> 16;
	return failure;
}

static int drop_before(struct history_file *file, enum history_table table, int64_t row, struct error *err)
{
	sqlite3_bind_int64(file->of_tables[table][DROP], 1, history_row(row, 0));
	return step_number(file, file->of_tables[table][DROP], NULL, err);
}

static int trim_age(struct history_file *file, enum history_table table, int64_t now_s, struct error *err)
{
	int64_t oldest = 0, until = (now_s - tables[table].kept_s) / tables[table].row_s;
	int failure = row_at_end(file, table, OLDEST, &oldest, err);

	if (failure || !oldest || oldest >= until)
		return failure;
	return drop_before(file, table, oldest + TRIM_ROWS < until ? oldest + TRIM_ROWS : until, err);
}

static int pages_live(struct history_file *file, int64_t *out, int64_t *all, struct error *err)
{
	int64_t free_pages = 0;
	int failure = step_number(file, file->statements[PAGES], all, err);

	if (!failure)
		failure = step_number(file, file->statements[FREE_PAGES], &free_pages, err);
	*out = *all - free_pages;
	return failure;
}

static int drop_events(struct history_file *file, int64_t count, struct error *err)
{
	sqlite3_bind_int64(file->statements[DROP_EVENTS], 1, count - 1);
	int failure = step_number(file, file->statements[DROP_EVENTS], NULL, err);
	file->events -= sqlite3_changes(file->database);
	return failure;
}

/* Takes away the oldest time of one table that has more than `least_s`. */
static int shorten(struct history_file *file, enum history_table table, int64_t least_s, bool *gone, struct error *err)
{
	int64_t oldest = 0, newest = 0;
	int failure = row_at_end(file, table, OLDEST, &oldest, err);

	if (!failure)
		failure = row_at_end(file, table, NEWEST, &newest, err);
	if (failure)
		return failure;
	*gone = oldest && oldest < newest && (newest - oldest) * tables[table].row_s >= least_s;
	return *gone ? drop_before(file, table, oldest + 1, err) : 0;
}

/* The first of what has more than it should keep. Where nothing has, they should keep a quarter of that, and so on. */
static int give_way(struct history_file *file, bool *gone, struct error *err)
{
	static const int64_t parts[] = {1, 4, 16, 64, 256, 1024, INT64_MAX};

	*gone = false;
	for (size_t part = 0; part < sizeof(parts) / sizeof(*parts); part++) {
		for (size_t i = 0; i < sizeof(giving_way) / sizeof(*giving_way) && !*gone; i++) {
			enum history_table table = giving_way[i];
			if (table == TABLE_DISTRIBUTIONS && file->events > EVENTS_LEAST) {
				*gone = true;
				return drop_events(file, EVENTS_LEAST, err);
			}
			int failure = shorten(file, table, tables[table].least_s / parts[part], gone, err);
			if (failure)
				return failure;
		}
	}
	return 0;
}

static int trim_size(struct history_file *file, struct error *err)
{
	int64_t live = 0, all = 0, most = pages_most(file);
	char text[64];
	bool gone = true;

	for (int step = 0; step < TRIM_ROWS_BOUND && gone; step++) {
		int failure = pages_live(file, &live, &all, err);
		if (failure)
			return failure;
		if (live <= most)
			break;
		failure = give_way(file, &gone, err);
		if (failure)
			return failure;
	}
	if (all <= most)
		return 0;
	snprintf(text, sizeof(text), "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
	return run(file, text, err);
}

static int trim_events(struct history_file *file, int64_t now_s, struct error *err)
{
	int64_t most = (int64_t)(file->bytes / LOG_SHARE / EVENT_BYTES);

	if (file->events > (most < EVENTS_MOST ? most : EVENTS_MOST))
		return drop_events(file, EVENTS_LEAST, err);
	sqlite3_bind_int64(file->statements[TRIM_EVENTS], 1, (now_s - EVENTS_KEPT_S) * 1000000);
	int failure = step_number(file, file->statements[TRIM_EVENTS], NULL, err);
	file->events -= sqlite3_changes(file->database);
	return failure;
}

int history_file_trim(struct history_file *file, int64_t now_s, struct error *err)
{
	int failure = 0;

	for (int table = 0; table < HISTORY_TABLES && !failure; table++)
		failure = trim_age(file, (enum history_table)table, now_s, err);
	if (!failure)
		failure = trim_events(file, now_s, err);
	return failure ? failure : trim_size(file, err);
}

uint64_t history_file_bytes(const struct history_file *file)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	uint64_t bytes = 0;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		char path[PATH_MAX];
		struct stat status;
		path_beside(file, suffixes[i], path);
		if (stat(path, &status) == 0)
			bytes += (uint64_t)status.st_size;
	}
	return bytes;
}

bool history_file_is_there(const struct history_file *file)
{
	struct stat open_one, named;

	return fstat(file->fd, &open_one) == 0 && stat(file->path, &named) == 0 && open_one.st_ino == named.st_ino &&
	       open_one.st_dev == named.st_dev;
}
