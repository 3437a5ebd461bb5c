/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/samples.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define RATE_MOST 1e15 /* packets a second, in a sum: no host comes near it */
#define PACKING   1    /* the first byte of whatever is packed: how it is */

const struct step history_steps[STEPS] = {
	[STEP_SECOND] = {"second", "seconds", 1, 60, 86400},
	[STEP_MINUTE] = {"minute", "minutes", 60, 60, 31 * 86400LL},
	[STEP_QUARTER] = {"quarter", "quarters", 900, 96, 3653 * 86400LL},
};

enum folding {
	FOLD_SUM,
	FOLD_MOST,
	FOLD_LEAST, /* 0 is none */
	FOLD_MEAN,  /* weighted by packets; 0 is none */
};

static const enum folding foldings[SAMPLE_FIELDS] = {
	[SAMPLE_PACKETS] = FOLD_SUM,       [SAMPLE_BYTES] = FOLD_SUM,   [SAMPLE_SPILLED] = FOLD_SUM,
	[SAMPLE_SPILLED_BYTES] = FOLD_SUM, [SAMPLE_SHADOW] = FOLD_SUM,  [SAMPLE_PEAK] = FOLD_MOST,
	[SAMPLE_USERS] = FOLD_MOST,        [SAMPLE_LEVEL] = FOLD_LEAST, [SAMPLE_CAPACITY] = FOLD_LEAST,
	[SAMPLE_P50_US] = FOLD_MEAN,       [SAMPLE_P99_US] = FOLD_MOST, [SAMPLE_SECONDS] = FOLD_SUM,
};

static void fold_mean(const struct sample *samples, size_t count, size_t field, struct sample *out)
{
	double sum = 0, weights = 0;

	for (size_t i = 0; i < count; i++) {
		if (!samples[i].values[field])
			continue;
		double weight = (double)samples[i].values[SAMPLE_PACKETS] + 1e-9;
		sum += weight * (double)samples[i].values[field];
		weights += weight;
	}
	out->values[field] = weights > 0 ? (uint64_t)llround(sum / weights) : 0;
}

/* The most packets in a second: a sample of one second has no peak but itself. */
static uint64_t peak_of(const struct sample *sample)
{
	uint64_t seconds = sample->values[SAMPLE_SECONDS];

	if (sample->values[SAMPLE_PEAK] || !seconds)
		return sample->values[SAMPLE_PEAK];
	return (sample->values[SAMPLE_PACKETS] + seconds - 1) / seconds;
}

static void fold_value(uint64_t *into, uint64_t value, enum folding folding)
{
	if (folding == FOLD_SUM)
		*into += value;
	else if ((folding == FOLD_MOST && value > *into) ||
	         (folding == FOLD_LEAST && value && (!*into || value < *into)))
		*into = value;
}

void samples_fold(const struct sample *samples, size_t count, struct sample *out)
{
	*out = (struct sample){0};
	for (size_t i = 0; i < count; i++) {
		for (size_t field = 0; field < SAMPLE_FIELDS; field++)
			fold_value(&out->values[field],
			           field == SAMPLE_PEAK ? peak_of(&samples[i]) : samples[i].values[field],
			           foldings[field]);
	}
	fold_mean(samples, count, SAMPLE_P50_US, out);
}

void sample_add(struct sample *into, const struct sample *more)
{
	struct sample both[2] = {*into, *more};
	bool second = !into->values[SAMPLE_PEAK] && !more->values[SAMPLE_PEAK];

	samples_fold(both, 2, into);
	if (second)
		into->values[SAMPLE_PEAK] = 0;
}

/* LEB128: seven bits a byte, the lowest first. */
static uint8_t *write_number(uint8_t *out, uint64_t value)
{
	while (value > 0x7f) {
		*out++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*out++ = (uint8_t)value;
	return out;
}

struct bytes {
	const uint8_t *next, *end;
	bool broken;
};

/* `bytes` may be NULL where there are none. */
static struct bytes bytes_of(const uint8_t *bytes, size_t size)
{
	return (struct bytes){bytes, size ? bytes + size : bytes, false};
}

static uint64_t read_number(struct bytes *bytes)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && bytes->next < bytes->end; shift += 7) {
		uint8_t byte = *bytes->next++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	bytes->broken = true;
	return 0;
}

/* Small changes either way become small numbers. */
static uint64_t fold_sign(uint64_t change)
{
	return change << 1 ^ (change >> 63 ? UINT64_MAX : 0);
}

static uint64_t unfold_sign(uint64_t folded)
{
	return folded >> 1 ^ (folded & 1 ? UINT64_MAX : 0);
}

/* A field's column: changes from one present sample to the next, and 0 followed by how many more there are of it. */
static uint8_t *pack_column(const struct sample *samples, size_t count, size_t field, uint8_t *out)
{
	uint64_t last = 0, run = 0;

	for (size_t i = 0; i < count; i++) {
		if (!samples[i].values[SAMPLE_SECONDS])
			continue;
		uint64_t change = samples[i].values[field] - last;
		last = samples[i].values[field];
		if (!change) {
			run++;
			continue;
		}
		if (run) {
			*out++ = 0;
			out = write_number(out, run - 1);
			run = 0;
		}
		out = write_number(out, fold_sign(change));
	}
	if (run) {
		*out++ = 0;
		out = write_number(out, run - 1);
	}
	return out;
}

size_t samples_pack(const struct sample *samples, size_t count, uint8_t *out)
{
	uint8_t *start = out, present[SAMPLES_MAX / 8] = {0};
	unsigned used = 0;
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (!samples[i].values[SAMPLE_SECONDS])
			continue;
		any = true;
		present[i / 8] |= (uint8_t)(1U << i % 8);
		for (unsigned field = 0; field < SAMPLE_FIELDS; field++)
			used |= (samples[i].values[field] != 0) << field;
	}
	if (!any)
		return 0;
	*out++ = PACKING;
	out = write_number(out, used);
	memcpy(out, present, (count + 7) / 8);
	out += (count + 7) / 8;
	for (unsigned field = 0; field < SAMPLE_FIELDS; field++)
		if (used & 1U << field)
			out = pack_column(samples, count, field, out);
	return (size_t)(out - start);
}

static void unpack_column(struct bytes *bytes, const uint8_t *present, struct sample *samples, size_t count,
                          size_t field)
{
	uint64_t value = 0, run = 0;

	for (size_t i = 0; i < count && !bytes->broken; i++) {
		if (!(present[i / 8] & 1U << i % 8))
			continue;
		if (run) {
			run--;
		} else {
			uint64_t folded = read_number(bytes);
			value += unfold_sign(folded);
			run = folded ? 0 : read_number(bytes);
		}
		samples[i].values[field] = value;
	}
	bytes->broken |= run != 0;
}

int samples_unpack(const uint8_t *bytes, size_t size, struct sample *samples, size_t count)
{
	struct bytes left = bytes_of(bytes, size);

	memset(samples, 0, count * sizeof(*samples));
	if (count > SAMPLES_MAX || read_number(&left) != PACKING)
		return -EINVAL;
	uint64_t used = read_number(&left);
	const uint8_t *present = left.next;
	if (left.broken || used >> SAMPLE_FIELDS || (size_t)(left.end - left.next) < (count + 7) / 8)
		return -EINVAL;
	left.next += (count + 7) / 8;
	for (size_t field = 0; field < SAMPLE_FIELDS; field++)
		if (used & 1U << field)
			unpack_column(&left, present, samples, count, field);
	return left.broken || left.next != left.end ? -EINVAL : 0;
}

/* floor(4 log2(value / least)) without a logarithm: the exponent, and three compares within the octave. */
static size_t bin_of(double value, double least, size_t bins)
{
	int exponent;
	double fraction = frexp(value / least, &exponent); /* 0.5 to 1 */

	if (!(value > least))
		return 0;
	size_t quarter = fraction >= M_SQRT1_2 ? 2 : 0;
	quarter += fraction >= (quarter ? 0.8408964152537145 : 0.5946035575013605); /* 2^(-1/4), 2^(-3/4) */
	size_t bin = (size_t)(exponent - 1) * 4 + quarter;
	return bin < bins ? bin : bins - 1;
}

void distribution_add_user(struct distribution *distribution, double packets_per_second, double bytes_per_second)
{
	if (!(packets_per_second > 0) || !isfinite(packets_per_second) || !isfinite(bytes_per_second))
		return;
	distribution->rates[bin_of(packets_per_second, BINS_RATE_LEAST, BINS_RATES)]++;
	distribution->sizes[bin_of(bytes_per_second / packets_per_second, BINS_SIZE_LEAST, BINS_SIZES)] +=
		(uint64_t)(fmin(packets_per_second, RATE_MOST) + 0.5);
}

void distribution_add(struct distribution *into, const struct distribution *more)
{
	into->passes += more->passes;
	for (size_t i = 0; i < BINS_RATES; i++)
		into->rates[i] += more->rates[i];
	for (size_t i = 0; i < BINS_SIZES; i++)
		into->sizes[i] += more->sizes[i];
}

double distribution_rate(size_t bin)
{
	return BINS_RATE_LEAST * exp2((double)bin / 4);
}

double distribution_size(size_t bin)
{
	return BINS_SIZE_LEAST * exp2((double)bin / 4);
}

/* Pairs of how many bins further and how much is in it; a count of 0 ends them. */
static uint8_t *pack_bins(const uint64_t *bins, size_t count, uint8_t *out)
{
	size_t last = 0;

	for (size_t i = 0; i < count; i++) {
		if (!bins[i])
			continue;
		out = write_number(out, bins[i]);
		out = write_number(out, i - last);
		last = i;
	}
	*out++ = 0;
	return out;
}

static void unpack_bins(struct bytes *bytes, uint64_t *bins, size_t count)
{
	uint64_t bin = 0, value;

	while ((value = read_number(bytes)) != 0) {
		uint64_t further = read_number(bytes);
		if (bytes->broken || further >= count - bin) {
			bytes->broken = true;
			return;
		}
		bin += further;
		bins[bin] = value;
	}
}

size_t distribution_pack(const struct distribution *distribution, uint8_t *out)
{
	uint8_t *end = out;

	*end++ = PACKING;
	end = write_number(end, distribution->passes);
	end = pack_bins(distribution->rates, BINS_RATES, end);
	end = pack_bins(distribution->sizes, BINS_SIZES, end);
	return (size_t)(end - out);
}

int distribution_unpack(const uint8_t *bytes, size_t size, struct distribution *out)
{
	struct bytes left = bytes_of(bytes, size);

	*out = (struct distribution){0};
	if (read_number(&left) != PACKING)
		return -EINVAL;
	out->passes = read_number(&left);
	unpack_bins(&left, out->rates, BINS_RATES);
	unpack_bins(&left, out->sizes, BINS_SIZES);
	return left.broken || left.next != left.end ? -EINVAL : 0;
}

size_t sampled_users_pack(const struct sampled_user *users, size_t count, uint8_t *out)
{
	uint8_t *end = out;

	*end++ = PACKING;
	for (size_t i = 0; i < count; i++) {
		size_t length = strnlen(users[i].user, SAMPLED_USER_TEXT_MAX - 1);
		*end++ = (uint8_t)length;
		memcpy(end, users[i].user, length);
		end = write_number(end + length, users[i].packets);
		end = write_number(end, users[i].bytes);
		end = write_number(end, users[i].spilled);
	}
	return (size_t)(end - out);
}

int sampled_users_unpack(const uint8_t *bytes, size_t size, struct sampled_user out[SAMPLED_USERS_MAX])
{
	struct bytes left = bytes_of(bytes, size);
	int count = 0;

	if (read_number(&left) != PACKING)
		return -EINVAL;
	for (; left.next < left.end && !left.broken; count++) {
		size_t length = *left.next++;
		if (count == SAMPLED_USERS_MAX || length >= SAMPLED_USER_TEXT_MAX ||
		    (size_t)(left.end - left.next) < length)
			return -EINVAL;
		memcpy(out[count].user, left.next, length);
		out[count].user[length] = '\0';
		left.next += length;
		out[count].packets = read_number(&left);
		out[count].bytes = read_number(&left);
		out[count].spilled = read_number(&left);
	}
	return left.broken ? -EINVAL : count;
}
