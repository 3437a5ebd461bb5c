/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/options.h"

#include <stdio.h>
#include <stdlib.h>

#include "verbs/verbs.h"

#define SOCKET_DEFAULT "/run/spillway/spillway.sock"
#define PINS_DEFAULT   "/sys/fs/bpf/spillway"

struct common_options common_options_default(void)
{
	const char *socket = getenv("SPILLWAY_SOCKET"), *pins = getenv("SPILLWAY_PINS");

	return (struct common_options){.socket = socket && *socket ? socket : SOCKET_DEFAULT,
	                               .pins = pins && *pins ? pins : PINS_DEFAULT};
}

int common_option(int option, struct common_options *common, const char *help)
{
	switch (option) {
	case OPTION_SOCKET:
		common->socket = optarg;
		return -1;
	case OPTION_PINS:
		common->pins = optarg;
		return -1;
	case OPTION_JSON:
		common->json = true;
		return -1;
	case OPTION_HELP:
		fputs(help, stdout);
		return EXIT_DONE;
	default: /* getopt has named what is wrong */
		fputs(help, stderr);
		return EXIT_USAGE;
	}
}

int wrong_usage(const char *what, const char *why, const char *help)
{
	fprintf(stderr, "spillway: %s: %s\n", what, why);
	fputs(help, stderr);
	return EXIT_USAGE;
}
