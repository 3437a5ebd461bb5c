/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

#define COLUMNS_MAX  16
#define CELL_BYTES   256
#define GAP          2
#define NARROWEST    8 /* what a text is cut to, at the least */
#define EVERY_S_MOST 3600.0

struct cells {
	char text[COLUMNS_MAX][CELL_BYTES];
};

static void cell_format(const json_t *row, const struct column *column, char out[CELL_BYTES])
{
	const json_t *value = json_object_get(row, column->key);

	if (json_is_string(value))
		snprintf(out, CELL_BYTES, "%s", json_string_value(value));
	else if (json_is_number(value) && column->form == COLUMN_BYTES)
		units_format_bytes(json_number_value(value), out, CELL_BYTES);
	else if (json_is_number(value))
		units_format_count(json_number_value(value), out, CELL_BYTES);
	else if (json_is_boolean(value))
		snprintf(out, CELL_BYTES, "%s", json_is_true(value) ? "yes" : "no");
	else
		snprintf(out, CELL_BYTES, "-");
	for (; *out; out++) /* of others' making: a row is a line, and the terminal is not theirs */
		if ((unsigned char)*out < ' ' || *out == 0x7f)
			*out = ' ';
}

static void row_format(const json_t *row, const struct column *columns, size_t count, struct cells *out)
{
	for (size_t i = 0; i < count; i++)
		cell_format(row, &columns[i], out->text[i]);
}

static void widen(int *widths, const struct cells *cells, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((int)strlen(cells->text[i]) > widths[i])
			widths[i] = (int)strlen(cells->text[i]);
}

static void row_print(const struct cells *cells, const struct column *columns, const int *widths, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		bool last = i + 1 == count, cut = (int)strlen(cells->text[i]) > widths[i];
		if (cut)
			printf("%.*s~", widths[i] - 1, cells->text[i]);
		else if (columns[i].form == COLUMN_TEXT)
			printf("%-*s", last ? 0 : widths[i], cells->text[i]);
		else
			printf("%*s", widths[i], cells->text[i]);
		fputs(last ? "\n" : "  ", stdout);
	}
}

/* Of the terminal; 0: it is none, or does not say. */
static int screen_width(void)
{
	struct winsize size;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int total_width(const int *widths, size_t count)
{
	int total = 0;

	for (size_t i = 0; i < count; i++)
		total += widths[i] + (i ? GAP : 0);
	return total;
}

/* Narrows texts, the widest first, until the table fits. Returns how many columns are left. */
static size_t fit(const struct column *columns, int *widths, size_t count, int screen)
{
	while (screen && total_width(widths, count) > screen) {
		size_t widest = count;
		for (size_t i = 0; i < count; i++)
			if (columns[i].form == COLUMN_TEXT && widths[i] > NARROWEST &&
			    (widest == count || widths[i] > widths[widest]))
				widest = i;
		if (widest < count)
			widths[widest]--;
		else if (count > 1)
			count--;
		else
			break;
	}
	return count;
}

void table_print(const json_t *rows, const struct column *columns, size_t count)
{
	int widths[COLUMNS_MAX] = {0};
	struct cells titles = {0}, cells = {0};
	size_t index;
	json_t *row;

	for (size_t i = 0; i < count; i++)
		snprintf(titles.text[i], CELL_BYTES, "%s", columns[i].title);
	widen(widths, &titles, count);
	json_array_foreach(rows, index, row)
	{
		row_format(row, columns, count, &cells);
		widen(widths, &cells, count);
	}
	size_t shown = fit(columns, widths, count, screen_width());
	row_print(&titles, columns, widths, shown);
	json_array_foreach(rows, index, row)
	{
		row_format(row, columns, count, &cells);
		row_print(&cells, columns, widths, shown);
	}
}

struct ranked_row {
	json_t *row;
	const json_t *value;
	size_t place;
};

static int rank(const void *left, const void *right)
{
	const struct ranked_row *a = left, *b = right;
	double first = json_number_value(a->value), second = json_number_value(b->value);
	int order = 0;

	if (json_is_string(a->value) && json_is_string(b->value))
		order = strcasecmp(json_string_value(a->value), json_string_value(b->value));
	else if (json_is_number(a->value) && json_is_number(b->value))
		order = (first < second) - (first > second);
	else
		order = (!a->value || json_is_null(a->value)) - (!b->value || json_is_null(b->value));
	return order ? order : (a->place > b->place) - (a->place < b->place);
}

static const struct column *column_called(const struct column *columns, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(columns[i].title, name) == 0 || strcasecmp(columns[i].key, name) == 0)
			return &columns[i];
	fprintf(stderr, "spillway: --sort: no column is called '%s': there are", name);
	for (size_t i = 0; i < count; i++) {
		fputs(i ? ", " : " ", stderr);
		for (const char *letter = columns[i].title; *letter; letter++)
			fputc(*letter >= 'A' && *letter <= 'Z' ? *letter - 'A' + 'a' : *letter, stderr);
	}
	fputc('\n', stderr);
	return NULL;
}

int table_sort(json_t *rows, const struct column *columns, size_t count, const char *by)
{
	const struct column *column = column_called(columns, count, by);
	size_t rows_count = json_array_size(rows);
	_cleanup_free_ struct ranked_row *ranked = calloc(rows_count + 1, sizeof(*ranked));

	if (!column || !ranked)
		return -EINVAL;
	for (size_t i = 0; i < rows_count; i++) {
		json_t *row = json_array_get(rows, i);
		ranked[i] = (struct ranked_row){json_incref(row), json_object_get(row, column->key), i};
	}
	qsort(ranked, rows_count, sizeof(*ranked), rank);
	json_array_clear(rows);
	for (size_t i = 0; i < rows_count; i++)
		json_array_append_new(rows, ranked[i].row);
	return 0;
}

void json_print(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
}

int table_every(const char *text, double *every_s, const char *help)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*text < '0' || *text > '9' || *end || !(seconds >= 0.1 && seconds <= EVERY_S_MOST))
		return wrong_usage("--watch", "a number of seconds from 0.1 to 3600 was expected", help);
	*every_s = seconds;
	return -1;
}

void table_clear(double every_s)
{
	const char *term = getenv("TERM");

	if (every_s > 0 && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0)
		fputs("\033[H\033[2J", stdout);
}

bool table_again(double every_s)
{
	struct timespec pause = {.tv_sec = (time_t)every_s,
	                         .tv_nsec = (long)((every_s - (double)(time_t)every_s) * 1e9)};

	if (!(every_s > 0) || fflush(stdout) != 0)
		return false;
	nanosleep(&pause, NULL);
	return true;
}
