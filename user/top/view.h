/* SPDX-License-Identifier: GPL-2.0-only */
/* What the live view shows: which page, in which order, what is chosen, and what a key changes in that. Pure: it knows
 * neither terminal nor daemon. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "top/samples.h"

enum view_page {
	PAGE_ALL,     /* services above, the heaviest users of all below */
	PAGE_SERVICE, /* one service, and its users */
	PAGE_USER,
	PAGE_HELP,
};

enum view_order {
	ORDER_SPILLED,
	ORDER_RECEIVED,
	ORDER_USERS,
	ORDER_RESPONSE,
	ORDER_NAME,
	ORDERS,
};

/* Keys beyond characters. */
enum view_key {
	KEY_TO_UP = 0x110000,
	KEY_TO_DOWN,
	KEY_TO_PAGE_UP,
	KEY_TO_PAGE_DOWN,
	KEY_TO_FIRST,
	KEY_TO_LAST,
	KEY_TO_ENTER,
	KEY_TO_BACK,
	KEY_TO_ERASE,
	KEY_TO_NEXT, /* Tab */
};

#define VIEW_FILTER_MAX 32
#define VIEW_ROWS_MOST  2048 /* of a table: more than there can be services, or users that are asked for */

struct view {
	enum view_page page, page_before_help;
	enum view_order order;
	bool paused, quits, filtering; /* filtering: keys are text */
	bool users_chosen;             /* on the page of all: the users' table has the cursor */
	char filter[VIEW_FILTER_MAX];  /* names that hold it; empty: all */
	char service[64], user[128];   /* of the page of one service, or one user */
	size_t cursor;                 /* row of the table that has it */
	double interval_s;
};

void view_start(struct view *view, double interval_s);

/* One row of the tables, as the view orders and filters them: up to `most` entries of `services` are put into `*rows`.
 * Returns how many. */
size_t view_services(const struct view *view, const struct samples *samples, const struct sampled_service **rows,
                     size_t most);
size_t view_users(const struct view *view, const struct samples *samples, const json_t **rows, size_t most);

/* Obeys a key: a character, or one of enum view_key. */
void view_key(struct view *view, const struct samples *samples, int key);

/* Where the heat is, in one sentence: the service that spills most, the user that makes it, and why; "" where nothing
 * is spilled. */
void view_headline(const struct samples *samples, char *out, size_t size);

const char *view_order_name(enum view_order order);
