/* SPDX-License-Identifier: GPL-2.0-only */
/* What the verbs have in common: where the daemon is, whether the output is JSON, and help. */
#pragma once

#include <getopt.h>
#include <stdbool.h>

struct common_options {
	const char *socket; /* --socket, SPILLWAY_SOCKET, or the default */
	const char *pins;   /* --pins, SPILLWAY_PINS, or the default */
	bool json;
};

#define OPTION_SOCKET 1000
#define OPTION_PINS   1001
#define OPTION_JSON   1002
#define OPTION_HELP   1003
#define COMMON_OPTIONS                                                                                      \
	{"socket", required_argument, NULL, OPTION_SOCKET}, {"pins", required_argument, NULL, OPTION_PINS}, \
		{"json", no_argument, NULL, OPTION_JSON},                                                   \
	{                                                                                                   \
		"help", no_argument, NULL, OPTION_HELP                                                      \
	}

/* The defaults, from the environment where it says. */
struct common_options common_options_default(void);

/* Takes one of COMMON_OPTIONS. Returns -1 to go on, or the exit status to end with: after `help` was printed, or a
 * wrong option named. */
int common_option(int option, struct common_options *common, const char *help);

/* Says what is wrong with the command line, then `help`. Returns EXIT_USAGE. */
int wrong_usage(const char *what, const char *why, const char *help);
