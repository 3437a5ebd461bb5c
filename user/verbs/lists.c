/* SPDX-License-Identifier: GPL-2.0-only */
/* `spillway allow`, `deny` and `forget`: three verbs that differ in what becomes of the prefixes. Everything is checked
 * before anything is sent, and what is too much for one request goes in several. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/prefix.h"
#include "base/units.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/prefix_file.h"
#include "verbs/verbs.h"

#define REQUEST_PREFIXES 1000 /* their text stays below what the daemon takes at once */
#define BAR_WIDTH        40

/* One of the verbs. */
struct list_verb {
	const char *path;
	const char *shows; /* the list that it shows; NULL: both */
	const char *help;
	bool takes_off;
};

/* What the command line asks for. */
struct list_request {
	const struct list_verb *verb;
	struct common_options common;
	struct prefix *prefixes; /* owned */
	size_t count;
	uint64_t for_ns; /* 0: for good */
	const char *file;
	bool shows;
};

static int wrong(const char *what, const char *why)
{
	fprintf(stderr, "spillway: %s: %s\n", what, why);
	return EXIT_USAGE;
}

/* Reading the command line ---------------------------------------------------------------------------------------- */

static int read_duration(const char *text, uint64_t *out_ns)
{
	struct error err;

	if (units_parse_duration(text, out_ns, &err) < 0)
		return wrong("--for", err.text);
	if (!*out_ns)
		return wrong("--for", "no time at all: name one above zero, as 10m, or leave it away for good");
	return -1;
}

static int read_options(struct list_request *request, int argc, char **argv)
{
	enum { FOR = 1, FILE_OF, LIST };
	static const struct option options[] = {{"for", required_argument, NULL, FOR},
	                                        {"file", required_argument, NULL, FILE_OF},
	                                        {"list", no_argument, NULL, LIST},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == FOR)
			status = read_duration(optarg, &request->for_ns);
		else if (option == FILE_OF)
			request->file = optarg;
		else if (option == LIST)
			request->shows = true;
		else
			status = common_option(option, &request->common, request->verb->help);
		if (status >= 0)
			return status;
	}
	if (request->for_ns && request->verb->takes_off)
		return wrong("--for", "what is forgotten is forgotten for good: leave it away");
	return -1;
}

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* The file's prefixes and those of the command line, in order: neighbours share their way through the kernel's trie,
 * which makes a million of them go in twice as fast. */
static int read_prefixes(struct list_request *request, int count, char **texts)
{
	struct error err;

	if (request->file && prefix_file_read(request->file, &request->prefixes, &request->count, &err) < 0) {
		fprintf(stderr, "spillway: %s\n", err.text);
		return EXIT_FAILED;
	}
	struct prefix *grown = reallocarray(request->prefixes, request->count + (size_t)count + 1, sizeof(*grown));
	if (!grown)
		return EXIT_FAILED;
	request->prefixes = grown;
	for (int i = 0; i < count; i++)
		if (prefix_parse(texts[i], &request->prefixes[request->count++], &err) < 0)
			return wrong(request->verb->path + strlen("/api/v1/"), err.text);
	qsort(request->prefixes, request->count, sizeof(*request->prefixes), compare_prefixes);
	return -1;
}

/* Changing -------------------------------------------------------------------------------------------------------- */

static void show_progress(size_t done, size_t all)
{
	char bar[BAR_WIDTH + 1] = "";

	if (all <= REQUEST_PREFIXES || !isatty(STDERR_FILENO))
		return;
	memset(bar, '#', BAR_WIDTH * done / all);
	fprintf(stderr, "\r[%-*s] %zu of %zu%s", BAR_WIDTH, bar, done, all, done == all ? "\n" : "");
}

/* One request, for the prefixes from `first` on. `*answer` is the caller's. */
static int send_some(const struct list_request *request, size_t first, bool check, json_t **answer)
{
	json_t *prefixes = json_array();
	json_t *wish = json_pack("{s:o,s:b}", "prefixes", prefixes, "check", check);
	char text[PREFIX_TEXT_MAX];

	for (size_t i = first; i < request->count && i < first + REQUEST_PREFIXES; i++) {
		prefix_format(&request->prefixes[i], text);
		json_array_append_new(prefixes, json_string(text));
	}
	if (request->for_ns)
		json_object_set_new(wish, "for_seconds", json_real((double)request->for_ns / 1e9));
	int status = ask(request->common.socket, request->verb->path, wish, answer);
	json_decref(wish);
	return status;
}

/* Whether all of it can be done: one request is all or nothing by itself, several are not. */
static int check_all(const struct list_request *request)
{
	json_int_t added = 0, room = 0;

	if (request->count <= REQUEST_PREFIXES)
		return EXIT_DONE;
	for (size_t first = 0; first < request->count; first += REQUEST_PREFIXES) {
		json_t *answer = NULL;
		int status = send_some(request, first, true, &answer);
		if (status != EXIT_DONE)
			return status;
		added += json_integer_value(json_object_get(answer, "new"));
		room = json_integer_value(json_object_get(answer, "room"));
		json_decref(answer);
		if (!request->verb->takes_off && room >= (json_int_t)request->count)
			return EXIT_DONE;
	}
	if (added <= room)
		return EXIT_DONE;
	fprintf(stderr,
	        "spillway: %s: %lld prefixes are new, and the lists have room for %lld more: take others off, or raise "
	        "'lists: {entries: N}'\n",
	        request->file, (long long)added, (long long)room);
	return EXIT_FAILED;
}

static int change_all(const struct list_request *request)
{
	int status = check_all(request);

	for (size_t first = 0; status == EXIT_DONE && first < request->count; first += REQUEST_PREFIXES) {
		json_t *answer = NULL;
		show_progress(first, request->count);
		status = send_some(request, first, false, &answer);
		json_decref(answer);
		if (status != EXIT_DONE && first)
			fprintf(stderr, "spillway: %zu of %zu prefixes are done: the same command does the rest\n",
			        first, request->count);
	}
	if (status == EXIT_DONE)
		show_progress(request->count, request->count);
	return status;
}

/* Showing --------------------------------------------------------------------------------------------------------- */

#define ROW "%-43s  %-5s  %10s  %s\n"

static void print_row(const json_t *entry)
{
	const json_t *left = json_object_get(entry, "left_seconds");
	char text[UNITS_TEXT_MAX] = "-";

	if (json_is_number(left))
		units_format_duration_ns((uint64_t)(json_number_value(left) * 1e9), text, sizeof(text));
	printf(ROW, json_string_value(json_object_get(entry, "prefix")),
	       json_string_value(json_object_get(entry, "list")), text,
	       json_string_value(json_object_get(entry, "by")));
}

/* Prints one page; `*printed` counts over all of them. */
static void print_page(const struct list_request *request, const json_t *entries, size_t *printed)
{
	const char *shows = request->verb->shows;
	const json_t *entry;
	size_t index;

	json_array_foreach(entries, index, entry)
	{
		if (shows && strcmp(shows, json_string_value(json_object_get(entry, "list"))) != 0)
			continue;
		if (request->common.json) {
			fputs(*printed ? ",\n  " : "\n  ", stdout);
			json_dumpf(entry, stdout, 0);
		} else {
			print_row(entry);
		}
		++*printed;
	}
}

static int show(const struct list_request *request)
{
	char path[128] = "/api/v1/lists";
	size_t printed = 0;
	bool first = true;

	for (bool more = true; more; first = false) {
		json_t *page = NULL;
		int status = ask(request->common.socket, path, NULL, &page);
		if (status != EXIT_DONE)
			return status;
		if (first && request->common.json)
			putchar('[');
		else if (first)
			printf(ROW, "PREFIX", "LIST", "LEFT", "BY");
		print_page(request, json_object_get(page, "entries"), &printed);
		const char *next = json_string_value(json_object_get(page, "next"));
		more = next != NULL;
		if (next)
			snprintf(path, sizeof(path), "/api/v1/lists?after=%s", next);
		json_decref(page);
	}
	if (request->common.json)
		puts(printed ? "\n]" : "]");
	return EXIT_DONE;
}

/* The verbs ------------------------------------------------------------------------------------------------------- */

static void request_release(struct list_request *request)
{
	free(request->prefixes);
}

static int run_verb(const struct list_verb *verb, int argc, char **argv)
{
	_cleanup_(request_release) struct list_request request = {.verb = verb, .common = common_options_default()};

	int status = read_options(&request, argc, argv);
	if (status >= 0)
		return status;
	bool names = optind < argc || request.file;
	if (request.shows ? names || request.for_ns : !names && (verb->takes_off || request.for_ns))
		return common_option('?', &request.common, verb->help);
	if (!names)
		return show(&request);
	status = read_prefixes(&request, argc - optind, argv + optind);
	return status >= 0 ? status : change_all(&request);
}

#define HELP_OPTIONS                                                                                                \
	"  --file F         the prefixes of a file, one a line, '#' opens a comment: all, or none where a line is " \
	"wrong\n"                                                                                                   \
	"  --list [--json]  shows instead what is there, by whom, and what is left of its time\n"

int verb_allow(int argc, char **argv)
{
	static const struct list_verb allow = {
		.path = "/api/v1/allow",
		.shows = "allow",
		.help = "usage: spillway allow [PREFIX... | --file F] [--for DURATION] [--list] [--json] [--socket "
			"PATH]\n\n"
			"Lets packets from these sources pass without a meter, as long as all of them together stay "
			"within\n'lists: {allowed_packets_per_second: N}'. The longest prefix counts, of both lists.\n"
			"  --for DURATION   only so long, as 30s, 10m, 2h\n" HELP_OPTIONS,
	};
	return run_verb(&allow, argc, argv);
}

int verb_deny(int argc, char **argv)
{
	static const struct list_verb deny = {
		.path = "/api/v1/deny",
		.shows = "deny",
		.help = "usage: spillway deny [PREFIX... | --file F] [--for DURATION] [--list] [--json] [--socket "
			"PATH]\n\n"
			"Drops every packet from these sources, whatever its service (in observe mode: counts it). The "
			"longest\nprefix counts, of both lists.\n"
			"  --for DURATION   only so long, as 30s, 10m, 2h\n" HELP_OPTIONS,
	};
	return run_verb(&deny, argc, argv);
}

int verb_forget(int argc, char **argv)
{
	static const struct list_verb forget = {
		.path = "/api/v1/forget",
		.takes_off = true,
		.help = "usage: spillway forget PREFIX... | --file F | --list [--json] [--socket PATH]\n\n"
			"Takes these very prefixes off the list that they are on, all or none. Those that the "
			"configuration names\nare back when it is applied again.\n" HELP_OPTIONS,
	};
	return run_verb(&forget, argc, argv);
}
