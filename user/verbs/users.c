/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>
#include <stdlib.h>

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
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"bytes_per_second", "BYTES/S", COLUMN_BYTES},
	{"passed_packets", "PASSED", COLUMN_COUNT},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
	{"limit_packets_per_second", "LIMIT", COLUMN_COUNT},
};

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
	char path[128], *end = NULL;
	json_t *users = NULL;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == SERVICE)
			service = optarg;
		else if (option == LIMIT)
			limit = strtoul(optarg, &end, 10);
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc || (end && *end))
		return common_option('?', &common, help);
	if (service)
		snprintf(path, sizeof(path), "/api/v1/users?limit=%lu&service=%.60s", limit, service);
	else
		snprintf(path, sizeof(path), "/api/v1/users?limit=%lu", limit);
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
