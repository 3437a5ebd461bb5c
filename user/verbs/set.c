/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

static const char help[] = "usage: spillway set SERVICE KEY=VALUE... [--for DURATION] [--socket PATH]\n\n"
			   "Overrides the configuration while the daemon runs: mode=observe|enforce, "
			   "level=PACKETS_PER_SECOND for one user,\n"
			   "capacity=PACKETS_PER_SECOND for all of them together, class=sheddable|normal|critical.\n"
			   "With --for (30s, 10m, 2h) the override lapses by itself.\n";

static int wrong(const char *what, const char *why)
{
	fprintf(stderr, "spillway: %s: %s\n", what, why);
	return EXIT_USAGE;
}

static int add_pair(json_t *wish, const char *pair)
{
	static const struct {
		const char *name;
		bool number;
	} keys[] = {{"mode", false}, {"level", true}, {"capacity", true}, {"class", false}};
	const char *equals = strchr(pair, '=');
	struct error err;
	double number;

	for (size_t i = 0; equals && i < sizeof(keys) / sizeof(*keys); i++) {
		const char *name = keys[i].name;
		if (strlen(name) != (size_t)(equals - pair) || strncmp(name, pair, strlen(name)) != 0)
			continue;
		if (keys[i].number && units_parse_count(equals + 1, &number, &err) < 0)
			return wrong(pair, err.text);
		json_object_set_new(wish, name, keys[i].number ? json_real(number) : json_string(equals + 1));
		return EXIT_DONE;
	}
	return wrong(pair, "KEY=VALUE was expected, KEY being mode, level, capacity or class");
}

static int send_wish(const char *socket, json_t *wish)
{
	json_t *answer = NULL;
	int status = ask(socket, "/api/v1/set", wish, &answer);

	json_decref(answer);
	return status;
}

int verb_set(int argc, char **argv)
{
	enum { FOR = 1 };
	static const struct option options[] = {
		{"for", required_argument, NULL, FOR}, COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	uint64_t for_ns = 0;
	struct error err;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option != FOR)
			status = common_option(option, &common, help);
		else if (units_parse_duration(optarg, &for_ns, &err) < 0)
			status = wrong("--for", err.text);
		else if (!for_ns)
			status = wrong("--for", "a duration above 0 was expected; without --for it does not lapse");
		if (status >= 0)
			return status;
	}
	if (argc - optind < 2)
		return wrong_usage("set", "a service and at least one KEY=VALUE were expected", help);

	json_t *wish = json_pack("{s:s}", "service", argv[optind]);
	if (for_ns)
		json_object_set_new(wish, "for_seconds", json_real((double)for_ns / 1e9));
	int status = EXIT_DONE;
	for (int i = optind + 1; i < argc && status == EXIT_DONE; i++)
		status = add_pair(wish, argv[i]);
	if (status == EXIT_DONE)
		status = send_wish(common.socket, wish);
	json_decref(wish);
	return status;
}
