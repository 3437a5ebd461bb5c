/* SPDX-License-Identifier: GPL-2.0-only */
/* The spillway program: a table of verbs. */
#include <stdio.h>
#include <string.h>

#include "verbs/verbs.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *does;
} verbs[] = {
	{"run", verb_run, "the daemon, in the foreground"},
	{"check", verb_check, "validate a configuration"},
	{"reload", verb_reload, "apply the configuration file again, all of it or nothing"},
	{"status", verb_status, "what is attached where, and how the services fare"},
	{"services", verb_services, "services with their rates and counters"},
	{"users", verb_users, "the heaviest users now"},
	{"top", verb_top, "services and their heaviest users, live on the terminal"},
	{"watch", verb_watch, "events as they happen: what, to whom, and why"},
	{"history", verb_history, "what was: rates, heaviest users, events"},
	{"forecast", verb_forecast, "what is to be expected, from what was"},
	{"set", verb_set, "override a service's mode or level while it runs"},
	{"allow", verb_allow, "let the packets of a source pass, or show whose do"},
	{"deny", verb_deny, "drop the packets of a source, or show whose are"},
	{"forget", verb_forget, "take a source off the lists"},
	{"unload", verb_unload, "detach and unpin everything"},
	{"version", verb_version, "which version this is"},
};

static int usage(FILE *out)
{
	fputs("usage: spillway VERB [options]\n\n", out);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].does);
	fputs("\n'spillway VERB --help' says more.\n", out);
	return out == stdout ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout);
	const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (strcmp(name, verbs[i].name) != 0)
			continue;
		char speaker[32]; /* before what getopt complains of */
		snprintf(speaker, sizeof(speaker), "spillway: %s", name);
		argv[1] = speaker;
		return verbs[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "spillway: %s: no such verb: 'spillway --help' lists them\n", argv[1]);
	return EXIT_USAGE;
}
