/* SPDX-License-Identifier: GPL-2.0-only */
/* spillway forecast: what is to be expected. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/times.h"
#include "base/units.h"
#include "control/forecast.h"
#include "verbs/chart.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/timeline.h"
#include "verbs/verbs.h"

#define STEP_S         900
#define LOOK_BACK_S    (FORECAST_COUNT_MAX * (int64_t)STEP_S)
#define HORIZON_S      (7 * 86400LL)
#define HORIZON_MOST_S (366 * 86400LL)
#define HOURLY_MOST_S  (2 * 86400LL) /* a table of hours up to this, of days beyond */
#define SEEN_LEAST     0.1           /* of a quarter of an hour, to know it */
#define CHART_ROWS     16

static const char help[] =
	"usage: spillway forecast [--service S] [--horizon 7d] [--growth 1.5] [--format table|json|csv|chart|svg] "
	"[--json]\n"
	"                         [--database PATH | --from-prometheus URL] [--socket PATH]\n\n"
	"What is to be expected, packets a second: trend, weekly and daily pattern of up to half a year of history, "
	"by\n"
	"dynamic harmonic regression. Half of what comes lies below 'expected', nine tenths between 'low' and 'high', "
	"as\n"
	"far as the errors tell that the same method would have made before: those are printed, too. Two days of "
	"history\n"
	"make a daily pattern, two weeks a weekly one and a trend. Without --service, all services together.\n\n"
	"  --horizon 7d           how far ahead (at most 366d)\n"
	"  --growth 1.5           what is expected, times this: the campaign that the past does not know of\n"
	"  --format F             chart: in the terminal, with as much of the past. svg: a picture\n"
	"  --database PATH        this file, in place of the one that the daemon writes\n"
	"  --from-prometheus URL  what a Prometheus server has scraped, in place of a file\n";

enum format {
	FORMAT_TABLE,
	FORMAT_JSON,
	FORMAT_CSV,
	FORMAT_CHART,
	FORMAT_SVG,
};

static const char *const format_names[] = {"table", "json", "csv", "chart", "svg"};

struct wish {
	struct common_options common;
	struct timeline_source source;
	const char *service;
	enum format format;
	int64_t horizon_s;
	double growth;
};

/* What is known and what is expected. */
struct outlook {
	struct series series;
	const struct forecast *forecast;
	struct forecast_quality quality;
	int64_t begin_s; /* of what is expected */
	size_t count;    /* of its quarters of an hour */
};

static struct forecast_point point_at(const struct wish *wish, const struct outlook *outlook, size_t i)
{
	struct forecast_point point = forecast_at(outlook->forecast, outlook->begin_s + (int64_t)i * STEP_S);

	return (struct forecast_point){point.median * wish->growth, point.low * wish->growth,
	                               point.high * wish->growth};
}

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *time_value(int64_t time_s)
{
	char text[TIMES_TEXT_MAX];

	times_format_utc(time_s, text);
	return json_string(text);
}

static json_t *points_document(const struct wish *wish, const struct outlook *outlook)
{
	json_t *points = json_array();

	for (size_t i = 0; i < outlook->count; i++) {
		struct forecast_point point = point_at(wish, outlook, i);
		json_array_append_new(points, json_pack("{s:o,s:f,s:f,s:f}", "time",
		                                        time_value(outlook->begin_s + (int64_t)i * STEP_S),
		                                        "packets_per_second", point.median, "low_packets_per_second",
		                                        point.low, "high_packets_per_second", point.high));
	}
	return points;
}

static json_t *quality_document(const struct outlook *outlook)
{
	const struct forecast_quality *quality = &outlook->quality;
	json_t *shifts = json_array();

	for (size_t i = 0; i < quality->shifts; i++)
		json_array_append_new(shifts, time_value(quality->shifts_s[i]));
	return json_pack("{s:s,s:s,s:b,s:b,s:o,s:o,s:f,s:I,s:I,s:o,s:o,s:o,s:o}", "method",
	                 "dynamic harmonic regression", "scale", quality->logarithmic ? "logarithmic" : "linear",
	                 "daily_pattern", quality->daily, "weekly_pattern", quality->weekly, "growth_per_week",
	                 number(quality->growth_week), "level_shifts", shifts, "interval", FORECAST_INTERVAL,
	                 "backtest_origins", (json_int_t)quality->origins, "backtest_horizon_seconds",
	                 (json_int_t)quality->horizon_s, "mape", number(quality->mape), "smape", number(quality->smape),
	                 "naive_smape", number(quality->naive_smape), "coverage", number(quality->coverage));
}

static int print_json(const struct wish *wish, const struct outlook *outlook)
{
	json_t *document = json_pack(
		"{s:o,s:o,s:I,s:f,s:o,s:o}", "service", wish->service ? json_string(wish->service) : json_null(),
		"history_from", time_value(outlook->series.start_s), "step_seconds", (json_int_t)STEP_S, "growth",
		wish->growth, "quality", quality_document(outlook), "points", points_document(wish, outlook));

	json_print(document);
	json_decref(document);
	return EXIT_DONE;
}

static int print_csv(const struct wish *wish, const struct outlook *outlook)
{
	char when[TIMES_TEXT_MAX];

	fputs("time,packets_per_second,low_packets_per_second,high_packets_per_second\r\n", stdout);
	for (size_t i = 0; i < outlook->count; i++) {
		struct forecast_point point = point_at(wish, outlook, i);
		times_format_utc(outlook->begin_s + (int64_t)i * STEP_S, when);
		printf("%s,%.10g,%.10g,%.10g\r\n", when, point.median, point.low, point.high);
	}
	return EXIT_DONE;
}

/* How much to believe of it, in two lines. */
static void print_quality(FILE *out, const struct wish *wish, const struct outlook *outlook)
{
	const struct forecast_quality *quality = &outlook->quality;
	char from[TIMES_TEXT_MAX];

	times_format_local(outlook->series.start_s, from);
	fprintf(out, "%s%s, from what was since %s: a daily pattern%s", wish->service ? "service " : "all services",
	        wish->service ? wish->service : "", from,
	        quality->weekly ? ", a weekly pattern"
	                        : "; not yet two weeks, so neither a weekly pattern nor a trend");
	if (isfinite(quality->growth_week))
		fprintf(out, ", %+.1f %% a week", 100 * quality->growth_week);
	for (size_t i = 0; i < quality->shifts; i++) {
		times_format_local(quality->shifts_s[i], from);
		fprintf(out, "%s %.16s", i ? "," : "; another level since", from);
	}
	if (wish->growth != 1)
		fprintf(out, "; times %.10g", wish->growth);
	fputc('\n', out);
	if (quality->origins)
		fprintf(out,
		        "back-tested from %zu earlier days, %.1f days ahead: wrong by %.1f %% (sMAPE; MAPE %.1f %%; "
		        "repeating "
		        "the %s before: %.1f %%), %.0f %% within the interval\n",
		        quality->origins, (double)quality->horizon_s / 86400, 100 * quality->smape, 100 * quality->mape,
		        quality->weekly ? "week" : "day", 100 * quality->naive_smape, 100 * quality->coverage);
	else
		fputs("too little history to say how wrong this would have been\n", out);
}

/* One row of the table: an hour, or a day. */
struct span {
	double sum, peak, high;
	int64_t peak_s;
	size_t count;
};

static json_t *span_row(int64_t begin_s, const struct span *span)
{
	char when[TIMES_TEXT_MAX], peak[TIMES_TEXT_MAX];

	times_format_local(begin_s, when);
	times_format_local(span->peak_s, peak);
	when[16] = peak[16] = '\0';
	return json_pack("{s:s,s:f,s:f,s:s,s:f}", "time", when, "mean", span->sum / (double)span->count, "peak",
	                 span->peak, "at", peak + 11, "high", span->high);
}

static int print_table(const struct wish *wish, const struct outlook *outlook)
{
	static const struct column columns[] = {
		{"time", "FROM", COLUMN_TEXT},   {"mean", "EXPECTED", COLUMN_COUNT}, {"peak", "PEAK", COLUMN_COUNT},
		{"high", "UP TO", COLUMN_COUNT}, {"at", "PEAK AT", COLUMN_TEXT},
	};
	size_t per_row = (wish->horizon_s > HOURLY_MOST_S ? 86400 : 3600) / STEP_S;
	json_t *rows = json_array();

	for (size_t from = 0; from < outlook->count; from += per_row) {
		struct span span = {.peak = -1};
		for (size_t i = from; i < from + per_row && i < outlook->count; i++) {
			struct forecast_point point = point_at(wish, outlook, i);
			span.sum += point.median;
			span.count++;
			if (point.median > span.peak) {
				span.peak = point.median;
				span.peak_s = outlook->begin_s + (int64_t)i * STEP_S;
			}
			span.high = fmax(span.high, point.high);
		}
		json_array_append_new(rows, span_row(outlook->begin_s + (int64_t)from * STEP_S, &span));
	}
	print_quality(stdout, wish, outlook);
	puts("\npackets a second; up to: nine of ten quarters of an hour stay between 'low' and 'high' (--json has "
	     "both)\n");
	table_print(rows, columns, sizeof(columns) / sizeof(*columns));
	json_decref(rows);
	return EXIT_DONE;
}

/* As much of the past as is looked ahead, and what is expected. */
static int print_chart(const struct wish *wish, const struct outlook *outlook)
{
	size_t past = outlook->series.count < outlook->count ? outlook->series.count : outlook->count;
	size_t count = past + outlook->count, first = outlook->series.count - past;
	_cleanup_free_ double *values = calloc(4 * count, sizeof(*values));
	if (!values)
		return EXIT_FAILED;

	double *was = values, *median = was + count, *low = median + count, *high = low + count;
	for (size_t i = 0; i < count; i++) {
		struct forecast_point point = {NAN, NAN, NAN};
		if (i >= past)
			point = point_at(wish, outlook, i - past);
		was[i] = i < past ? outlook->series.values[first + i] : NAN;
		median[i] = point.median;
		low[i] = point.low;
		high[i] = point.high;
	}
	struct chart chart = {.title = wish->service ? wish->service : "All services",
	                      .unit = "packets/s",
	                      .start_s = outlook->begin_s - (int64_t)past * STEP_S,
	                      .step_s = STEP_S,
	                      .count = count,
	                      .mark_s = outlook->begin_s,
	                      .lines = {{"was", was, "#2a7fb8", false},
	                                {"expected", median, "#c8372d", false},
	                                {"low", low, "#c98a1b", true},
	                                {"high", high, "#c98a1b", true}}};
	if (wish->format == FORMAT_SVG) {
		chart_write_svg(stdout, &chart, 1);
		return EXIT_DONE;
	}
	print_quality(stdout, wish, outlook);
	chart_draw(stdout, &chart, chart_columns(), CHART_ROWS, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
	return EXIT_DONE;
}

/* Rates of the quarters of an hour of which enough was seen. */
static double *rates_of(const struct timeline *timeline)
{
	double *values = calloc(timeline->count + 1, sizeof(*values));

	for (size_t i = 0; values && i < timeline->count; i++)
		values[i] = (double)timeline->samples[i].values[SAMPLE_SECONDS] >= SEEN_LEAST * STEP_S
		                    ? timeline_rate(&timeline->samples[i], SAMPLE_PACKETS)
		                    : NAN;
	return values;
}

static int complain_of_little(const struct wish *wish, const double *values, size_t count)
{
	size_t present = 0;

	for (size_t i = 0; i < count; i++)
		present += !isnan(values[i]);
	fprintf(stderr,
	        "spillway: %s%s: too little history: %.1f hours are known, and two days (most of them known) are "
	        "needed "
	        "for a daily pattern, two weeks for a weekly one\n",
	        wish->service ? "service " : "all services", wish->service ? wish->service : "",
	        (double)present * STEP_S / 3600);
	return EXIT_FAILED;
}

static int look_ahead(const struct wish *wish)
{
	static int (*const prints[])(const struct wish *wish, const struct outlook *outlook) = {
		print_table, print_json, print_csv, print_chart, print_chart};
	_cleanup_(forecast_freep) struct forecast *forecast = NULL;
	struct timeline timeline = {0};
	int64_t end_s = time(NULL) / STEP_S * STEP_S; /* the one that has just begun is not known yet */

	int status = timeline_read(&wish->source, wish->service, STEP_QUARTER, end_s - LOOK_BACK_S, end_s, &timeline);
	_cleanup_free_ struct sample *samples = timeline.samples;
	if (status != EXIT_DONE)
		return status;
	_cleanup_free_ double *values = rates_of(&timeline);
	size_t first = 0;
	if (!values)
		return EXIT_FAILED;
	while (first < timeline.count && isnan(values[first]))
		first++;
	struct outlook outlook = {.series = {.values = values + first,
	                                     .count = timeline.count - first,
	                                     .start_s = timeline.from_s + (int64_t)first * STEP_S,
	                                     .step_s = STEP_S},
	                          .begin_s = end_s,
	                          .count = (size_t)(wish->horizon_s / STEP_S)};
	int failure = forecast_fit(&forecast, &outlook.series);
	if (failure == -ENODATA)
		return complain_of_little(wish, outlook.series.values, outlook.series.count);
	if (failure) {
		fprintf(stderr, "spillway: forecast: %s\n", strerror(-failure));
		return EXIT_FAILED;
	}
	outlook.forecast = forecast;
	outlook.quality = forecast_quality(forecast);
	return prints[wish->format](wish, &outlook);
}

/* The readers of options return -1 to go on, or the exit status to end with. */
static int read_horizon(struct wish *wish, const char *text)
{
	uint64_t horizon_ns;
	struct error err;

	if (units_parse_duration(text, &horizon_ns, &err) < 0)
		return wrong_usage("--horizon", err.text, help);
	wish->horizon_s = (int64_t)(horizon_ns / 1000000000);
	if (wish->horizon_s < STEP_S || wish->horizon_s > HORIZON_MOST_S)
		return wrong_usage("--horizon", "from 15m to 366d was expected", help);
	return -1;
}

static int read_growth(struct wish *wish, const char *text)
{
	char *end;

	wish->growth = strtod(text, &end);
	if (end == text || *end || !(wish->growth > 0 && wish->growth <= 1e6))
		return wrong_usage("--growth", "a factor above 0 was expected, as 1.5", help);
	return -1;
}

static int read_format(struct wish *wish, const char *text)
{
	for (size_t i = 0; i < sizeof(format_names) / sizeof(*format_names); i++) {
		if (strcmp(text, format_names[i]) == 0) {
			wish->format = (enum format)i;
			return -1;
		}
	}
	return wrong_usage("--format", "expected table, json, csv, chart, svg", help);
}

int verb_forecast(int argc, char **argv)
{
	enum { SERVICE = 1, HORIZON, GROWTH, FORMAT, DATABASE, PROMETHEUS };
	static const struct option options[] = {{"service", required_argument, NULL, SERVICE},
	                                        {"horizon", required_argument, NULL, HORIZON},
	                                        {"growth", required_argument, NULL, GROWTH},
	                                        {"format", required_argument, NULL, FORMAT},
	                                        {"database", required_argument, NULL, DATABASE},
	                                        {"from-prometheus", required_argument, NULL, PROMETHEUS},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct wish wish = {.common = common_options_default(), .horizon_s = HORIZON_S, .growth = 1};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == SERVICE)
			wish.service = optarg;
		else if (option == HORIZON)
			status = read_horizon(&wish, optarg);
		else if (option == GROWTH)
			status = read_growth(&wish, optarg);
		else if (option == FORMAT)
			status = read_format(&wish, optarg);
		else if (option == DATABASE)
			wish.source.database = optarg;
		else if (option == PROMETHEUS)
			wish.source.prometheus = optarg;
		else
			status = common_option(option, &wish.common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	if (wish.common.json)
		wish.format = FORMAT_JSON;
	wish.source.socket = wish.common.socket;
	return look_ahead(&wish);
}
