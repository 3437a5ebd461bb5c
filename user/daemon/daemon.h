/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon: one event loop around the data path, the observer and the two servers. */
#pragma once

#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>

#include "config/config.h"
#include "datapath/datapath.h"
#include "observe/events.h"
#include "observe/observer.h"
#include "observe/signals.h"
#include "privilege/protections.h"

#define DAEMON_OVERRIDES_MAX 256

struct daemon_options {
	const char *config_path; /* NULL: no file, what the command line says is all */
	const char *interface;   /* NULL: those of the file */
	const char *socket;
	const char *pins;
	const char *user;    /* whom the daemon becomes; NULL: "spillway" where there is such a user */
	bool observe;        /* drop nothing, whatever the file says */
	bool detach_on_exit; /* else shedding goes on without the daemon */
	/* Asks whoever has the pins to go, once the configuration has been read; NULL: who is there stays. */
	void (*make_way)(const char *socket);
};

/* What `spillway set` changed at once, until it lapses or a later one says something else. */
struct override {
	char service[CONFIG_NAME_MAX];
	bool has_mode, has_level, has_capacity, has_class;
	enum config_mode mode;
	enum config_class class;
	double level_pps, capacity_pps;
	double until_s; /* monotonic; 0: for good */
	double for_s;   /* as it was asked for */
};

struct daemon {
	struct daemon_options options;
	struct broker *broker;
	struct event *broker_gone;
	struct protections protections;
	char history_directory[CONFIG_HISTORY_PATH_MAX]; /* where the history may be written; empty: there is none */
	bool failed;                                     /* it ends for that reason, which has been told */
	struct config *config;
	struct datapath *datapath;
	struct observer *observer;
	struct signals *signals;
	struct adaptive *adaptive;
	struct silences *silences;
	struct heat *heat;
	struct events *events; /* there before anything that tells, and after it */
	struct event_base *loop;
	struct server *server;
	struct recorder *recorder; /* NULL until it serves */
	struct event *tick, *glance;
	struct event *caught[3]; /* SIGTERM, SIGINT, SIGHUP */
	struct override overrides[DAEMON_OVERRIDES_MAX];
	size_t overrides_count;
	bool override_lapsed; /* and the kernel does not know of it yet */
	double started_s;     /* monotonic */
	double aged_s;        /* the same: when the table's times were last kept from wrapping */
	char kernel[128];
	char host[128]; /* its name */
};

/* Runs until SIGTERM or SIGINT. Returns 0, or -errno when what went wrong has been logged: -EBADMSG where the
 * configuration is at fault, so that trying again is of no use. */
int daemon_run(const struct daemon_options *options);

/* Applies the configuration file again: all of it, or nothing. On failure `err` holds every fault, one a line. */
int daemon_reload(struct daemon *daemon, struct error *err);

/* Puts an override in force. Of earlier ones on the same service stays what it does not say, each until its own time.
 */
int daemon_override(struct daemon *daemon, const struct override *override, struct error *err);

/* Ends the loop after the current event. */
void daemon_stop(struct daemon *daemon);

double daemon_clock_s(void);

/* The configured service of that name, NULL for none. */
const struct config_service *daemon_service(const struct daemon *daemon, const char *name);
