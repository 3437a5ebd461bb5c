/* SPDX-License-Identifier: GPL-2.0-only */
/* spillway history: what was. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/times.h"
#include "verbs/chart.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/timeline.h"
#include "verbs/verbs.h"

#define USERS_SHOWN 20
#define CHART_ROWS  10

static const char help[] =
	"usage: spillway history [--service S] [--from T] [--to T] [--step second|minute|quarter]\n"
	"                        [--users | --events | --distribution] [--format table|json|csv|chart|svg] [--json]\n"
	"                        [--database PATH | --from-prometheus URL] [--socket PATH]\n\n"
	"What was: each second of the last day, each minute of the last month, each quarter of an hour of the last "
	"ten\n"
	"years, as far as there was room. Without --service, all services together. The database is read directly: "
	"the\n"
	"daemon need not run. '-' (null in JSON) is a time in which none did.\n\n"
	"  --from T, --to T       -2h (before now), a local date or time as '2026-11-25 14:30', today, yesterday, or\n"
	"                         RFC 3339 as 2026-11-25T14:30:00Z; the last hour unless told otherwise\n"
	"  --step S               one row for each; by default what suits the time\n"
	"  --users                the heaviest users of that time instead: the ten of each minute, summed;\n"
	"                         with --step minute, each minute's\n"
	"  --events               what happened in that time instead\n"
	"  --distribution         how many users sent at which rate, and how large packets were, instead\n"
	"  --format F             json: one array. csv: for spreadsheets. chart: in the terminal. svg: a picture\n"
	"  --database PATH        this file, in place of the one that the daemon writes\n"
	"  --from-prometheus URL  what a Prometheus server has scraped of one or many hosts, in place of a file\n";

enum format {
	FORMAT_TABLE,
	FORMAT_JSON,
	FORMAT_CSV,
	FORMAT_CHART,
	FORMAT_SVG,
};

static const char *const format_names[] = {"table", "json", "csv", "chart", "svg"};

enum subject {
	SUBJECT_SAMPLES,
	SUBJECT_USERS,
	SUBJECT_EVENTS,
	SUBJECT_DISTRIBUTION,
};

struct wish {
	struct common_options common;
	struct timeline_source source;
	const char *service, *from, *to;
	enum format format;
	enum subject subject;
	bool step_given;
	enum history_step step;
	int64_t from_s, to_s;
};

static const struct column sample_columns[] = {
	{"time", "TIME", COLUMN_TEXT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"peak_packets_per_second", "PEAK/S", COLUMN_COUNT},
	{"bytes_per_second", "BYTES/S", COLUMN_BYTES},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
	{"shadow_packets", "SHADOW", COLUMN_COUNT},
	{"active_users", "USERS", COLUMN_COUNT},
	{"level_packets_per_second", "LEVEL", COLUMN_COUNT},
	{"capacity_packets_per_second", "CAPACITY", COLUMN_COUNT},
	{"p50_milliseconds", "P50 MS", COLUMN_COUNT},
	{"p99_milliseconds", "P99 MS", COLUMN_COUNT},
};

static const struct column user_columns[] = {
	{"time", "TIME", COLUMN_TEXT},
	{"service", "SERVICE", COLUMN_TEXT},
	{"user", "USER", COLUMN_TEXT},
	{"packets", "PACKETS", COLUMN_COUNT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"bytes", "BYTES", COLUMN_BYTES},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
};

static const struct column event_columns[] = {
	{"time", "TIME", COLUMN_TEXT}, {"event", "EVENT", COLUMN_TEXT}, {"service", "SERVICE", COLUMN_TEXT},
	{"user", "USER", COLUMN_TEXT}, {"why", "WHY", COLUMN_TEXT},
};

static const struct column distribution_columns[] = {
	{"of", "OF", COLUMN_TEXT},
	{"from", "FROM", COLUMN_COUNT},
	{"to", "TO", COLUMN_COUNT},
	{"count", "COUNT", COLUMN_COUNT},
};

/* A field of a CSV file (RFC 4180); what a spreadsheet would take for a formula is a text to it. */
static void csv_text(const char *text)
{
	bool quoted = strpbrk(text, ",\"\r\n") != NULL, formula = *text && strchr("=+-@\t", *text);

	if (!quoted && !formula) {
		fputs(text, stdout);
		return;
	}
	fputs(formula ? "\"'" : "\"", stdout);
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void csv_print(const json_t *rows, const struct column *columns, size_t count)
{
	const json_t *row;
	size_t index;

	for (size_t i = 0; i < count; i++)
		printf("%s%s", i ? "," : "", columns[i].key);
	fputs("\r\n", stdout);
	json_array_foreach(rows, index, row)
	{
		for (size_t i = 0; i < count; i++) {
			const json_t *value = json_object_get(row, columns[i].key);
			if (i)
				putchar(',');
			if (json_is_string(value))
				csv_text(json_string_value(value));
			else if (json_is_integer(value))
				printf("%lld", (long long)json_integer_value(value));
			else if (json_is_real(value))
				printf("%.10g", json_real_value(value));
		}
		fputs("\r\n", stdout);
	}
}

/* In a table times are local, and to be read; else RFC 3339. */
static json_t *time_value(const struct wish *wish, int64_t time_s)
{
	char text[TIMES_TEXT_MAX];

	if (wish->format == FORMAT_TABLE)
		times_format_local(time_s, text);
	else
		times_format_utc(time_s, text);
	return json_string(text);
}

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* A value that is not known where it is 0. */
static json_t *known(uint64_t value, double unit)
{
	return value ? json_real((double)value * unit) : json_null();
}

static json_t *sample_row(const struct wish *wish, const struct timeline *timeline, size_t i)
{
	const struct sample *sample = &timeline->samples[i];
	const uint64_t *values = sample->values;
	bool there = values[SAMPLE_SECONDS] != 0;
	double peak = values[SAMPLE_PEAK] ? (double)values[SAMPLE_PEAK] : timeline_rate(sample, SAMPLE_PACKETS);
	json_t *row = json_object();

	json_object_set_new(row, "time",
	                    time_value(wish, timeline->from_s + (int64_t)(i * history_steps[timeline->step].seconds)));
	json_object_set_new(row, "service", wish->service ? json_string(wish->service) : json_null());
	json_object_set_new(row, "seconds", json_integer((json_int_t)values[SAMPLE_SECONDS]));
	json_object_set_new(row, "packets_per_second", number(timeline_rate(sample, SAMPLE_PACKETS)));
	json_object_set_new(row, "peak_packets_per_second", number(there ? peak : NAN));
	json_object_set_new(row, "bytes_per_second", number(timeline_rate(sample, SAMPLE_BYTES)));
	json_object_set_new(row, "received_packets",
	                    there ? json_integer((json_int_t)values[SAMPLE_PACKETS]) : json_null());
	json_object_set_new(row, "spilled_packets",
	                    there ? json_integer((json_int_t)values[SAMPLE_SPILLED]) : json_null());
	json_object_set_new(row, "shadow_packets",
	                    there ? json_integer((json_int_t)values[SAMPLE_SHADOW]) : json_null());
	json_object_set_new(row, "active_users", there ? json_integer((json_int_t)values[SAMPLE_USERS]) : json_null());
	json_object_set_new(row, "level_packets_per_second", known(values[SAMPLE_LEVEL], 1e-3));
	json_object_set_new(row, "capacity_packets_per_second", known(values[SAMPLE_CAPACITY], 1e-3));
	json_object_set_new(row, "p50_milliseconds", known(values[SAMPLE_P50_US], 1e-3));
	json_object_set_new(row, "p99_milliseconds", known(values[SAMPLE_P99_US], 1e-3));
	return row;
}

/* Takes ownership of the rows. */
static int print_rows(const struct wish *wish, json_t *rows, const struct column *columns, size_t count)
{
	if (wish->format == FORMAT_JSON)
		json_print(rows);
	else if (wish->format == FORMAT_CSV)
		csv_print(rows, columns, count);
	else if (json_array_size(rows))
		table_print(rows, columns, count);
	else
		fputs("spillway: nothing is recorded of that time\n", stderr);
	json_decref(rows);
	return EXIT_DONE;
}

/* What a chart shows: panels one below the other, those that have something to show. */
static const struct panel {
	const char *title, *unit;
	struct {
		const char *name, *colour;
		enum sample_field field;
		bool rate;
		double factor;
	} lines[2];
	bool always;
} panels[] = {
	{"Received and spilled",
         "packets/s",
         {{"received", "#2a7fb8", SAMPLE_PACKETS, true, 1}, {"spilled", "#c8372d", SAMPLE_SPILLED, true, 1}},
         true},
	{"Volume", "bytes/s", {{"received", "#2a7fb8", SAMPLE_BYTES, true, 1}, {0}}, false},
	{"Users", "active", {{"users", "#5a9e3d", SAMPLE_USERS, false, 1}, {0}}, false},
	{"Level", "packets/s of a user", {{"level", "#c98a1b", SAMPLE_LEVEL, false, 1e-3}, {0}}, false},
	{"Response time",
         "ms",
         {{"median", "#7a5aa8", SAMPLE_P50_US, false, 1e-3}, {"p99", "#c8372d", SAMPLE_P99_US, false, 1e-3}},
         false},
};

#define PANELS (sizeof(panels) / sizeof(*panels))

static void fill_line(const struct timeline *timeline, const struct panel *panel, size_t line, double *values,
                      bool *any)
{
	enum sample_field field = panel->lines[line].field;

	for (size_t i = 0; i < timeline->count; i++) {
		const struct sample *sample = &timeline->samples[i];
		double value = panel->lines[line].rate ? timeline_rate(sample, field)
		               : sample->values[field] ? (double)sample->values[field] * panel->lines[line].factor
		                                       : NAN;
		values[i] = value;
		*any |= value > 0;
	}
}

static int print_charts(const struct wish *wish, const struct timeline *timeline)
{
	_cleanup_free_ double *values = calloc(PANELS * 2 * (timeline->count + 1), sizeof(*values));
	struct chart charts[PANELS];
	size_t count = 0;
	bool coloured = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	if (!values)
		return EXIT_FAILED;
	for (size_t p = 0; p < PANELS; p++) {
		struct chart *chart = &charts[count];
		bool any = panels[p].always;
		*chart = (struct chart){.title = panels[p].title,
		                        .unit = panels[p].unit,
		                        .start_s = timeline->from_s,
		                        .step_s = history_steps[timeline->step].seconds,
		                        .count = timeline->count};
		for (size_t line = 0; line < 2 && panels[p].lines[line].name; line++) {
			double *mine = values + (p * 2 + line) * (timeline->count + 1);
			fill_line(timeline, &panels[p], line, mine, &any);
			chart->lines[line] = (struct chart_line){.name = panels[p].lines[line].name,
			                                         .values = mine,
			                                         .colour = panels[p].lines[line].colour};
		}
		count += any;
	}
	if (wish->format == FORMAT_SVG) {
		chart_write_svg(stdout, charts, count);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < count; i++)
		chart_draw(stdout, &charts[i], chart_columns(), CHART_ROWS, coloured);
	return EXIT_DONE;
}

static int show_samples(const struct wish *wish)
{
	struct timeline timeline = {0};
	json_t *rows = json_array();

	int status = timeline_read(&wish->source, wish->service, wish->step, wish->from_s, wish->to_s, &timeline);
	_cleanup_free_ struct sample *samples = timeline.samples;
	if (status != EXIT_DONE || wish->format == FORMAT_CHART || wish->format == FORMAT_SVG) {
		json_decref(rows);
		return status != EXIT_DONE ? status : print_charts(wish, &timeline);
	}
	/* What is not yet written, and what is not yet rolled up, is no gap. */
	while (timeline.count && !samples[timeline.count - 1].values[SAMPLE_SECONDS])
		timeline.count--;
	for (size_t i = 0; i < timeline.count; i++)
		json_array_append_new(rows, sample_row(wish, &timeline, i));
	return print_rows(wish, rows, sample_columns, sizeof(sample_columns) / sizeof(*sample_columns));
}

struct gathering {
	const struct wish *wish;
	struct history_service *services;
	size_t services_count;
	json_t *rows; /* an array of each minute's, or an object by service and user */
};

static const char *service_name(const struct gathering *gathering, unsigned number)
{
	for (size_t i = 0; i < gathering->services_count; i++)
		if (gathering->services[i].number == number)
			return gathering->services[i].name;
	return "?";
}

static void add_to(json_t *row, const char *key, uint64_t more)
{
	json_object_set_new(row, key, json_integer(json_integer_value(json_object_get(row, key)) + (json_int_t)more));
}

static void gather_users(int64_t minute_s, unsigned service, const struct sampled_user *users, size_t count,
                         void *argument)
{
	struct gathering *gathering = argument;
	bool each_minute = json_is_array(gathering->rows);
	double span_s = each_minute ? 60 : (double)(gathering->wish->to_s - gathering->wish->from_s);

	for (size_t i = 0; i < count; i++) {
		char key[128];
		snprintf(key, sizeof(key), "%u %s", service, users[i].user);
		json_t *row = each_minute ? NULL : json_object_get(gathering->rows, key);
		if (!row) {
			row = json_pack("{s:o,s:s,s:s}", "time",
			                each_minute ? time_value(gathering->wish, minute_s) : json_null(), "service",
			                service_name(gathering, service), "user", users[i].user);
			if (!row) /* a name that is no UTF-8 */
				continue;
			if (each_minute)
				json_array_append_new(gathering->rows, row);
			else
				json_object_set_new(gathering->rows, key, row);
		}
		add_to(row, "packets", users[i].packets);
		add_to(row, "bytes", users[i].bytes);
		add_to(row, "spilled_packets", users[i].spilled);
		json_object_set_new(row, "packets_per_second",
		                    json_real(json_number_value(json_object_get(row, "packets")) / span_s));
	}
}

static int heavier_first(const void *left, const void *right)
{
	json_int_t a = json_integer_value(json_object_get(*(json_t *const *)left, "packets"));
	json_int_t b = json_integer_value(json_object_get(*(json_t *const *)right, "packets"));

	return (a < b) - (a > b);
}

/* The values of an object, the heaviest first; takes ownership of it. */
static json_t *sort_users(json_t *by_user, size_t most)
{
	size_t count = json_object_size(by_user), i = 0;
	_cleanup_free_ json_t **sorted = calloc(count + 1, sizeof(*sorted));
	json_t *rows = json_array(), *row;
	const char *key;

	json_object_foreach(by_user, key, row)
	{
		if (sorted)
			sorted[i++] = row;
	}
	if (i)
		qsort(sorted, i, sizeof(*sorted), heavier_first);
	for (size_t j = 0; j < i && j < most; j++)
		json_array_append(rows, sorted[j]);
	json_decref(by_user);
	return rows;
}

static int show_users(const struct wish *wish, struct history_reader *reader, unsigned service)
{
	struct gathering gathering = {.wish = wish};
	bool each_minute = wish->step_given;
	struct error err;

	gathering.rows = each_minute ? json_array() : json_object();
	int failure = history_reader_services(reader, &gathering.services, &gathering.services_count, &err);
	if (!failure)
		failure =
			history_reader_users(reader, service, wish->from_s, wish->to_s, gather_users, &gathering, &err);
	free(gathering.services);
	if (failure) {
		json_decref(gathering.rows);
		fprintf(stderr, "spillway: %s\n", err.text);
		return EXIT_FAILED;
	}
	json_t *rows = each_minute ? gathering.rows
	                           : sort_users(gathering.rows, wish->format == FORMAT_TABLE ? USERS_SHOWN : SIZE_MAX);
	size_t skipped = each_minute ? 0 : 1; /* the time, which is one */
	return print_rows(wish, rows, user_columns + skipped, sizeof(user_columns) / sizeof(*user_columns) - skipped);
}

static void gather_event(int64_t time_us, const char *document, void *argument)
{
	struct gathering *gathering = argument;
	json_t *event = json_loads(document, 0, NULL);

	if (!event)
		return;
	if (gathering->wish->format == FORMAT_TABLE)
		json_object_set_new(event, "time", time_value(gathering->wish, time_us / 1000000));
	json_array_append_new(gathering->rows, event);
}

static int show_events(const struct wish *wish, struct history_reader *reader, unsigned service)
{
	struct gathering gathering = {.wish = wish, .rows = json_array()};
	struct error err;
	(void)service;

	int64_t to_s = wish->to ? wish->to_s : wish->to_s + 1; /* up to now: what this second has seen as well */
	if (history_reader_events(reader, wish->service, wish->from_s, to_s, gather_event, &gathering, &err) < 0) {
		json_decref(gathering.rows);
		fprintf(stderr, "spillway: %s\n", err.text);
		return EXIT_FAILED;
	}
	return print_rows(wish, gathering.rows, event_columns, sizeof(event_columns) / sizeof(*event_columns));
}

static void add_bins(json_t *rows, const char *of, const uint64_t *bins, size_t count, double (*lower)(size_t bin),
                     uint64_t passes)
{
	for (size_t i = 0; i < count && passes; i++)
		if (bins[i])
			json_array_append_new(rows, json_pack("{s:s,s:f,s:f,s:f}", "of", of, "from", lower(i), "to",
			                                      lower(i + 1), "count", (double)bins[i] / (double)passes));
}

static int show_distribution(const struct wish *wish, struct history_reader *reader, unsigned service)
{
	struct distribution distribution;
	json_t *rows = json_array();
	struct error err;

	if (!service) {
		json_decref(rows);
		return wrong_usage("--distribution", "of which service? Name one with --service", help);
	}
	if (history_reader_distribution(reader, service, wish->from_s, wish->to_s, &distribution, &err) < 0) {
		json_decref(rows);
		fprintf(stderr, "spillway: %s\n", err.text);
		return EXIT_FAILED;
	}
	add_bins(rows, "users by packets/s", distribution.rates, BINS_RATES, distribution_rate, distribution.passes);
	add_bins(rows, "packets/s by bytes", distribution.sizes, BINS_SIZES, distribution_size, distribution.passes);
	return print_rows(wish, rows, distribution_columns,
	                  sizeof(distribution_columns) / sizeof(*distribution_columns));
}

static int show(const struct wish *wish)
{
	static int (*const shows[])(const struct wish *wish, struct history_reader *reader, unsigned service) = {
		[SUBJECT_USERS] = show_users,
		[SUBJECT_EVENTS] = show_events,
		[SUBJECT_DISTRIBUTION] = show_distribution,
	};
	_cleanup_(history_reader_closep) struct history_reader *reader = NULL;
	unsigned service = 0;

	if (wish->subject == SUBJECT_SAMPLES)
		return show_samples(wish);
	if (wish->source.prometheus)
		return wrong_usage("--from-prometheus", "a Prometheus server knows rates alone, not users or events",
		                   help);
	if (wish->format == FORMAT_CHART || wish->format == FORMAT_SVG)
		return wrong_usage("--format", "there is no chart of this: table, json or csv", help);
	int status = timeline_open(&wish->source, &reader);
	if (status == EXIT_DONE && wish->subject != SUBJECT_EVENTS)
		status = timeline_service(reader, wish->service, &service);
	return status == EXIT_DONE ? shows[wish->subject](wish, reader, service) : status;
}

static int read_word(const char *option, const char *text, const char *const *words, size_t count, int *out)
{
	char expected[96] = "expected";

	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = (int)i;
			return -1;
		}
		size_t written = strlen(expected);
		snprintf(expected + written, sizeof(expected) - written, "%s %s", i ? "," : "", words[i]);
	}
	return wrong_usage(option, expected, help);
}

/* Returns -1 to go on, or the exit status to end with. */
static int read_times(struct wish *wish)
{
	struct error err;
	int64_t now_s = time(NULL);

	wish->to_s = now_s;
	if (wish->to && times_parse(wish->to, now_s, &wish->to_s, &err) < 0)
		return wrong_usage("--to", err.text, help);
	wish->from_s = wish->to_s - 3600;
	if (wish->from && times_parse(wish->from, now_s, &wish->from_s, &err) < 0)
		return wrong_usage("--from", err.text, help);
	if (wish->from_s >= wish->to_s || wish->from_s < 0)
		return wrong_usage("--from", wish->from_s < 0 ? "before 1970" : "the time ends before it begins", help);
	if (!wish->step_given)
		wish->step = timeline_step(wish->from_s, wish->to_s);
	return -1;
}

enum option_number { SERVICE = 1, FROM, TO, STEP, USERS, EVENTS, DISTRIBUTION, FORMAT, DATABASE, PROMETHEUS };

static int read_option(int option, struct wish *wish)
{
	static const char *const step_names[] = {"second", "minute", "quarter"};
	int status = -1, word = 0;

	switch (option) {
	case SERVICE:
		wish->service = optarg;
		break;
	case FROM:
		wish->from = optarg;
		break;
	case TO:
		wish->to = optarg;
		break;
	case STEP:
		status = read_word("--step", optarg, step_names, STEPS, &word);
		wish->step = (enum history_step)word;
		wish->step_given = true;
		break;
	case USERS:
		wish->subject = SUBJECT_USERS;
		break;
	case EVENTS:
		wish->subject = SUBJECT_EVENTS;
		break;
	case DISTRIBUTION:
		wish->subject = SUBJECT_DISTRIBUTION;
		break;
	case FORMAT:
		status = read_word("--format", optarg, format_names, sizeof(format_names) / sizeof(*format_names),
		                   &word);
		wish->format = (enum format)word;
		break;
	case DATABASE:
		wish->source.database = optarg;
		break;
	case PROMETHEUS:
		wish->source.prometheus = optarg;
		break;
	default:
		status = common_option(option, &wish->common, help);
	}
	return status;
}

int verb_history(int argc, char **argv)
{
	static const struct option options[] = {{"service", required_argument, NULL, SERVICE},
	                                        {"from", required_argument, NULL, FROM},
	                                        {"to", required_argument, NULL, TO},
	                                        {"step", required_argument, NULL, STEP},
	                                        {"users", no_argument, NULL, USERS},
	                                        {"events", no_argument, NULL, EVENTS},
	                                        {"distribution", no_argument, NULL, DISTRIBUTION},
	                                        {"format", required_argument, NULL, FORMAT},
	                                        {"database", required_argument, NULL, DATABASE},
	                                        {"from-prometheus", required_argument, NULL, PROMETHEUS},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct wish wish = {.common = common_options_default()};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = read_option(option, &wish);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	if (wish.common.json)
		wish.format = FORMAT_JSON;
	wish.source.socket = wish.common.socket;
	int status = read_times(&wish);
	return status >= 0 ? status : show(&wish);
}
