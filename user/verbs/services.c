/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway services [--json] [--socket PATH]\n\nServices with their rates and counters.\n";

static const struct column columns[] = {
	{"name", "SERVICE", COLUMN_TEXT},
	{"mode", "MODE", COLUMN_TEXT},
	{"class", "CLASS", COLUMN_TEXT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"received_packets", "RECEIVED", COLUMN_COUNT},
	{"passed_packets", "PASSED", COLUMN_COUNT},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
	{"shadow_packets", "SHADOW", COLUMN_COUNT},
	{"level_packets_per_second", "LEVEL", COLUMN_COUNT},
	{"capacity_packets_per_second", "CAPACITY", COLUMN_COUNT},
	{"active_users", "USERS", COLUMN_COUNT},
};

int verb_services(int argc, char **argv)
{
	static const struct option options[] = {COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	json_t *services = NULL;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	int status = ask(common.socket, "/api/v1/services", NULL, &services);
	if (status != EXIT_DONE)
		return status;
	if (common.json)
		json_print(services);
	else
		table_print(services, columns, sizeof(columns) / sizeof(*columns));
	json_decref(services);
	return EXIT_DONE;
}
