/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/history_reader.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "observe/history_file.h"

#define BUSY_MS 2000

struct history_reader {
	char path[PATH_MAX];
	sqlite3 *database;
};

static int fail(const struct history_reader *reader, int result, struct error *err)
{
	switch (result & 0xff) {
	case SQLITE_NOTADB:
		return error_set(err, -EMEDIUMTYPE, "history %s: the file is no database", reader->path);
	case SQLITE_CORRUPT:
		return error_set(err, -EUCLEAN,
		                 "history %s: the file is damaged: the daemon moves it aside when it starts",
		                 reader->path);
	case SQLITE_BUSY:
		return error_set(err, -EBUSY, "history %s: another process has it locked: end that one", reader->path);
	default:
		return error_set(err, -EIO, "history %s: %s", reader->path, sqlite3_errmsg(reader->database));
	}
}

static int prepare(struct history_reader *reader, const char *text, sqlite3_stmt **out, struct error *err)
{
	int result = sqlite3_prepare_v2(reader->database, text, -1, out, NULL);

	return result == SQLITE_OK ? 0 : fail(reader, result, err);
}

static inline void finalize(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}

static int read_number(struct history_reader *reader, const char *text, int64_t *out, struct error *err)
{
	_cleanup_(finalize) sqlite3_stmt *statement = NULL;
	int failure = prepare(reader, text, &statement, err);
	if (failure)
		return failure;
	int result = sqlite3_step(statement);
	if (result != SQLITE_ROW)
		return fail(reader, result, err);
	*out = sqlite3_column_int64(statement, 0);
	return 0;
}

/* "file:PATH?immutable=1", where PATH may hold what means something in a URI. */
static void immutable_uri(const char *path, char *out, size_t size)
{
	size_t written = (size_t)snprintf(out, size, "file:");

	for (; *path && written + 16 < size; path++)
		written += (size_t)snprintf(out + written, size - written, strchr("%?#", *path) ? "%%%02x" : "%c",
		                            (unsigned char)*path);
	snprintf(out + written, size - written, "?immutable=1");
}

static int look(struct history_reader *reader, struct error *err)
{
	int64_t application = 0, version = 0;

	sqlite3_extended_result_codes(reader->database, 1);
	sqlite3_busy_timeout(reader->database, BUSY_MS);
	int failure = read_number(reader, "PRAGMA application_id", &application, err);
	if (!failure)
		failure = read_number(reader, "PRAGMA user_version", &version, err);
	if (failure)
		return failure;
	if (application != HISTORY_APPLICATION)
		return error_set(err, -EMEDIUMTYPE, "history %s: the database is another application's", reader->path);
	if (version > HISTORY_VERSION)
		return error_set(err, -EPROTO, "history %s: a newer version of Spillway has written it: upgrade",
		                 reader->path);
	return 0;
}

/* A database with a write-ahead log needs files beside it even to be read. Where they can neither be found nor made (a
 * disk that may only be read) it is taken as it is, since then nobody writes it. */
static int open_either_way(struct history_reader *reader, struct error *err)
{
	char uri[3 * PATH_MAX];

	int result = sqlite3_open_v2(reader->path, &reader->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	int failure = result == SQLITE_OK ? look(reader, err) : fail(reader, result, err);
	int primary = sqlite3_errcode(reader->database) & 0xff;
	if (!failure || (primary != SQLITE_CANTOPEN && primary != SQLITE_READONLY))
		return failure;
	sqlite3_close(reader->database);
	immutable_uri(reader->path, uri, sizeof(uri));
	result = sqlite3_open_v2(uri, &reader->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI,
	                         NULL);
	return result == SQLITE_OK ? look(reader, err) : fail(reader, result, err);
}

int history_reader_open(struct history_reader **out, const char *path, struct error *err)
{
	_cleanup_(history_reader_closep) struct history_reader *reader = calloc(1, sizeof(*reader));
	struct stat status;

	if (!reader)
		return error_set(err, -ENOMEM, "history: no memory");
	snprintf(reader->path, sizeof(reader->path), "%s", path);
	if (stat(path, &status) < 0)
		return error_set(err, -errno, "history %s: %s: name the file with --database", path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return error_set(err, -EMEDIUMTYPE, "history %s: it is no file", path);
	if (access(path, R_OK) < 0)
		return error_set(err, -errno, "history %s: %s: run as root", path, strerror(errno));
	int failure = open_either_way(reader, err);
	if (!failure)
		*out = TAKE_PTR(reader);
	return failure;
}

void history_reader_close(struct history_reader *reader)
{
	if (!reader)
		return;
	sqlite3_close(reader->database);
	free(reader);
}

int history_reader_services(struct history_reader *reader, struct history_service **out, size_t *count,
                            struct error *err)
{
	_cleanup_(finalize) sqlite3_stmt *statement = NULL;
	_cleanup_free_ struct history_service *services = NULL;
	size_t found = 0;
	int failure = prepare(reader, "SELECT id, name FROM services ORDER BY name LIMIT 65536", &statement, err);
	if (failure)
		return failure;

	int result;
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		if (found % 64 == 0) {
			struct history_service *grown = realloc(services, (found + 64) * sizeof(*grown));
			if (!grown)
				return error_set(err, -ENOMEM, "history: no memory");
			services = grown;
		}
		const char *name = (const char *)sqlite3_column_text(statement, 1);
		services[found].number = (unsigned)sqlite3_column_int(statement, 0);
		snprintf(services[found++].name, sizeof(services->name), "%s", name ? name : "");
	}
	if (result != SQLITE_DONE)
		return fail(reader, result, err);
	*out = TAKE_PTR(services);
	*count = found;
	return 0;
}

/* Copies a row's samples to where they belong in those that are asked for. */
static int take_row(struct history_reader *reader, sqlite3_stmt *get, const struct step *step, unsigned service,
                    int64_t row, int64_t from, struct sample *samples, size_t count, struct error *err)
{
	struct sample unpacked[SAMPLES_MAX];

	sqlite3_bind_int64(get, 1, history_row(row, service));
	int result = sqlite3_step(get);
	if (result == SQLITE_ROW) {
		if (samples_unpack(sqlite3_column_blob(get, 0), (size_t)sqlite3_column_bytes(get, 0), unpacked,
		                   step->samples) < 0)
			result = SQLITE_CORRUPT;
		for (unsigned i = 0; i < step->samples && result == SQLITE_ROW; i++) {
			int64_t at = row * step->samples + i - from;
			if (at < 0 || (size_t)at >= count || !unpacked[i].values[SAMPLE_SECONDS])
				continue;
			uint64_t seen = samples[at].values[SAMPLE_SECONDS];
			samples[at] = unpacked[i];
			if (seen > unpacked[i].values[SAMPLE_SECONDS]) /* the service was silent in some */
				samples[at].values[SAMPLE_SECONDS] = seen;
		}
	}
	sqlite3_reset(get);
	return result == SQLITE_ROW || result == SQLITE_DONE ? 0 : fail(reader, result, err);
}

int history_reader_samples(struct history_reader *reader, unsigned service, enum history_step step_number,
                           int64_t from_s, int64_t to_s, struct sample **out, size_t *count, struct error *err)
{
	static const char *const texts[STEPS] = {"SELECT samples FROM seconds WHERE id = ?1",
	                                         "SELECT samples FROM minutes WHERE id = ?1",
	                                         "SELECT samples FROM quarters WHERE id = ?1"};
	const struct step *step = &history_steps[step_number];
	_cleanup_(finalize) sqlite3_stmt *get = NULL;
	int64_t from = from_s / step->seconds, to = (to_s + step->seconds - 1) / step->seconds;
	if (to - from > HISTORY_SAMPLES_MOST)
		return error_set(err, -E2BIG,
		                 "from %lld to %lld: more than a million samples: name a coarser --step, or a shorter "
		                 "time",
		                 (long long)from_s, (long long)to_s);
	size_t asked = to > from ? (size_t)(to - from) : 0;
	_cleanup_free_ struct sample *samples = calloc(asked + 1, sizeof(*samples));
	if (!samples)
		return error_set(err, -ENOMEM, "history: no memory");

	int failure = prepare(reader, texts[step_number], &get, err);
	for (int64_t row = from / step->samples; !failure && row <= (to - 1) / step->samples && asked; row++) {
		failure = take_row(reader, get, step, HISTORY_HOST, row, from, samples, asked, err);
		if (failure || service == HISTORY_HOST)
			continue;
		/* The host's samples only say when a daemon ran. */
		for (unsigned i = 0; i < step->samples; i++) {
			int64_t at = row * step->samples + i - from;
			uint64_t seconds = at >= 0 && at < (int64_t)asked ? samples[at].values[SAMPLE_SECONDS] : 0;
			if (!seconds)
				continue;
			samples[at] = (struct sample){0};
			samples[at].values[SAMPLE_SECONDS] = seconds;
		}
		failure = take_row(reader, get, step, service, row, from, samples, asked, err);
	}
	if (failure)
		return failure;
	*out = TAKE_PTR(samples);
	*count = asked;
	return 0;
}

int history_reader_users(struct history_reader *reader, unsigned service, int64_t from_s, int64_t to_s,
                         history_users_visitor *visitor, void *argument, struct error *err)
{
	_cleanup_(finalize) sqlite3_stmt *statement = NULL;
	struct sampled_user users[SAMPLED_USERS_MAX];
	int failure = prepare(
		reader, "SELECT id, users FROM users WHERE id >= ?1 AND id < ?2 AND (?3 = 0 OR (id & 65535) = ?3)",
		&statement, err);
	if (failure)
		return failure;

	sqlite3_bind_int64(statement, 1, history_row(from_s / HISTORY_USERS_S, 0));
	sqlite3_bind_int64(statement, 2, history_row((to_s + HISTORY_USERS_S - 1) / HISTORY_USERS_S, 0));
	sqlite3_bind_int64(statement, 3, service);
	int result;
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t id = sqlite3_column_int64(statement, 0);
		int count = sampled_users_unpack(sqlite3_column_blob(statement, 1),
		                                 (size_t)sqlite3_column_bytes(statement, 1), users);
		if (count < 0)
			return fail(reader, SQLITE_CORRUPT, err);
		visitor((id >> 16) * HISTORY_USERS_S, id & 0xffff, users, (size_t)count, argument);
	}
	return result == SQLITE_DONE ? 0 : fail(reader, result, err);
}

int history_reader_distribution(struct history_reader *reader, unsigned service, int64_t from_s, int64_t to_s,
                                struct distribution *out, struct error *err)
{
	_cleanup_(finalize) sqlite3_stmt *statement = NULL;
	struct distribution sum = {0}, one;
	int failure = prepare(reader, "SELECT bins FROM distributions WHERE id >= ?1 AND id < ?2 AND (id & 65535) = ?3",
	                      &statement, err);
	if (failure)
		return failure;

	sqlite3_bind_int64(statement, 1, history_row(from_s / HISTORY_BINS_S, 0));
	sqlite3_bind_int64(statement, 2, history_row((to_s + HISTORY_BINS_S - 1) / HISTORY_BINS_S, 0));
	sqlite3_bind_int64(statement, 3, service);
	int result;
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		if (distribution_unpack(sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0),
		                        &one) < 0)
			return fail(reader, SQLITE_CORRUPT, err);
		distribution_add(&sum, &one);
	}
	if (result != SQLITE_DONE)
		return fail(reader, result, err);
	*out = sum;
	return 0;
}

int history_reader_events(struct history_reader *reader, const char *service, int64_t from_s, int64_t to_s,
                          history_event_visitor *visitor, void *argument, struct error *err)
{
	_cleanup_(finalize) sqlite3_stmt *statement = NULL;
	int failure = prepare(
		reader, "SELECT id, document FROM events WHERE id >= ?1 AND id < ?2 AND (?3 IS NULL OR service = ?3)",
		&statement, err);
	if (failure)
		return failure;

	sqlite3_bind_int64(statement, 1, from_s * 1000000);
	sqlite3_bind_int64(statement, 2, to_s * 1000000);
	sqlite3_bind_text(statement, 3, service, -1, SQLITE_STATIC);
	int result;
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *document = (const char *)sqlite3_column_text(statement, 1);
		visitor(sqlite3_column_int64(statement, 0), document ? document : "{}", argument);
	}
	return result == SQLITE_DONE ? 0 : fail(reader, result, err);
}
