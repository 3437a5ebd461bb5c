/* SPDX-License-Identifier: GPL-2.0-only */
/* What is to be expected of a rate, from what it was. Dynamic harmonic regression (Young, Pedregal and Tych 1999;
 * Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, sections 10.5 and 12.1): a trend, and
 * sines and cosines with periods of a day, a week and their combinations, fitted by least squares that
 *   - weigh outliers down (Huber 1964, by iteration) and older weeks less (half as much each eight weeks),
 *   - are told of level shifts by steps (intervention analysis, Box and Tiao 1975), which are looked for in the
 * residuals by their cumulative sum (Page 1954),
 *   - leave out what is missing.
 * What remains is an AR(1) process, which carries the last residual into the first hours. The trend is damped (Gardner
 * and McKenzie 1985), since nothing grows for ever. Whether the logarithm or the rate itself is fitted, and how wide
 * the interval is, is decided by rolling origins: earlier ends of the series, from which what followed is forecast. The
 * interval is that of the errors seen then, by how far ahead they were (split conformal prediction, Lei et al. 2018).
 * Times are UTC: a pattern that follows daylight saving is late by an hour for a week or so. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define FORECAST_INTERVAL   0.9            /* of what comes lies within it, as far as the past can tell */
#define FORECAST_LEAST_S    (2 * 86400LL)  /* of history make a daily pattern */
#define FORECAST_WEEKLY_S   (14 * 86400LL) /* a weekly one, and a trend */
#define FORECAST_SHIFTS_MAX 3
#define FORECAST_COUNT_MAX  17472 /* values that are looked at, the newest: half a year of quarters of an hour */

struct series {
	const double *values; /* a rate each `step_s`; NAN where it is missing; never negative */
	size_t count;
	int64_t start_s;
	unsigned step_s; /* 60 to 3600, a divisor of a day */
};

struct forecast;

/* What a fit has found, and how well it would have done. */
struct forecast_quality {
	bool logarithmic;                      /* the logarithm was fitted: patterns and noise grow with the rate */
	bool daily, weekly;                    /* patterns that the history was long enough for */
	double growth_week;                    /* of the trend, now: 0.01 is 1 % a week, NAN: no trend was fitted */
	int64_t shifts_s[FORECAST_SHIFTS_MAX]; /* level shifts */
	size_t shifts;
	/* Back-tested on `origins` earlier ends, `horizon_s` ahead; NAN where the history is too short. */
	size_t origins;
	int64_t horizon_s;
	double mape,
		smape; /* mean absolute errors, of the value (where it is above zero) and of both's mean: 0.1 is 10 % */
	double naive_smape; /* of repeating the week (or day) before, to compare */
	double coverage;    /* share of values within the interval, each origin's made from the others' errors */
};

/* Returns 0 with `*out` the caller's (forecast_free), -ENODATA where there is less than FORECAST_LEAST_S of it or half
 * of it is missing, -ENOMEM. */
int forecast_fit(struct forecast **out, const struct series *whole);
void forecast_free(struct forecast *forecast);

struct forecast_quality forecast_quality(const struct forecast *forecast);

/* What is expected at a time: half of what comes is below `median`, and FORECAST_INTERVAL of it between `low` and
 * `high`. For times within the series it is the fit. */
struct forecast_point {
	double median, low, high;
};
struct forecast_point forecast_at(const struct forecast *forecast, int64_t time_s);

DEFINE_CLEANUP(struct forecast, forecast_free)
