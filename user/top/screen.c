/* SPDX-License-Identifier: GPL-2.0-only */
#include "top/screen.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <ncurses.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/units.h"

#define WIDTH_LEAST  40
#define HEIGHT_LEAST 8
#define NAME_WIDTH   13
#define USER_LEAST   18
#define USER_MOST    44 /* an IPv6 prefix */
#define KEY_WIDTH    28
#define NUMBER_WIDTH 9
#define ESCAPE_MS    25 /* what comes later than this after Escape is another key */

enum pair {
	PLAIN,
	TITLE,
	PASSED_COLOUR,
	SPILLED_COLOUR,
	SHADOW_COLOUR,
	FAINT,
};

static struct {
	bool unicode;
} terminal;

int screen_open(void)
{
	static const struct {
		short pair, colour;
	} colours[] = {{TITLE, COLOR_CYAN},
	               {PASSED_COLOUR, COLOR_GREEN},
	               {SPILLED_COLOUR, COLOR_RED},
	               {SHADOW_COLOUR, COLOR_YELLOW},
	               {FAINT, COLOR_BLUE}};

	setlocale(LC_CTYPE, "");
	terminal.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (!newterm(NULL, stdout, stdin))
		return -ENOTTY;
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	const char *no_colour = getenv("NO_COLOR");
	if (has_colors() && !(no_colour && *no_colour)) {
		start_color();
		use_default_colors();
		for (size_t i = 0; i < sizeof(colours) / sizeof(*colours); i++)
			init_pair(colours[i].pair, colours[i].colour, -1);
	}
	return 0;
}

void screen_close(void)
{
	endwin();
}

int screen_key(int wait_ms)
{
	static const struct {
		int theirs, ours;
	} keys[] = {{KEY_UP, KEY_TO_UP},           {KEY_DOWN, KEY_TO_DOWN},
	            {KEY_PPAGE, KEY_TO_PAGE_UP},   {KEY_NPAGE, KEY_TO_PAGE_DOWN},
	            {KEY_HOME, KEY_TO_FIRST},      {KEY_END, KEY_TO_LAST},
	            {KEY_ENTER, KEY_TO_ENTER},     {'\n', KEY_TO_ENTER},
	            {'\r', KEY_TO_ENTER},          {27, KEY_TO_BACK},
	            {KEY_LEFT, KEY_TO_BACK},       {KEY_RIGHT, KEY_TO_ENTER},
	            {KEY_BACKSPACE, KEY_TO_ERASE}, {127, KEY_TO_ERASE},
	            {'\b', KEY_TO_ERASE},          {'\t', KEY_TO_NEXT}};

	timeout(wait_ms);
	int key = getch();
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (keys[i].theirs == key)
			return keys[i].ours;
	return key == ERR || key == KEY_RESIZE || key > 0x7f ? 0 : key;
}

static attr_t colour(enum pair pair)
{
	return (attr_t)COLOR_PAIR(pair);
}

/* Text that others may have chosen, in so many columns: what is no printable ASCII becomes a question mark, so that it
 * takes one column and moves no cursor. */
static void put_text(const char *text, int width)
{
	int column = 0;

	for (; column < width && text[column]; column++)
		addch(text[column] >= ' ' && text[column] < 0x7f ? (chtype)text[column] : '?');
	for (; column < width; column++)
		addch(' ');
}

static void put_count(double value, attr_t look)
{
	char text[UNITS_TEXT_MAX] = "-";

	if (!isnan(value))
		units_format_count(value, text, sizeof(text));
	attron(look);
	printw("%*s", NUMBER_WIDTH, text);
	attroff(look);
}

/* What spills is to be seen; what is nothing is not. */
static attr_t look_of(double value, enum pair pair)
{
	return value > 0 ? colour(pair) | A_BOLD : colour(FAINT);
}

/* The past in one line, the newest at the right; red where anything was spilled. */
static void put_sparkline(const struct sampled_service *service, int width)
{
	static const char *const unicode[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
	const double *received = service->received_past, *spilled = service->spilled_past;
	double most = 0;

	if (width > SAMPLES_KEPT)
		width = SAMPLES_KEPT;
	for (int i = SAMPLES_KEPT - width; i < SAMPLES_KEPT; i++)
		most = fmax(most, received[i]);
	for (int i = SAMPLES_KEPT - width; i < SAMPLES_KEPT; i++) {
		int height = most > 0 ? (int)ceil(8 * received[i] / most) : 0;
		attr_t look = colour(spilled[i] > 0 ? SPILLED_COLOUR : PASSED_COLOUR);
		attron(look);
		addstr(terminal.unicode ? unicode[height] : ascii[height]);
		attroff(look);
	}
}

static void title_line(const struct view *view, const struct samples *samples)
{
	const json_t *interfaces = json_object_get(samples->status, "interfaces");
	char up[UNITS_TEXT_MAX], now[16];
	time_t wall = time(NULL);
	struct tm local;

	units_format_duration_ns((uint64_t)(samples->uptime_s * 1e9), up, sizeof(up));
	attron(colour(TITLE) | A_BOLD);
	mvprintw(0, 0, "spillway");
	attroff(colour(TITLE) | A_BOLD);
	printw(" %s on %s, up %s", sample_text(samples->status, "mode"), sample_text(samples->status, "host"), up);
	for (size_t i = 0; i < json_array_size(interfaces); i++) {
		const json_t *interface = json_array_get(interfaces, i);
		bool attached = json_is_true(json_object_get(interface, "attached"));
		attr_t look = attached ? 0 : colour(SPILLED_COLOUR) | A_BOLD;
		attron(look);
		printw(", %s %s", sample_text(interface, "name"),
		       attached ? sample_text(interface, "mode") : "NOT ATTACHED");
		attroff(look);
	}
	if (localtime_r(&wall, &local) && strftime(now, sizeof(now), "%H:%M:%S", &local))
		mvprintw(0, COLS - 9, " %s", now);
	if (view->paused) {
		attron(A_REVERSE);
		mvprintw(0, COLS - 18, " PAUSED ");
		attroff(A_REVERSE);
	}
}

/* How the host feels, on one line. */
static void pressure_line(const struct samples *samples)
{
	json_t *pressure = json_object_get(samples->status, "pressure");
	const json_t *table = json_object_get(samples->status, "table");
	char used[UNITS_TEXT_MAX], cells[UNITS_TEXT_MAX];
	const char *resource;
	json_t *ratio;

	move(1, 0);
	json_object_foreach(pressure, resource, ratio)
	{
		attr_t look = json_number_value(ratio) > 0.5   ? colour(SPILLED_COLOUR) | A_BOLD
		              : json_number_value(ratio) > 0.1 ? colour(SHADOW_COLOUR)
		                                               : 0;
		attron(look);
		if (json_is_number(ratio))
			printw("%s %.0f%%  ", resource, 100 * json_number_value(ratio));
		attroff(look);
	}
	units_format_count(sample_number(table, "used"), used, sizeof(used));
	units_format_count(sample_number(table, "cells"), cells, sizeof(cells));
	printw("users %s/%s", used, cells);
}

static void headline(const struct samples *samples, const char *trouble)
{
	char text[256];

	view_headline(samples, text, sizeof(text));
	bool calm = !trouble && !text[0];
	attr_t look = calm ? colour(PASSED_COLOUR) : colour(SPILLED_COLOUR) | A_BOLD;
	move(2, 0);
	attron(look);
	put_text(trouble ? trouble : calm ? "nothing is spilled" : text, COLS);
	attroff(look);
}

static void heading(int row, const char *names, const char *more)
{
	move(row, 0);
	attron(A_UNDERLINE);
	put_text(names, (int)strlen(names));
	put_text(more, COLS - (int)strlen(names));
	attroff(A_UNDERLINE);
}

/* Whether there is room for all columns, and for the past beside them. */
static bool wide(void)
{
	return COLS >= NAME_WIDTH + 9 * NUMBER_WIDTH;
}

static void service_row(const struct sampled_service *service, bool chosen)
{
	double p99 = sample_number(json_object_get(service->document, "response_milliseconds"), "p99");
	bool observes = strcmp(sample_text(service->document, "mode"), "observe") == 0;
	double spilled = observes ? service->now.shadow : service->now.spilled;

	attron(chosen ? A_REVERSE : 0);
	put_text(service->name, NAME_WIDTH);
	attroff(A_REVERSE);
	put_count(service->now.received, 0);
	put_count(service->now.passed, look_of(service->now.passed, PASSED_COLOUR));
	put_count(spilled, look_of(spilled, observes ? SHADOW_COLOUR : SPILLED_COLOUR));
	put_count(sample_number(service->document, "level_packets_per_second"), 0);
	put_count(sample_number(service->document, "capacity_packets_per_second"), 0);
	put_count(p99, 0);
	if (wide())
		put_count(sample_number(service->document, "active_users"), 0);
	addch(' ');
	put_sparkline(service, COLS - getcurx(stdscr) - 1);
}

#define SERVICE_HEADING "SERVICE       RECEIVED   PASSED  SPILLED    LEVEL CAPACITY   P99/ms"
#define USERS_HEADING   "    USERS"

/* Draws rows of a table so that the one with the cursor is among them: returns the first row's index. */
static size_t first_shown(size_t cursor, size_t rows)
{
	return rows && cursor >= rows ? cursor - rows + 1 : 0;
}

static void services_table(const struct view *view, const struct samples *samples, int top, int rows)
{
	static const struct sampled_service *services[VIEW_ROWS_MOST];
	size_t count = view_services(view, samples, services, VIEW_ROWS_MOST);
	char more[64];

	snprintf(more, sizeof(more), "%s  %zu of %zu, by %s", wide() ? USERS_HEADING : "", count, samples->count,
	         view_order_name(view->order));
	heading(top, SERVICE_HEADING, more);
	bool cursor_here = !view->users_chosen;
	size_t first = cursor_here ? first_shown(view->cursor, (size_t)(rows - 1)) : 0;
	for (int row = 1; row < rows && first + (size_t)row - 1 < count; row++) {
		size_t index = first + (size_t)row - 1;
		move(top + row, 0);
		service_row(services[index], cursor_here && index == view->cursor);
	}
}

static int user_width(void)
{
	int left = COLS - NAME_WIDTH - 4 * NUMBER_WIDTH - 9;

	return left < USER_LEAST ? USER_LEAST : left > USER_MOST ? USER_MOST : left;
}

static void user_row(const json_t *user, bool chosen)
{
	double sent = sample_number(user, "packets_per_second"),
	       limit = sample_number(user, "limit_packets_per_second");
	double spilled = sample_number(user, "spilled_packets") + sample_number(user, "shadow_packets");
	char times[16] = "-";

	if (limit > 0)
		snprintf(times, sizeof(times), sent < 100 * limit ? "%.1f" : "%.0f", sent / limit);
	attron(chosen ? A_REVERSE : 0);
	put_text(sample_text(user, "user"), user_width());
	attroff(A_REVERSE);
	addch(' ');
	put_text(sample_text(user, "service"), NAME_WIDTH);
	put_count(sent, 0);
	put_count(sample_number(user, "bytes_per_second"), 0);
	put_count(spilled, look_of(spilled, SPILLED_COLOUR));
	put_count(limit, 0);
	attr_t look = limit > 0 && sent > limit ? colour(SPILLED_COLOUR) | A_BOLD : 0;
	attron(look);
	printw("%8s", times);
	attroff(look);
}

static void users_table(const struct view *view, const struct samples *samples, int top, int rows)
{
	static const json_t *users[VIEW_ROWS_MOST];
	size_t count = view_users(view, samples, users, VIEW_ROWS_MOST);
	bool cursor_here = view->page == PAGE_SERVICE || view->users_chosen;

	char names[USER_MOST + 64];

	snprintf(names, sizeof(names), "%-*s SERVICE         SENT/S  BYTES/S  SPILLED    LIMIT   TIMES", user_width(),
	         "HEAVIEST USERS");
	heading(top, names, "");
	size_t first = cursor_here ? first_shown(view->cursor, (size_t)(rows - 1)) : 0;
	for (int row = 1; row < rows && first + (size_t)row - 1 < count; row++) {
		size_t index = first + (size_t)row - 1;
		move(top + row, 0);
		user_row(users[index], cursor_here && index == view->cursor);
	}
}

static void page_all(const struct view *view, const struct samples *samples)
{
	int rows = LINES - 5, services = (int)samples->count + 1;

	if (services > rows - 4 && services > rows / 2)
		services = rows - 4 > rows / 2 ? rows / 2 : rows;
	services_table(view, samples, 3, services);
	if (rows - services > 1)
		users_table(view, samples, 4 + services, rows - services);
}

static void pair_line(int row, const char *name, const char *value)
{
	move(row, 2);
	put_text(name, KEY_WIDTH);
	put_text(value, COLS - KEY_WIDTH - 3);
}

/* All that the daemon says of one thing, as it says it. Returns the first free row. */
static int document_lines(const json_t *document, int row, int last)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)document, key, value)
	{
		char text[256];
		if (row >= last)
			break;
		if (json_is_string(value))
			snprintf(text, sizeof(text), "%s", json_string_value(value));
		else if (json_is_number(value))
			units_format_count(json_number_value(value), text, sizeof(text));
		else
			json_dumpb(value, text, sizeof(text) - 1, JSON_ENCODE_ANY | JSON_COMPACT);
		if (!json_is_string(value) && !json_is_number(value))
			text[json_dumpb(value, text, sizeof(text) - 1, JSON_ENCODE_ANY | JSON_COMPACT)] = '\0';
		pair_line(row++, key, text);
	}
	return row;
}

static const json_t *user_named(const struct view *view, const struct samples *samples)
{
	for (size_t i = 0; i < json_array_size(samples->users); i++) {
		const json_t *user = json_array_get(samples->users, i);
		if (strcmp(sample_text(user, "user"), view->user) == 0 &&
		    strcmp(sample_text(user, "service"), view->service) == 0)
			return user;
	}
	return NULL;
}

static const struct sampled_service *service_named(const struct view *view, const struct samples *samples)
{
	for (size_t i = 0; i < samples->count; i++)
		if (strcmp(samples->services[i].name, view->service) == 0)
			return &samples->services[i];
	return NULL;
}

static void gone(const char *what, const char *name)
{
	mvprintw(4, 2, "%s ", what);
	put_text(name, COLS - 40);
	addstr(" is not there now: Esc goes back");
}

static void page_service(const struct view *view, const struct samples *samples)
{
	const struct sampled_service *service = service_named(view, samples);
	json_t *reasons;
	const char *reason;
	json_t *packets;
	int row = 5;

	if (!service) {
		gone("service", view->service);
		return;
	}
	heading(3, SERVICE_HEADING, wide() ? USERS_HEADING : "");
	move(4, 0);
	service_row(service, false);
	move(row++, 0);
	put_sparkline(service, COLS - 1);
	mvprintw(row++, 0, "%s, %s; spilled so far:", sample_text(service->document, "class"),
	         sample_text(service->document, "mode"));
	reasons = json_object_get(service->document, "spilled_by_reason");
	json_object_foreach(reasons, reason, packets)
	{
		char count[UNITS_TEXT_MAX];
		units_format_count(json_number_value(packets), count, sizeof(count));
		if (json_number_value(packets) > 0)
			printw(" %s %s", reason, count);
	}
	users_table(view, samples, row + 1, LINES - 2 - row);
}

static void page_user(const struct view *view, const struct samples *samples)
{
	const json_t *user = user_named(view, samples);

	if (user)
		document_lines(user, 4, LINES - 1);
	else
		gone("user", view->user);
}

static void page_help(void)
{
	static const char *const lines[] = {
		"up down j k      move               Enter   look into a service or a user",
		"Tab              services or users  Esc     back",
		"s                next order         /       only names that hold ...",
		"p or space       pause, go on       + -     twice, half as often",
		"?                this page          q       quit",
		"",
		"RECEIVED = PASSED + SPILLED, in packets a second. A service that observes",
		"passes what it would spill: yellow. LEVEL: what one user of weight 1 may send;",
		"CAPACITY: what the service as a whole can take; P99: of its response time.",
		"TIMES: how many times its limit a user sends."};

	for (int i = 0; i < (int)(sizeof(lines) / sizeof(*lines)); i++) {
		move(4 + i, 2);
		put_text(lines[i], COLS - 3);
	}
}

static void bottom_line(const struct view *view)
{
	move(LINES - 1, 0);
	attron(A_REVERSE);
	if (view->filtering)
		printw(" only names that hold: %s_  (Enter keeps it, Esc drops it)", view->filter);
	else
		printw(" q quit  ? help  Enter into  Esc back  Tab tables  s order  / filter%s%s  p pause  every %.3g "
		       "s",
		       view->filter[0] ? ": " : "", view->filter, view->interval_s);
	for (int column = getcurx(stdscr); column < COLS && getcury(stdscr) == LINES - 1; column++)
		mvaddch(LINES - 1, column, ' ');
	attroff(A_REVERSE);
}

void screen_draw(struct view *view, const struct samples *samples, const char *trouble)
{
	erase();
	if (COLS < WIDTH_LEAST || LINES < HEIGHT_LEAST) {
		mvprintw(0, 0, "spillway top needs %d x %d", WIDTH_LEAST, HEIGHT_LEAST);
		refresh();
		return;
	}
	title_line(view, samples);
	pressure_line(samples);
	headline(samples, trouble);
	if (view->page == PAGE_ALL)
		page_all(view, samples);
	else if (view->page == PAGE_SERVICE)
		page_service(view, samples);
	else if (view->page == PAGE_USER)
		page_user(view, samples);
	else
		page_help();
	bottom_line(view);
	refresh();
}
