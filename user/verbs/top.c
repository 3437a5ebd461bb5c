/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <event2/http.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "top/samples.h"
#include "top/screen.h"
#include "top/view.h"
#include "verbs/ask.h"
#include "verbs/options.h"
#include "verbs/verbs.h"

#define INTERVAL_S  1.0
#define USERS_ASKED 100

static const char help[] =
	"usage: spillway top [--interval SECONDS] [--socket PATH]\n\n"
	"Services and their heaviest users, live on the terminal; '?' there lists the keys. Where standard\n"
	"output is no terminal, or one that cannot be written all over, tables are printed once.\n";

static volatile sig_atomic_t ends; /* set by a signal: the terminal is given back first */

static void on_signal(int number)
{
	(void)number;
	ends = 1;
}

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Asks for both documents. Returns EXIT_DONE, or the exit status with why in `trouble`, which else is empty. */
static int poll_daemon(const struct common_options *common, const struct view *view, struct samples *samples,
                       struct error *trouble)
{
	bool one = view->page == PAGE_SERVICE || view->page == PAGE_USER;
	_cleanup_free_ char *name = one ? evhttp_uriencode(view->service, -1, false) : NULL;
	json_t *status = NULL, *users = NULL;
	char path[256];

	int failure = ask_quietly(common->socket, "/api/v1/status", NULL, &status, trouble);
	if (failure)
		return failure;
	snprintf(path, sizeof(path), "/api/v1/users?limit=%d%s%.200s", USERS_ASKED, name ? "&service=" : "",
	         name ? name : "");
	/* A service that was taken out of the configuration has no users. */
	if (ask_quietly(common->socket, path, NULL, &users, trouble) != EXIT_DONE)
		users = NULL;
	if (samples_take(samples, status, users) < 0) {
		error_set(trouble, -EPROTO, "the daemon's answer is not understood: is it of another version?");
		return EXIT_FAILED;
	}
	trouble->text[0] = '\0';
	return EXIT_DONE;
}

/* Shows, and obeys keys, until it is quit. A daemon that goes away is waited for. */
static void live(const struct common_options *common, struct view *view, struct samples *samples)
{
	struct error trouble = {0};
	double next_s = 0;

	while (!view->quits && !ends) {
		double now_s = clock_s();
		if (now_s >= next_s && !view->paused) {
			poll_daemon(common, view, samples, &trouble);
			next_s = clock_s() + view->interval_s;
		}
		screen_draw(view, samples, trouble.text[0] ? trouble.text : NULL);
		double wait_s = view->paused ? view->interval_s : next_s - clock_s();
		int key = screen_key(wait_s > 0 ? (int)ceil(wait_s * 1000) : 0);
		enum view_page page = view->page;
		if (key)
			view_key(view, samples, key);
		if (view->page != page)
			next_s = 0; /* another page asks for other users */
	}
}

static bool terminal_can(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static int print_tables(const struct common_options *common)
{
	char socket[] = "--socket", *path = strdup(common->socket), services_name[] = "services",
	     users_name[] = "users";
	char *services[] = {services_name, socket, path, NULL}, *users[] = {users_name, socket, path, NULL};

	fprintf(stderr,
	        "spillway: top: this is no terminal to draw on: tables follow, once; 'spillway watch' tells what "
	        "happens\n");
	optind = 0;
	int status = path ? verb_services(3, services) : EXIT_FAILED;
	if (status == EXIT_DONE) {
		putchar('\n');
		optind = 0;
		status = verb_users(3, users);
	}
	free(path);
	return status;
}

static int show(const struct common_options *common, double interval_s)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct samples samples = {0};
	struct view view;
	struct error trouble;

	view_start(&view, interval_s);
	int status = poll_daemon(common, &view, &samples, &trouble);
	if (status != EXIT_DONE) {
		fprintf(stderr, "spillway: %s\n", trouble.text);
		return status;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (screen_open() < 0) {
		samples_free(&samples);
		return print_tables(common);
	}
	live(common, &view, &samples);
	screen_close();
	samples_free(&samples);
	return EXIT_DONE;
}

/* Returns -1 to go on, or the exit status to end with. */
static int read_interval(const char *text, double *out_s)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || !(seconds >= 0.2 && seconds <= 60))
		return wrong_usage("--interval", "seconds from 0.2 to 60 were expected", help);
	*out_s = seconds;
	return -1;
}

int verb_top(int argc, char **argv)
{
	enum { INTERVAL = 1 };
	static const struct option options[] = {
		{"interval", required_argument, NULL, INTERVAL}, COMMON_OPTIONS, {NULL, 0, NULL, 0}};
	struct common_options common = common_options_default();
	double interval_s = INTERVAL_S;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		int status =
			option == INTERVAL ? read_interval(optarg, &interval_s) : common_option(option, &common, help);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return wrong_usage(argv[optind], "not expected here", help);
	return terminal_can() ? show(&common, interval_s) : print_tables(&common);
}
