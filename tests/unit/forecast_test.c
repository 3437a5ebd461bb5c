/* SPDX-License-Identifier: GPL-2.0-only */
/* Series whose truth is known, with noise, gaps, outliers and level shifts: the forecast is held against that truth,
 * and the interval against what it promises. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/forecast.h"

#define STEP        3600
#define START       1735689600LL /* 2025-01-01, a Wednesday */
#define HOURS(days) ((size_t)(days) * 24)

struct truth {
	double level, growth_week, daily, weekend, noise; /* shares of the level; noise is a share of the value */
	double missing, outliers;                         /* shares of the values */
	size_t shift_hour;                                /* the first of the new level; 0: none */
	double shift;                                     /* its factor */
	bool additive;                                    /* patterns and noise do not grow with the level */
};

static bool hurried; /* under memcheck, which is slow: each way through the code once */

static double randomly(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (double)(*seed >> 11) / 9007199254740992.0;
}

static double normally(uint64_t *seed)
{
	double radius = sqrt(-2 * log(randomly(seed) + 1e-300));
	return radius * cos(2 * M_PI * randomly(seed));
}

static double truth_at(const struct truth *truth, size_t hour)
{
	double day = (double)(hour % 24) / 24, weeks = (double)hour / 168;
	double pattern = truth->daily * (0.7 * sin(2 * M_PI * (day - 0.3)) + 0.3 * sin(4 * M_PI * (day - 0.1)));
	bool weekend = (hour / 24 + 3) % 7 >= 5;
	double level = truth->level * (truth->shift_hour && hour >= truth->shift_hour ? truth->shift : 1);

	if (truth->additive)
		return level + truth->level * (truth->growth_week * weeks + pattern - (weekend ? truth->weekend : 0));
	return level * pow(1 + truth->growth_week, weeks) * exp(pattern) * (weekend ? 1 - truth->weekend : 1);
}

static struct series make(const struct truth *truth, size_t hours, uint64_t seed)
{
	double *values = malloc(hours * sizeof(*values));

	if (!values)
		abort();
	for (size_t i = 0; i < hours; i++) {
		double value = truth_at(truth, i), noise = truth->noise * normally(&seed);
		values[i] = fmax(truth->additive ? value + noise * truth->level : value * exp(noise), 0);
		if (randomly(&seed) < truth->outliers)
			values[i] *= randomly(&seed) < 0.7 ? 20 : 0.02; /* a flood, an outage */
		if (randomly(&seed) < truth->missing)
			values[i] = NAN;
	}
	return (struct series){.values = values, .count = hours, .start_s = START, .step_s = STEP};
}

/* Forecasts `ahead` hours and returns the mean relative error to the truth; `*covered`, unless NULL, gets the share of
 * noisy values within the interval. */
static double error_of(const struct truth *truth, size_t hours, size_t ahead, struct forecast_quality *quality,
                       double *covered)
{
	struct series series = make(truth, hours, 42 + hours), next = make(truth, hours + ahead, 4711);
	struct forecast *forecast = NULL;
	double sum = 0;
	size_t within = 0, seen = 0;

	assert_int_equal(forecast_fit(&forecast, &series), 0);
	for (size_t hour = hours; hour < hours + ahead; hour++) {
		struct forecast_point point = forecast_at(forecast, START + (int64_t)hour * STEP);
		double value = next.values[hour];
		assert_true(point.low <= point.median && point.median <= point.high && point.low >= 0);
		assert_true(isfinite(point.high));
		sum += fabs(point.median - truth_at(truth, hour)) / truth_at(truth, hour);
		if (isnan(value))
			continue;
		seen++;
		within += value >= point.low && value <= point.high;
	}
	*quality = forecast_quality(forecast);
	if (covered)
		*covered = (double)within / (double)seen;
	printf("%4zu hours: error %.1f %% of the truth; back-tested %zu times: sMAPE %.1f %%, MAPE %.1f %% (naive "
	       "sMAPE %.1f %%), within the interval %.0f %%, next week %.0f %%; %s, %zu shifts, %+.1f %% a week\n",
	       hours, 100 * sum / (double)ahead, quality->origins, 100 * quality->smape, 100 * quality->mape,
	       100 * quality->naive_smape, 100 * quality->coverage, 100 * (double)within / (double)seen,
	       quality->logarithmic ? "log" : "linear", quality->shifts, 100 * quality->growth_week);
	forecast_free(forecast);
	free((void *)(uintptr_t)series.values);
	free((void *)(uintptr_t)next.values);
	return sum / (double)ahead;
}

static const struct truth plain = {.level = 1000, .daily = 0.6, .weekend = 0.3, .noise = 0.1};

static void test_pattern(void **state)
{
	struct forecast_quality quality;
	double covered;
	(void)state;

	if (hurried)
		return;
	assert_true(error_of(&plain, HOURS(56), HOURS(7), &quality, &covered) < 0.04);
	assert_true(quality.daily && quality.weekly);
	assert_int_equal(quality.shifts, 0);
	assert_int_equal(quality.origins, 8);
	assert_true(fabs(quality.growth_week) < 0.01);
	assert_true(quality.mape < 0.12 && quality.smape < 0.12); /* of noise alone it is 8 % */
	assert_true(quality.smape < quality.naive_smape);
	assert_true(quality.coverage > 0.82 && quality.coverage < 0.97);
	assert_true(covered > 0.8 && covered < 0.98);
}

static void test_without_noise(void **state)
{
	struct truth truth = plain;
	struct forecast_quality quality;
	(void)state;

	truth.noise = 0;
	truth.weekend = 0;
	assert_true(error_of(&truth, HOURS(28), HOURS(7), &quality, NULL) < 0.01);
	truth.daily = 0;
	assert_true(error_of(&truth, HOURS(3), HOURS(1), &quality, NULL) < 0.001);
}

static void test_growth(void **state)
{
	struct truth truth = plain;
	struct forecast_quality quality;
	(void)state;

	if (hurried)
		return;
	truth.growth_week = 0.05;
	assert_true(error_of(&truth, HOURS(84), HOURS(7), &quality, NULL) < 0.06);
	assert_true(quality.logarithmic && fabs(quality.growth_week - 0.05) < 0.01);
	/* Three months ahead the damped trend is below the truth, and not wild. */
	assert_true(error_of(&truth, HOURS(84), HOURS(90), &quality, NULL) < 0.35);
}

static void test_additive(void **state)
{
	struct truth truth = {
		.level = 1000, .daily = 0.3, .weekend = 0.1, .noise = 0.05, .growth_week = 0.1, .additive = true};
	struct forecast_quality quality;
	(void)state;

	if (hurried)
		return;
	assert_true(error_of(&truth, HOURS(70), HOURS(7), &quality, NULL) < 0.05);
}

static void test_gaps(void **state)
{
	struct truth truth = plain;
	struct forecast_quality quality;
	struct series series;
	struct forecast *forecast = NULL;
	(void)state;

	truth.missing = 0.3;
	assert_true(error_of(&truth, HOURS(56), HOURS(7), &quality, NULL) < 0.06);
	assert_true(quality.coverage > 0.8);
	/* Whole days in one piece, at the end too. */
	series = make(&plain, HOURS(56), 5);
	double *values = (double *)(uintptr_t)series.values;
	for (size_t i = HOURS(20); i < HOURS(30); i++)
		values[i] = NAN;
	for (size_t i = HOURS(54); i < HOURS(56); i++)
		values[i] = NAN;
	assert_int_equal(forecast_fit(&forecast, &series), 0);
	double sum = 0;
	for (size_t hour = HOURS(56); hour < HOURS(63); hour++)
		sum += fabs(forecast_at(forecast, START + (int64_t)hour * STEP).median / truth_at(&plain, hour) - 1);
	assert_true(sum / 168 < 0.06);
	forecast_free(forecast);
	free(values);
}

static void test_outliers(void **state)
{
	struct truth truth = plain;
	struct forecast_quality quality;
	(void)state;

	if (hurried)
		return;
	truth.outliers = 0.04;
	assert_true(error_of(&truth, HOURS(56), HOURS(7), &quality, NULL) < 0.06);
}

static void test_level_shift(void **state)
{
	struct truth truth = plain;
	struct forecast_quality quality;
	(void)state;

	/* Twice the traffic since ten days. */
	truth.shift_hour = HOURS(46);
	truth.shift = 2;
	assert_true(error_of(&truth, HOURS(56), HOURS(7), &quality, NULL) < 0.1);
	assert_int_equal(quality.shifts, 1);
	assert_true(llabs(quality.shifts_s[0] - (START + (int64_t)truth.shift_hour * STEP)) <= 6LL * STEP);
}

static void test_short(void **state)
{
	struct forecast_quality quality;
	struct truth truth = plain;
	struct forecast *forecast = NULL;
	(void)state;

	truth.weekend = 0;
	assert_true(error_of(&truth, HOURS(4), HOURS(1), &quality, NULL) < 0.15);
	assert_true(quality.daily && !quality.weekly && isnan(quality.growth_week));
	struct series series = make(&truth, HOURS(2) - 1, 1);
	assert_int_equal(forecast_fit(&forecast, &series), -ENODATA);
	for (size_t i = 0; i < series.count; i++)
		((double *)(uintptr_t)series.values)[i] = NAN;
	assert_int_equal(forecast_fit(&forecast, &series), -ENODATA);
	free((void *)(uintptr_t)series.values);
	series = (struct series){.step_s = 900};
	assert_int_equal(forecast_fit(&forecast, &series), -ENODATA);
}

static void test_silence(void **state)
{
	double values[24 * 15] = {0};
	struct series series = {
		.values = values, .count = sizeof(values) / sizeof(*values), .start_s = START, .step_s = STEP};
	struct forecast *forecast = NULL;
	(void)state;

	assert_int_equal(forecast_fit(&forecast, &series), 0);
	struct forecast_point point = forecast_at(forecast, START + 30 * 86400LL);
	assert_true(point.median < 1e-6 && point.low == 0 && isfinite(point.high));
	forecast_free(forecast);
	for (size_t i = 0; i < series.count; i++)
		values[i] = i % 2 ? 1e12 : 0;
	assert_int_equal(forecast_fit(&forecast, &series), 0);
	assert_true(isfinite(forecast_at(forecast, START + 3650 * 86400LL).high));
	forecast_free(forecast);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pattern),     cmocka_unit_test(test_without_noise),
		cmocka_unit_test(test_growth),      cmocka_unit_test(test_additive),
		cmocka_unit_test(test_gaps),        cmocka_unit_test(test_outliers),
		cmocka_unit_test(test_level_shift), cmocka_unit_test(test_short),
		cmocka_unit_test(test_silence),
	};

	const char *preloaded = getenv("LD_PRELOAD");
	hurried = preloaded && strstr(preloaded, "vgpreload");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
