/* SPDX-License-Identifier: GPL-2.0-only */
#include "top/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define INTERVAL_LEAST_S 0.2
#define INTERVAL_MOST_S  60.0
#define PAGE_ROWS        10

static const char *const order_names[ORDERS] = {"spilled", "received", "users", "response", "name"};

const char *view_order_name(enum view_order order)
{
	return order_names[order];
}

void view_start(struct view *view, double interval_s)
{
	*view = (struct view){.interval_s = interval_s};
}

static double of_order(const struct sampled_service *service, enum view_order order)
{
	double value = 0;

	if (order == ORDER_SPILLED)
		value = service->now.spilled + service->now.shadow;
	else if (order == ORDER_RECEIVED)
		value = service->now.received;
	else if (order == ORDER_USERS)
		value = sample_number(service->document, "active_users");
	else if (order == ORDER_RESPONSE)
		value = sample_number(json_object_get(service->document, "response_milliseconds"), "p99");
	return isnan(value) ? -1 : value;
}

/* The most first; of two alike the one that receives more, then by name. */
static int first_by_order(const void *left, const void *right, void *argument)
{
	enum view_order order = *(const enum view_order *)argument;
	const struct sampled_service *a = *(const struct sampled_service *const *)left;
	const struct sampled_service *b = *(const struct sampled_service *const *)right;
	double x = of_order(a, order), y = of_order(b, order);

	if (x == y && order != ORDER_NAME) {
		x = of_order(a, ORDER_RECEIVED);
		y = of_order(b, ORDER_RECEIVED);
	}
	return x != y ? (x < y) - (x > y) : strcmp(a->name, b->name);
}

size_t view_services(const struct view *view, const struct samples *samples, const struct sampled_service **rows,
                     size_t most)
{
	enum view_order order = view->order;
	size_t count = 0;

	for (size_t i = 0; i < samples->count && count < most; i++)
		if (!view->filter[0] || strstr(samples->services[i].name, view->filter))
			rows[count++] = &samples->services[i];
	if (count)
		qsort_r(rows, count, sizeof(*rows), first_by_order, &order);
	return count;
}

static bool user_shown(const struct view *view, const json_t *user)
{
	if (view->page != PAGE_ALL && strcmp(sample_text(user, "service"), view->service) != 0)
		return false;
	return !view->filter[0] || strstr(sample_text(user, "user"), view->filter) ||
	       strstr(sample_text(user, "service"), view->filter);
}

size_t view_users(const struct view *view, const struct samples *samples, const json_t **rows, size_t most)
{
	size_t count = 0;

	for (size_t i = 0; i < json_array_size(samples->users) && count < most; i++) {
		const json_t *user = json_array_get(samples->users, i);
		if (user_shown(view, user))
			rows[count++] = user;
	}
	return count;
}

static bool users_have_cursor(const struct view *view)
{
	return view->page == PAGE_SERVICE || (view->page == PAGE_ALL && view->users_chosen);
}

static size_t rows_count(const struct view *view, const struct samples *samples)
{
	static const struct sampled_service *services[VIEW_ROWS_MOST];
	static const json_t *users[VIEW_ROWS_MOST];

	return users_have_cursor(view) ? view_users(view, samples, users, VIEW_ROWS_MOST)
	                               : view_services(view, samples, services, VIEW_ROWS_MOST);
}

static void enter(struct view *view, const struct samples *samples)
{
	static const struct sampled_service *services[VIEW_ROWS_MOST];
	static const json_t *users[VIEW_ROWS_MOST];
	size_t count = rows_count(view, samples);

	if (view->cursor >= count || view->page == PAGE_USER)
		return;
	if (users_have_cursor(view)) {
		view_users(view, samples, users, VIEW_ROWS_MOST);
		snprintf(view->service, sizeof(view->service), "%s", sample_text(users[view->cursor], "service"));
		snprintf(view->user, sizeof(view->user), "%s", sample_text(users[view->cursor], "user"));
		view->page = PAGE_USER;
	} else {
		view_services(view, samples, services, VIEW_ROWS_MOST);
		snprintf(view->service, sizeof(view->service), "%s", services[view->cursor]->name);
		view->page = PAGE_SERVICE;
	}
	view->cursor = 0;
}

static void back(struct view *view)
{
	if (view->page == PAGE_USER && !view->users_chosen)
		view->page = PAGE_SERVICE;
	else if (view->page == PAGE_ALL)
		view->filter[0] = '\0';
	else
		view->page = PAGE_ALL;
	view->cursor = 0;
}

static void move_by(struct view *view, const struct samples *samples, long rows)
{
	size_t count = rows_count(view, samples);
	long cursor = (long)view->cursor + rows;

	if (cursor >= (long)count)
		cursor = (long)count - 1;
	view->cursor = cursor > 0 ? (size_t)cursor : 0;
}

static void filter_key(struct view *view, int key)
{
	size_t length = strlen(view->filter);

	if (key == KEY_TO_ENTER) {
		view->filtering = false;
	} else if (key == KEY_TO_BACK) {
		view->filtering = false;
		view->filter[0] = '\0';
	} else if (key == KEY_TO_ERASE && length) {
		view->filter[length - 1] = '\0';
	} else if (key > ' ' && key < 0x7f && length + 1 < sizeof(view->filter)) {
		view->filter[length] = (char)key;
		view->filter[length + 1] = '\0';
	}
	view->cursor = 0;
}

static void interval_by(struct view *view, double factor)
{
	double interval_s = view->interval_s * factor;

	if (interval_s >= INTERVAL_LEAST_S && interval_s <= INTERVAL_MOST_S)
		view->interval_s = interval_s;
}

static void letter(struct view *view, int key)
{
	switch (key) {
	case 'q':
		view->quits = true;
		break;
	case 's':
		view->order = (view->order + 1) % ORDERS;
		break;
	case '/':
		view->filtering = true;
		view->filter[0] = '\0';
		break;
	case 'p':
	case ' ':
		view->paused = !view->paused;
		break;
	case '+':
		interval_by(view, 0.5);
		break;
	case '-':
		interval_by(view, 2);
		break;
	case '?':
	case 'h':
		view->page_before_help = view->page;
		view->page = PAGE_HELP;
		break;
	default:
		break;
	}
}

void view_key(struct view *view, const struct samples *samples, int key)
{
	static const struct {
		int key;
		long rows;
	} moves[] = {{KEY_TO_UP, -1},
	             {'k', -1},
	             {KEY_TO_DOWN, 1},
	             {'j', 1},
	             {KEY_TO_PAGE_UP, -PAGE_ROWS},
	             {KEY_TO_PAGE_DOWN, PAGE_ROWS},
	             {KEY_TO_FIRST, -VIEW_ROWS_MOST},
	             {KEY_TO_LAST, VIEW_ROWS_MOST}};

	if (view->filtering) {
		filter_key(view, key);
		return;
	}
	if (view->page == PAGE_HELP) {
		view->page = view->page_before_help;
		view->quits = key == 'q';
		return;
	}
	for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++)
		if (moves[i].key == key)
			move_by(view, samples, moves[i].rows);
	if (key == KEY_TO_ENTER) {
		enter(view, samples);
	} else if (key == KEY_TO_BACK || key == KEY_TO_ERASE) {
		back(view);
	} else if (key == KEY_TO_NEXT && view->page == PAGE_ALL) {
		view->users_chosen = !view->users_chosen;
		view->cursor = 0;
	} else {
		letter(view, key);
	}
}

/* Why most packets of a service are spilled, as counted since it was first seen. */
static const char *main_reason(const json_t *service)
{
	json_t *reasons = json_object_get(service, "spilled_by_reason");
	const char *name, *most = "";
	double packets = 0;
	json_t *value;

	json_object_foreach(reasons, name, value)
	{
		if (json_number_value(value) > packets) {
			packets = json_number_value(value);
			most = name;
		}
	}
	return most;
}

static const json_t *heaviest_of(const struct samples *samples, const char *service)
{
	for (size_t i = 0; i < json_array_size(samples->users); i++)
		if (strcmp(sample_text(json_array_get(samples->users, i), "service"), service) == 0)
			return json_array_get(samples->users, i);
	return NULL;
}

void view_headline(const struct samples *samples, char *out, size_t size)
{
	const struct sampled_service *hottest = NULL;
	char lost[UNITS_TEXT_MAX], sent[UNITS_TEXT_MAX];

	out[0] = '\0';
	for (size_t i = 0; i < samples->count; i++)
		if (of_order(&samples->services[i], ORDER_SPILLED) > (hottest ? of_order(hottest, ORDER_SPILLED) : 0))
			hottest = &samples->services[i];
	if (!hottest)
		return;
	bool observes = hottest->now.shadow > hottest->now.spilled;
	units_format_count(of_order(hottest, ORDER_SPILLED), lost, sizeof(lost));
	int length = snprintf(out, size, "%s %s %s/s (%.0f %%%s%s)", hottest->name, observes ? "would spill" : "spills",
	                      lost, 100 * of_order(hottest, ORDER_SPILLED) / hottest->now.received,
	                      observes ? "" : ", ", observes ? "" : main_reason(hottest->document));
	const json_t *user = heaviest_of(samples, hottest->name);
	if (!user || length < 0 || (size_t)length >= size)
		return;
	units_format_count(sample_number(user, "packets_per_second"), sent, sizeof(sent));
	double limit = sample_number(user, "limit_packets_per_second");
	length += snprintf(out + length, size - (size_t)length, "; %s sends %s/s", sample_text(user, "user"), sent);
	if (limit > 0 && (size_t)length < size)
		snprintf(out + length, size - (size_t)length, ", %.1f x its limit",
		         sample_number(user, "packets_per_second") / limit);
}
