/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables of JSON objects on a terminal: aligned, numbers to the right and in human form. */
#pragma once

#include <jansson.h>

enum column_form {
	COLUMN_TEXT,
	COLUMN_COUNT, /* 1.2M */
	COLUMN_BYTES,
};

struct column {
	const char *key, *title;
	enum column_form form;
};

/* Prints one row an object of the array `rows`. An absent or null value is a dash. */
void table_print(const json_t *rows, const struct column *columns, size_t count);

/* Prints a document as JSON, with a newline. */
void json_print(const json_t *document);
