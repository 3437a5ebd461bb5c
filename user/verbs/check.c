/* SPDX-License-Identifier: GPL-2.0-only */
/* `spillway check`: says whether a file is a configuration, and all that is wrong with it. Needs no daemon. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "verbs/verbs.h"

static void config_release(struct config **config)
{
	config_free(*config);
}

static void json_release(json_t **json)
{
	json_decref(*json);
}

static void print_help(FILE *stream)
{
	fputs("usage: spillway check FILE [--json]\n"
	      "Reads a configuration and reports every fault with its line and column.\n"
	      "  --json   one JSON document on standard output\n"
	      "  --help   this text\n"
	      "Exit status: 0 the file is good, 1 it cannot be read, 2 wrong usage, 4 it has faults.\n",
	      stream);
}

static size_t faults_kept(const struct config_faults *faults)
{
	return faults->count < CONFIG_FAULTS_MAX ? faults->count : CONFIG_FAULTS_MAX;
}

static void print_faults(const char *path, const struct config_faults *faults)
{
	char line[4608];

	for (size_t i = 0; i < faults_kept(faults); i++) {
		config_fault_format(path, &faults->faults[i], line, sizeof(line));
		fprintf(stderr, "spillway: %s\n", line);
	}
	if (faults->count > CONFIG_FAULTS_MAX)
		fprintf(stderr, "spillway: %s: %zu more faults: mend these first\n", path,
		        faults->count - CONFIG_FAULTS_MAX);
}

static int print_json(const char *path, const struct config_faults *faults)
{
	json_t *list = json_array();
	_cleanup_(json_release) json_t *document =
		json_pack("{s:s, s:b, s:o}", "file", path, "ok", faults->count == 0, "faults", list);

	if (!document) {
		fprintf(stderr, "spillway: check: the file's name is no UTF-8, as JSON must be: rename it\n");
		return -EINVAL;
	}
	for (size_t i = 0; i < faults_kept(faults); i++) {
		const struct config_fault *fault = &faults->faults[i];
		json_array_append_new(list, json_pack("{s:i, s:i, s:s}", "line", (int)fault->mark.line, "column",
		                                      (int)fault->mark.column, "text", fault->text));
	}
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	return 0;
}

static int print_outcome(const char *path, bool as_json)
{
	_cleanup_(config_release) struct config *config = NULL;
	_cleanup_free_ struct config_faults *faults = calloc(1, sizeof(*faults));

	if (!faults)
		return EXIT_FAILED;
	int rc = config_load(path, &config, faults);
	if (as_json && print_json(path, faults) < 0)
		return EXIT_FAILED;
	if (!as_json)
		print_faults(path, faults);
	if (rc < 0)
		return rc == -EINVAL ? EXIT_FAULTS_FOUND : EXIT_FAILED;
	if (!as_json)
		printf("%s: ok: %zu service%s on %zu interface%s, %zu tenant%s\n", path, config->services_count,
		       config->services_count == 1 ? "" : "s", config->interfaces_count,
		       config->interfaces_count == 1 ? "" : "s", config->tenants_count,
		       config->tenants_count == 1 ? "" : "s");
	return EXIT_DONE;
}

int verb_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool as_json = false;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			print_help(stdout);
			return EXIT_DONE;
		}
		if (option != 'j') {
			print_help(stderr);
			return EXIT_USAGE;
		}
		as_json = true;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "spillway: check: expected one file\n");
		print_help(stderr);
		return EXIT_USAGE;
	}
	return print_outcome(argv[optind], as_json);
}
