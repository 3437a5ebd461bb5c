/* SPDX-License-Identifier: GPL-2.0-only */
#include "control/forecast.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define DAY_S           86400.0
#define WEEK_S          (7 * DAY_S)
#define HALF_LIFE_S     (8 * WEEK_S)
#define WEEKLY_WAVES    3 /* a week's own */
#define DAILY_WAVES     8 /* down to three hours */
#define SIDEBAND_WAVES  4 /* of the day, up to SIDEBANDS more a week or less: weekends differ */
#define SIDEBANDS       2
#define COLUMNS         (2 + 2 * (WEEKLY_WAVES + DAILY_WAVES + 2 * SIDEBANDS * SIDEBAND_WAVES))
#define COLUMNS_MAX     (COLUMNS + FORECAST_SHIFTS_MAX)
#define HUBER           1.345 /* 95 % efficient where errors are normal */
#define ITERATIONS      4
#define RIDGE           1e-4  /* of the weights' sum, on waves and trend: gaps must not make them wild */
#define SHIFT_LEAST_S   DAY_S /* on both sides of it */
#define SHIFT_STATISTIC 50.0  /* about seven standard errors */
#define DAMPING_WEEK    0.85  /* the trend's growth, each week further */
#define ORIGINS_MAX     8
#define HORIZON_S       (7 * 86400LL)
#define LOGARITHM_MOST  600 /* of a rate: far beyond any, and finite */
#define BUCKETS         5
#define BUCKET_LEAST    30 /* errors, for a quantile */

static const double bucket_ends_s[BUCKETS] = {3 * 3600, 12 * 3600, DAY_S, 3 * DAY_S, INFINITY};

/* One fit: of the first `count` values. */
struct fit {
	size_t count;
	double coefficients[COLUMNS_MAX];
	size_t shift_at[FORECAST_SHIFTS_MAX]; /* the first value after each */
	size_t shifts;
	double sigma, phi, last; /* residuals: scale, correlation of neighbours, the last one */
	size_t last_at;
};

struct forecast {
	int64_t start_s;
	unsigned step_s;
	size_t count;
	size_t columns; /* in use, shifts not counted */
	bool daily, weekly;
	bool logarithmic;
	double *rows;                /* count * COLUMNS */
	double *values;              /* transformed */
	double *weights, *residuals; /* of the fit in progress */
	struct fit fit;
	double low[BUCKETS], high[BUCKETS]; /* errors' quantiles in the transformed scale */
	bool known[BUCKETS];
	struct forecast_quality quality;
};

static double transform(const struct forecast *forecast, double value)
{
	return forecast->logarithmic ? log1p(value) : value;
}

static double restore(const struct forecast *forecast, double value)
{
	double rate = forecast->logarithmic ? expm1(fmin(value, LOGARITHM_MOST)) : value;
	return rate > 0 ? rate : 0;
}

/* What depends on the time alone: a one, the trend, the waves. Returns how many columns that are. */
static size_t fill_row(const struct forecast *forecast, int64_t time_s, double *row)
{
	double end_s = (double)forecast->start_s + (double)forecast->count * forecast->step_s;
	double angle = 2 * M_PI * fmod((double)time_s, WEEK_S) / WEEK_S;
	size_t columns = 0, daily = 43200 / forecast->step_s < DAILY_WAVES ? 43200 / forecast->step_s : DAILY_WAVES;

	row[columns++] = 1;
	if (forecast->weekly)
		row[columns++] = ((double)time_s - end_s) / WEEK_S;
	for (unsigned wave = 1; forecast->weekly && wave <= WEEKLY_WAVES; wave++) {
		row[columns++] = sin(wave * angle);
		row[columns++] = cos(wave * angle);
	}
	for (unsigned wave = 1; forecast->daily && wave <= daily; wave++) {
		row[columns++] = sin(7 * wave * angle);
		row[columns++] = cos(7 * wave * angle);
	}
	for (unsigned wave = 1; forecast->weekly && wave <= SIDEBAND_WAVES; wave++) {
		for (int side = -SIDEBANDS; side <= SIDEBANDS; side++) {
			if (side == 0)
				continue;
			row[columns++] = sin(((int)(7 * wave) + side) * angle);
			row[columns++] = cos(((int)(7 * wave) + side) * angle);
		}
	}
	return columns;
}

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static double quantile(double *numbers, size_t count, double share)
{
	qsort(numbers, count, sizeof(*numbers), compare_numbers);
	double place = share * (double)(count - 1);
	size_t below = (size_t)place;
	double rest = place - (double)below;
	return below + 1 < count ? numbers[below] * (1 - rest) + numbers[below + 1] * rest : numbers[below];
}

/* Solves the symmetric `a` x = b of `n` rows by Cholesky; `b` becomes x. */
static void solve(double a[COLUMNS_MAX][COLUMNS_MAX], double *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j <= i; j++) {
			double sum = a[i][j];
			for (size_t k = 0; k < j; k++)
				sum -= a[i][k] * a[j][k];
			a[i][j] = i == j ? sqrt(sum > 1e-12 ? sum : 1e-12) : sum / a[j][j];
		}
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < i; k++)
			b[i] -= a[i][k] * b[k];
		b[i] /= a[i][i];
	}
	for (size_t i = n; i-- > 0;) {
		for (size_t k = i + 1; k < n; k++)
			b[i] -= a[k][i] * b[k];
		b[i] /= a[i][i];
	}
}

static void solve_weighted(struct forecast *forecast, struct fit *fit)
{
	double normal[COLUMNS_MAX][COLUMNS_MAX] = {{0}}, row[COLUMNS_MAX], sum = 0;
	size_t columns = forecast->columns + fit->shifts;

	memset(fit->coefficients, 0, sizeof(fit->coefficients));
	for (size_t i = 0; i < fit->count; i++) {
		double weight = forecast->weights[i], value = forecast->values[i];
		if (isnan(value) || weight <= 0)
			continue;
		memcpy(row, forecast->rows + i * COLUMNS, forecast->columns * sizeof(*row));
		for (size_t shift = 0; shift < fit->shifts; shift++)
			row[forecast->columns + shift] = i >= fit->shift_at[shift];
		for (size_t j = 0; j < columns; j++) {
			double weighted = weight * row[j];
			for (size_t k = 0; k <= j; k++)
				normal[j][k] += weighted * row[k];
			fit->coefficients[j] += weighted * value;
		}
		sum += weight;
	}
	for (size_t j = 0; j < columns; j++)
		normal[j][j] += j ? RIDGE * sum : 1e-9 * sum;
	solve(normal, fit->coefficients, columns);
}

static void find_residuals(struct forecast *forecast, const struct fit *fit)
{
	for (size_t i = 0; i < fit->count; i++) {
		const double *row = forecast->rows + i * COLUMNS;
		double fitted = 0;
		for (size_t j = 0; j < forecast->columns; j++)
			fitted += fit->coefficients[j] * row[j];
		for (size_t shift = 0; shift < fit->shifts; shift++)
			fitted += i >= fit->shift_at[shift] ? fit->coefficients[forecast->columns + shift] : 0;
		forecast->residuals[i] = forecast->values[i] - fitted;
	}
}

/* 1.4826 times the median absolute residual: the standard deviation of normal ones. */
static double robust_scale(const struct forecast *forecast, size_t count, double *scratch)
{
	size_t present = 0;

	for (size_t i = 0; i < count; i++)
		if (!isnan(forecast->residuals[i]))
			scratch[present++] = fabs(forecast->residuals[i]);
	return present ? fmax(1.4826 * quantile(scratch, present, 0.5), 1e-9) : 1e-9;
}

/* The residuals' scale, and how much of one is left in the next. */
static void describe_residuals(struct forecast *forecast, struct fit *fit)
{
	double products = 0, squares = 0, most = 3 * fit->sigma;
	double last = NAN;

	for (size_t i = 0; i < fit->count; i++) {
		double residual = forecast->residuals[i];
		if (isnan(residual)) {
			last = NAN;
			continue;
		}
		residual = fmin(fmax(residual, -most), most);
		fit->last = residual;
		fit->last_at = i;
		if (!isnan(last)) {
			products += last * residual;
			squares += last * last;
		}
		last = residual;
	}
	fit->phi = squares > 0 ? fmin(fmax(products / squares, 0), 0.99) : 0;
}

static void fit_robustly(struct forecast *forecast, struct fit *fit, double *scratch)
{
	for (int iteration = 0; iteration < ITERATIONS; iteration++) {
		for (size_t i = 0; i < fit->count; i++) {
			double age_s = (double)(fit->count - i) * forecast->step_s;
			double apart = iteration ? fabs(forecast->residuals[i]) / fit->sigma : 0;
			forecast->weights[i] = exp2(-age_s / HALF_LIFE_S) * (apart > HUBER ? HUBER / apart : 1);
		}
		solve_weighted(forecast, fit);
		find_residuals(forecast, fit);
		fit->sigma = robust_scale(forecast, fit->count, scratch);
	}
	describe_residuals(forecast, fit);
}

/* Where the residuals before and after differ most, by the cumulative sum; 0 where nowhere enough. */
static size_t find_shift(const struct forecast *forecast, const struct fit *fit)
{
	double total = 0, sum = 0, squares = 0, best = 0, most = 3 * fit->sigma;
	size_t present = 0, before = 0, found = 0, least = (size_t)(SHIFT_LEAST_S / forecast->step_s);

	for (size_t i = 0; i < fit->count; i++) {
		double residual = forecast->residuals[i];
		if (isnan(residual))
			continue;
		residual = fmin(fmax(residual, -most), most);
		total += residual;
		squares += residual * residual;
		present++;
	}
	double mean = present ? total / (double)present : 0;
	double variance = present ? squares / (double)present - mean * mean : 0;
	double inflation = (1 + fit->phi) / (1 - fit->phi);
	for (size_t i = 0; i < fit->count && variance > 0; i++) {
		if (isnan(forecast->residuals[i]))
			continue;
		if (before >= least && present - before >= least) {
			double share = (double)before / (double)present;
			double statistic = sum * sum / (share * (1 - share) * (double)present * variance * inflation);
			if (statistic > best && statistic > SHIFT_STATISTIC) {
				best = statistic;
				found = i;
			}
		}
		sum += fmin(fmax(forecast->residuals[i], -most), most) - mean;
		before++;
	}
	return found;
}

static int fit_first(struct forecast *forecast, size_t count, struct fit *out)
{
	_cleanup_free_ double *scratch = calloc(count + 1, sizeof(*scratch));
	if (!scratch)
		return -ENOMEM;

	*out = (struct fit){.count = count};
	fit_robustly(forecast, out, scratch);
	while (out->shifts < FORECAST_SHIFTS_MAX) {
		size_t shift = find_shift(forecast, out);
		if (!shift)
			break;
		out->shift_at[out->shifts++] = shift;
		fit_robustly(forecast, out, scratch);
	}
	return 0;
}

/* In the transformed scale. */
static double predict(const struct forecast *forecast, const struct fit *fit, int64_t time_s)
{
	double row[COLUMNS], value = 0;
	double ahead_s = (double)(time_s - forecast->start_s) - (double)fit->last_at * forecast->step_s;
	double weeks = ((double)(time_s - forecast->start_s) - (double)fit->count * forecast->step_s) / WEEK_S;
	size_t columns = fill_row(forecast, time_s, row);

	if (forecast->weekly && weeks > 0) /* damped from the end of what was fitted on */
		row[1] += (1 - pow(DAMPING_WEEK, weeks)) / -log(DAMPING_WEEK) - weeks;
	for (size_t j = 0; j < columns; j++)
		value += fit->coefficients[j] * row[j];
	for (size_t shift = 0; shift < fit->shifts; shift++)
		if (time_s >= forecast->start_s + (int64_t)(fit->shift_at[shift] * forecast->step_s))
			value += fit->coefficients[forecast->columns + shift];
	if (ahead_s > 0)
		value += fit->last * pow(fit->phi, ahead_s / forecast->step_s);
	return value;
}

/* An error of a back-test. */
struct missed {
	unsigned origin, bucket;
	double error;                   /* actual less forecast, transformed */
	double actual, forecast, naive; /* rates */
};

static unsigned bucket_of(double ahead_s)
{
	unsigned bucket = 0;

	while (bucket < BUCKETS - 1 && ahead_s > bucket_ends_s[bucket])
		bucket++;
	return bucket;
}

/* Quantiles of the errors of all origins but one (`without`; ORIGINS_MAX: of all). A bucket with few takes the one
 * before's. */
static void find_interval(struct forecast *forecast, const struct missed *missed, size_t count, unsigned without,
                          double *scratch)
{
	double alpha = (1 - FORECAST_INTERVAL) / 2;

	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
		size_t found = 0;
		for (size_t i = 0; i < count; i++)
			if (missed[i].bucket == bucket && missed[i].origin != without)
				scratch[found++] = missed[i].error;
		forecast->known[bucket] = found >= BUCKET_LEAST;
		if (forecast->known[bucket]) {
			forecast->low[bucket] = quantile(scratch, found, alpha);
			forecast->high[bucket] = quantile(scratch, found, 1 - alpha);
		} else {
			double sigma = fmax(forecast->fit.sigma, 1e-9);
			forecast->low[bucket] = bucket ? forecast->low[bucket - 1] : -1.645 * sigma;
			forecast->high[bucket] = bucket ? forecast->high[bucket - 1] : 1.645 * sigma;
		}
		/* Further ahead is never surer. */
		if (bucket && forecast->low[bucket] > forecast->low[bucket - 1])
			forecast->low[bucket] = forecast->low[bucket - 1];
		if (bucket && forecast->high[bucket] < forecast->high[bucket - 1])
			forecast->high[bucket] = forecast->high[bucket - 1];
	}
}

static void judge_errors(struct forecast *forecast, const struct missed *missed, size_t count, double *scratch)
{
	struct forecast_quality *quality = &forecast->quality;
	double mape = 0, smape = 0, naive = 0;
	size_t positive = 0, compared = 0, within = 0;

	for (size_t i = 0; i < count; i++) {
		double apart = fabs(missed[i].actual - missed[i].forecast),
		       size = missed[i].actual + missed[i].forecast;
		if (missed[i].actual > 0) {
			mape += apart / missed[i].actual;
			positive++;
		}
		smape += size > 0 ? 2 * apart / size : 0;
		if (isnan(missed[i].naive))
			continue;
		size = missed[i].actual + missed[i].naive;
		naive += size > 0 ? 2 * fabs(missed[i].actual - missed[i].naive) / size : 0;
		compared++;
	}
	quality->mape = positive ? mape / (double)positive : NAN;
	quality->smape = count ? smape / (double)count : NAN;
	quality->naive_smape = compared ? naive / (double)compared : NAN;
	for (unsigned origin = 0; origin < quality->origins; origin++) {
		find_interval(forecast, missed, count, origin, scratch);
		for (size_t i = 0; i < count; i++)
			within += missed[i].origin == origin && missed[i].error >= forecast->low[missed[i].bucket] &&
			          missed[i].error <= forecast->high[missed[i].bucket];
	}
	quality->coverage = count && quality->origins > 1 ? (double)within / (double)count : NAN;
	find_interval(forecast, missed, count, ORIGINS_MAX, scratch);
}

/* From earlier ends of the series what followed is forecast. */
static int test_back(struct forecast *forecast, const struct series *series)
{
	size_t period = (size_t)((forecast->weekly ? WEEK_S : DAY_S) / series->step_s);
	size_t horizon = (size_t)(HORIZON_S / series->step_s), missed_count = 0;
	size_t least = (size_t)((forecast->weekly ? (double)FORECAST_WEEKLY_S : (double)DAY_S) / series->step_s);
	if (horizon > series->count / 4)
		horizon = series->count / 4;
	_cleanup_free_ struct missed *missed = calloc(ORIGINS_MAX * horizon + 1, sizeof(*missed));
	_cleanup_free_ double *scratch = calloc(ORIGINS_MAX * horizon + 1, sizeof(*scratch));
	if (!missed || !scratch)
		return -ENOMEM;

	forecast->quality.origins = 0;
	forecast->quality.horizon_s = (int64_t)(horizon * series->step_s);
	for (unsigned origin = 0; origin < ORIGINS_MAX; origin++) {
		size_t back = horizon + origin * (horizon / 2), end = series->count - back;
		struct fit fit;
		if (back >= series->count || end < least)
			break;
		int failure = fit_first(forecast, end, &fit);
		if (failure)
			return failure;
		forecast->quality.origins++;
		for (size_t i = end; i < end + horizon; i++) {
			double actual = series->values[i];
			double expected = predict(forecast, &fit, series->start_s + (int64_t)(i * series->step_s));
			size_t before = period * ((i - end) / period + 1);
			if (isnan(actual))
				continue;
			missed[missed_count++] = (struct missed){
				.origin = origin,
				.bucket = bucket_of((double)(i - end) * series->step_s),
				.error = forecast->values[i] - expected,
				.actual = actual,
				.forecast = restore(forecast, expected),
				.naive = before <= i ? series->values[i - before] : NAN,
			};
		}
	}
	judge_errors(forecast, missed, missed_count, scratch);
	return 0;
}

static int fit_scale(struct forecast *forecast, const struct series *series, bool logarithmic)
{
	forecast->logarithmic = logarithmic;
	for (size_t i = 0; i < series->count; i++)
		forecast->values[i] = isnan(series->values[i]) ? NAN : transform(forecast, fmax(series->values[i], 0));
	int failure = fit_first(forecast, series->count, &forecast->fit);

	return failure ? failure : test_back(forecast, series);
}

static void describe(struct forecast *forecast)
{
	struct forecast_quality *quality = &forecast->quality;
	const struct fit *fit = &forecast->fit;

	quality->logarithmic = forecast->logarithmic;
	quality->daily = forecast->daily;
	quality->weekly = forecast->weekly;
	quality->growth_week = NAN;
	if (forecast->weekly && forecast->logarithmic)
		quality->growth_week = expm1(fit->coefficients[1]);
	else if (forecast->weekly)
		quality->growth_week = fit->coefficients[1] / fmax(fit->coefficients[0], 1e-9);
	quality->shifts = fit->shifts;
	for (size_t i = 0; i < fit->shifts; i++)
		quality->shifts_s[i] = forecast->start_s + (int64_t)(fit->shift_at[i] * forecast->step_s);
}

static int allocate(struct forecast **out, const struct series *series)
{
	_cleanup_(forecast_freep) struct forecast *forecast = calloc(1, sizeof(*forecast));
	if (!forecast)
		return -ENOMEM;

	forecast->rows = malloc(series->count * COLUMNS * sizeof(*forecast->rows));
	forecast->values = malloc(series->count * sizeof(*forecast->values));
	forecast->weights = malloc(series->count * sizeof(*forecast->weights));
	forecast->residuals = malloc(series->count * sizeof(*forecast->residuals));
	if (!forecast->rows || !forecast->values || !forecast->weights || !forecast->residuals)
		return -ENOMEM;
	forecast->start_s = series->start_s;
	forecast->step_s = series->step_s;
	forecast->count = series->count;
	forecast->daily = true;
	forecast->weekly = (int64_t)series->count * series->step_s >= FORECAST_WEEKLY_S;
	for (size_t i = 0; i < series->count; i++)
		forecast->columns = fill_row(forecast, series->start_s + (int64_t)(i * series->step_s),
		                             forecast->rows + i * COLUMNS);
	*out = TAKE_PTR(forecast);
	return 0;
}

/* The newest that are looked at, from the first that is not missing on. */
static struct series trim(const struct series *series)
{
	struct series trimmed = *series;
	size_t skipped = series->count > FORECAST_COUNT_MAX ? series->count - FORECAST_COUNT_MAX : 0;

	while (skipped < series->count && isnan(series->values[skipped]))
		skipped++;
	if (skipped) /* where there is nothing, there is not even an array */
		trimmed.values += skipped;
	trimmed.count -= skipped;
	trimmed.start_s += (int64_t)(skipped * series->step_s);
	return trimmed;
}

int forecast_fit(struct forecast **out, const struct series *whole)
{
	struct series series = trim(whole);
	struct forecast *forecasts[2] = {NULL, NULL};
	size_t present = 0;
	int failure = 0;

	for (size_t i = 0; i < series.count; i++)
		present += !isnan(series.values[i]);
	if ((int64_t)series.count * series.step_s < FORECAST_LEAST_S || present < series.count / 2 || present < 24)
		return -ENODATA;
	for (int logarithmic = 0; logarithmic < 2 && !failure; logarithmic++) {
		failure = allocate(&forecasts[logarithmic], &series);
		if (!failure)
			failure = fit_scale(forecasts[logarithmic], &series, logarithmic);
	}
	/* The scale that would have been nearer; where nothing can be said, the logarithm, which is never negative. */
	bool linear = !failure && forecasts[0]->quality.smape < forecasts[1]->quality.smape;
	forecast_free(forecasts[linear]);
	if (failure) {
		forecast_free(forecasts[!linear]);
		return failure;
	}
	*out = forecasts[!linear];
	describe(*out);
	return 0;
}

void forecast_free(struct forecast *forecast)
{
	if (!forecast)
		return;
	free(forecast->rows);
	free(forecast->values);
	free(forecast->weights);
	free(forecast->residuals);
	free(forecast);
}

struct forecast_quality forecast_quality(const struct forecast *forecast)
{
	return forecast->quality;
}

struct forecast_point forecast_at(const struct forecast *forecast, int64_t time_s)
{
	double value = predict(forecast, &forecast->fit, time_s);
	double ahead_s = (double)(time_s - forecast->start_s) - (double)forecast->count * forecast->step_s;
	unsigned bucket = bucket_of(ahead_s);
	double tested_s = fmax((double)forecast->quality.horizon_s, DAY_S);
	double wider = ahead_s > tested_s ? sqrt(ahead_s / tested_s) : 1; /* as a random walk would be */

	return (struct forecast_point){.median = restore(forecast, value),
	                               .low = restore(forecast, value + forecast->low[bucket] * wider),
	                               .high = restore(forecast, value + forecast->high[bucket] * wider)};
}
