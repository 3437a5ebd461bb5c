/* SPDX-License-Identifier: GPL-2.0-only */
/* Charts of series over time: in the terminal with braille dots, eight a character, and as SVG. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CHART_LINES_MAX 4

struct chart_line {
	const char *name;     /* NULL ends the list */
	const double *values; /* NAN: a gap */
	const char *colour;   /* of SVG, as "#3b6ea5"; the terminal takes the order's */
	bool faint;           /* a bound, not a course */
};

struct chart {
	const char *title, *unit;
	int64_t start_s;
	unsigned step_s;
	size_t count;   /* values of each line */
	int64_t mark_s; /* a vertical line there; 0: none */
	struct chart_line lines[CHART_LINES_MAX];
};

/* The columns of the terminal on standard output: COLUMNS, or the terminal's, or 80; 20 at least. */
unsigned chart_columns(void);

/* Draws within `columns`, `rows` of them the plot itself. Where more values fall on a dot than it can show, it spans
 * from the least to the most of them: peaks stay visible. `coloured`: with escape sequences. */
void chart_draw(FILE *out, const struct chart *chart, unsigned columns, unsigned rows, bool coloured);

/* Writes one SVG document with the charts below each other; readable on dark and light. */
void chart_write_svg(FILE *out, const struct chart *charts, size_t count);
