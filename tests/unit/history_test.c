/* SPDX-License-Identifier: GPL-2.0-only */
/* What is handed to the history is what is read back: samples and their packing, roll-ups of a million seconds against
 * sums of our own, the bound on the size, files that are not ours, and damage at any byte. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "observe/history.h"
#include "observe/history_file.h"
#include "observe/history_reader.h"

#define NOON 1764072000 /* 2025-11-25 12:00:00 UTC */
#define MB   1000000LL

static char directory[32], path[64];
static int times = 1; /* less is done by so many under memcheck, which is slow */

/* A disk that hangs: SQLite syncs by this, and waits here for as long as it is told to. */
static atomic_bool disk_hangs, somebody_hangs;

int fdatasync(int fd) /* NOLINT(readability-inconsistent-declaration-parameter-name): glibc's is reserved */
{
	while (disk_hangs) {
		somebody_hangs = true;
		usleep(1000);
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void remove_all(void)
{
	char command[96];
	snprintf(command, sizeof(command), "rm -f %s/*", directory);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a directory of our own */
}

static uint64_t randomly(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

static void test_packing(void **state)
{
	uint8_t packed[SAMPLES_PACKED_MAX];
	struct sample samples[SAMPLES_MAX], back[SAMPLES_MAX];
	uint64_t seed = 1;
	(void)state;

	for (int round = 0; round < 3000 / times; round++) {
		size_t count = round % 2 ? 60 : SAMPLES_MAX;
		memset(samples, 0, sizeof(samples));
		for (size_t i = 0; i < count; i++) {
			for (size_t field = 0; randomly(&seed) % 4 && field < SAMPLE_FIELDS; field++) {
				uint64_t wide = randomly(&seed) << 32 | randomly(&seed);
				samples[i].values[field] = round % 3 ? wide >> randomly(&seed) % 64 : wide % 3;
			}
			if (!samples[i].values[SAMPLE_SECONDS])
				samples[i] = (struct sample){0};
		}
		size_t size = samples_pack(samples, count, packed);
		assert_true(size <= SAMPLES_PACKED_MAX);
		if (!size)
			continue;
		assert_int_equal(samples_unpack(packed, size, back, count), 0);
		assert_memory_equal(samples, back, count * sizeof(*samples));
		/* Cut or changed it is refused, or is some other row: never read beyond. */
		uint8_t *cut = malloc(size);
		for (size_t end = 0; end < size; end++) {
			memcpy(cut, packed, size);
			assert_int_equal(samples_unpack(cut + size - end, end, back, count) == 0 && end == 0, 0);
			cut[randomly(&seed) % size] = (uint8_t)randomly(&seed);
			samples_unpack(cut, size, back, count);
		}
		free(cut);
	}
}

static void test_folding(void **state)
{
	struct sample fine[4] = {
		{.values = {[SAMPLE_PACKETS] = 10, [SAMPLE_LEVEL] = 900, [SAMPLE_P50_US] = 100, [SAMPLE_SECONDS] = 1}},
		{.values = {0}},
		{.values = {[SAMPLE_PACKETS] = 30,
	                    [SAMPLE_LEVEL] = 700,
	                    [SAMPLE_P50_US] = 200,
	                    [SAMPLE_SECONDS] = 1,
	                    [SAMPLE_USERS] = 5,
	                    [SAMPLE_P99_US] = 900}},
		{.values = {[SAMPLE_PACKETS] = 5, [SAMPLE_SECONDS] = 2, [SAMPLE_USERS] = 4}},
	};
	struct sample folded, again;
	(void)state;

	samples_fold(fine, 4, &folded);
	assert_int_equal(folded.values[SAMPLE_PACKETS], 45);
	assert_int_equal(folded.values[SAMPLE_SECONDS], 4);
	assert_int_equal(folded.values[SAMPLE_PEAK], 30);
	assert_int_equal(folded.values[SAMPLE_USERS], 5);
	assert_int_equal(folded.values[SAMPLE_LEVEL], 700);
	assert_int_equal(folded.values[SAMPLE_P50_US], 175); /* (10 * 100 + 30 * 200) / 40 */
	assert_int_equal(folded.values[SAMPLE_P99_US], 900);
	samples_fold(&folded, 1, &again);
	assert_memory_equal(&folded, &again, sizeof(folded));
	samples_fold(&fine[1], 1, &folded);
	assert_int_equal(folded.values[SAMPLE_SECONDS], 0);
}

static void test_distribution(void **state)
{
	uint8_t packed[DISTRIBUTION_PACKED_MAX];
	struct distribution distribution = {.passes = 2}, back;
	(void)state;

	for (size_t bin = 0; bin < BINS_RATES; bin++)
		distribution_add_user(&distribution, distribution_rate(bin) * 1.001, distribution_rate(bin) * 100);
	for (size_t bin = 0; bin < BINS_RATES; bin++)
		assert_int_equal(distribution.rates[bin], 1);
	distribution_add_user(&distribution, 1e-9, 0);
	distribution_add_user(&distribution, 1e300, 1e300);
	assert_int_equal(distribution.rates[0], 2);
	assert_int_equal(distribution.rates[BINS_RATES - 1], 2);
	distribution_add_user(&distribution, INFINITY, 1);
	distribution_add_user(&distribution, NAN, 1);
	distribution_add_user(&distribution, 0, 0);
	size_t size = distribution_pack(&distribution, packed);
	assert_int_equal(distribution_unpack(packed, size, &back), 0);
	assert_memory_equal(&distribution, &back, sizeof(back));
	for (size_t end = 0; end < size; end++)
		assert_int_equal(distribution_unpack(packed, end, &back), -EINVAL);

	/* The bins of sizes: 64 bytes to 64 * 1.19. */
	distribution = (struct distribution){0};
	distribution_add_user(&distribution, 100, 6500);
	for (size_t bin = 0; bin < BINS_SIZES; bin++)
		if (distribution.sizes[bin])
			assert_true(distribution_size(bin) <= 65 && distribution_size(bin + 1) > 65);
}

static void test_users_packing(void **state)
{
	struct sampled_user users[3] = {{"198.51.100.7", 1, 2, 3}, {"", 0, 0, 0}, {"acme", UINT64_MAX, 1U << 31, 5}};
	struct sampled_user back[SAMPLED_USERS_MAX];
	uint8_t packed[SAMPLED_USERS_PACKED_MAX];
	(void)state;

	size_t size = sampled_users_pack(users, 3, packed);
	assert_int_equal(sampled_users_unpack(packed, size, back), 3);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(users[i].user, back[i].user);
		assert_int_equal(users[i].packets, back[i].packets);
	}
	assert_int_equal(sampled_users_unpack(packed, size - 1, back), -EINVAL);
	assert_int_equal(sampled_users_unpack(packed, 0, back), -EINVAL);
}

static struct history *begin(uint64_t bytes)
{
	struct history *history = NULL;
	struct error err;

	assert_int_equal(history_new(&history, path, bytes, &err), 0);
	return history;
}

static void settle(struct history *history)
{
	const struct timespec moment = {.tv_nsec = 2000000};

	while (history_status(history).queued > 20000 && history_status(history).state != HISTORY_STALLED)
		nanosleep(&moment, NULL);
}

static uint64_t packets_at(int64_t time_s, unsigned service)
{
	uint64_t seed = (uint64_t)time_s * 1000 + service;
	return (uint64_t)time_s % 7 == 0 ? 0 : 100 + randomly(&seed) % 50;
}

/* One second of the host and of `services` services. */
static void tick(struct history *history, int64_t time_s, unsigned services)
{
	struct history_entry entries[1025] = {{.name = ""}};
	size_t count = 1;

	entries[0].sample.values[SAMPLE_SECONDS] = 1;
	for (unsigned i = 1; i <= services; i++) {
		uint64_t packets = packets_at(time_s, i);
		struct history_entry *entry = &entries[count];
		if (!packets)
			continue;
		snprintf(entry->name, sizeof(entry->name), "service%u", i);
		entry->number = i;
		entry->sample.values[SAMPLE_PACKETS] = packets;
		entry->sample.values[SAMPLE_BYTES] = packets * 100;
		entry->sample.values[SAMPLE_USERS] = 3;
		entry->sample.values[SAMPLE_SECONDS] = 1;
		entries[0].sample.values[SAMPLE_PACKETS] += packets;
		count++;
	}
	history_record(history, time_s, entries, count);
}

static struct history_reader *look(void)
{
	struct history_reader *reader = NULL;
	struct error err = {""};

	if (history_reader_open(&reader, path, &err) < 0)
		fail_msg("%s", err.text);
	return reader;
}

/* Every sample of a step is the sum of its seconds, from `from` on; those that are still there. */
static size_t check_step(enum history_step step, unsigned service, int64_t from, int64_t to)
{
	_cleanup_(history_reader_closep) struct history_reader *reader = look();
	_cleanup_free_ struct sample *samples = NULL;
	struct error err = {""};
	size_t count, present = 0;

	if (history_reader_samples(reader, service, step, from, to, &samples, &count, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < count; i++) {
		int64_t span = history_steps[step].seconds, start = from / span * span + (int64_t)i * span;
		uint64_t packets = 0, peak = 0;
		if (samples[i].values[SAMPLE_SECONDS] != (uint64_t)span || start < from || start + span > to)
			continue; /* of which not all was seen: who counts those that were, sees that */
		for (int64_t second = start; second < start + span; second++) {
			uint64_t now = packets_at(second, service);
			packets += now;
			peak = now > peak ? now : peak;
		}
		assert_int_equal(samples[i].values[SAMPLE_PACKETS], packets);
		assert_int_equal(samples[i].values[SAMPLE_BYTES], packets * 100);
		if (step != STEP_SECOND)
			assert_int_equal(samples[i].values[SAMPLE_PEAK], peak);
		present++;
	}
	return present;
}

static void test_a_million_seconds(void **state)
{
	const int64_t from = NOON, to = NOON + (times == 1 ? MB : 5000);
	struct timespec began, ended;
	struct stat status;
	(void)state;

	clock_gettime(CLOCK_MONOTONIC, &began);
	struct history *history = begin(1000ULL * MB);
	for (int64_t second = from; second < to; second++) {
		if (second % 4096 == 0)
			settle(history);
		tick(history, second, 1);
	}
	settle(history);
	assert_int_equal(history_status(history).lost, 0);
	history_free(history);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_int_equal(stat(path, &status), 0);
	printf("a million seconds of a service: %.1f s, %lld bytes in the file\n",
	       (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9,
	       (long long)status.st_size);
	assert_true(check_step(STEP_QUARTER, 1, from, to) >= (size_t)(to - from) / 900 - 2);
	assert_true(check_step(STEP_MINUTE, 1, from, to) >= (size_t)(to - from) / 60 - 2);
	/* Of the seconds a day is left, give or take what a batch trims. */
	size_t seconds = check_step(STEP_SECOND, 1, from, to);
	assert_in_range(seconds, times == 1 ? 86400 : 100, times == 1 ? 86400 + 3600 : MB);
	remove_all();
}

static void test_going_on(void **state)
{
	(void)state;

	/* Ended and begun in the middle of minutes, the roll-ups are whole; a gap stays one. */
	int64_t second = NOON;
	for (int part = 0; part < 40; part++) {
		struct history *history = begin(100ULL * MB);
		for (int i = 0; i < 100; i++)
			tick(history, second++, 2);
		history_free(history);
	}
	assert_int_equal(check_step(STEP_SECOND, 2, NOON, second), 4000);
	assert_int_equal(check_step(STEP_MINUTE, 2, NOON, second), 4000 / 60);
	assert_int_equal(check_step(STEP_QUARTER, 2, NOON, second), 4000 / 900);

	struct history *history = begin(100ULL * MB);
	tick(history, second + 3600, 2);
	history_free(history);
	assert_int_equal(check_step(STEP_SECOND, 2, NOON, second + 3601), 4001);
	remove_all();
}

static void test_clock_set_back(void **state)
{
	_cleanup_free_ struct sample *samples = NULL;
	struct error err = {""};
	size_t count;
	(void)state;

	struct history *history = begin(100ULL * MB);
	for (int64_t second = NOON; second < NOON + 600; second++)
		tick(history, second, 1);
	for (int64_t second = NOON + 300; second < NOON + 600; second++) /* the same five minutes again */
		tick(history, second, 1);
	tick(history, NOON + 86400 * 400LL, 1); /* and once a year ahead */
	tick(history, NOON + 600, 1);
	history_free(history);
	_cleanup_(history_reader_closep) struct history_reader *reader = look();
	assert_int_equal(history_reader_samples(reader, 1, STEP_MINUTE, NOON, NOON + 600, &samples, &count, &err), 0);
	for (size_t minute = 0; minute < 10; minute++) {
		uint64_t packets = 0, seen = minute < 5 ? 1 : 2;
		for (int64_t second = 0; second < 60; second++)
			packets += packets_at(NOON + (int64_t)minute * 60 + second, 1);
		assert_int_equal(samples[minute].values[SAMPLE_PACKETS], seen * packets);
		assert_int_equal(samples[minute].values[SAMPLE_SECONDS], seen * 60);
	}
	remove_all();
}

static uint64_t bytes_on_disk(void)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	uint64_t bytes = 0;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		char name[96];
		struct stat status;
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		bytes += stat(name, &status) == 0 ? (uint64_t)status.st_size : 0;
	}
	return bytes;
}

static void test_bound(void **state)
{
	struct sampled_user users[SAMPLED_USERS_MAX];
	uint64_t most = 0;
	(void)state;

	for (size_t i = 0; i < SAMPLED_USERS_MAX; i++) {
		users[i] = (struct sampled_user){.packets = 1000 + i, .bytes = 100000 + i, .spilled = i};
		snprintf(users[i].user, sizeof(users[i].user), "2001:db8:ffff:ffff:ffff:ffff:ffff:fff%zx", i);
	}
	struct history *history = begin(16ULL * MB);
	int64_t second = NOON;
	for (; second < NOON + 7200 / times; second++) {
		tick(history, second, 200);
		for (unsigned i = 0; second % 60 == 0 && i < 200; i++) {
			char name[32];
			snprintf(name, sizeof(name), "service%u", i + 1);
			history_record_users(history, second, name, users, SAMPLED_USERS_MAX);
		}
		history_record_event(history, second * 1000000, "hotspot_begin", "service1", NULL,
		                     "{\"event\":\"hotspot_begin\",\"why\":\"as it must be\"}");
		if (second % 60 == 0) {
			settle(history);
			uint64_t bytes = bytes_on_disk();
			most = bytes > most ? bytes : most;
		}
	}
	settle(history);
	assert_int_equal(history_status(history).lost, 0);
	assert_int_equal(history_status(history).state, HISTORY_WRITING);
	history_free(history);
	printf("200 services for two hours within 16 MB: %llu bytes at most\n", (unsigned long long)most);
	if (times > 1) {
		remove_all();
		return;
	}
	assert_in_range(most, 8 * MB, 16 * MB);
	/* The finest have given way, the coarse are whole. */
	size_t seconds = check_step(STEP_SECOND, 7, NOON, second);
	assert_in_range(seconds, 60, 7000);
	assert_int_equal(check_step(STEP_MINUTE, 7, NOON, second), 120);
	assert_int_equal(check_step(STEP_QUARTER, 7, NOON, second), 8);

	remove_all();
}

static void sql(const char *text)
{
	sqlite3 *database = NULL;

	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	assert_int_equal(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(database);
}

/* Allowed less than it has, a file shrinks, and what is newest stays. */
/* Where there is no room for all, a month of users by name gives way before the day of seconds does. */
static void test_what_gives_way_first(void **state)
{
	const int64_t days = 30, day = NOON + days * 86400;
	struct sampled_user users[SAMPLED_USERS_MAX];
	(void)state;

	if (times > 1) /* memcheck would take an hour for a million records */
		return;
	for (size_t i = 0; i < SAMPLED_USERS_MAX; i++) {
		users[i] = (struct sampled_user){.packets = 1000 + i, .bytes = 100000 + i, .spilled = i};
		snprintf(users[i].user, sizeof(users[i].user), "2001:db8:ffff:ffff:ffff:ffff:ffff:fff%zx", i);
	}
	struct history *history = begin(16ULL * MB);
	for (int64_t minute = NOON; minute < day; minute += 60) {
		if (minute % 7200 == 0)
			settle(history);
		history_record_users(history, minute, "service1", users, SAMPLED_USERS_MAX);
	}
	for (int64_t second = day; second < day + 80000; second++) {
		if (second % 4096 == 0)
			settle(history);
		tick(history, second, 1);
		if (second % 60 == 0)
			history_record_users(history, second, "service1", users, SAMPLED_USERS_MAX);
	}
	settle(history);
	assert_int_equal(history_status(history).lost, 0);
	history_free(history);
	assert_in_range(bytes_on_disk(), 8 * MB, 16 * MB);
	assert_int_equal(check_step(STEP_SECOND, 1, day, day + 80000), 80000);
	remove_all();
}

static void test_shrinking(void **state)
{
	char text[320];
	(void)state;

	struct history *history = begin(100ULL * MB);
	for (int64_t second = NOON; second < NOON + 300; second++)
		tick(history, second, 1);
	history_free(history);
	snprintf(text, sizeof(text),
	         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
	         "INSERT INTO seconds SELECT ((%d / 60 - 1 - i / 100) << 16) + 2 + i %% 100, randomblob(400) FROM n",
	         NOON);
	sql(text);
	assert_true(bytes_on_disk() > 20 * MB);
	int64_t second = NOON + 300;
	for (int begun = 0; begun < 30 && bytes_on_disk() > 15 * MB; begun++) {
		history = begin(16ULL * MB);
		tick(history, second++, 1);
		history_free(history);
	}
	assert_in_range(bytes_on_disk(), 8 * MB, 16 * MB);
	assert_int_equal(check_step(STEP_MINUTE, 1, NOON, NOON + 300), 5);
	remove_all();
}

static void count_users(int64_t minute_s, unsigned service, const struct sampled_user *users, size_t count,
                        void *argument)
{
	size_t *seen = argument;

	assert_int_equal(minute_s % 60, 0);
	assert_int_equal(service, 1);
	assert_string_equal(users[0].user, "198.51.100.7");
	assert_int_equal(users[0].packets, minute_s);
	*seen += count;
}

static void see_merged(int64_t minute_s, unsigned service, const struct sampled_user *users, size_t count,
                       void *argument)
{
	(void)minute_s, (void)service, (void)argument;

	assert_int_equal(count, 2);
	assert_string_equal(users[0].user, "198.51.100.7");
	assert_int_equal(users[0].packets, 2LL * (NOON + 240));
	assert_int_equal(users[0].spilled, 2);
	assert_int_equal(users[1].packets, 5);
}

static void count_event(int64_t time_us, const char *document, void *argument)
{
	size_t *seen = argument;

	assert_true(time_us >= NOON * 1000000LL);
	assert_non_null(strstr(document, "\"why\""));
	++*seen;
}

static void test_users_bins_events(void **state)
{
	struct distribution distribution = {.passes = 1}, back;
	struct error err = {""};
	size_t seen = 0;
	(void)state;

	struct history *history = begin(100ULL * MB);
	tick(history, NOON, 1);
	for (int64_t minute = NOON; minute < NOON + 600; minute += 60) {
		struct sampled_user user = {"198.51.100.7", (uint64_t)minute, 7, 0};
		history_record_users(history, minute, "service1", &user, 1);
		distribution_add_user(&distribution, 100, 10000);
		history_record_distribution(history, minute, "service1", &distribution);
	}
	/* Told twice for a minute, as where the daemon was started again in it: added, each to its own. */
	struct sampled_user again[2] = {{"198.51.100.7", NOON + 240, 1, 1}, {"198.51.100.8", 5, 6, 7}};
	history_record_users(history, NOON + 600, "service1", again, 2);
	history_record_users(history, NOON + 600, "service1", again, 1);
	for (int i = 0; i < 100; i++)
		history_record_event(history, NOON * 1000000LL, "level", i % 2 ? "service1" : NULL, NULL,
		                     "{\"event\":\"level\",\"why\":\"so\"}");
	history_free(history);

	_cleanup_(history_reader_closep) struct history_reader *reader = look();
	assert_int_equal(history_reader_users(reader, 1, NOON + 60, NOON + 300, count_users, &seen, &err), 0);
	assert_int_equal(seen, 4);
	assert_int_equal(history_reader_users(reader, 1, NOON + 600, NOON + 660, see_merged, NULL, &err), 0);
	assert_int_equal(history_reader_distribution(reader, 1, NOON, NOON + 1, &back, &err), 0);
	assert_int_equal(back.passes, 10);
	seen = 0;
	assert_int_equal(history_reader_events(reader, NULL, NOON, NOON + 1, count_event, &seen, &err), 0);
	assert_int_equal(seen, 100);
	seen = 0;
	assert_int_equal(history_reader_events(reader, "service1", NOON, NOON + 1, count_event, &seen, &err), 0);
	assert_int_equal(seen, 50);
	remove_all();
}

static void write_file(const char *name, const void *bytes, size_t size)
{
	FILE *file = fopen(name, "w");

	if (!file || fwrite(bytes, 1, size, file) != size)
		fail_msg("%s: %s", name, strerror(errno));
	else
		fclose(file);
}

static char *read_whole(const char *name, size_t *size)
{
	FILE *file = fopen(name, "r");
	char *bytes = malloc(64U * MB);

	*size = 0;
	if (!file) {
		fail_msg("%s: %s", name, strerror(errno));
	} else {
		*size = fread(bytes, 1, 64U * MB, file);
		fclose(file);
	}
	return bytes;
}

/* Opens what is at the path, and says which error that is; what was there stays. */
static int open_once(char *aside, struct error *err)
{
	struct history_file *file = NULL;
	int failure = history_file_open(&file, path, 100ULL * MB, DAMAGE_MOVES, aside, err);

	history_file_close(file);
	return failure;
}

static void refuse(int code, const char *words)
{
	char aside[PATH_MAX];
	size_t before_size, after_size;
	struct error err = {""};

	_cleanup_free_ char *before = read_whole(path, &before_size);
	assert_int_equal(open_once(aside, &err), code);
	if (!strstr(err.text, words))
		fail_msg("'%s' does not say '%s'", err.text, words);
	_cleanup_free_ char *after = read_whole(path, &after_size);
	assert_int_equal(before_size, after_size);
	assert_memory_equal(before, after, after_size);
	assert_string_equal(aside, "");
}

static void test_not_ours(void **state)
{
	char aside[PATH_MAX];
	struct error err;
	(void)state;

	write_file(path, "root:x:0:0:root:/root:/bin/bash\n", 32);
	refuse(-EMEDIUMTYPE, "no database");
	unlink(path);
	sql("CREATE TABLE precious(value); INSERT INTO precious VALUES(1)");
	refuse(-EMEDIUMTYPE, "another application's");
	unlink(path);
	assert_int_equal(open_once(aside, &err), 0);
	sql("PRAGMA user_version = 99");
	refuse(-EPROTO, "a newer version");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(open_once(aside, &err) < 0);
	rmdir(path);
	/* What is empty may be filled. */
	write_file(path, "", 0);
	assert_int_equal(open_once(aside, &err), 0);
	remove_all();

	/* One writer at a time. */
	struct history_file *first = NULL;
	assert_int_equal(history_file_open(&first, path, 100ULL * MB, DAMAGE_MOVES, aside, &err), 0);
	assert_int_equal(open_once(aside, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another daemon"));
	history_file_close(first);
	assert_int_equal(open_once(aside, &err), 0);
	remove_all();
	snprintf(path + strlen(directory), 32, "/nosuch/below/history.db");
	assert_int_equal(open_once(aside, &err), -ENOENT);
	snprintf(path + strlen(directory), 32, "/history.db");
}

/* Truncated at any byte, or with any byte changed: it opens, or is moved aside whole; and there is a history again. */
static void test_damage(void **state)
{
	char aside[PATH_MAX];
	size_t size, moved = 0;
	uint64_t seed = 7;
	struct error err;
	(void)state;

	struct history *history = begin(100ULL * MB);
	for (int64_t second = NOON; second < NOON + 4000; second++)
		tick(history, second, 3);
	history_free(history);
	_cleanup_free_ char *whole = read_whole(path, &size);
	remove_all();

	for (int round = 0; round < 400 / times; round++) {
		_cleanup_free_ char *bytes = malloc(size);
		size_t left = round < 110 ? (size_t)round : randomly(&seed) % size;
		memcpy(bytes, whole, size);
		if (round >= 250) { /* a run of garbage instead */
			for (size_t i = left; i < left + 200 && i < size; i++)
				bytes[i] = (char)randomly(&seed);
			left = size;
		}
		write_file(path, bytes, left);
		int failure = open_once(aside, &err);
		if (*aside) {
			size_t aside_size;
			_cleanup_free_ char *kept = read_whole(aside, &aside_size);
			assert_int_equal(aside_size, left);
			assert_memory_equal(kept, bytes, left);
			moved++;
		}
		/* Garbage in the header may have made it somebody else's. */
		assert_true(!failure || failure == -EMEDIUMTYPE || failure == -EPROTO);
		if (!failure) {
			history = begin(100ULL * MB);
			tick(history, NOON + 4000, 3);
			history_free(history);
			_cleanup_(history_reader_closep) struct history_reader *reader = look();
		}
		remove_all();
	}
	assert_true(moved >= (times == 1 ? 200 : 15));
}

/* Killed at any moment: what is there is whole, and the next one goes on with it. */
static void test_killed(void **state)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	const int64_t start = NOON;
	int64_t seen = 0;
	uint64_t seed = 3;
	(void)state;

	if (times > 1) /* memcheck would follow the child, which would not come far */
		return;
	/* A machine so slow that none of them came to write gives them longer. */
	for (int round = 0; round < 40 || (!seen && round < 400); round++) {
		pid_t child = fork();
		if (child == 0) {
			struct history *history = begin(100ULL * MB);
			for (int64_t second = start;; second++) {
				tick(history, second, 3);
				settle(history);
			}
		}
		const struct timespec later = {.tv_nsec =
		                                       (long)(5000000 + randomly(&seed) % 60000000) * (1 + round / 40)};
		nanosleep(&later, NULL);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		if (access(path, F_OK) != 0) /* killed before there was one */
			continue;
		struct history *history = begin(100ULL * MB);
		while (history_status(history).state == HISTORY_OPENING && history_status(history).batches == 0) {
			tick(history, start + 43200, 0); /* so that it opens, and rolls up */
			nanosleep(&moment, NULL);
		}
		assert_string_equal(history_status(history).aside, "");
		history_free(history);
		size_t seconds = check_step(STEP_SECOND, 2, start, start + 40000);
		size_t minutes = check_step(STEP_MINUTE, 2, start, start + 40000);
		assert_true(minutes + 1 >= seconds / 60);
		seen += (int64_t)seconds;
		remove_all();
	}
	assert_true(seen > 0);
}

/* What a row of a table takes of the file for each second of a service, with some for the tree around it. */
static double bytes_a_second(const char *table, double service_seconds)
{
	char text[120];
	sqlite3 *database = NULL;
	sqlite3_stmt *sum = NULL;

	snprintf(text, sizeof(text), "SELECT sum(length(samples) + 12) FROM %s", table);
	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(database, text, -1, &sum, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(sum), SQLITE_ROW);
	double bytes = sqlite3_column_double(sum, 0);
	sqlite3_finalize(sum);
	sqlite3_close(database);
	return bytes / service_seconds;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What a service that is busy each second of ten years takes, by the bytes of its samples; and how many of them 1 GiB
 * holds so long. */
static void print_room(double day, double month, double years)
{
	uint8_t packed[SAMPLES_PACKED_MAX];
	struct sampled_user users[SAMPLED_USERS_MAX];
	struct distribution distribution = {0};
	uint64_t seed = 7;

	for (size_t i = 0; i < SAMPLED_USERS_MAX; i++) {
		users[i] = (struct sampled_user){.packets = 60 * (5000 - 400 * i), .bytes = 24000 * (5000 - 400 * i)};
		snprintf(users[i].user, sizeof(users[i].user), "198.51.%zu.%zu", 100 + i, 200 + i);
	}
	double names = (double)sampled_users_pack(users, SAMPLED_USERS_MAX, packed) + 12;
	for (int pass = 0; pass < 900; pass++)
		for (int user = 0; user < 200; user++)
			distribution_add_user(&distribution, exp2((double)(randomly(&seed) % 1000) / 100),
			                      exp2(6 + (double)(randomly(&seed) % 1000) / 100));
	distribution.passes = 900;
	double bins = (double)distribution_pack(&distribution, packed) + 12;
	double least = day + month + years + 1440 * names + 7 * 96 * bins;
	printf("a busy service takes %.2f MB for a day of seconds, %.2f MB for a month of minutes, %.2f MB for ten "
	       "years "
	       "of "
	       "quarters; %.2f MB for a day of users by name (%.1f MB for a month), %.2f MB for a week of "
	       "distributions "
	       "(%.0f MB for ten years): %.1f MB at the least, %.0f such services in 1 GiB\n",
	       day / 1e6, month / 1e6, years / 1e6, 1440 * names / 1e6, 31 * 1440 * names / 1e6, 7 * 96 * bins / 1e6,
	       3653 * 96 * bins / 1e6, least / 1e6, (double)(1U << 30) * 0.9 / least);
}

/* A thousand busy services, none of whose figures stands still: what a tick costs, and a day. */
static void test_thousand(void **state)
{
	enum { SERVICES = 1000 };
	struct history_entry entries[SERVICES + 1] = {{.name = ""}};
	const int64_t span = times == 1 ? 900 : 60;
	double recorded_s = 0;
	uint64_t seed = 5;
	(void)state;

	struct history *history = begin(1000ULL * MB);
	for (int64_t second = NOON; second < NOON + span; second++) {
		for (unsigned i = 0; i <= SERVICES; i++) {
			uint64_t *values = entries[i].sample.values, packets = 5000 + randomly(&seed) % 1000;
			if (i)
				snprintf(entries[i].name, sizeof(entries[i].name), "service%u", i);
			entries[i].number = i;
			values[SAMPLE_PACKETS] = packets;
			values[SAMPLE_BYTES] = packets * 400 + randomly(&seed) % 100000;
			values[SAMPLE_SPILLED] = second / 60 % 4 ? 0 : packets / 10;
			values[SAMPLE_USERS] = 200 + randomly(&seed) % 10;
			values[SAMPLE_LEVEL] = 1000000;
			values[SAMPLE_P50_US] = 1000 + randomly(&seed) % 100;
			values[SAMPLE_P99_US] = 5000 + randomly(&seed) % 1000;
			values[SAMPLE_SECONDS] = 1;
		}
		double began_s = seconds_now();
		history_record(history, second, entries, SERVICES + 1);
		recorded_s += seconds_now() - began_s;
		settle(history);
	}
	/* To its end in 5 s: what is queued may take memcheck longer. */
	const struct timespec moment = {.tv_nsec = 2000000};
	while (history_status(history).queued && history_status(history).state != HISTORY_STALLED)
		nanosleep(&moment, NULL);
	double slowest_s = history_status(history).slowest_s;
	assert_int_equal(history_status(history).lost, 0);
	history_free(history);
	double fine = bytes_a_second("seconds", (double)span * SERVICES);
	double coarse = bytes_a_second("minutes", (double)span * SERVICES);
	printf("1,000 services: %.0f us a tick, the longest batch %.0f ms; %.1f bytes a second and service, %.1f a "
	       "minute\n",
	       1e6 * recorded_s / (double)span, 1e3 * slowest_s, fine, 60 * coarse);
	assert_true(fine < 14);
	print_room(86400 * fine, 31 * 1440 * 60 * coarse, 3653 * 96 * 60 * coarse);
}

/* However a test ends, the next one finds nothing of it. */
static int clean(void **state)
{
	(void)state;
	remove_all();
	return 0;
}

static void wait_until_it_hangs(void)
{
	for (int i = 0; i < 10000 && !somebody_hangs; i++)
		usleep(1000);
	assert_true(somebody_hangs);
}

static void test_nobody_waits_for_a_disk_that_hangs(void **state)
{
	char first[sizeof(path)];
	struct error err;
	(void)state;

	somebody_hangs = false;
	disk_hangs = true;
	struct history *history = begin(100ULL * MB), *before = history;
	tick(history, NOON, 1);
	wait_until_it_hangs();
	double began_s = seconds_now();
	memcpy(first, path, sizeof(path));
	snprintf(path, sizeof(path), "%.40s/second.db", directory);
	assert_int_equal(history_replace(&history, path, 100ULL * MB, &err), 0);
	assert_ptr_not_equal(history, before);
	tick(history, NOON + 60, 1);
	/* Where somebody waited, it was for 5 s. */
	assert_true(seconds_now() - began_s < 4);
	assert_int_equal(history_status(history).state, HISTORY_OPENING);
	disk_hangs = false;
	history_free(history);
	assert_int_equal(check_step(STEP_SECOND, 1, NOON + 60, NOON + 61), 1);
	memcpy(path, first, sizeof(path));
	assert_int_equal(check_step(STEP_SECOND, 1, NOON, NOON + 1), 1);

	somebody_hangs = false;
	disk_hangs = true;
	history = begin(100ULL * MB);
	tick(history, NOON + 120, 1);
	wait_until_it_hangs();
	history_retire(history);
	disk_hangs = false;
	/* It ends in its own time: then the file can be written by another. */
	history = begin(100ULL * MB);
	tick(history, NOON + 180, 1);
	for (int i = 0; i < 10000 && history_status(history).state != HISTORY_WRITING; i++)
		usleep(1000);
	history_free(history);
	assert_int_equal(check_step(STEP_SECOND, 1, NOON + 120, NOON + 121), 1);
	assert_int_equal(check_step(STEP_SECOND, 1, NOON + 180, NOON + 181), 1);
	remove_all();
}

#define TEST(test) cmocka_unit_test_teardown(test, clean)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_packing),
		TEST(test_folding),
		TEST(test_distribution),
		TEST(test_users_packing),
		TEST(test_going_on),
		TEST(test_clock_set_back),
		TEST(test_bound),
		TEST(test_what_gives_way_first),
		TEST(test_shrinking),
		TEST(test_users_bins_events),
		TEST(test_not_ours),
		TEST(test_damage),
		TEST(test_killed),
		TEST(test_nobody_waits_for_a_disk_that_hangs),
		TEST(test_a_million_seconds),
		TEST(test_thousand),
	};

	const char *preloaded = getenv("LD_PRELOAD");
	times = preloaded && strstr(preloaded, "vgpreload") ? 20 : 1;
	/* In memory where it can be: the tests wait for the disk a thousand times. */
	snprintf(directory, sizeof(directory), "%s/spillway-XXXXXX",
	         access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/history.db", directory);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(directory);
	return failed;
}
