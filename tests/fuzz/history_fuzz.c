/* SPDX-License-Identifier: GPL-2.0-only */
/* F14. The history's database with damaged bytes, in the file or in its log, or cut off: whoever reads it and whoever
 * writes it gets answers or one of the refusals that they document, and where the damage is known a new file begins.
 * Areas of damage (fuzz/damage.h): 0 and 1 the file's and the log's bytes, 2 and 3 where they end. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fuzz/damage.h"
#include "fuzz/require.h"
#include "observe/history_file.h"
#include "observe/history_reader.h"

#define NOON      1700006400 /* a whole day */
#define FILE_MOST (1U << 20)
#define SIZE_MOST (8U << 20)

enum { DATABASE, LOG, PARTS };

static char directory[64], paths[PARTS][PATH_MAX];

struct part {
	uint8_t bytes[FILE_MOST];
	size_t size;
};

static struct part sound[PARTS];

static void read_part(const char *path, struct part *out)
{
	_cleanup_fclose_ FILE *stream = fopen(path, "re");

	REQUIRE(stream);
	out->size = fread(out->bytes, 1, sizeof(out->bytes), stream);
	REQUIRE(out->size && out->size < sizeof(out->bytes));
}

static void write_part(const char *path, const struct part *part)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && write(fd, part->bytes, part->size) == (ssize_t)part->size);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)kind;
	return place->level ? remove(path) : 0;
}

static void clear_directory(void)
{
	REQUIRE(nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static void remove_directory(void)
{
	clear_directory();
	rmdir(directory);
}

static int write_some(struct history_file *file, struct error *err)
{
	struct sample samples[SAMPLES_MAX] = {0};
	struct sampled_user user = {.user = "192.0.2.1", .packets = 10, .bytes = 1000};
	struct distribution distribution = {.passes = 1};
	uint8_t blob[HISTORY_BLOB_MAX];
	unsigned service = 0;
	size_t size = 0;

	for (size_t i = 0; i < 60; i++)
		samples[i] = (struct sample){.values = {[SAMPLE_PACKETS] = 100 + i, [SAMPLE_SECONDS] = 1}};
	distribution_add_user(&distribution, 100, 64000);
	int failure = history_file_begin(file, err);
	if (!failure)
		failure = history_file_service(file, "web", &service, err);
	for (int64_t minute = NOON / 60; minute < NOON / 60 + 16 && !failure; minute++) {
		failure = history_file_get(file, TABLE_SECONDS, history_row(minute, service), blob, &size, err);
		if (!failure)
			failure = history_file_put(file, TABLE_SECONDS, history_row(minute, service), blob,
			                           samples_pack(samples, 60, blob), err);
		if (!failure)
			failure = history_file_put(file, TABLE_USERS, history_row(minute, service), blob,
			                           sampled_users_pack(&user, 1, blob), err);
		if (!failure)
			failure = history_file_fold_minute(file, minute * 60, err);
	}
	if (!failure)
		failure = history_file_put(file, TABLE_DISTRIBUTIONS, history_row(NOON / HISTORY_BINS_S, service), blob,
		                           distribution_pack(&distribution, blob), err);
	if (!failure)
		failure = history_file_fold_quarter(file, NOON, err);
	if (!failure)
		failure = history_file_event(file, NOON * INT64_C(1000000), "level", "web", NULL, "{}", err);
	if (!failure)
		failure = history_file_trim(file, NOON + 3600, err);
	if (!failure)
		failure = history_file_commit(file, err);
	if (failure)
		history_file_rollback(file);
	return failure;
}

/* What no damage may lead to: a fault of our own, or words that say nothing. */
static void require_refusal(int failure, const struct error *err)
{
	static const int known[] = {-EMEDIUMTYPE, -EPROTO, -EUCLEAN, -EBUSY, -EIO, -E2BIG, -ENOSPC, -EROFS, -ENOMEM};
	bool documented = false;

	if (!failure)
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		documented |= failure == known[i];
	REQUIRE(documented && err->text[0]);
}

static void see_users(int64_t minute_s, unsigned service, const struct sampled_user *users, size_t count,
                      void *argument)
{
	(void)minute_s, (void)argument;
	REQUIRE(service <= HISTORY_SERVICES_MAX && count <= SAMPLED_USERS_MAX);
	for (size_t i = 0; i < count; i++)
		REQUIRE(strlen(users[i].user) < sizeof(users[i].user));
}

static void see_event(int64_t time_us, const char *document, void *argument)
{
	(void)time_us, (void)argument;
	REQUIRE(document);
}

static void read_all(struct history_reader *reader)
{
	struct history_service *services = NULL;
	struct distribution distribution;
	struct error err = {0};
	size_t count = 0;

	require_refusal(history_reader_services(reader, &services, &count, &err), &err);
	free(services);
	for (enum history_step step = STEP_SECOND; step < STEPS; step++) {
		for (unsigned service = 0; service < 2; service++) {
			struct sample *samples = NULL;
			require_refusal(history_reader_samples(reader, service, step, NOON, NOON + 1000, &samples,
			                                       &count, &err),
			                &err);
			free(samples);
		}
	}
	require_refusal(history_reader_users(reader, 0, NOON, NOON + 3600, see_users, NULL, &err), &err);
	require_refusal(history_reader_distribution(reader, 1, NOON, NOON + 3600, &distribution, &err), &err);
	require_refusal(history_reader_events(reader, "web", NOON, NOON + 3600, see_event, NULL, &err), &err);
	require_refusal(history_reader_events(reader, NULL, 0, INT32_MAX, see_event, NULL, &err), &err);
}

static void prepare(void)
{
	struct history_file *file = NULL;
	char aside[PATH_MAX];
	struct error err;

	snprintf(directory, sizeof(directory), "/dev/shm/spillway-fuzz-%d", getpid());
	REQUIRE(mkdir(directory, 0700) == 0);
	atexit(remove_directory);
	snprintf(paths[DATABASE], PATH_MAX, "%s/history.db", directory);
	snprintf(paths[LOG], PATH_MAX, "%s/history.db-wal", directory);
	REQUIRE(history_file_open(&file, paths[DATABASE], SIZE_MOST, DAMAGE_STAYS, aside, &err) == 0);
	REQUIRE(write_some(file, &err) == 0);
	history_file_close(file); /* which plays the log into the file */
	REQUIRE(history_file_open(&file, paths[DATABASE], SIZE_MOST, DAMAGE_STAYS, aside, &err) == 0);
	REQUIRE(write_some(file, &err) == 0);
	read_part(paths[DATABASE], &sound[DATABASE]);
	read_part(paths[LOG], &sound[LOG]);
	history_file_close(file);
}

static void lay_out(const uint8_t *bytes, size_t size)
{
	static struct part parts[PARTS];
	struct damage damage;

	memcpy(parts, sound, sizeof(parts));
	while (damage_next(&bytes, &size, &damage)) {
		struct part *part = &parts[damage.area % PARTS];
		size_t at = part->size ? damage.at % part->size : 0;
		size_t fits = damage.size < part->size - at ? damage.size : part->size - at;
		if (damage.area % 4 < PARTS)
			memcpy(part->bytes + at, damage.bytes, fits);
		else
			part->size = at;
	}
	clear_directory();
	for (int part = 0; part < PARTS; part++)
		write_part(paths[part], &parts[part]);
}

static void read_it(void)
{
	struct history_reader *reader = NULL;
	struct error err = {0};

	int failure = history_reader_open(&reader, paths[DATABASE], &err);
	require_refusal(failure, &err);
	if (failure)
		return;
	read_all(reader);
	history_reader_close(reader);
}

/* Returns whether damage was seen only while writing, as the daemon would see it. */
static bool write_it(enum history_damage damage)
{
	struct history_file *file = NULL;
	char aside[PATH_MAX];
	struct error err = {0};

	int failure = history_file_open(&file, paths[DATABASE], SIZE_MOST, damage, aside, &err);
	require_refusal(failure, &err);
	if (failure)
		return false;
	failure = write_some(file, &err);
	require_refusal(failure, &err);
	REQUIRE(!failure || !aside[0]); /* a file that has just been begun is sound */
	history_file_close(file);
	return failure == -EUCLEAN;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (!directory[0])
		prepare();
	lay_out(bytes, size);
	read_it();
	if (write_it(DAMAGE_MOVES))
		REQUIRE(!write_it(DAMAGE_KNOWN));
	return 0;
}
