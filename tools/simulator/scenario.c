/* SPDX-License-Identifier: GPL-2.0-only */
/* YAML to a scenario, by tables of keys. */
#include "simulator/scenario.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/units.h"

struct source {
	yaml_document_t *document;
	const char *path;
	struct error *err;
};

/* A key: where its value goes, and who reads it. */
struct field {
	const char *name;
	size_t offset;
	int (*read)(const struct source *source, const yaml_node_t *node, const struct field *field, void *target);
	const struct field *fields; /* of a mapping, or of each entry of a list */
	size_t size, most, count;   /* of a list: an entry's size, how many there may be, where their number goes */
	const char *const *words;   /* of an enum, in its order */
	const void *initial;        /* of an entry */
};

static int fault(const struct source *source, const yaml_node_t *node, const char *what, const char *name)
{
	return error_set(source->err, -EINVAL, "%s:%zu: %s: %s", source->path, node->start_mark.line + 1, name, what);
}

static const char *text_of(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

static int read_text(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	const char *text = text_of(node);

	if (!text || strlen(text) >= field->size)
		return fault(source, node, "expected a text, shorter than this", field->name);
	strcpy(target, text); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): measured above */
	return 0;
}

static int read_number(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	const char *text = text_of(node);
	struct error why;

	if (!text || units_parse_count(text, target, &why) < 0)
		return fault(source, node, "expected a number as 1000 or 1k", field->name);
	return 0;
}

static int read_whole(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	double number = 0;

	if (read_number(source, node, field, &number) < 0)
		return -EINVAL;
	if (number != floor(number) || number > UINT32_MAX)
		return fault(source, node, "expected a whole number", field->name);
	*(unsigned *)target = (unsigned)number;
	return 0;
}

static int read_seed(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	unsigned seed = 0;

	if (read_whole(source, node, field, &seed) < 0)
		return -EINVAL;
	*(uint64_t *)target = seed;
	return 0;
}

static int read_time(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	const char *text = text_of(node);
	struct error why;
	uint64_t ns = 0;

	if (!text || units_parse_duration(text, &ns, &why) < 0)
		return fault(source, node, "expected a time as 1.5s or 2ms", field->name);
	*(double *)target = (double)ns / 1e9;
	return 0;
}

static int read_bool(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	const char *text = text_of(node);

	if (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
		return fault(source, node, "expected true or false", field->name);
	*(bool *)target = text[0] == 't';
	return 0;
}

static int read_word(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	const char *text = text_of(node);

	for (unsigned i = 0; text && field->words[i]; i++) {
		if (strcmp(field->words[i], text) == 0) {
			*(unsigned *)target = i;
			return 0;
		}
	}
	return fault(source, node, "not a word that is known here", field->name);
}

static int read_pairs(const struct source *source, const yaml_node_t *node, const struct field *fields, void *target);

static int read_mapping(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	if (node->type != YAML_MAPPING_NODE)
		return fault(source, node, "expected a mapping of keys", field->name);
	return read_pairs(source, node, field->fields, target);
}

/* `target` is the structure that holds the list and, elsewhere, their number. */
static int read_list(const struct source *source, const yaml_node_t *node, const struct field *field, void *target)
{
	if (node->type != YAML_SEQUENCE_NODE)
		return fault(source, node, "expected a list", field->name);
	size_t count;

	memcpy(&count, (char *)target + field->count, sizeof(count));
	const yaml_node_item_t *end = node->data.sequence.items.top;
	for (const yaml_node_item_t *item = node->data.sequence.items.start; item < end; item++) {
		if (count == field->most)
			return fault(source, node, "more than there is room for", field->name);
		char *entry = (char *)target + field->offset + count * field->size;
		memcpy(entry, field->initial, field->size);
		count++;
		if (read_mapping(source, yaml_document_get_node(source->document, *item), field, entry) < 0)
			return -EINVAL;
	}
	memcpy((char *)target + field->count, &count, sizeof(count));
	return 0;
}

static int read_pairs(const struct source *source, const yaml_node_t *node, const struct field *fields, void *target)
{
	const yaml_node_pair_t *end = node->data.mapping.pairs.top;

	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < end; pair++) {
		const yaml_node_t *key = yaml_document_get_node(source->document, pair->key);
		const yaml_node_t *value = yaml_document_get_node(source->document, pair->value);
		const char *name = text_of(key);
		const struct field *field = fields;
		while (name && field->name && strcmp(field->name, name) != 0)
			field++;
		if (!name || !field->name)
			return fault(source, key, "unknown key", name ? name : "a key");
		char *at = field->read == read_list ? target : (char *)target + field->offset;
		if (field->read(source, value, field, at) < 0)
			return -EINVAL;
	}
	return 0;
}

static const char *const spreads[] = {"fixed", "exponential", "lognormal", NULL};
static const char *const rhythms[] = {"regular", "random", "bursty", "square", "varied", "forged", "connects", NULL};
static const char *const incidents[] = {"slow",  "leak",   "restart", "hang", "slow_dependency", "freeze", "stale",
                                        "blind", "starve", "hiccups", NULL};
static const char *const measures[] = {"answered", "spilled", "p50",   "p99",    "goodput", "uneven", "recovered",
                                       "released", "swing",   "level", "faults", "noticed", NULL};

static const struct field service_fields[] = {
	{.name = "workers", .offset = offsetof(struct service_plan, workers), .read = read_whole},
	{.name = "time", .offset = offsetof(struct service_plan, time_s), .read = read_time},
	{.name = "spread", .offset = offsetof(struct service_plan, spread), .read = read_word, .words = spreads},
	{.name = "queue", .offset = offsetof(struct service_plan, queue), .read = read_whole},
	{.name = "deaf", .offset = offsetof(struct service_plan, deaf), .read = read_bool},
	{0},
};

static const struct field bounds_fields[] = {
	{.name = "minimum", .offset = offsetof(struct controller_bounds, level_minimum), .read = read_number},
	{.name = "maximum", .offset = offsetof(struct controller_bounds, level_maximum), .read = read_number},
	{.name = "capacity_minimum",
         .offset = offsetof(struct controller_bounds, capacity_minimum),
         .read = read_number},
	{.name = "capacity_maximum",
         .offset = offsetof(struct controller_bounds, capacity_maximum),
         .read = read_number},
	{.name = "target_response", .offset = offsetof(struct controller_bounds, target_response_s), .read = read_time},
	{0},
};

static const struct field crowd_fields[] = {
	{.name = "name", .offset = offsetof(struct crowd_plan, name), .read = read_text, .size = NAME_ROOM},
	{.name = "count", .offset = offsetof(struct crowd_plan, count), .read = read_whole},
	{.name = "rate", .offset = offsetof(struct crowd_plan, rate), .read = read_number},
	{.name = "rhythm", .offset = offsetof(struct crowd_plan, rhythm), .read = read_word, .words = rhythms},
	{.name = "burst", .offset = offsetof(struct crowd_plan, burst), .read = read_whole},
	{.name = "period", .offset = offsetof(struct crowd_plan, period_s), .read = read_time},
	{.name = "from", .offset = offsetof(struct crowd_plan, from_s), .read = read_time},
	{.name = "until", .offset = offsetof(struct crowd_plan, until_s), .read = read_time},
	{.name = "tenured", .offset = offsetof(struct crowd_plan, tenured), .read = read_bool},
	{.name = "tries", .offset = offsetof(struct crowd_plan, tries), .read = read_whole},
	{.name = "patience", .offset = offsetof(struct crowd_plan, patience_s), .read = read_time},
	{.name = "weight", .offset = offsetof(struct crowd_plan, weight), .read = read_number},
	{0},
};

static const struct field incident_fields[] = {
	{.name = "kind", .offset = offsetof(struct incident, kind), .read = read_word, .words = incidents},
	{.name = "from", .offset = offsetof(struct incident, from_s), .read = read_time},
	{.name = "until", .offset = offsetof(struct incident, until_s), .read = read_time},
	{.name = "factor", .offset = offsetof(struct incident, factor), .read = read_number},
	{0},
};

static const struct field expectation_fields[] = {
	{.name = "measure", .offset = offsetof(struct expectation, measure), .read = read_word, .words = measures},
	{.name = "of", .offset = offsetof(struct expectation, crowd), .read = read_text, .size = NAME_ROOM},
	{.name = "from", .offset = offsetof(struct expectation, from_s), .read = read_time},
	{.name = "until", .offset = offsetof(struct expectation, until_s), .read = read_time},
	{.name = "least", .offset = offsetof(struct expectation, least), .read = read_number},
	{.name = "most", .offset = offsetof(struct expectation, most), .read = read_number},
	{0},
};

static const struct crowd_plan crowd_initial = {
	.count = 1, .burst = 1, .period_s = 1, .until_s = INFINITY, .tries = 1, .patience_s = 1, .weight = 1};
static const struct incident incident_initial = {.until_s = INFINITY, .factor = 1};
static const struct expectation expectation_initial = {.until_s = INFINITY, .least = NAN, .most = NAN};

static const struct field scenario_fields[] = {
	{.name = "about",
         .offset = offsetof(struct scenario, about),
         .read = read_text,
         .size = sizeof(((struct scenario *)0)->about)},
	{.name = "seconds", .offset = offsetof(struct scenario, seconds), .read = read_number},
	{.name = "objective", .offset = offsetof(struct scenario, objective_s), .read = read_time},
	{.name = "burst", .offset = offsetof(struct scenario, burst_s), .read = read_time},
	{.name = "seed", .offset = offsetof(struct scenario, seed), .read = read_seed},
	{.name = "service",
         .offset = offsetof(struct scenario, service),
         .read = read_mapping,
         .fields = service_fields},
	{.name = "dependency",
         .offset = offsetof(struct scenario, dependency),
         .read = read_mapping,
         .fields = service_fields},
	{.name = "adaptive",
         .offset = offsetof(struct scenario, bounds),
         .read = read_mapping,
         .fields = bounds_fields},
	{.name = "users",
         .offset = offsetof(struct scenario, crowds),
         .read = read_list,
         .fields = crowd_fields,
         .size = sizeof(struct crowd_plan),
         .most = CROWDS_MAX,
         .count = offsetof(struct scenario, crowd_count),
         .initial = &crowd_initial},
	{.name = "incidents",
         .offset = offsetof(struct scenario, incidents),
         .read = read_list,
         .fields = incident_fields,
         .size = sizeof(struct incident),
         .most = INCIDENTS_MAX,
         .count = offsetof(struct scenario, incident_count),
         .initial = &incident_initial},
	{.name = "expect",
         .offset = offsetof(struct scenario, expectations),
         .read = read_list,
         .fields = expectation_fields,
         .size = sizeof(struct expectation),
         .most = EXPECTATIONS_MAX,
         .count = offsetof(struct scenario, expectation_count),
         .initial = &expectation_initial},
	{0},
};

static int document_read(struct source *source, struct scenario *out)
{
	static const struct field whole = {.name = "the scenario", .fields = scenario_fields};
	const yaml_node_t *root = yaml_document_get_root_node(source->document);

	if (!root)
		return error_set(source->err, -EINVAL, "%s: empty", source->path);
	if (read_mapping(source, root, &whole, out) < 0)
		return -EINVAL;
	if (!(out->seconds > 0) || !out->service.workers || !(out->service.time_s > 0) || !out->crowd_count)
		return error_set(source->err, -EINVAL,
		                 "%s: it wants seconds, a service with workers and time, and users", source->path);
	return 0;
}

static void name_after(const char *path, char *out)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.');

	snprintf(out, NAME_ROOM, "%.*s", dot ? (int)(dot - base) : (int)strlen(base), base);
}

int scenario_read(const char *path, struct scenario *out, struct error *err)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	yaml_parser_t parser;
	yaml_document_t document;
	struct scenario scenario = {
		.seed = 1,
		.objective_s = 1,
		.burst_s = 0.02,
		.service = {.queue = 1000, .spread = SPREAD_EXPONENTIAL},
		.dependency = {.queue = 1000000, .spread = SPREAD_EXPONENTIAL},
		.bounds = {.level_minimum = 1, .replies = true},
	};

	if (!file)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!yaml_parser_initialize(&parser))
		return error_set(err, -ENOMEM, "%s: out of memory", path);
	yaml_parser_set_input_file(&parser, file);
	int result = -EINVAL;
	if (!yaml_parser_load(&parser, &document)) {
		error_set(err, -EINVAL, "%s:%zu: %s", path, parser.problem_mark.line + 1, parser.problem);
	} else {
		struct source source = {&document, path, err};
		result = document_read(&source, &scenario);
		yaml_document_delete(&document);
	}
	yaml_parser_delete(&parser);
	if (result < 0)
		return result;
	name_after(path, scenario.name);
	*out = scenario;
	return 0;
}

double scenario_capacity(const struct scenario *scenario)
{
	double most = scenario->service.workers /
	              (scenario->service.time_s + (scenario->dependency.workers ? scenario->dependency.time_s : 0));

	if (!scenario->dependency.workers)
		return most;
	return fmin(most, scenario->dependency.workers / scenario->dependency.time_s);
}
