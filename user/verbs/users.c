/* SPDX-License-Identifier: GPL-2.0-only */
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway users [--service S] [--limit N] [--json] [--socket PATH]\n\n"
	"The heaviest users now, heaviest first (20 unless --limit says otherwise, 100 of a service at most).\n";

static const struct column columns[] = {
	{"service", "SERVICE", COLUMN_TEXT},
	{"user", "USER", COLUMN_TEXT},
	{"kind", "KIND", COLUMN_TEXT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"bytes_per_second", "BYTES/S", COLUMN_BYTES},
	{"passed_packets", "PASSED", COLUMN_COUNT},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
	{"limit_packets_per_second", "LIMIT", COLUMN_COUNT},
};

/* Returns -1 to go on, or the exit status to end with. */
static int read_limit(const char *text, unsigned long *out)
{
	char *end;
	unsigned long limit = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end)
		return wrong_usage("--limit", "a number of users was expected", help);
	*out = limit;
	return -1;
}

int verb_users(int argc, char **argv)
{
	enum { SERVICE = 1, LIMIT };
	static const struct option options[] = {{"service", required_argument, NULL, SERVICE},
	                                        {"limit", required_argument, NULL, LIMIT},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	const char *service = NULL;
	unsigned long limit = 20;
	char path[256];
	json_t *users = NULL;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == SERVICE)
			service = optarg;
		else if (option == LIMIT)
			status = read_limit(optarg, &limit);
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	_cleanup_free_ char *name = service ? evhttp_uriencode(service, -1, false) : NULL;
	snprintf(path, sizeof(path), "/api/v1/users?limit=%lu%s%.200s", limit, name ? "&service=" : "",
	         name ? name : "");
	int status = ask(common.socket, path, NULL, &users);
	if (status != EXIT_DONE)
		return status;
	if (common.json)
		json_print(users);
	else
		table_print(users, columns, sizeof(columns) / sizeof(*columns));
	json_decref(users);
	return EXIT_DONE;
}
