/* SPDX-License-Identifier: GPL-2.0-only */
#include "config/lists.h"

#include <errno.h>
#include <stdlib.h>

#include "config/faults.h"

#define ENTRIES_LEAST 1000
#define ENTRIES_MOST  16000000

static void read_entry(struct reading *reading, const yaml_node_t *node, struct config_lists *lists, bool denied)
{
	struct config_listed entry = {.denied = denied, .mark = mark_of(node)};
	const char *text = schema_read_text(reading, node, "a prefix as 203.0.113.0/24");
	struct error err;

	if (!text)
		return;
	if (prefix_parse(text, &entry.prefix, &err) < 0)
		faults_add(reading->faults, entry.mark, "%.200s", err.text);
	else
		lists->entries[lists->count++] = entry;
}

int lists_read_entries(struct reading *reading, const yaml_node_t *node, struct config_lists *lists, bool denied)
{
	size_t count = schema_list_count(reading, node, CONFIG_LISTED_MAX, "prefixes");
	struct config_listed *grown = reallocarray(lists->entries, lists->count + count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	lists->entries = grown;
	for (size_t i = 0; i < count; i++)
		read_entry(reading, schema_list_entry(reading, node, i), lists, denied);
	return 0;
}

static void read_allowed_pps(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_lists *lists = target;
	schema_read_number(reading, node, 1, 100e6, &lists->allowed_pps);
}

static void read_entries_most(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_lists *lists = target;
	unsigned most;
	if (schema_read_whole(reading, node, ENTRIES_LEAST, ENTRIES_MOST, &most))
		lists->entries_most = most;
}

void lists_read_settings(struct reading *reading, const yaml_node_t *node, struct config_lists *lists)
{
	static const struct schema_key keys[] = {
		{"allowed_packets_per_second", read_allowed_pps, false},
		{"entries", read_entries_most, false},
		{0},
	};
	static const struct schema schema = {"lists", keys};
	schema_read(reading, node, &schema, lists);
}

/* By prefix, and those of one prefix as the file has them. */
static int compare_entries(const void *left, const void *right)
{
	const struct config_listed *a = left, *b = right;
	int order = prefix_compare(&a->prefix, &b->prefix);

	if (order)
		return order;
	if (a->mark.line != b->mark.line)
		return a->mark.line < b->mark.line ? -1 : 1;
	return (a->mark.column > b->mark.column) - (a->mark.column < b->mark.column);
}

void lists_check_entries(struct config_faults *faults, struct config_lists *lists)
{
	char text[PREFIX_TEXT_MAX];

	if (lists->count)
		qsort(lists->entries, lists->count, sizeof(*lists->entries), compare_entries);
	for (size_t i = 1; i < lists->count; i++) {
		const struct config_listed *first = &lists->entries[i - 1], *again = &lists->entries[i];
		if (prefix_compare(&first->prefix, &again->prefix) != 0)
			continue;
		prefix_format(&again->prefix, text);
		if (first->denied == again->denied)
			faults_add(faults, again->mark,
			           "prefix %s is given already at line %u, column %u: write it once", text,
			           first->mark.line, first->mark.column);
		else
			faults_add(faults, again->mark,
			           "prefix %s is %s at line %u, column %u, and %s here: remove one", text,
			           first->denied ? "denied" : "allowed", first->mark.line, first->mark.column,
			           again->denied ? "denied" : "allowed");
	}
}
