/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/table.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define COLUMNS_MAX 16
#define CELL_BYTES  64

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
}

static void row_print(char cells[COLUMNS_MAX][CELL_BYTES], const struct column *columns, const int *widths,
                      size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *gap = i + 1 < count ? "  " : "\n";
		if (columns[i].form == COLUMN_TEXT)
			printf("%-*s%s", i + 1 < count ? widths[i] : 0, cells[i], gap);
		else
			printf("%*s%s", widths[i], cells[i], gap);
	}
}

void table_print(const json_t *rows, const struct column *columns, size_t count)
{
	char cells[COLUMNS_MAX][CELL_BYTES];
	int widths[COLUMNS_MAX];
	size_t index;
	json_t *row;

	for (size_t i = 0; i < count; i++) {
		widths[i] = (int)strlen(columns[i].title);
		snprintf(cells[i], CELL_BYTES, "%s", columns[i].title);
	}
	for (size_t r = 0; r < json_array_size(rows); r++) {
		for (size_t i = 0; i < count; i++) {
			char cell[CELL_BYTES];
			cell_format(json_array_get(rows, r), &columns[i], cell);
			if ((int)strlen(cell) > widths[i])
				widths[i] = (int)strlen(cell);
		}
	}
	row_print(cells, columns, widths, count);
	json_array_foreach(rows, index, row)
	{
		for (size_t i = 0; i < count; i++)
			cell_format(row, &columns[i], cells[i]);
		row_print(cells, columns, widths, count);
	}
}

void json_print(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
}
