/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define WIDTH      960.0
#define LEFT       70.0
#define RIGHT      150.0
#define TOP        50.0
#define PANEL      150.0
#define GAP        36.0
#define POINTS     800 /* at most, of a line: the mean of what lies between */
#define GRID_LINES 4

struct line {
	const char *name, *colour;
	double (*value)(const struct tick *tick);
};

struct panel {
	const char *title;
	struct line lines[3];
};

static double offered(const struct tick *tick)
{
	return (double)tick->offered_pps;
}

static double admitted(const struct tick *tick)
{
	return (double)tick->admitted_pps;
}

static double answered(const struct tick *tick)
{
	return (double)tick->answered_pps;
}

static double response(const struct tick *tick)
{
	return (double)tick->response_s * 1e3;
}

static double level(const struct tick *tick)
{
	return (double)tick->level_pps;
}

static double capacity(const struct tick *tick)
{
	return (double)tick->capacity_pps;
}

static const struct panel panels[] = {
	{"requests a second",
         {{"offered", "#c9302c", offered}, {"admitted", "#1f77b4", admitted}, {"answered", "#2ca02c", answered}}},
	{"response, ms (median)", {{"response", "#7b3f9e", response}}},
	{"capacity, requests a second", {{"capacity", "#e08214", capacity}}},
	{"level, requests a second for a user", {{"level", "#12797a", level}}},
};

#define PANELS (sizeof(panels) / sizeof(panels[0]))

/* The mean of a line's finite values between two ticks; NAN where there are none. */
static double mean(const struct record *record, const struct line *line, size_t first, size_t end)
{
	double sum = 0, count = 0;

	for (size_t i = first; i < end && i < record->count; i++) {
		double value = line->value(&record->ticks[i]);
		if (!isfinite(value))
			continue;
		sum += value;
		count++;
	}
	return count > 0 ? sum / count : NAN;
}

static size_t ticks_a_point(const struct record *record)
{
	return record->count / POINTS + 1;
}

/* A round number that is not below what the panel shows. */
static double ceiling(const struct record *record, const struct panel *panel)
{
	size_t each = ticks_a_point(record);
	double most = 0;

	for (const struct line *line = panel->lines; line < panel->lines + 3 && line->name; line++) {
		for (size_t i = 0; i < record->count; i += each)
			most = fmax(most, mean(record, line, i, i + each)); /* fmax passes over NAN */
	}
	if (!(most > 0))
		return 1;
	double unit = pow(10, floor(log10(most)));
	return ceil(most / unit * 2) / 2 * unit;
}

static void plot_grid(FILE *file, const struct panel *panel, double top, double most)
{
	char text[UNITS_TEXT_MAX];

	fprintf(file, "<text x='%g' y='%g' class='title'>%s</text>\n", LEFT, top - 8, panel->title);
	for (int i = 0; i <= GRID_LINES; i++) {
		double y = top + PANEL - PANEL * i / GRID_LINES;
		units_format_count(most * i / GRID_LINES, text, sizeof(text));
		fprintf(file,
		        "<path d='M%g %gH%g' class='grid'/><text x='%g' y='%g' class='axis' "
		        "text-anchor='end'>%s</text>\n",
		        LEFT, y, WIDTH - RIGHT, LEFT - 6, y + 4, text);
	}
}

static void plot_line(FILE *file, const struct record *record, const struct line *line, double top, double most)
{
	size_t each = ticks_a_point(record);
	bool drawing = false;

	fprintf(file, "<path fill='none' stroke='%s' stroke-width='1.4' d='", line->colour);
	for (size_t i = 0; i < record->count; i += each) {
		double value = mean(record, line, i, i + each);
		if (!isfinite(value)) {
			drawing = false;
			continue;
		}
		fprintf(file, "%c%.1f %.1f", drawing ? 'L' : 'M',
		        LEFT + (WIDTH - LEFT - RIGHT) * (double)i / (double)record->count,
		        top + PANEL - PANEL * fmin(value / most, 1));
		drawing = true;
	}
	fputs("'/>\n", file);
}

static void plot_panel(FILE *file, const struct record *record, const struct panel *panel, double top)
{
	double most = ceiling(record, panel), y = top + 12;

	plot_grid(file, panel, top, most);
	for (const struct line *line = panel->lines; line < panel->lines + 3 && line->name; line++) {
		plot_line(file, record, line, top, most);
		fprintf(file,
		        "<path d='M%g %gh18' stroke='%s' stroke-width='3'/><text x='%g' y='%g' "
		        "class='axis'>%s</text>\n",
		        WIDTH - RIGHT + 14, y, line->colour, WIDTH - RIGHT + 38, y + 4, line->name);
		y += 18;
	}
}

static void plot_times(FILE *file, const struct record *record, double y)
{
	char text[UNITS_TEXT_MAX];

	for (int i = 0; i <= GRID_LINES; i++) {
		units_format_duration_ns((uint64_t)(record->scenario->seconds * i / GRID_LINES * 1e9), text,
		                         sizeof(text));
		fprintf(file, "<text x='%g' y='%g' class='axis' text-anchor='middle'>%s</text>\n",
		        LEFT + (WIDTH - LEFT - RIGHT) * i / GRID_LINES, y, text);
	}
}

int plot_write(const struct record *record, const char *path, struct error *err)
{
	size_t count = PANELS;
	double bottom = TOP + (double)count * (PANEL + GAP);
	_cleanup_fclose_ FILE *file = fopen(path, "we");

	if (!file)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	fprintf(file,
	        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %g %g' font-family='sans-serif'>\n"
	        "<style>.grid{stroke:#ddd}.axis{font-size:11px;fill:#555}.title{font-size:12px;fill:#222}</style>\n"
	        "<rect width='100%%' height='100%%' fill='#fff'/>\n"
	        "<text x='%g' y='22' font-size='15' fill='#111'>%s</text>\n",
	        WIDTH, bottom + 10, LEFT, record->scenario->name);
	for (size_t i = 0; i < PANELS; i++)
		plot_panel(file, record, &panels[i], TOP + (double)i * (PANEL + GAP));
	plot_times(file, record, bottom - GAP + 18);
	fputs("</svg>\n", file);
	return ferror(file) ? error_set(err, -EIO, "%s: could not be written", path) : 0;
}
