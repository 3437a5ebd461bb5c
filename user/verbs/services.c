/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/verbs.h"

static const char help[] = "usage: spillway services [--sort COLUMN] [--watch SECONDS] [--json] [--socket PATH]\n\n"
			   "Services with their rates and counters.\n\n"
			   "  --sort COLUMN    by a column: the greatest first, words by the alphabet\n"
			   "  --watch SECONDS  again and again\n";

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

static int show(const struct common_options *common, const char *sort, double every_s)
{
	json_t *services = NULL;

	int status = ask(common->socket, "/api/v1/services", NULL, &services);
	if (status != EXIT_DONE)
		return status;
	if (sort && table_sort(services, columns, sizeof(columns) / sizeof(*columns), sort) < 0) {
		status = EXIT_USAGE;
	} else {
		table_clear(every_s);
		if (common->json)
			json_print(services);
		else
			table_print(services, columns, sizeof(columns) / sizeof(*columns));
	}
	json_decref(services);
	return status;
}

int verb_services(int argc, char **argv)
{
	enum { SORT = 1, WATCH };
	static const struct option options[] = {{"sort", required_argument, NULL, SORT},
	                                        {"watch", required_argument, NULL, WATCH},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	const char *sort = NULL;
	double every_s = 0;
	int status = -1;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (option == SORT)
			sort = optarg;
		else if (option == WATCH)
			status = table_every(optarg, &every_s, help);
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	do
		status = show(&common, sort, every_s);
	while (status == EXIT_DONE && table_again(every_s));
	return status;
}
