/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/history.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "observe/history_file.h"

#define END_WAIT_S       5
#define RETRY_S          2          /* while something is wrong */
#define BATCH_BYTES_MOST (4U << 20) /* of records in one transaction */
#define LEAP_S           120        /* by which a minute may be later than the one before, as far as ages go */
#define HURRY_BYTES      (1U << 20) /* queued: the batch begins before its time */

enum record_kind {
	RECORD_SAMPLES,
	RECORD_USERS,
	RECORD_DISTRIBUTION,
	RECORD_EVENT,
};

struct record {
	struct record *next;
	enum record_kind kind;
	size_t count; /* what is lost with it */
	size_t size;  /* of the payload */
	int64_t time; /* seconds; of an event, microseconds */
	char name[HISTORY_NAME_MAX];
	uint8_t payload[] __attribute__((aligned(8)));
};

/* An event's payload is three texts: event, user, line. */

/* The seconds of the present minute, while a batch goes through them. */
struct open_row {
	unsigned service;
	struct sample samples[60];
};

/* Where the file's number of a service is remembered. */
struct known_name {
	char name[HISTORY_NAME_MAX];
	unsigned service;
	bool known;
};

struct history {
	pthread_t thread;
	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t wake;
	struct record *first, *last;
	size_t queued_bytes;
	bool ends, retired; /* retired: nobody waits for the thread, and it frees all this itself */
	struct history_status status;

	/* The thread's own. */
	struct history *before; /* that ends first; NULL: none */
	char path[PATH_MAX];
	uint64_t bytes;
	struct history_file *file;
	bool damaged;     /* it was found so while it was written */
	bool moved_aside; /* once is enough: then the disk is at fault */
	int64_t minute_s; /* whose seconds are being written; 0: none yet */
	int64_t age_s;    /* the time by which things are too old: follows the clock, but not its leaps */
	struct known_name names[HISTORY_NUMBERS];
	struct open_row *rows;
	size_t rows_count, rows_room;
	uint16_t *row_of; /* of each service of the file: 0 none, else index + 1 */
};

static void record_free_all(struct record *record)
{
	while (record) {
		struct record *next = record->next;
		free(record);
		record = next;
	}
}

static void forget_rows(struct history *history)
{
	for (size_t i = 0; i < history->rows_count; i++)
		history->row_of[history->rows[i].service] = 0;
	history->rows_count = 0;
}

static int write_rows(struct history *history, struct error *err)
{
	uint8_t packed[SAMPLES_PACKED_MAX];

	for (size_t i = 0; i < history->rows_count; i++) {
		const struct open_row *row = &history->rows[i];
		int failure = history_file_put(history->file, TABLE_SECONDS,
		                               history_row(history->minute_s / 60, row->service), packed,
		                               samples_pack(row->samples, 60, packed), err);
		if (failure)
			return failure;
	}
	forget_rows(history);
	return 0;
}

/* The row of a service in the present minute, as far as it is in the file. */
static int open_row(struct history *history, unsigned service, struct open_row **out, struct error *err)
{
	uint8_t packed[HISTORY_BLOB_MAX];
	size_t size;

	if (history->row_of[service]) {
		*out = &history->rows[history->row_of[service] - 1];
		return 0;
	}
	if (history->rows_count == history->rows_room) {
		size_t room = history->rows_room ? 2 * history->rows_room : 8;
		struct open_row *grown = realloc(history->rows, room * sizeof(*grown));
		if (!grown)
			return error_set(err, -ENOMEM, "history: no memory");
		history->rows = grown;
		history->rows_room = room;
	}
	int failure = history_file_get(history->file, TABLE_SECONDS, history_row(history->minute_s / 60, service),
	                               packed, &size, err);
	if (failure)
		return failure;
	struct open_row *row = &history->rows[history->rows_count];
	row->service = service;
	if (!size)
		memset(row->samples, 0, sizeof(row->samples));
	else if (samples_unpack(packed, size, row->samples, 60) < 0)
		return error_set(err, -EUCLEAN, "history %s: the file is damaged", history->path);
	history->row_of[service] = (uint16_t)++history->rows_count;
	*out = row;
	return 0;
}

static int find_service(struct history *history, const char *name, unsigned number, unsigned *out, struct error *err)
{
	struct known_name *known = number < HISTORY_NUMBERS ? &history->names[number] : NULL;

	if (!*name) {
		*out = HISTORY_HOST;
		return 0;
	}
	if (known && known->known && strcmp(known->name, name) == 0) {
		*out = known->service;
		return 0;
	}
	int failure = history_file_service(history->file, name, out, err);
	if (!failure && known) {
		snprintf(known->name, sizeof(known->name), "%s", name);
		known->service = *out;
		known->known = true;
	}
	return failure;
}

/* The minute is over (or the clock was set): writes it, and rolls it up. */
static int end_minute(struct history *history, int64_t next_s, struct error *err)
{
	int64_t minute_s = history->minute_s;

	if (!minute_s)
		return 0;
	int failure = write_rows(history, err);
	if (!failure)
		failure = history_file_fold_minute(history->file, minute_s, err);
	if (!failure && next_s / 900 != minute_s / 900)
		failure = history_file_fold_quarter(history->file, minute_s / 900 * 900, err);
	if (!failure)
		failure = history_file_trim(history->file, history->age_s, err);
	return failure;
}

static int write_samples(struct history *history, const struct record *record, struct error *err)
{
	const struct history_entry *entries = (const void *)record->payload;
	int64_t minute_s = record->time / 60 * 60;
	int failure = 0;

	if (minute_s != history->minute_s) {
		failure = end_minute(history, minute_s, err);
		if (failure)
			return failure;
		history->minute_s = minute_s;
		history->age_s =
			!history->age_s || minute_s < history->age_s + LEAP_S ? minute_s : history->age_s + LEAP_S;
	}
	for (size_t i = 0; i < record->count && !failure; i++) {
		unsigned service = 0;
		struct open_row *row = NULL;
		failure = find_service(history, entries[i].name, entries[i].number, &service, err);
		if (!failure)
			failure = open_row(history, service, &row, err);
		if (!failure && row)
			sample_add(&row->samples[record->time % 60], &entries[i].sample);
	}
	return failure;
}

static int heavier_first(const void *left, const void *right)
{
	uint64_t a = ((const struct sampled_user *)left)->packets, b = ((const struct sampled_user *)right)->packets;

	return (a < b) - (a > b);
}

/* Adds `more` to `users`, each to its own; `users` has room for both. Returns how many there are then. */
static size_t merge_users(struct sampled_user *users, size_t count, const struct sampled_user *more, size_t more_count)
{
	for (size_t i = 0; i < more_count; i++) {
		size_t at = 0;
		while (at < count && strcmp(users[at].user, more[i].user) != 0)
			at++;
		if (at == count) {
			users[count++] = more[i];
			continue;
		}
		users[at].packets += more[i].packets;
		users[at].bytes += more[i].bytes;
		users[at].spilled += more[i].spilled;
	}
	qsort(users, count, sizeof(*users), heavier_first);
	return count < SAMPLED_USERS_MAX ? count : SAMPLED_USERS_MAX;
}

/* A minute in which the daemon was started again has users from before. */
static int write_users(struct history *history, const struct record *record, struct error *err)
{
	struct sampled_user users[2 * SAMPLED_USERS_MAX], more[SAMPLED_USERS_MAX];
	uint8_t packed[HISTORY_BLOB_MAX];
	unsigned service = 0;
	size_t size = 0;
	int count = 0, failure = find_service(history, record->name, UINT_MAX, &service, err);
	if (failure)
		return failure;
	int64_t row = history_row(record->time / HISTORY_USERS_S, service);

	failure = history_file_get(history->file, TABLE_USERS, row, packed, &size, err);
	if (!failure && size)
		count = sampled_users_unpack(packed, size, users);
	if (failure || count < 0)
		return failure ? failure : error_set(err, -EUCLEAN, "history %s: the file is damaged", history->path);
	int more_count = sampled_users_unpack(record->payload, record->size, more);
	if (more_count <= 0)
		return 0;
	count = (int)merge_users(users, (size_t)count, more, (size_t)more_count);
	return history_file_put(history->file, TABLE_USERS, row, packed,
	                        sampled_users_pack(users, (size_t)count, packed), err);
}

static int write_distribution(struct history *history, const struct record *record, struct error *err)
{
	uint8_t packed[HISTORY_BLOB_MAX];
	struct distribution before, more;
	unsigned service = 0;
	size_t size;
	int failure = find_service(history, record->name, UINT_MAX, &service, err);
	if (failure)
		return failure;
	int64_t row = history_row(record->time / HISTORY_BINS_S, service);

	failure = history_file_get(history->file, TABLE_DISTRIBUTIONS, row, packed, &size, err);
	if (failure)
		return failure;
	if (!size)
		return history_file_put(history->file, TABLE_DISTRIBUTIONS, row, record->payload, record->size, err);
	if (distribution_unpack(packed, size, &before) < 0)
		return error_set(err, -EUCLEAN, "history %s: the file is damaged", history->path);
	if (distribution_unpack(record->payload, record->size, &more) == 0)
		distribution_add(&before, &more);
	return history_file_put(history->file, TABLE_DISTRIBUTIONS, row, packed, distribution_pack(&before, packed),
	                        err);
}

static int write_event(struct history *history, const struct record *record, struct error *err)
{
	const char *event = (const char *)record->payload, *user = event + strlen(event) + 1;
	const char *line = user + strlen(user) + 1;

	return history_file_event(history->file, record->time, event, record->name[0] ? record->name : NULL,
	                          *user ? user : NULL, line, err);
}

static int write_record(struct history *history, const struct record *record, struct error *err)
{
	static int (*const writers[])(struct history *history, const struct record *record, struct error *err) = {
		[RECORD_SAMPLES] = write_samples,
		[RECORD_USERS] = write_users,
		[RECORD_DISTRIBUTION] = write_distribution,
		[RECORD_EVENT] = write_event,
	};
	int failure = writers[record->kind](history, record, err);

	return failure == -E2BIG ? 0 : failure; /* a name too many: it alone is not kept */
}

/* Writes the records from `first` to `last`, or the first of them, in one transaction: `*written` is the last one that
 * it holds. Only this thread takes records away. */
static int write_batch(struct history *history, const struct record *first, const struct record *last,
                       const struct record **written, struct error *err)
{
	const struct record *record = first;
	int64_t minute_s = history->minute_s;
	size_t bytes = 0;
	int failure = history_file_begin(history->file, err);
	if (failure)
		return failure;

	for (;; record = record->next) {
		failure = write_record(history, record, err);
		bytes += sizeof(*record) + record->size;
		if (failure || record == last || bytes >= BATCH_BYTES_MOST)
			break;
	}
	if (!failure)
		failure = write_rows(history, err);
	if (!failure)
		failure = history_file_trim(history->file, history->age_s, err);
	if (!failure)
		failure = history_file_commit(history->file, err);
	if (failure) { /* the file is as it was, and so is what is known of it */
		history_file_rollback(history->file);
		forget_rows(history);
		memset(history->names, 0, sizeof(history->names));
		history->minute_s = minute_s;
		return failure;
	}
	*written = record;
	return 0;
}

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void close_file(struct history *history)
{
	history_file_close(history->file);
	history->file = NULL;
	history->minute_s = 0; /* whoever opens the file rolls up what was the last */
	memset(history->names, 0, sizeof(history->names));
}

static void tell_state(struct history *history, enum history_state state, const char *why)
{
	uint64_t bytes = history->file ? history_file_bytes(history->file) : 0;

	pthread_mutex_lock(&history->mutex);
	history->status.state = state;
	history->status.bytes = bytes;
	snprintf(history->status.why, sizeof(history->status.why), "%s", why);
	pthread_mutex_unlock(&history->mutex);
}

static int open_file(struct history *history, struct error *err)
{
	char aside[PATH_MAX];
	enum history_damage damage = history->moved_aside ? DAMAGE_STAYS
	                             : history->damaged   ? DAMAGE_KNOWN
	                                                  : DAMAGE_MOVES;

	int failure = history_file_open(&history->file, history->path, history->bytes, damage, aside, err);
	if (*aside) {
		history->moved_aside = true;
		history->damaged = false;
		pthread_mutex_lock(&history->mutex);
		snprintf(history->status.aside, sizeof(history->status.aside), "%s", aside);
		pthread_mutex_unlock(&history->mutex);
	}
	return failure;
}

/* The batch is in the file: its records leave the queue. */
static void shorten_queue(struct history *history, const struct record *written, double took_s)
{
	pthread_mutex_lock(&history->mutex);
	struct record *done = history->first, *end = done;
	for (;; end = end->next) {
		history->queued_bytes -= sizeof(*end) + end->size;
		history->status.queued -= end->count;
		if (end == written)
			break;
	}
	history->first = end->next;
	end->next = NULL;
	history->status.batches++;
	history->status.state = HISTORY_WRITING;
	history->status.why[0] = '\0';
	if (took_s > history->status.slowest_s)
		history->status.slowest_s = took_s;
	pthread_mutex_unlock(&history->mutex);
	record_free_all(done);
}

/* Writes whatever is queued. Returns 0, or -errno where it could not be: it stays queued. */
static int write_queue(struct history *history, struct error *err)
{
	if (history->file && !history_file_is_there(history->file))
		close_file(history); /* somebody has moved or removed it: begun anew */
	int failure = history->file ? 0 : open_file(history, err);

	while (!failure) {
		const struct record *written;
		double began_s = clock_s();
		pthread_mutex_lock(&history->mutex);
		const struct record *first = history->first, *last = history->last;
		pthread_mutex_unlock(&history->mutex);
		if (!first)
			break;
		failure = write_batch(history, first, last, &written, err);
		if (!failure)
			shorten_queue(history, written, clock_s() - began_s);
	}
	if (failure == -EUCLEAN) {
		history->damaged = true;
		if (history->file)
			close_file(history);
	}
	return failure;
}

/* Whether to write before the time: at the very first, and where the queue runs full. */
static bool is_due(const struct history *history)
{
	return (history->status.state == HISTORY_OPENING && history->first) ||
	       (history->status.state == HISTORY_WRITING && history->queued_bytes > HURRY_BYTES);
}

static void history_release(struct history *history)
{
	record_free_all(history->first);
	free(history->rows);
	free(history->row_of);
	pthread_cond_destroy(&history->wake);
	pthread_mutex_destroy(&history->mutex);
	free(history);
}

static void wait_for(struct history *before)
{
	if (!before)
		return;
	pthread_join(before->thread, NULL);
	history_release(before);
}

static void *write_on(void *argument)
{
	struct history *history = argument;
	bool ends = false, retired = false;

	wait_for(TAKE_PTR(history->before));
	while (!ends) {
		struct error err = {""};
		pthread_mutex_lock(&history->mutex);
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += history->status.state == HISTORY_STALLED ? RETRY_S : HISTORY_BATCH_S;
		while (!history->ends && !is_due(history) &&
		       pthread_cond_timedwait(&history->wake, &history->mutex, &until) == 0)
			;
		ends = history->ends;
		retired = history->retired;
		pthread_mutex_unlock(&history->mutex);

		int failure = write_queue(history, &err);
		if (ends && !failure && history->minute_s && history_file_begin(history->file, &err) == 0) {
			if (end_minute(history, 0, &err) == 0 && history_file_commit(history->file, &err) == 0)
				history->minute_s = 0;
			else
				history_file_rollback(history->file);
		}
		tell_state(history, failure ? HISTORY_STALLED : HISTORY_WRITING, err.text);
	}
	close_file(history);
	if (retired)
		history_release(history);
	return NULL;
}

/* The loop's thread alone takes signals. */
static int start_thread(struct history *history)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failure = pthread_create(&history->thread, NULL, write_on, history);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failure;
}

static int start(struct history **out, const char *path, uint64_t bytes, struct history *before, struct error *err)
{
	struct history *history = calloc(1, sizeof(*history));
	pthread_condattr_t monotonic;

	if (!history)
		return error_set(err, -ENOMEM, "history: no memory");
	pthread_mutex_init(&history->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&history->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	history->before = before;
	history->bytes = bytes;
	snprintf(history->path, sizeof(history->path), "%s", path);
	history->row_of = calloc(HISTORY_SERVICES_MAX + 1, sizeof(*history->row_of));
	int failure = history->row_of ? start_thread(history) : ENOMEM;
	if (failure) {
		history_release(history);
		return error_set(err, -failure, "history: cannot start its thread: %s", strerror(failure));
	}
	*out = history;
	return 0;
}

int history_new(struct history **out, const char *path, uint64_t bytes, struct error *err)
{
	return start(out, path, bytes, NULL, err);
}

static void end(struct history *history, bool retires)
{
	pthread_mutex_lock(&history->mutex);
	history->ends = true;
	history->retired = retires;
	pthread_cond_signal(&history->wake);
	pthread_mutex_unlock(&history->mutex);
}

int history_replace(struct history **history, const char *path, uint64_t bytes, struct error *err)
{
	struct history *before = *history;

	int failure = start(history, path, bytes, before, err);
	if (!failure)
		end(before, false);
	return failure;
}

void history_retire(struct history *history)
{
	pthread_detach(history->thread);
	end(history, true);
}

void history_free(struct history *history)
{
	struct timespec until;

	if (!history)
		return;
	end(history, false);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_WAIT_S;
	if (pthread_timedjoin_np(history->thread, NULL, &until) != 0) {
		pthread_detach(history->thread); /* it hangs in the disk, and what it uses stays */
		return;
	}
	history_release(history);
}

/* Takes ownership of the record. */
static void put(struct history *history, struct record *record)
{
	size_t bytes = sizeof(*record) + record->size;

	pthread_mutex_lock(&history->mutex);
	bool fits = history->queued_bytes + bytes <= HISTORY_QUEUE_BYTES;
	if (fits) {
		*(history->first ? &history->last->next : &history->first) = record;
		history->last = record;
		history->queued_bytes += bytes;
		history->status.queued += record->count;
		if (is_due(history))
			pthread_cond_signal(&history->wake);
	} else {
		history->status.lost += record->count;
	}
	pthread_mutex_unlock(&history->mutex);
	if (!fits)
		free(record);
}

static struct record *record_new(struct history *history, enum record_kind kind, int64_t time, const char *name,
                                 size_t size)
{
	struct record *record = calloc(1, sizeof(*record) + size);

	if (!record) {
		pthread_mutex_lock(&history->mutex);
		history->status.lost++;
		pthread_mutex_unlock(&history->mutex);
		return NULL;
	}
	record->kind = kind;
	record->time = time;
	record->size = size;
	record->count = 1;
	snprintf(record->name, sizeof(record->name), "%s", name ? name : "");
	return record;
}

void history_record(struct history *history, int64_t time_s, const struct history_entry *entries, size_t count)
{
	struct record *record = record_new(history, RECORD_SAMPLES, time_s, "", count * sizeof(*entries));

	if (!record || !count) {
		free(record);
		return;
	}
	record->count = count;
	memcpy(record->payload, entries, count * sizeof(*entries));
	put(history, record);
}

void history_record_users(struct history *history, int64_t minute_s, const char *service,
                          const struct sampled_user *users, size_t count)
{
	uint8_t packed[SAMPLED_USERS_PACKED_MAX];
	size_t size = sampled_users_pack(users, count < SAMPLED_USERS_MAX ? count : SAMPLED_USERS_MAX, packed);
	struct record *record = record_new(history, RECORD_USERS, minute_s, service, size);

	if (!record)
		return;
	memcpy(record->payload, packed, size);
	put(history, record);
}

void history_record_distribution(struct history *history, int64_t time_s, const char *service,
                                 const struct distribution *distribution)
{
	uint8_t packed[DISTRIBUTION_PACKED_MAX];
	size_t size = distribution_pack(distribution, packed);
	struct record *record = record_new(history, RECORD_DISTRIBUTION, time_s, service, size);

	if (!record)
		return;
	memcpy(record->payload, packed, size);
	put(history, record);
}

void history_record_event(struct history *history, int64_t time_us, const char *event, const char *service,
                          const char *user, const char *line)
{
	const char *const texts[] = {event, user ? user : "", line};
	size_t size = 0, at = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		size += strlen(texts[i]) + 1;
	struct record *record = record_new(history, RECORD_EVENT, time_us, service, size);
	if (!record)
		return;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		size_t length = strlen(texts[i]) + 1;
		memcpy(record->payload + at, texts[i], length);
		at += length;
	}
	put(history, record);
}

struct history_status history_status(struct history *history)
{
	pthread_mutex_lock(&history->mutex);
	struct history_status status = history->status;
	pthread_mutex_unlock(&history->mutex);
	return status;
}
