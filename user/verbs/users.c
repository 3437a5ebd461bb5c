/* SPDX-License-Identifier: GPL-2.0-only */
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/table.h"
#include "verbs/verbs.h"

#define ALL 1000000UL /* more than the daemon keeps */

static const char help[] =
	"usage: spillway users [--service S] [--limit N] [--sort COLUMN] [--watch SECONDS] [--json] [--socket PATH]\n\n"
	"The heaviest users now, heaviest first (20 unless --limit says otherwise, 100 of a service at most).\n\n"
	"  --sort COLUMN    those of them who are first by a column: the greatest first, words by the alphabet\n"
	"  --watch SECONDS  again and again\n";

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

struct question {
	const char *service, *sort;
	unsigned long limit;
	double every_s;
};

/* Sorted otherwise than by their rate, the first ones may be anywhere among the heaviest. */
static json_t *first_rows(json_t *users, const struct question *question)
{
	if (table_sort(users, columns, sizeof(columns) / sizeof(*columns), question->sort) < 0) {
		json_decref(users);
		return NULL;
	}
	while (json_array_size(users) > question->limit)
		json_array_remove(users, json_array_size(users) - 1);
	return users;
}

static int show(const struct common_options *common, const struct question *question)
{
	_cleanup_free_ char *name = question->service ? evhttp_uriencode(question->service, -1, false) : NULL;
	char path[256], limit[24];
	json_t *users = NULL;

	snprintf(limit, sizeof(limit), "%lu", question->sort ? ALL : question->limit);
	snprintf(path, sizeof(path), "/api/v1/users?limit=%s%s%.200s", limit, name ? "&service=" : "",
	         name ? name : "");
	int status = ask(common->socket, path, NULL, &users);
	if (status != EXIT_DONE)
		return status;
	if (question->sort)
		users = first_rows(users, question);
	if (!users)
		return EXIT_USAGE;
	table_clear(question->every_s);
	if (common->json)
		json_print(users);
	else
		table_print(users, columns, sizeof(columns) / sizeof(*columns));
	json_decref(users);
	return EXIT_DONE;
}

int verb_users(int argc, char **argv)
{
	enum { SERVICE = 1, LIMIT, SORT, WATCH };
	static const struct option options[] = {{"service", required_argument, NULL, SERVICE},
	                                        {"limit", required_argument, NULL, LIMIT},
	                                        {"sort", required_argument, NULL, SORT},
	                                        {"watch", required_argument, NULL, WATCH},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	struct question question = {.limit = 20};
	int status = -1;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (option == SERVICE)
			question.service = optarg;
		else if (option == LIMIT)
			status = read_limit(optarg, &question.limit);
		else if (option == SORT)
			question.sort = optarg;
		else if (option == WATCH)
			status = table_every(optarg, &question.every_s, help);
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	do
		status = show(&common, &question);
	while (status == EXIT_DONE && table_again(question.every_s));
	return status;
}
