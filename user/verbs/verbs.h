/* SPDX-License-Identifier: GPL-2.0-only */
/* The verbs of the command line: one file each. A verb parses its arguments, asks the daemon, prints, and returns the
 * exit status. argv[0] is the verb's own name. */
#pragma once

/* Exit statuses of the program (README: "Command line"). */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_DAEMON = 3,
	EXIT_FAULTS_FOUND = 4,
};

int verb_run(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_reload(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_services(int argc, char **argv);
int verb_users(int argc, char **argv);
int verb_top(int argc, char **argv);
int verb_watch(int argc, char **argv);
int verb_history(int argc, char **argv);
int verb_forecast(int argc, char **argv);
int verb_set(int argc, char **argv);
int verb_allow(int argc, char **argv);
int verb_deny(int argc, char **argv);
int verb_forget(int argc, char **argv);
int verb_unload(int argc, char **argv);
int verb_version(int argc, char **argv);
