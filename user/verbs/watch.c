/* SPDX-License-Identifier: GPL-2.0-only */
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway watch [--service S] [--recent N] [--json] [--socket PATH]\n\n"
	"Events as they happen, a line each: on a terminal to be read, elsewhere or with --json one JSON object.\n"
	"Ends with status 3 when the daemon goes.\n\n"
	"  --service S  events of this service alone\n"
	"  --recent N   the N newest of those that were, first (of the last 256)\n";

struct watching {
	bool json, coloured;
};

/* How each kind of event looks; what is not here is plain. */
static const struct look {
	const char *event, *colour;
} looks[] = {
	{"fault", "\033[1;31m"},     {"hotspot_begin", "\033[31m"}, {"lost", "\033[35m"},     {"recovery", "\033[32m"},
	{"hotspot_end", "\033[32m"}, {"level", "\033[33m"},         {"capacity", "\033[33m"}, {"override", "\033[36m"},
	{"interface", "\033[1;34m"}, {"reload", "\033[34m"},        {"lists", "\033[34m"},    {"drill", "\033[35m"},
};

static const char *colour_of(const char *event)
{
	for (size_t i = 0; i < sizeof(looks) / sizeof(*looks); i++)
		if (strcmp(event, looks[i].event) == 0)
			return looks[i].colour;
	return "";
}

/* The time of day here, from RFC 3339. */
static void clock_text(const char *time, char out[16])
{
	struct tm utc = {0}, local;

	snprintf(out, 16, "-");
	if (!time || !strptime(time, "%Y-%m-%dT%H:%M:%S", &utc))
		return;
	time_t when = timegm(&utc);
	if (localtime_r(&when, &local))
		strftime(out, 16, "%H:%M:%S", &local);
}

/* Control characters of others' making (a name in an error) do not reach the terminal. */
static void print_words(const char *words)
{
	for (; *words; words++) {
		if (*words == '\n')
			fputs("\n          ", stdout);
		else
			putchar((unsigned char)*words < ' ' || *words == 0x7f ? '?' : *words);
	}
}

static void print_event(const struct watching *watching, const json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "event"));
	const char *service = json_string_value(json_object_get(event, "service"));
	const char *user = json_string_value(json_object_get(event, "user"));
	const char *why = json_string_value(json_object_get(event, "why"));
	char clock[16];

	clock_text(json_string_value(json_object_get(event, "time")), clock);
	printf("%s  %s%-13s%s  ", clock, watching->coloured ? colour_of(kind ? kind : "") : "", kind ? kind : "?",
	       watching->coloured ? "\033[0m" : "");
	if (service)
		printf("%s ", service);
	if (user)
		printf("%s ", user);
	if (service || user)
		fputs("- ", stdout);
	print_words(why ? why : "");
	putchar('\n');
}

static bool take_event(const char *line, void *argument)
{
	const struct watching *watching = argument;
	json_t *event = watching->json ? NULL : json_loads(line, 0, NULL);

	if (event)
		print_event(watching, event);
	else
		puts(line);
	json_decref(event);
	/* Whoever reads further has gone: so do we. */
	return fflush(stdout) == 0 && !ferror(stdout);
}

int verb_watch(int argc, char **argv)
{
	enum { SERVICE = 1, RECENT };
	static const struct option options[] = {{"service", required_argument, NULL, SERVICE},
	                                        {"recent", required_argument, NULL, RECENT},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	const char *service = NULL, *recent = "0", *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	char path[256];

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == SERVICE)
			service = optarg;
		else if (option == RECENT)
			recent = optarg;
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	if (!*recent || recent[strspn(recent, "0123456789")] || strlen(recent) > 9)
		return wrong_usage("--recent", "a number of events was expected", help);

	bool terminal = isatty(STDOUT_FILENO);
	struct watching watching = {.json = common.json || !terminal,
	                            .coloured = terminal && !(no_colour && *no_colour) && term &&
	                                        strcmp(term, "dumb") != 0};
	_cleanup_free_ char *name = service ? evhttp_uriencode(service, -1, false) : NULL;
	snprintf(path, sizeof(path), "/api/v1/events?recent=%s%s%.200s", recent, name ? "&service=" : "",
	         name ? name : "");
	return ask_follow(common.socket, path, take_event, &watching);
}
