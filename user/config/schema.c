/* SPDX-License-Identifier: GPL-2.0-only */
#include "config/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "config/faults.h"

struct config_mark mark_of(const yaml_node_t *node)
{
	return (struct config_mark){(unsigned)node->start_mark.line + 1, (unsigned)node->start_mark.column + 1};
}

static const char *node_noun(const yaml_node_t *node)
{
	if (schema_is_null(node))
		return "nothing";
	switch (node->type) {
	case YAML_SCALAR_NODE:
		return "a single value";
	case YAML_SEQUENCE_NODE:
		return "a list";
	case YAML_MAPPING_NODE:
		return "a mapping of keys";
	default:
		return "nothing";
	}
}

bool schema_is_null(const yaml_node_t *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
		if (strcmp((const char *)node->data.scalar.value, nulls[i]) == 0)
			return true;
	}
	return false;
}

const char *schema_read_text(struct reading *reading, const yaml_node_t *node, const char *expected)
{
	if (node->type != YAML_SCALAR_NODE || schema_is_null(node)) {
		faults_add(reading->faults, mark_of(node), "found %s, expected %s", node_noun(node), expected);
		return NULL;
	}
	const char *text = (const char *)node->data.scalar.value;
	if (strlen(text) != node->data.scalar.length) {
		faults_add(reading->faults, mark_of(node), "found a text with a zero byte, expected %s", expected);
		return NULL;
	}
	return text;
}

static void join_names(const char *names, char *out, size_t size)
{
	size_t written = strlen(out);
	snprintf(out + written, size - written, "%s%s", written ? ", " : "", names);
}

static void fault_unknown_key(struct reading *reading, const yaml_node_t *key, const char *name,
                              const struct schema *schema)
{
	char expected[160] = "";

	for (const struct schema_key *known = schema->keys; known->name; known++) {
		if (known->read)
			join_names(known->name, expected, sizeof(expected));
	}
	faults_add(reading->faults, mark_of(key), "unknown key '%.40s' in %s: expected %s", name, schema->noun,
	           expected);
}

static void read_pair(struct reading *reading, const yaml_node_pair_t *pair, const struct schema *schema, void *target,
                      unsigned *lines)
{
	const yaml_node_t *key = yaml_document_get_node(reading->document, pair->key);
	const yaml_node_t *value = yaml_document_get_node(reading->document, pair->value);
	const char *name = schema_read_text(reading, key, "the name of a key");

	if (!name)
		return;
	for (size_t i = 0; schema->keys[i].name; i++) {
		if (strcmp(schema->keys[i].name, name) != 0)
			continue;
		if (lines[i])
			faults_add(reading->faults, mark_of(key), "key '%s' is given already at line %u: write it once",
			           name, lines[i]);
		else if (!schema->keys[i].read)
			faults_add(reading->faults, mark_of(key), "key '%s' in %s is not in this version: remove it",
			           name, schema->noun);
		else
			schema->keys[i].read(reading, value, target);
		if (!lines[i])
			lines[i] = mark_of(key).line;
		return;
	}
	fault_unknown_key(reading, key, name, schema);
}

void schema_read(struct reading *reading, const yaml_node_t *node, const struct schema *schema, void *target)
{
	unsigned lines[32] = {0};

	if (node->type != YAML_MAPPING_NODE) {
		faults_add(reading->faults, mark_of(node), "found %s, expected %s as a mapping of keys",
		           node_noun(node), schema->noun);
		return;
	}
	const yaml_node_pair_t *end = node->data.mapping.pairs.top;
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < end; pair++)
		read_pair(reading, pair, schema, target, lines);

	for (size_t i = 0; schema->keys[i].name; i++) {
		if (schema->keys[i].required && !lines[i])
			faults_add(reading->faults, mark_of(node), "%s has no '%s': add it", schema->noun,
			           schema->keys[i].name);
	}
}

bool schema_read_word(struct reading *reading, const yaml_node_t *node, const struct schema_word *words, int *out)
{
	char expected[80] = "";

	for (const struct schema_word *word = words; word->name; word++) {
		if (word->value >= 0)
			join_names(word->name, expected, sizeof(expected));
	}
	const char *text = schema_read_text(reading, node, expected);
	if (!text)
		return false;
	for (; words->name; words++) {
		if (strcmp(words->name, text) != 0)
			continue;
		if (words->value < 0) {
			faults_add(reading->faults, mark_of(node), "'%s' is not in this version: expected %s", text,
			           expected);
			return false;
		}
		*out = words->value;
		return true;
	}
	faults_add(reading->faults, mark_of(node), "found '%.60s', expected %s", text, expected);
	return false;
}

bool schema_read_number(struct reading *reading, const yaml_node_t *node, double least, double most, double *out)
{
	char expected[80];
	struct error err;
	double number;

	snprintf(expected, sizeof(expected), "a number from %.10g to %.10g", least, most);
	const char *text = schema_read_text(reading, node, expected);
	if (!text)
		return false;
	if (units_parse_count(text, &number, &err) < 0) {
		faults_add(reading->faults, mark_of(node), "%.120s; expected %s", err.text, expected);
		return false;
	}
	if (!(number >= least && number <= most)) {
		faults_add(reading->faults, mark_of(node), "found %.40s, expected %s", text, expected);
		return false;
	}
	*out = number;
	return true;
}

bool schema_read_bytes(struct reading *reading, const yaml_node_t *node, double least, double most, double *out)
{
	static const char expected[] = "a number of bytes as 10MB";
	char from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];
	struct error err;
	uint64_t bytes;

	const char *text = schema_read_text(reading, node, expected);
	if (!text)
		return false;
	if (units_parse_bytes(text, &bytes, &err) < 0) {
		faults_add(reading->faults, mark_of(node), "%.120s; expected %s", err.text, expected);
		return false;
	}
	if ((double)bytes < least || (double)bytes > most) {
		units_format_bytes(least, from, sizeof(from));
		units_format_bytes(most, to, sizeof(to));
		faults_add(reading->faults, mark_of(node), "found %.40s, expected %s to %s", text, from, to);
		return false;
	}
	*out = (double)bytes;
	return true;
}

bool schema_read_duration(struct reading *reading, const yaml_node_t *node, double least_s, double most_s,
                          double *out_s)
{
	char from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];
	struct error err;
	uint64_t duration_ns;

	const char *text = schema_read_text(reading, node, "a time as 5ms");
	if (!text)
		return false;
	if (units_parse_duration(text, &duration_ns, &err) < 0) {
		faults_add(reading->faults, mark_of(node), "%.120s; expected a time as 5ms", err.text);
		return false;
	}
	double seconds = (double)duration_ns / 1e9;
	if (seconds < least_s || seconds > most_s) {
		units_format_duration_ns((uint64_t)(least_s * 1e9), from, sizeof(from));
		units_format_duration_ns((uint64_t)(most_s * 1e9), to, sizeof(to));
		faults_add(reading->faults, mark_of(node), "found %.40s, expected a time from %s to %s", text, from,
		           to);
		return false;
	}
	*out_s = seconds;
	return true;
}

bool schema_read_whole(struct reading *reading, const yaml_node_t *node, unsigned least, unsigned most, unsigned *out)
{
	double number;

	if (!schema_read_number(reading, node, least, most, &number))
		return false;
	if (number != floor(number)) {
		faults_add(reading->faults, mark_of(node), "found %.40s, expected a whole number from %u to %u",
		           (const char *)node->data.scalar.value, least, most);
		return false;
	}
	*out = (unsigned)number;
	return true;
}

size_t schema_list_count(struct reading *reading, const yaml_node_t *node, size_t most, const char *noun)
{
	if (node->type != YAML_SEQUENCE_NODE) {
		faults_add(reading->faults, mark_of(node), "found %s, expected a list of %s", node_noun(node), noun);
		return 0;
	}
	size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (count > most) {
		faults_add(reading->faults, mark_of(node), "found %zu %s, expected at most %zu", count, noun, most);
		return 0;
	}
	return count;
}

const yaml_node_t *schema_list_entry(struct reading *reading, const yaml_node_t *node, size_t index)
{
	return yaml_document_get_node(reading->document, node->data.sequence.items.start[index]);
}
