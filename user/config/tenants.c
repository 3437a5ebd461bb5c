/* SPDX-License-Identifier: GPL-2.0-only */
#include "config/tenants.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/faults.h"
#include "config/services.h"

#define PREFIX_LINE_MAX 256                  /* bytes of a line in a file of prefixes */
#define PREFIX_FILE_MAX (UINT64_C(64) << 20) /* bytes of the file: a million lines and more */
#define BLANKS          " \t\r\n"

/* Where a prefix was given: at a place in the configuration, or in a line of the file that is named there. */
struct prefix_place {
	struct config_mark mark;
	const char *file; /* NULL: the configuration itself; lives as long as the document */
	unsigned line;
};

/* All tenants as they are read. Prefixes and their places lie beside each other. */
struct tenants_reading {
	struct config *config;
	struct config_tenant_prefix *prefixes;
	struct prefix_place *places;
	struct config_tenant *tenant; /* the one that is being read */
	size_t count, too_many;
	bool out_of_memory;
};

static void place_text(const struct prefix_place *place, char *out, size_t size)
{
	if (place->file)
		snprintf(out, size, "line %u of %.100s", place->line, place->file);
	else
		snprintf(out, size, "line %u, column %u", place->mark.line, place->mark.column);
}

/* A fault in a file of prefixes is at the place that names the file, and says the line in it. */
static void fault_at(struct reading *reading, const struct prefix_place *place, const char *text)
{
	if (place->file)
		faults_add(reading->faults, place->mark, "%.80s:%u: %s", place->file, place->line, text);
	else
		faults_add(reading->faults, place->mark, "%s", text);
}

static void add_prefix(struct reading *reading, const char *text, const struct prefix_place *place,
                       struct tenants_reading *into)
{
	struct prefix prefix;
	struct error err;

	if (prefix_parse(text, &prefix, &err) < 0) {
		fault_at(reading, place, err.text);
		return;
	}
	if (into->count == CONFIG_TENANT_PREFIXES_MAX) {
		if (!into->too_many++)
			fault_at(reading, place,
			         "more than 100,000 prefixes of all tenants together: expected fewer, or shorter ones");
		return;
	}
	into->places[into->count] = *place;
	into->prefixes[into->count++] = (struct config_tenant_prefix){
		.prefix = prefix, .tenant = (uint32_t)(into->tenant - into->config->tenants)};
}

static void read_prefixes(struct reading *reading, const yaml_node_t *node, void *target)
{
	size_t count = schema_list_count(reading, node, SIZE_MAX, "prefixes");

	for (size_t i = 0; i < count; i++) {
		const yaml_node_t *entry = schema_list_entry(reading, node, i);
		const char *text = schema_read_text(reading, entry, "a prefix as 203.0.113.0/24");
		const struct prefix_place place = {.mark = mark_of(entry)};
		if (text)
			add_prefix(reading, text, &place, target);
	}
}

/* One line: nothing, a prefix, or a fault. Its end may be a comment. */
static void read_line(struct reading *reading, char *line, const struct prefix_place *place,
                      struct tenants_reading *into)
{
	line[strcspn(line, "#")] = '\0';
	char *text = line + strspn(line, BLANKS);
	size_t length = strcspn(text, BLANKS);

	if (!length)
		return;
	if (text[length] && text[length + strspn(text + length, BLANKS)]) {
		fault_at(reading, place, "more than a prefix: expected one a line");
		return;
	}
	text[length] = '\0';
	add_prefix(reading, text, place, into);
}

static void read_lines(struct reading *reading, FILE *stream, struct prefix_place *place, struct tenants_reading *into)
{
	char line[PREFIX_LINE_MAX];
	uint64_t bytes = 0;

	/* A comment may be longer than the buffer: what follows is of the same line. */
	for (bool continued = false;;) {
		memset(line, '\n', sizeof(line)); /* so that the last zero byte is the one that ends what is read */
		if (!fgets(line, sizeof(line), stream))
			return;
		size_t length = strlen(line);
		bool whole = length && line[length - 1] == '\n';
		place->line += !continued;
		bytes += whole ? length : sizeof(line) - 1;
		if (line + length != memrchr(line, '\0', sizeof(line))) {
			fault_at(reading, place, "a zero byte: expected text, a prefix a line");
			return;
		}
		if (bytes > PREFIX_FILE_MAX) {
			fault_at(reading, place, "larger than 64 MiB: expected a file of prefixes, one a line");
			return;
		}
		if (!continued && !whole && length == sizeof(line) - 1 && !memchr(line, '#', length))
			fault_at(reading, place, "longer than any prefix: expected one a line");
		else if (!continued)
			read_line(reading, line, place, into);
		continued = !whole;
	}
}

static void read_prefixes_file(struct reading *reading, const yaml_node_t *node, void *target)
{
	const char *name = schema_read_text(reading, node, "the path of a file");
	struct prefix_place place = {.mark = mark_of(node), .file = name};
	char path[PATH_MAX];

	if (!name)
		return;
	bool relative = name[0] != '/' && reading->directory;
	int length =
		snprintf(path, sizeof(path), "%s%s%s", relative ? reading->directory : "", relative ? "/" : "", name);
	int fd = length < (int)sizeof(path) ? reading->opener->open(reading->opener->argument, path) : -ENAMETOOLONG;
	_cleanup_fclose_ FILE *stream = fd < 0 ? NULL : fdopen(fd, "r");
	if (!stream) {
		faults_add(reading->faults, place.mark, "%.120s: %s", name,
		           fd == -EXDEV ? "outside the configuration's own directory, where the daemon may not read: "
		                          "put it there"
		                        : strerror(fd < 0 ? -fd : ENOMEM));
		return;
	}
	read_lines(reading, stream, &place, target);
	if (ferror(stream))
		faults_add(reading->faults, place.mark, "%.120s: cannot be read: is it a file?", name);
}

/* FNV-1a (Fowler, Noll, Vo): the same name is the same user on every host and in every version. */
static uint64_t name_key(const char *name)
{
	uint64_t key = 0xcbf29ce484222325;

	for (; *name; name++)
		key = (key ^ (unsigned char)*name) * 0x100000001b3;
	return key;
}

static void read_name(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct tenants_reading *into = target;
	const char *name = schema_read_text(reading, node, "a name");

	into->tenant->mark = mark_of(node);
	if (!name)
		return;
	if (!service_name_is_sound(name)) {
		faults_add(reading->faults, mark_of(node),
		           "name '%.40s' is no name: expected a letter or digit, then up to %d of a-z A-Z 0-9 _ . -",
		           name, CONFIG_NAME_MAX - 2);
		return;
	}
	snprintf(into->tenant->name, sizeof(into->tenant->name), "%s", name);
	into->tenant->key = name_key(name);
}

static void read_weight(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct tenants_reading *into = target;
	schema_read_number(reading, node, 0.01, 1000, &into->tenant->weight);
}

static void read_class(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_word words[] = {
		{"sheddable", CONFIG_SHEDDABLE}, {"normal", CONFIG_NORMAL}, {"critical", CONFIG_CRITICAL}, {0}};
	struct tenants_reading *into = target;
	int class;

	if (!schema_read_word(reading, node, words, &class))
		return;
	into->tenant->class = (enum config_class) class;
	into->tenant->class_given = true;
}

static void read_tenant(struct reading *reading, const yaml_node_t *node, struct tenants_reading *into)
{
	static const struct schema_key keys[] = {
		{"name", read_name, true},
		{"prefixes", read_prefixes, false},
		{"prefixes_file", read_prefixes_file, false},
		{"weight", read_weight, false},
		{"class", read_class, false},
		{0},
	};
	static const struct schema schema = {"a tenant", keys};
	size_t faults_before = reading->faults->count, prefixes_before = into->count;

	into->tenant->mark = mark_of(node);
	into->tenant->weight = 1;
	schema_read(reading, node, &schema, into);
	if (reading->faults->count == faults_before && into->count == prefixes_before && !into->too_many)
		faults_add(reading->faults, mark_of(node),
		           "a tenant without prefixes: add 'prefixes' or 'prefixes_file'");
}

static int compare_marks(const struct config_mark *a, const struct config_mark *b)
{
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return (a->column > b->column) - (a->column < b->column);
}

static int compare_tenants(const void *left, const void *right)
{
	const struct config_tenant *a = left, *b = right;

	return a->key != b->key ? (a->key < b->key ? -1 : 1) : compare_marks(&a->mark, &b->mark);
}

/* Sorts the tenants by key, and lets each prefix follow its own. */
static int sort_tenants(struct tenants_reading *into)
{
	struct config *config = into->config;
	_cleanup_free_ uint32_t *moved = calloc(config->tenants_count + 1, sizeof(*moved));

	if (!moved)
		return -ENOMEM;
	for (size_t i = 0; i < config->tenants_count; i++)
		config->tenants[i].number = (uint32_t)i;
	qsort(config->tenants, config->tenants_count, sizeof(*config->tenants), compare_tenants);
	for (size_t i = 0; i < config->tenants_count; i++)
		moved[config->tenants[i].number] = (uint32_t)i;
	for (size_t i = 0; i < into->count; i++)
		into->prefixes[i].tenant = moved[into->prefixes[i].tenant];
	return 0;
}

static void check_names(struct reading *reading, const struct config *config)
{
	const struct config_tenant *first = config->tenants;

	for (size_t i = 1; i < config->tenants_count; i++) {
		const struct config_tenant *tenant = &config->tenants[i];
		if (tenant->key != first->key)
			first = tenant;
		else if (tenant->name[0])
			faults_add(reading->faults, tenant->mark,
			           "name '%s' is used already at line %u: give each tenant its own", tenant->name,
			           first->mark.line);
	}
}

struct placed_prefix {
	const struct prefix *prefix;
	const struct prefix_place *place;
};

static int compare_placed(const void *left, const void *right)
{
	const struct placed_prefix *a = left, *b = right;
	int order = memcmp(a->prefix->address, b->prefix->address, sizeof(a->prefix->address));

	if (!order)
		order = a->prefix->length - b->prefix->length;
	if (!order)
		order = a->prefix->ipv4 - b->prefix->ipv4;
	return order ? order : (a->place > b->place) - (a->place < b->place); /* in the order of the file */
}

/* Prefixes may lie within others, but the same one twice would name two tenants, or one too often. */
static int check_prefixes(struct reading *reading, const struct tenants_reading *into)
{
	_cleanup_free_ struct placed_prefix *sorted = calloc(into->count + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < into->count; i++)
		sorted[i] = (struct placed_prefix){&into->prefixes[i].prefix, &into->places[i]};
	qsort(sorted, into->count, sizeof(*sorted), compare_placed);
	for (size_t i = 1; i < into->count; i++) {
		const struct prefix *prefix = sorted[i].prefix, *before = sorted[i - 1].prefix;
		char text[PREFIX_TEXT_MAX], place[160], fault[256];
		if (prefix->length != before->length || prefix->ipv4 != before->ipv4 ||
		    memcmp(prefix->address, before->address, sizeof(prefix->address)) != 0)
			continue;
		prefix_format(prefix, text);
		place_text(sorted[i - 1].place, place, sizeof(place));
		snprintf(fault, sizeof(fault), "prefix '%s' is given already at %s: write it once", text, place);
		fault_at(reading, sorted[i].place, fault);
	}
	return 0;
}

int tenants_read(struct reading *reading, const yaml_node_t *node, struct config *config)
{
	size_t count = schema_list_count(reading, node, CONFIG_TENANTS_MAX, "tenants");
	_cleanup_free_ struct config_tenant_prefix *prefixes = calloc(CONFIG_TENANT_PREFIXES_MAX, sizeof(*prefixes));
	_cleanup_free_ struct prefix_place *places = calloc(CONFIG_TENANT_PREFIXES_MAX, sizeof(*places));
	struct tenants_reading into = {.config = config, .prefixes = prefixes, .places = places};

	config->tenants = calloc(count + 1, sizeof(*config->tenants));
	if (!prefixes || !places || !config->tenants)
		return -ENOMEM;
	config->tenants_count = count;
	for (size_t i = 0; i < count; i++) {
		into.tenant = &config->tenants[i];
		read_tenant(reading, schema_list_entry(reading, node, i), &into);
	}
	if (sort_tenants(&into) < 0 || check_prefixes(reading, &into) < 0)
		return -ENOMEM;
	check_names(reading, config);
	config->tenant_prefixes = calloc(into.count + 1, sizeof(*prefixes));
	if (!config->tenant_prefixes)
		return -ENOMEM;
	memcpy(config->tenant_prefixes, prefixes, into.count * sizeof(*prefixes));
	config->tenant_prefixes_count = into.count;
	return 0;
}

const struct config_tenant *config_find_tenant(const struct config *config, uint64_t key)
{
	size_t low = 0, high = config->tenants_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (config->tenants[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < config->tenants_count && config->tenants[low].key == key ? &config->tenants[low] : NULL;
}
