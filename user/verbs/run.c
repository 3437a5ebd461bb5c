/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "daemon/daemon.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

static const char help[] =
	"usage: spillway run [--config F] [--interface I] [--observe] [--takeover]\n"
	"                    [--detach-on-exit] [--user NAME] [--socket PATH] [--pins DIR]\n\n"
	"Attaches to the interfaces, applies the configuration and stays in the foreground. An earlier daemon's "
	"pinned\n"
	"state is adopted with its counters and users. SIGHUP reloads; SIGTERM and SIGINT stop the daemon, and "
	"shedding\n"
	"goes on in the kernel, unless --detach-on-exit is given.\n\n"
	"  --config F        the configuration (YAML); without one everything is counted as 'other'\n"
	"  --interface I     this interface in place of the file's\n"
	"  --observe         decide and count everything, drop nothing\n"
	"  --takeover        a daemon that runs already is asked to go, once the configuration has been read\n"
	"  --detach-on-exit  detach and unpin everything when the daemon stops\n"
	"  --user NAME       whom it becomes once it is started ('spillway' where there is such a user)\n"
	"  --socket PATH     the control socket (SPILLWAY_SOCKET; /run/spillway/spillway.sock)\n"
	"  --pins DIR        where kernel state is pinned (SPILLWAY_PINS; /sys/fs/bpf/spillway)\n";

/* What goes wrong shows in that the pins stay taken. */
static void make_way(const char *socket)
{
	json_t *wish = json_pack("{s:b}", "takeover", 1), *answer = NULL;
	struct error err;

	ask_quietly(socket, "/api/v1/stop", wish, &answer, &err);
	json_decref(wish);
	json_decref(answer);
}

int verb_run(int argc, char **argv)
{
	enum { CONFIG = 1, INTERFACE, OBSERVE, TAKEOVER, DETACH, USER };
	static const struct option options[] = {{"config", required_argument, NULL, CONFIG},
	                                        {"interface", required_argument, NULL, INTERFACE},
	                                        {"observe", no_argument, NULL, OBSERVE},
	                                        {"takeover", no_argument, NULL, TAKEOVER},
	                                        {"detach-on-exit", no_argument, NULL, DETACH},
	                                        {"user", required_argument, NULL, USER},
	                                        COMMON_OPTIONS,
	                                        {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	struct daemon_options daemon = {0};

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status = -1;
		if (option == CONFIG)
			daemon.config_path = optarg;
		else if (option == INTERFACE)
			daemon.interface = optarg;
		else if (option == OBSERVE)
			daemon.observe = true;
		else if (option == TAKEOVER)
			daemon.make_way = make_way;
		else if (option == DETACH)
			daemon.detach_on_exit = true;
		else if (option == USER)
			daemon.user = optarg;
		else
			status = common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	daemon.socket = common.socket;
	daemon.pins = common.pins;
	int failure = daemon_run(&daemon);
	if (failure == -EBADMSG)
		return EXIT_FAULTS_FOUND;
	return failure ? EXIT_FAILED : EXIT_DONE;
}
