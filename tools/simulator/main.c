/* SPDX-License-Identifier: GPL-2.0-only */
/* spillway-simulator: the controller against simulated services and users, as fast as it can. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "simulator/laws.h"
#include "simulator/plot.h"
#include "simulator/record.h"
#include "simulator/scenario.h"
#include "simulator/world.h"

#define EXIT_USAGE   2
#define EXIT_FAILING 4

struct options {
	const struct law *law;
	const char *plots; /* a directory */
	bool json, trace, quiet;
};

static const char usage[] =
	"Usage: spillway-simulator [options] SCENARIO.yaml...\n"
	"Runs scenarios and says what came of what they expect. Exit status: 0 all met, 4 some not, 1 a file is "
	"wrong.\n\n"
	"  --law NAME    the control law: knee (default), gradient, aimd, bbr, pid; none: nothing is controlled\n"
	"  --plots DIR   draws each run: DIR/NAME.svg\n"
	"  --json        prints each run as a JSON document, with all ticks, instead of a table\n"
	"  --trace       says what moved, and why\n"
	"  --quiet       prints only what is not met\n";

static const struct law *law_named(const char *name)
{
	for (const struct law *law = laws; law->name; law++) {
		if (strcmp(law->name, name) == 0)
			return law;
	}
	return NULL;
}

static void print_bound(double least, double most)
{
	if (isfinite(least) && isfinite(most))
		printf("%g to %g", least, most);
	else if (isfinite(least))
		printf("at least %g", least);
	else if (isfinite(most))
		printf("at most %g", most);
	else
		printf("any");
}

/* Returns how many expectations are not met. */
static unsigned print_table(const struct record *record, const struct options *options)
{
	const struct scenario *scenario = record->scenario;
	unsigned failing = 0;

	if (!options->quiet)
		printf("%s: %s\n", scenario->name, scenario->about);
	for (size_t i = 0; i < scenario->expectation_count; i++) {
		const struct expectation *expected = &scenario->expectations[i];
		double value = record_measure(record, i);
		bool met = record_meets(expected, value);
		failing += !met;
		if (met && options->quiet)
			continue;
		printf("  %-4s %s%s%-9s %-12s %5.0f..%-5.0f %10.4g  ", met ? "ok" : "FAIL",
		       options->quiet ? scenario->name : "", options->quiet ? " " : "", measure_name(expected->measure),
		       expected->crowd, expected->from_s, fmin(expected->until_s, scenario->seconds), value);
		print_bound(expected->least, expected->most);
		putchar('\n');
	}
	return failing;
}

/* Returns how many expectations are not met, or -errno. */
static int run(const char *path, const struct options *options)
{
	struct scenario scenario;
	struct record record;
	struct error err;
	int failing = 0;

	if (scenario_read(path, &scenario, &err) < 0) {
		fprintf(stderr, "spillway-simulator: %s\n", err.text);
		return -1;
	}
	record_open(&record, &scenario, TICK_S);
	world_run(&scenario, options->law->law, &record, options->trace ? stdout : NULL);
	if (options->json) {
		json_t *document = record_json(&record);
		json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
		putchar('\n');
		json_decref(document);
	} else {
		failing = (int)print_table(&record, options);
	}
	if (options->plots) {
		char file[4096];
		snprintf(file, sizeof(file), "%s/%s.svg", options->plots, scenario.name);
		if (plot_write(&record, file, &err) < 0) {
			fprintf(stderr, "spillway-simulator: %s\n", err.text);
			failing = -1;
		}
	}
	record_close(&record);
	return failing;
}

static bool options_read(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {{"law", required_argument, NULL, 'l'},
	                                      {"plots", required_argument, NULL, 'p'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"trace", no_argument, NULL, 't'},
	                                      {"quiet", no_argument, NULL, 'q'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {0}};
	int option;

	*options = (struct options){.law = &laws[0]};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'l')
			options->law = law_named(optarg);
		else if (option == 'p')
			options->plots = optarg;
		else if (option == 'j')
			options->json = true;
		else if (option == 't')
			options->trace = true;
		else if (option == 'q')
			options->quiet = true;
		if (option == 'h' || option == '?' || !options->law)
			return false;
	}
	return optind < argc;
}

int main(int argc, char **argv)
{
	struct options options;
	int failing = 0;

	if (!options_read(argc, argv, &options)) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	for (int i = optind; i < argc; i++) {
		int result = run(argv[i], &options);
		if (result < 0)
			return EXIT_FAILURE;
		failing += result;
	}
	return failing ? EXIT_FAILING : EXIT_SUCCESS;
}
