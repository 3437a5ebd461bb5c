/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>

#include "verbs/options.h"
#include "verbs/verbs.h"

static const char help[] = "usage: spillway version [--json]\n";

int verb_version(int argc, char **argv)
{
	static const struct option options[] = {COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	printf(common.json ? "{\"version\": \"%s\"}\n" : "spillway %s\n", SPILLWAY_VERSION);
	return EXIT_DONE;
}
