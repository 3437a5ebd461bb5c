/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept of a service over time: samples, how fine ones are folded into coarse ones, and how a row of them is
 * packed into some bytes; and how its users' rates and packet sizes are distributed. Pure: no clock, no file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sample_field {
	SAMPLE_PACKETS, /* received, as all counts within the sample's time */
	SAMPLE_BYTES,
	SAMPLE_SPILLED, /* packets; received less spilled passed */
	SAMPLE_SPILLED_BYTES,
	SAMPLE_SHADOW,   /* packets that `observe` would have dropped */
	SAMPLE_PEAK,     /* most packets in one second of it; 0 in samples of a second */
	SAMPLE_USERS,    /* most that were active at once */
	SAMPLE_LEVEL,    /* the lowest, in thousandths of a packet a second; 0: none */
	SAMPLE_CAPACITY, /* the same */
	SAMPLE_P50_US,   /* of response times, weighted by packets; 0: not known */
	SAMPLE_P99_US,   /* the highest of the seconds' */
	SAMPLE_SECONDS,  /* that were seen; fewer than the sample's time while no daemon ran. 0: there is no sample */
	SAMPLE_FIELDS,
};

struct sample {
	uint64_t values[SAMPLE_FIELDS];
};

/* The three finenesses, and how their samples are kept: `samples` in a row. */
enum history_step {
	STEP_SECOND,
	STEP_MINUTE,
	STEP_QUARTER, /* of an hour */
	STEPS,
};

struct step {
	const char *name, *table;
	unsigned seconds; /* a sample's time */
	unsigned samples; /* in a row */
	int64_t kept_s;   /* for so long, where there is room */
};

extern const struct step history_steps[STEPS];

#define SAMPLES_MAX        96 /* in a row of any step */
#define SAMPLES_PACKED_MAX (16 + SAMPLES_MAX / 8 + SAMPLE_FIELDS * SAMPLES_MAX * 10)

/* The seconds that a row of this step spans. */
static inline int64_t step_row_s(const struct step *step)
{
	return (int64_t)step->seconds * step->samples;
}

/* Folds `count` samples into one that spans them all: counts are summed, peaks the highest. Absent ones say nothing;
 * where all are absent, so is the result. */
void samples_fold(const struct sample *samples, size_t count, struct sample *out);

/* Lays one more sample of the same time over another: a second that the wall clock showed twice. */
void sample_add(struct sample *into, const struct sample *more);

/* Packs a row into `out`, at least SAMPLES_PACKED_MAX bytes, and returns the size; 0 where all samples are absent. What
 * hardly changes takes hardly any room: 5 to 9 bytes a sample of a busy service. */
size_t samples_pack(const struct sample *samples, size_t count, uint8_t *out);

/* Returns 0, or -EINVAL where the bytes are no row of `count` samples; `samples` is then undefined. */
int samples_unpack(const uint8_t *bytes, size_t size, struct sample *samples, size_t count);

/* How many users sent at which rate, and how many packets were how large, in bins a quarter of an octave wide: the
 * upper end is 2^(1/4) = 1.19 times the lower. The first also holds what is less, the last what is more. */
#define BINS_RATES      128  /* from 0.25 packets a second */
#define BINS_SIZES      64   /* from 32 bytes; a user's packets count in the bin of their mean size */
#define BINS_RATE_LEAST 0.25 /* the lower end of the first */
#define BINS_SIZE_LEAST 32.0

struct distribution {
	uint64_t passes;            /* looks at the table of users that are summed in here */
	uint64_t rates[BINS_RATES]; /* users, each as often as a pass saw it: divide by `passes` */
	uint64_t sizes[BINS_SIZES]; /* packets a second, likewise */
};

#define DISTRIBUTION_PACKED_MAX (16 + (BINS_RATES + BINS_SIZES) * 12)

/* Counts one user of one pass. A few nanoseconds. */
void distribution_add_user(struct distribution *distribution, double packets_per_second, double bytes_per_second);

void distribution_add(struct distribution *into, const struct distribution *more);

/* The lower end of a bin, in packets a second or bytes. */
double distribution_rate(size_t bin);
double distribution_size(size_t bin);

/* The same as of samples. */
size_t distribution_pack(const struct distribution *distribution, uint8_t *out);
int distribution_unpack(const uint8_t *bytes, size_t size, struct distribution *out);

/* One of the heaviest users of a minute. */
#define SAMPLED_USER_TEXT_MAX 52
#define SAMPLED_USERS_MAX     16 /* in one row */
struct sampled_user {
	char user[SAMPLED_USER_TEXT_MAX];
	uint64_t packets, bytes, spilled; /* within the minute */
};

#define SAMPLED_USERS_PACKED_MAX (4 + SAMPLED_USERS_MAX * (SAMPLED_USER_TEXT_MAX + 30))

size_t sampled_users_pack(const struct sampled_user *users, size_t count, uint8_t *out);

/* Returns how many there are, at most SAMPLED_USERS_MAX, or -EINVAL. */
int sampled_users_unpack(const uint8_t *bytes, size_t size, struct sampled_user out[SAMPLED_USERS_MAX]);
