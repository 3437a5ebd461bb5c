/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "datapath/datapath.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

#define STOP_TRIES    100
#define STOP_PAUSE_NS 50000000

static const char help[] =
	"usage: spillway unload [--socket PATH] [--pins DIR]\n\n"
	"Stops the daemon if one runs, detaches from every interface and removes all pinned state, with its\n"
	"counters and users. Works without a daemon, whoever attached, whatever is left.\n";

/* A daemon that answers is asked to stop; one that is gone needs no asking. */
static void stop_daemon(const char *socket)
{
	json_t *nothing = json_object(), *answer = NULL;

	if (access(socket, F_OK) == 0 && ask(socket, "/api/v1/stop", nothing, &answer) == EXIT_DONE)
		json_decref(answer);
	json_decref(nothing);
}

int verb_unload(int argc, char **argv)
{
	static const struct option options[] = {COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	struct error err;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);

	int failure = datapath_unload(common.pins, &err);
	if (failure == -EBUSY)
		stop_daemon(common.socket);
	for (int try = 0; failure == -EBUSY && try < STOP_TRIES; try++) {
		nanosleep(&(struct timespec){.tv_nsec = STOP_PAUSE_NS}, NULL);
		failure = datapath_unload(common.pins, &err);
	}
	if (failure) {
		fprintf(stderr, "spillway: %s\n", err.text);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}
