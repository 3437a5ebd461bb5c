/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables of JSON objects: aligned, numbers to the right and in human form, cut to a terminal's width; in the order that
 * is asked for; over and over where that is. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

enum column_form {
	COLUMN_TEXT,
	COLUMN_COUNT, /* 1.2M */
	COLUMN_BYTES,
};

struct column {
	const char *key, *title;
	enum column_form form;
};

/* Prints one row an object of the array `rows`. An absent or null value is a dash. Where a terminal is too narrow, the
 * widest texts are cut, and then columns left out from the right. */
void table_print(const json_t *rows, const struct column *columns, size_t count);

/* Sorts the array by the column of that title or key, in whatever case: numbers the greatest first, words by the
 * alphabet; what has no value comes last. Rows that are equal stay in their order. Returns 0, or -EINVAL where no
 * column is called so, which has been said on standard error with those that there are. */
int table_sort(json_t *rows, const struct column *columns, size_t count, const char *by);

/* Prints a document as JSON, with a newline. */
void json_print(const json_t *document);

/* --watch N: reads a number of seconds, 0.1 to 3600. Returns -1 to go on, or the exit status after what is wrong was
 * said. */
int table_every(const char *text, double *every_s, const char *help);

/* Before something is printed again: empties the screen, where it is a terminal and `every_s` is above 0. */
void table_clear(double every_s);

/* Waits `every_s` and returns true; 0: returns false at once, once was enough. */
bool table_again(double every_s);
