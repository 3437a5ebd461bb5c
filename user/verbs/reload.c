/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway reload [--socket PATH]\n\n"
	"Applies the daemon's configuration file again: all of it, or nothing where it has a fault.\n";

int verb_reload(int argc, char **argv)
{
	static const struct option options[] = {COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	json_t *nothing, *answer = NULL;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	nothing = json_object();
	int status = ask(common.socket, "/api/v1/reload", nothing, &answer);
	json_decref(nothing);
	json_decref(answer);
	return status;
}
