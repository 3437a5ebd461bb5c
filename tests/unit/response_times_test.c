/* SPDX-License-Identifier: GPL-2.0-only */
/* Percentiles out of buckets, against the samples themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "observe/response_times.h"

/* The bucket of a time, by its bounds alone. */
static unsigned bucket_of(double seconds)
{
	unsigned bucket = 0;

	while (bucket + 1 < RESPONSE_BUCKETS && response_bucket_floor_s(bucket + 1) <= seconds)
		bucket++;
	return bucket;
}

static void test_bounds_grow_by_a_sixteenth_at_the_most(void **state)
{
	(void)state;
	assert_true(response_bucket_floor_s(0) == 0);
	for (unsigned bucket = 1; bucket <= RESPONSE_BUCKETS; bucket++) {
		double before_s = response_bucket_floor_s(bucket - 1), floor_s = response_bucket_floor_s(bucket);
		assert_true(floor_s > before_s);
		assert_true(floor_s - before_s <= fmax(before_s / RESPONSE_STEPS, 4.096e-6) * 1.000001);
	}
	assert_true(response_bucket_floor_s(RESPONSE_BUCKETS) > 17);
}

static int ascending(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* From 0 to 1, the same at each run (Marsaglia: Xorshift RNGs, 2003). */
static double chance(void)
{
	static uint64_t seed = 0x9e3779b97f4a7c15;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (double)(seed >> 11) / (double)(1ULL << 53);
}

/* Between the neighbours of the true one, and within what the header promises. */
static void test_percentiles_of_many_shapes(void **state)
{
	enum { SAMPLES = 1000, SHAPES = 300 };
	static const double parts[] = {0.01, 0.5, 0.9, 0.99, 1};
	(void)state;

	for (int shape = 0; shape < SHAPES; shape++) {
		double times[SAMPLES], least = pow(10, -5 + 5 * chance()), spread = 3 * chance();
		__u64 buckets[RESPONSE_BUCKETS] = {0};
		for (int i = 0; i < SAMPLES; i++) {
			times[i] = fmin(least * exp(spread * chance()), 16);
			buckets[bucket_of(times[i])]++;
		}
		qsort(times, SAMPLES, sizeof(*times), ascending);
		for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
			double true_s = times[(int)ceil(parts[i] * SAMPLES) - 1];
			double found_s = response_percentile_s(buckets, SAMPLES, parts[i]);
			assert_true(fabs(found_s - true_s) <= fmax(true_s / RESPONSE_STEPS, 4.1e-6));
		}
	}
}

static void test_none_and_one(void **state)
{
	__u64 buckets[RESPONSE_BUCKETS] = {0};
	(void)state;

	assert_true(isnan(response_percentile_s(buckets, 0, 0.5)));
	buckets[100] = 1;
	assert_true(response_percentile_s(buckets, 1, 0.5) > response_bucket_floor_s(100));
	assert_true(response_percentile_s(buckets, 1, 0.99) <= response_bucket_floor_s(101));
	memset(buckets, 0, sizeof(buckets));
	buckets[RESPONSE_BUCKETS - 1] = UINT64_MAX;
	assert_true(response_percentile_s(buckets, UINT64_MAX, 0.99) <= response_bucket_floor_s(RESPONSE_BUCKETS));
}

static void test_since(void **state)
{
	__u64 now[RESPONSE_BUCKETS] = {5, 3, 7}, before[RESPONSE_BUCKETS] = {2, 3, 9}, out[RESPONSE_BUCKETS];
	(void)state;

	/* The last one has begun anew. */
	assert_int_equal(response_buckets_since(now, before, out), 3 + 0 + 7);
	assert_int_equal(out[0], 3);
	assert_int_equal(out[2], 7);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_grow_by_a_sixteenth_at_the_most),
		cmocka_unit_test(test_percentiles_of_many_shapes),
		cmocka_unit_test(test_none_and_one),
		cmocka_unit_test(test_since),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
