/* SPDX-License-Identifier: GPL-2.0-only */
/* The file as a whole: its size and syntax, the keys of its first level, and the order of the checks. */
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/faults.h"
#include "config/lists.h"
#include "config/schema.h"
#include "config/services.h"
#include "config/tenants.h"

#define TABLE_USERS_DEFAULT   1000000
#define METRICS_USERS_DEFAULT 10
#define RELAX_AFTER_S_DEFAULT 30
#define RELAX_AFTER_LEAST_S   2 /* a tick may be late */
#define RELAX_AFTER_MOST_S    3600

/* What the readers of the first level fill. */
struct file_reading {
	struct config *config;
	struct service_places *places;
	const char *directory; /* of the file; NULL: the working directory */
	const struct config_opener *opener;
	int failure; /* -ENOMEM, or 0 */
};

static void file_reading_release(struct file_reading *file)
{
	config_free(file->config);
	free(file->places);
}

static bool interface_is_sound(const char *name)
{
	if (!*name || strlen(name) >= IF_NAMESIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (; *name; name++) {
		if (*name == '/' || *name == ':' || *name <= ' ' || *name > '~')
			return false;
	}
	return true;
}

static void read_interface(struct reading *reading, const yaml_node_t *node, struct config *config)
{
	const char *name = schema_read_text(reading, node, "the name of an interface");

	if (!name)
		return;
	if (!interface_is_sound(name)) {
		faults_add(reading->faults, mark_of(node),
		           "found '%.40s', expected the name of an interface: up to %d letters, no space, '/' or ':'",
		           name, IF_NAMESIZE - 1);
		return;
	}
	for (size_t i = 0; i < config->interfaces_count; i++) {
		if (strcmp(config->interfaces[i], name) != 0)
			continue;
		faults_add(reading->faults, mark_of(node), "interface '%s' is given already: write it once", name);
		return;
	}
	memcpy(config->interfaces[config->interfaces_count++], name, strlen(name) + 1);
}

static void read_interfaces(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	size_t count = schema_list_count(reading, node, CONFIG_INTERFACES_MAX, "interfaces");

	if (node->type == YAML_SEQUENCE_NODE && node->data.sequence.items.top == node->data.sequence.items.start)
		faults_add(reading->faults, mark_of(node), "found an empty list, expected at least one interface");
	for (size_t i = 0; i < count; i++)
		read_interface(reading, schema_list_entry(reading, node, i), file->config);
}

static void read_mode(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_word words[] = {{"observe", CONFIG_OBSERVE}, {"enforce", CONFIG_ENFORCE}, {0}};
	struct file_reading *file = target;
	int mode;

	if (schema_read_word(reading, node, words, &mode))
		file->config->mode = (enum config_mode)mode;
}

static void read_malformed(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_word words[] = {
		{"spill", CONFIG_MALFORMED_SPILL}, {"pass", CONFIG_MALFORMED_PASS}, {0}};
	struct file_reading *file = target;
	int malformed;

	if (schema_read_word(reading, node, words, &malformed))
		file->config->malformed = (enum config_malformed)malformed;
}

static void read_allow_generic(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_word words[] = {{"true", true}, {"false", false}, {0}};
	struct file_reading *file = target;
	int allow;

	if (schema_read_word(reading, node, words, &allow))
		file->config->allow_generic = allow;
}

/* Splits "127.0.0.1:9469" or "[::1]:9469". */
static bool listen_parse(const char *text, struct config_listen *out)
{
	bool bracketed = *text == '[';
	const char *colon = strrchr(text, ':');
	struct config_listen listen = {.on = true};
	uint8_t address[16];

	if (!colon || colon - text >= (ptrdiff_t)sizeof(listen.host))
		return false;
	size_t length = (size_t)(colon - text);
	if (bracketed && (length < 3 || text[length - 1] != ']'))
		return false;
	memcpy(listen.host, text + bracketed, length - 2 * (size_t)bracketed);
	if (inet_pton(bracketed ? AF_INET6 : AF_INET, listen.host, address) != 1)
		return false;
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '1' || colon[1] > '9' || *end || end - colon > 6 || port > UINT16_MAX)
		return false;
	listen.port = (uint16_t)port;
	*out = listen;
	return true;
}

static void read_listen(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const char expected[] = "an address and a port as 127.0.0.1:9469 or \"[::1]:9469\", or null";
	struct file_reading *file = target;

	if (schema_is_null(node)) {
		file->config->listen.on = false;
		return;
	}
	const char *text = schema_read_text(reading, node, expected);
	if (text && !listen_parse(text, &file->config->listen))
		faults_add(reading->faults, mark_of(node), "found '%.60s', expected %s", text, expected);
}

static void read_table_users(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config *config = target;
	unsigned users;
	if (schema_read_whole(reading, node, 1000, 16000000, &users))
		config->table_users = users;
}

static void read_table(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {{"users", read_table_users, true}, {0}};
	static const struct schema schema = {"table", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, file->config);
}

static void read_metrics_users(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config *config = target;
	schema_read_whole(reading, node, 0, 100, &config->metrics_users);
}

static void read_metrics(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {{"users_per_service", read_metrics_users, true}, {0}};
	static const struct schema schema = {"metrics", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, file->config);
}

static void read_hotspots_share(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_hotspots *hotspots = target;
	schema_read_number(reading, node, 0.001, 1, &hotspots->share);
}

static void read_hotspots_past(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_hotspots *hotspots = target;
	schema_read_number(reading, node, 0, 1e6, &hotspots->past);
}

static void read_hotspots_level(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_hotspots *hotspots = target;
	schema_read_number(reading, node, 0, 1e6, &hotspots->level);
}

static void read_hotspots_least(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_hotspots *hotspots = target;
	schema_read_number(reading, node, 1, 1e9, &hotspots->least_pps);
}

static void read_hotspots(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {{"share", read_hotspots_share, false},
	                                         {"past", read_hotspots_past, false},
	                                         {"level", read_hotspots_level, false},
	                                         {"packets_per_second", read_hotspots_least, false},
	                                         {0}};
	static const struct schema schema = {"hotspots", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, &file->config->hotspots);
}

static void read_tags_cgroup(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const char expected[] = "a cgroup as /proc/PID/cgroup writes it: /system.slice/shop.service";
	struct config_tags *tags = target;
	const char *text = schema_read_text(reading, node, expected);

	if (!text)
		return;
	if (*text != '/' || strlen(text) >= sizeof(tags->cgroup) || strstr(text, "/.."))
		faults_add(reading->faults, mark_of(node), "found '%.60s', expected %s", text, expected);
	else
		snprintf(tags->cgroup, sizeof(tags->cgroup), "%s", text);
}

static void read_tags_uids(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_tags *tags = target;
	size_t count = schema_list_count(reading, node, CONFIG_TAG_UIDS_MAX, "allow_uids");

	for (size_t i = 0; i < count; i++) {
		unsigned uid;
		if (schema_read_whole(reading, schema_list_entry(reading, node, i), 0, UINT32_MAX - 1, &uid))
			tags->uids[tags->uids_count++] = uid;
	}
}

static void read_tags(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {
		{"cgroup", read_tags_cgroup, false}, {"allow_uids", read_tags_uids, false}, {0}};
	static const struct schema schema = {"tags", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, &file->config->tags);
}

static void read_group(struct reading *reading, const yaml_node_t *node, char out[CONFIG_GROUP_MAX])
{
	static const char expected[] = "the name of a group of this host, or its number";
	const char *text = schema_read_text(reading, node, expected);

	if (!text)
		return;
	if (!*text || strlen(text) >= CONFIG_GROUP_MAX || strpbrk(text, ": \t\n"))
		faults_add(reading->faults, mark_of(node), "found '%.60s', expected %s", text, expected);
	else
		snprintf(out, CONFIG_GROUP_MAX, "%s", text);
}

static void read_control_group(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_control *control = target;
	read_group(reading, node, control->group);
}

static void read_control_viewers(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_control *control = target;
	read_group(reading, node, control->viewers);
}

static void read_control(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {
		{"group", read_control_group, false}, {"viewers", read_control_viewers, false}, {0}};
	static const struct schema schema = {"control", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, &file->config->control);
}

static void read_allow(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	if (lists_read_entries(reading, node, &file->config->lists, false) < 0)
		file->failure = -ENOMEM;
}

static void read_deny(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	if (lists_read_entries(reading, node, &file->config->lists, true) < 0)
		file->failure = -ENOMEM;
}

static void read_lists(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	lists_read_settings(reading, node, &file->config->lists);
}

static void read_relax_after(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config *config = target;
	double relax_after_s;
	if (schema_read_duration(reading, node, RELAX_AFTER_LEAST_S, RELAX_AFTER_MOST_S, &relax_after_s))
		config->relax_after_s = (uint32_t)ceil(relax_after_s);
}

static void read_controller(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {{"relax_after", read_relax_after, true}, {0}};
	static const struct schema schema = {"controller", keys};
	struct file_reading *file = target;
	schema_read(reading, node, &schema, file->config);
}

static void read_history_path(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const char expected[] = "the path of a file, from / on: " CONFIG_HISTORY_PATH_DEFAULT;
	struct config_history *history = target;
	const char *text = schema_read_text(reading, node, expected);

	if (!text)
		return;
	/* Room for the names of the files beside it. */
	if (*text != '/' || text[strlen(text) - 1] == '/' || strlen(text) >= sizeof(history->path) - 64)
		faults_add(reading->faults, mark_of(node), "found '%.60s', expected %s", text, expected);
	else
		snprintf(history->path, sizeof(history->path), "%s", text);
}

static void read_history_size(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_history *history = target;
	double bytes;
	if (schema_read_bytes(reading, node, CONFIG_HISTORY_BYTES_LEAST, 1e12, &bytes))
		history->bytes = (uint64_t)bytes;
}

static void read_history(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {
		{"path", read_history_path, false}, {"size", read_history_size, false}, {0}};
	static const struct schema schema = {"history", keys};
	struct file_reading *file = target;

	file->config->history.on = !schema_is_null(node);
	if (file->config->history.on)
		schema_read(reading, node, &schema, &file->config->history);
}

static void read_services(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	if (services_read(reading, node, file->config, &file->places) < 0)
		file->failure = -ENOMEM;
}

static void read_tenants(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct file_reading *file = target;
	if (tenants_read(reading, node, file->config) < 0)
		file->failure = -ENOMEM;
}

static const struct schema_key file_keys[] = {
	{"interfaces", read_interfaces, false},
	{"mode", read_mode, false},
	{"listen", read_listen, false},
	{"control", read_control, false},
	{"services", read_services, false},
	{"malformed", read_malformed, false},
	{"allow_generic", read_allow_generic, false},
	{"table", read_table, false},
	{"metrics", read_metrics, false},
	{"hotspots", read_hotspots, false},
	{"tags", read_tags, false},
	{"tenants", read_tenants, false},
	{"allow", read_allow, false},
	{"deny", read_deny, false},
	{"lists", read_lists, false},
	{"controller", read_controller, false},
	{"history", read_history, false},
	{0},
};
static const struct schema file_schema = {"the file", file_keys};

static int read_root(struct reading *reading, const yaml_node_t *root, struct file_reading *file)
{
	schema_read(reading, root, &file_schema, file);
	lists_check_entries(reading->faults, &file->config->lists);
	if (file->failure < 0 || !file->places)
		return file->failure;

	for (size_t i = 0; i < file->config->services_count; i++) {
		if (!file->places[i].mode_given)
			file->config->services[i].mode = file->config->mode;
	}
	services_check_tenants(reading->faults, file->config);
	if (services_check_names(reading->faults, file->config) < 0)
		return -ENOMEM;
	return services_check_overlaps(reading->faults, file->config, file->places);
}

/* The place of a byte: libyaml names no line where the bytes themselves are at fault. */
static struct config_mark mark_of_offset(const char *text, size_t size, size_t offset)
{
	struct config_mark mark = {1, 1};

	for (size_t i = 0; i < size && i < offset; i++) {
		mark.column++;
		if (text[i] == '\n')
			mark = (struct config_mark){mark.line + 1, 1};
	}
	return mark;
}

static int fault_syntax(struct config_faults *faults, const yaml_parser_t *parser, const char *text, size_t size)
{
	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	struct config_mark mark = {(unsigned)parser->problem_mark.line + 1, (unsigned)parser->problem_mark.column + 1};
	if (parser->error == YAML_READER_ERROR)
		mark = mark_of_offset(text, size, parser->problem_offset);
	faults_add(faults, mark, "this is no YAML: %s%s%s", parser->context ? parser->context : "",
	           parser->context ? ": " : "", parser->problem ? parser->problem : "unreadable");
	return 0;
}

/* Reads the next document, and its root into `file` where one is given: a second document has none. */
static int read_document(yaml_parser_t *parser, const char *text, size_t size, struct config_faults *faults,
                         struct file_reading *file)
{
	_cleanup_(yaml_document_delete) yaml_document_t document = {0};
	struct reading reading = {&document, faults, file ? file->directory : NULL, file ? file->opener : NULL};

	if (!yaml_parser_load(parser, &document))
		return fault_syntax(faults, parser, text, size);
	const yaml_node_t *root = yaml_document_get_root_node(&document);
	if (file && root)
		return read_root(&reading, root, file);
	if (file)
		faults_add(faults, (struct config_mark){1, 1}, "the file is empty: expected a mapping with 'services'");
	else if (root)
		faults_add(faults, mark_of(root), "a second document: expected one, so remove what follows '---'");
	return 0;
}

static int config_new(struct config **out)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return -ENOMEM;
	config->listen = (struct config_listen){.on = true, .host = "127.0.0.1", .port = 9469};
	config->table_users = TABLE_USERS_DEFAULT;
	config->lists.allowed_pps = LISTS_ALLOWED_PPS_DEFAULT;
	config->lists.entries_most = CONFIG_LIST_ENTRIES_DEFAULT;
	config->metrics_users = METRICS_USERS_DEFAULT;
	config->hotspots = (struct config_hotspots){.share = 0.2, .past = 8, .level = 2, .least_pps = 1000};
	config->relax_after_s = RELAX_AFTER_S_DEFAULT;
	config->history = (struct config_history){
		.on = true, .path = CONFIG_HISTORY_PATH_DEFAULT, .bytes = CONFIG_HISTORY_BYTES_DEFAULT};
	*out = config;
	return 0;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	free(config->lists.entries);
	free(config->services);
	free(config->tenants);
	free(config->tenant_prefixes);
	free(config);
}

static int fault_whole(struct config_faults *faults, int code, const char *why)
{
	faults_add(faults, (struct config_mark){0}, "%s", why);
	return code;
}

/* Files are opened by this process itself. */
static int open_here(void *argument, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	(void)argument;

	return fd < 0 ? -errno : fd;
}

static const struct config_opener here = {open_here, NULL};

static int parse_in(const struct config_opener *opener, const char *directory, const char *text, size_t size,
                    struct config **out, struct config_faults *faults)
{
	_cleanup_(file_reading_release) struct file_reading file = {.directory = directory, .opener = opener};
	_cleanup_(yaml_parser_delete) yaml_parser_t parser = {0};

	faults->count = 0;
	if (size > CONFIG_FILE_MAX)
		return fault_whole(faults, -EFBIG, "larger than 4 MiB: write ranges, and prefixes of tenants to files");
	if (config_new(&file.config) < 0 || !yaml_parser_initialize(&parser))
		return fault_whole(faults, -ENOMEM, "no memory to read it");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	int rc = read_document(&parser, text, size, faults, &file);
	if (rc == 0 && parser.error == YAML_NO_ERROR)
		rc = read_document(&parser, text, size, faults, NULL);
	if (rc < 0) {
		faults->count = 0;
		return fault_whole(faults, rc, "no memory to read it");
	}
	if (faults->count > 0)
		return -EINVAL;
	*out = TAKE_PTR(file.config);
	return 0;
}

int config_parse(const char *text, size_t size, struct config **out, struct config_faults *faults)
{
	return parse_in(&here, NULL, text, size, out, faults);
}

static int fault_errno(struct config_faults *faults, int code)
{
	faults->count = 0;
	return fault_whole(faults, code, strerror(-code));
}

int config_load(const char *path, struct config **out, struct config_faults *faults)
{
	return config_load_by(&here, path, out, faults);
}

int config_load_by(const struct config_opener *opener, const char *path, struct config **out,
                   struct config_faults *faults)
{
	int fd = opener->open(opener->argument, path);
	_cleanup_fclose_ FILE *stream = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *text = NULL;
	char directory[PATH_MAX] = "";
	const char *slash = strrchr(path, '/');

	if (!stream)
		return fault_errno(faults, fd < 0 ? fd : -ENOMEM);
	text = malloc(CONFIG_FILE_MAX + 1);
	if (!text)
		return fault_errno(faults, -ENOMEM);
	errno = 0;
	size_t size = fread(text, 1, CONFIG_FILE_MAX + 1, stream);
	if (ferror(stream))
		return fault_errno(faults, errno ? -errno : -EIO);
	if (slash) /* it has been opened: it is no longer than that */
		snprintf(directory, sizeof(directory), "%.*s", slash > path ? (int)(slash - path) : 1, path);
	return parse_in(opener, slash ? directory : NULL, text, size, out, faults);
}
