/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>

#include "base/units.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway status [--watch SECONDS] [--json] [--socket PATH]\n\n"
	"What is attached where, which features are on, how the services fare, and who stands out.\n\n"
	"  --watch SECONDS  again and again\n";

static const struct column interface_columns[] = {
	{"name", "INTERFACE", COLUMN_TEXT},
	{"attached", "ATTACHED", COLUMN_TEXT},
	{"mode", "MODE", COLUMN_TEXT},
	{"since", "SINCE", COLUMN_TEXT},
};

static const struct column service_columns[] = {
	{"name", "SERVICE", COLUMN_TEXT},
	{"mode", "MODE", COLUMN_TEXT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"spilled_packets", "SPILLED", COLUMN_COUNT},
	{"level_packets_per_second", "LEVEL", COLUMN_COUNT},
	{"active_users", "USERS", COLUMN_COUNT},
};

static const struct column hotspot_columns[] = {
	{"user", "HOT", COLUMN_TEXT},
	{"service", "SERVICE", COLUMN_TEXT},
	{"packets_per_second", "PACKETS/S", COLUMN_COUNT},
	{"since", "SINCE", COLUMN_TEXT},
	{"why", "WHY IT WAS TOLD", COLUMN_TEXT},
};

/* Features, and protections alike. */
static void print_features_off(const json_t *features)
{
	const json_t *feature;
	size_t i;

	json_array_foreach(features, i, feature)
	{
		if (!json_is_true(json_object_get(feature, "on")))
			printf("off: %s: %s\n", json_string_value(json_object_get(feature, "name")),
			       json_string_value(json_object_get(feature, "why")));
	}
}

static void print_status(const json_t *status)
{
	const json_t *table = json_object_get(status, "table"), *lists = json_object_get(status, "lists");
	char cells[32], used[32], bytes[32];

	units_format_count(json_number_value(json_object_get(table, "cells")), cells, sizeof(cells));
	units_format_count(json_number_value(json_object_get(table, "used")), used, sizeof(used));
	units_format_bytes(json_number_value(json_object_get(table, "bytes")), bytes, sizeof(bytes));
	printf("spillway %s on %s, mode %s, up %.0f s\n", json_string_value(json_object_get(status, "version")),
	       json_string_value(json_object_get(status, "kernel")), json_string_value(json_object_get(status, "mode")),
	       json_number_value(json_object_get(status, "uptime_seconds")));
	printf("table: %s cells, %s used, %s of kernel memory\n", cells, used, bytes);
	printf("lists: %.0f prefixes allowed, %.0f denied\n", json_number_value(json_object_get(lists, "allowed")),
	       json_number_value(json_object_get(lists, "denied")));
	print_features_off(json_object_get(status, "features"));
	print_features_off(json_object_get(status, "protections"));
	putchar('\n');
	table_print(json_object_get(status, "interfaces"), interface_columns,
	            sizeof(interface_columns) / sizeof(*interface_columns));
	putchar('\n');
	table_print(json_object_get(status, "services"), service_columns,
	            sizeof(service_columns) / sizeof(*service_columns));
	if (json_array_size(json_object_get(status, "hotspots"))) {
		putchar('\n');
		table_print(json_object_get(status, "hotspots"), hotspot_columns,
		            sizeof(hotspot_columns) / sizeof(*hotspot_columns));
	}
}

static int show(const struct common_options *common, double every_s)
{
	json_t *document = NULL;

	int status = ask(common->socket, "/api/v1/status", NULL, &document);
	if (status != EXIT_DONE)
		return status;
	table_clear(every_s);
	if (common->json)
		json_print(document);
	else
		print_status(document);
	json_decref(document);
	return EXIT_DONE;
}

int verb_status(int argc, char **argv)
{
	enum { WATCH = 1 };
	static const struct option options[] = {
		{"watch", required_argument, NULL, WATCH}, COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	double every_s = 0;
	int status = -1;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		status = option == WATCH ? table_every(optarg, &every_s, help) : common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	do
		status = show(&common, every_s);
	while (status == EXIT_DONE && table_again(every_s));
	return status;
}
