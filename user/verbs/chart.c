/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

#define COLUMNS_DEFAULT 80
#define COLUMNS_LEAST   20
#define COLUMNS_MOST    1000
#define LABEL_COLUMNS   8
#define SVG_WIDTH       960
#define SVG_HEIGHT      260
#define SVG_LEFT        70
#define SVG_RIGHT       15
#define SVG_TOP         34
#define SVG_BOTTOM      28
#define DAY_S           86400

unsigned chart_columns(void)
{
	const char *told = getenv("COLUMNS");
	struct winsize size;
	unsigned long columns = told ? strtoul(told, NULL, 10) : 0;

	if (!columns && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		columns = size.ws_col;
	if (!columns)
		return COLUMNS_DEFAULT;
	return columns < COLUMNS_LEAST ? COLUMNS_LEAST : columns > COLUMNS_MOST ? COLUMNS_MOST : (unsigned)columns;
}

/* The top of the scale: 1, 2, 2.5 or 5 times a power of ten, not below any value. */
static double scale_top(const struct chart *chart)
{
	static const double steps[] = {1, 2, 2.5, 5, 10};
	double most = 0;

	for (const struct chart_line *line = chart->lines; line < chart->lines + CHART_LINES_MAX && line->name; line++)
		for (size_t i = 0; i < chart->count; i++)
			if (isfinite(line->values[i]) && line->values[i] > most)
				most = line->values[i];
	if (!(most > 0))
		return 1;
	double power = pow(10, floor(log10(most)));
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (most <= power * steps[i] * (1 + 1e-9))
			return power * steps[i];
	return 10 * power;
}

/* A time as the axis says it: as fine as the span asks for. */
static void time_label(const struct chart *chart, int64_t time_s, char out[24])
{
	int64_t span_s = (int64_t)(chart->count * chart->step_s);
	time_t when = (time_t)time_s;
	struct tm local;

	snprintf(out, 24, "-");
	if (!localtime_r(&when, &local))
		return;
	if (span_s <= 600)
		strftime(out, 24, "%H:%M:%S", &local);
	else if (span_s <= DAY_S)
		strftime(out, 24, "%H:%M", &local);
	else if (span_s <= 4LL * DAY_S)
		strftime(out, 24, "%a %H:%M", &local);
	else
		strftime(out, 24, "%Y-%m-%d", &local);
}

/* Dots of a braille character, U+2800 on: columns of 1, 2, 3, 7 and 4, 5, 6, 8 from the top. */
static const unsigned char dots[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

struct canvas {
	unsigned columns, rows;
	unsigned char *cells, *colours; /* colours: 1 + the line that was drawn last */
};

static void canvas_dot(struct canvas *canvas, unsigned x, unsigned y, unsigned line)
{
	size_t cell = (size_t)(y / 4) * canvas->columns + x / 2;

	canvas->cells[cell] |= dots[y % 4][x % 2];
	canvas->colours[cell] = (unsigned char)(line + 1);
}

/* The least and the most of the values that fall on a dot's column; false where there are none. */
static bool column_span(const struct chart *chart, const double *values, unsigned x, unsigned width, double *least,
                        double *most)
{
	size_t from = x * chart->count / width, to = ((size_t)x + 1) * chart->count / width;
	bool any = false;

	for (size_t i = from; i < (to > from ? to : from + 1) && i < chart->count; i++) {
		if (!isfinite(values[i]))
			continue;
		*least = any && *least < values[i] ? *least : values[i];
		*most = any && *most > values[i] ? *most : values[i];
		any = true;
	}
	return any;
}

static void canvas_line(struct canvas *canvas, const struct chart *chart, unsigned number, double top)
{
	unsigned width = 2 * canvas->columns, height = 4 * canvas->rows;
	double before = NAN;

	for (unsigned x = 0; x < width; x++) {
		double least, most;
		if (!column_span(chart, chart->lines[number].values, x, width, &least, &most)) {
			before = NAN;
			continue;
		}
		/* Joined to what is left of it. */
		if (isfinite(before) && !chart->lines[number].faint) {
			least = before < least ? before : least;
			most = before > most ? before : most;
		}
		unsigned low = (unsigned)(least / top * (height - 1) + 0.5);
		unsigned high = (unsigned)(most / top * (height - 1) + 0.5);
		for (unsigned y = low; y <= high && y < height; y++)
			canvas_dot(canvas, x, height - 1 - y, number);
		before = chart->count > width ? NAN : chart->lines[number].values[x * chart->count / width];
	}
}

static void put_braille(FILE *out, unsigned char cell)
{
	fprintf(out, "\xe2%c%c", 0xa0 | cell >> 6, 0x80 | (cell & 0x3f));
}

static void print_row(FILE *out, const struct canvas *canvas, unsigned row, bool coloured)
{
	static const char *const colours[] = {"\033[0m", "\033[36m", "\033[31m", "\033[33m", "\033[35m"};
	unsigned char last = 0;

	for (unsigned column = 0; column < canvas->columns; column++) {
		size_t cell = (size_t)row * canvas->columns + column;
		if (coloured && canvas->colours[cell] != last)
			fputs(colours[canvas->colours[cell]], out);
		last = canvas->colours[cell];
		if (canvas->cells[cell])
			put_braille(out, canvas->cells[cell]);
		else
			fputc(' ', out);
	}
	fputs(coloured && last ? "\033[0m\n" : "\n", out);
}

static void print_times(FILE *out, const struct chart *chart, unsigned columns)
{
	char from[24], to[24], middle[24];
	int64_t span_s = (int64_t)(chart->count * chart->step_s);

	time_label(chart, chart->start_s, from);
	time_label(chart, chart->start_s + span_s / 2, middle);
	time_label(chart, chart->start_s + span_s, to);
	int gap = (int)columns - (int)(strlen(from) + strlen(to));
	int space = gap - (int)strlen(middle);
	if (space > 4)
		fprintf(out, "%*s%s%*s%s%*s%s\n", LABEL_COLUMNS, "", from, space / 2, "", middle, space - space / 2, "",
		        to);
	else
		fprintf(out, "%*s%s%*s%s\n", LABEL_COLUMNS, "", from, gap > 1 ? gap : 1, "", to);
}

void chart_draw(FILE *out, const struct chart *chart, unsigned columns, unsigned rows, bool coloured)
{
	struct canvas canvas = {.columns = columns > LABEL_COLUMNS + 4 ? columns - LABEL_COLUMNS : 4, .rows = rows};
	_cleanup_free_ unsigned char *cells = calloc((size_t)canvas.columns * rows, 2);
	double top = scale_top(chart);
	char label[UNITS_TEXT_MAX];

	if (!cells || !chart->count || !rows)
		return;
	canvas.cells = cells;
	canvas.colours = cells + (size_t)canvas.columns * rows;
	fprintf(out, "%s, %s\n", chart->title, chart->unit);
	for (unsigned pass = 0; pass < 2; pass++) /* courses over bounds */
		for (unsigned line = 0; line < CHART_LINES_MAX && chart->lines[line].name; line++)
			if (chart->lines[line].faint == (pass == 0))
				canvas_line(&canvas, chart, line, top);
	for (unsigned row = 0; row < rows; row++) {
		label[0] = '\0';
		if (row == 0 || row == rows / 2)
			units_format_count(top * (rows - row) / rows, label, sizeof(label));
		else if (row == rows - 1)
			snprintf(label, sizeof(label), "0");
		fprintf(out, "%*s ", LABEL_COLUMNS - 1, label);
		print_row(out, &canvas, row, coloured);
	}
	print_times(out, chart, canvas.columns);
}

/* A name may come from a configuration, or from a server: what means something in XML is escaped. */
static void svg_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
	}
}

static void svg_line(FILE *out, const struct chart *chart, const struct chart_line *line, double top, double base)
{
	const unsigned width = SVG_WIDTH - SVG_LEFT - SVG_RIGHT, height = SVG_HEIGHT - SVG_TOP - SVG_BOTTOM;
	const unsigned room = 2 * width, points = chart->count < room ? (unsigned)chart->count : room;
	bool drawing = false;

	fputs("<path d=\"", out);
	for (unsigned x = 0; x < points; x++) {
		double least, most;
		if (!column_span(chart, line->values, x, points, &least, &most)) {
			drawing = false;
			continue;
		}
		double at = SVG_LEFT + (x + 0.5) * width / points;
		fprintf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', at, base - most / top * height);
		if (least < most)
			fprintf(out, "L%.1f %.1f", at, base - least / top * height);
		else if (!drawing)
			fputs("h0.5", out); /* one value between gaps is seen, too */
		drawing = true;
	}
	fprintf(out, "\" stroke=\"%s\"%s><title>", line->colour, line->faint ? " stroke-dasharray=\"3 3\"" : "");
	svg_text(out, line->name);
	fputs("</title></path>\n", out);
}

static void svg_chart(FILE *out, const struct chart *chart, double y)
{
	const unsigned width = SVG_WIDTH - SVG_LEFT - SVG_RIGHT, height = SVG_HEIGHT - SVG_TOP - SVG_BOTTOM;
	double top = scale_top(chart), base = y + SVG_TOP + height, x = SVG_LEFT + 260;
	int64_t span_s = (int64_t)(chart->count * chart->step_s);
	char label[UNITS_TEXT_MAX];

	fprintf(out, "<text x=\"%d\" y=\"%.0f\" font-weight=\"bold\">", SVG_LEFT, y + 18);
	svg_text(out, chart->title);
	fputs(", ", out);
	svg_text(out, chart->unit);
	fputs("</text>\n", out);
	for (const struct chart_line *line = chart->lines; line < chart->lines + CHART_LINES_MAX && line->name;
	     line++) {
		fprintf(out, "<text x=\"%.0f\" y=\"%.0f\" fill=\"%s\">", x, y + 18, line->colour);
		svg_text(out, line->name);
		fputs("</text>\n", out);
		x += 30 + 7.0 * (double)strlen(line->name);
	}
	for (int i = 0; i <= 4; i++) {
		units_format_count(top * i / 4, label, sizeof(label));
		fprintf(out,
		        "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#8888\" stroke-width=\"0.5\"/>"
		        "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
		        SVG_LEFT, SVG_WIDTH - SVG_RIGHT, base - height * i / 4.0, base - height * i / 4.0, SVG_LEFT - 6,
		        base - height * i / 4.0 + 4, label);
	}
	for (int i = 0; i <= 4; i++) {
		char when[24];
		time_label(chart, chart->start_s + span_s * i / 4, when);
		fprintf(out, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", SVG_LEFT + width * i / 4.0,
		        base + 18,
		        i == 0   ? "start"
		        : i == 4 ? "end"
		                 : "middle",
		        when);
	}
	if (chart->mark_s) {
		double at = SVG_LEFT + width * (double)(chart->mark_s - chart->start_s) / (double)(span_s ? span_s : 1);
		fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\" stroke=\"#888\"/>\n", at, at,
		        base - height, base);
	}
	fputs("<g fill=\"none\" stroke-width=\"1.3\" stroke-linejoin=\"round\">\n", out);
	for (const struct chart_line *line = chart->lines; line < chart->lines + CHART_LINES_MAX && line->name; line++)
		svg_line(out, chart, line, top, base);
	fputs("</g>\n", out);
}

void chart_write_svg(FILE *out, const struct chart *charts, size_t count)
{
	fprintf(out,
	        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" font-family=\"sans-serif\" "
	        "font-size=\"12\" fill=\"#777\">\n",
	        SVG_WIDTH, count * SVG_HEIGHT);
	for (size_t i = 0; i < count; i++)
		svg_chart(out, &charts[i], (double)i * SVG_HEIGHT);
	fputs("</svg>\n", out);
}
