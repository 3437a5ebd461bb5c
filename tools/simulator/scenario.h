/* SPDX-License-Identifier: GPL-2.0-only */
/* A scenario: a service, those who use it, what befalls it, and what must come of it. Read from a short YAML file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/controller.h"

#define CROWDS_MAX       8
#define INCIDENTS_MAX    8
#define EXPECTATIONS_MAX 24
#define NAME_ROOM        32

enum spread { SPREAD_FIXED, SPREAD_EXPONENTIAL, SPREAD_LOGNORMAL };

/* A queue and its workers. */
struct service_plan {
	unsigned workers;
	double time_s; /* that one request takes, on average */
	enum spread spread;
	unsigned queue; /* requests that may wait; more overflow */
	bool deaf;      /* answers nothing, by nature */
};

enum rhythm {
	RHYTHM_REGULAR,  /* evenly spaced, each user at a phase of its own */
	RHYTHM_RANDOM,   /* Poisson */
	RHYTHM_BURSTY,   /* `burst` requests at once, the bursts Poisson */
	RHYTHM_SQUARE,   /* Poisson half of each period, then silent */
	RHYTHM_VARIED,   /* Poisson; the rate wanders between 0.4 and 1 of what is given, with lunch and tea */
	RHYTHM_FORGED,   /* Poisson; each packet from a source that was never there before */
	RHYTHM_CONNECTS, /* the same, of SYNs, which the host answers: the service hears nothing of them */
};

/* Users of one kind. */
struct crowd_plan {
	char name[NAME_ROOM];
	unsigned count;
	double rate; /* of requests a second, of each user; of forged ones: of all */
	enum rhythm rhythm;
	unsigned burst;
	double period_s;
	double from_s, until_s;
	bool tenured;      /* has been there for long */
	unsigned tries;    /* of a request, where it stays without an answer */
	double patience_s; /* until it is tried again, or given up */
	double weight;
};

enum incident_kind {
	INCIDENT_SLOW,            /* the service takes `factor` times as long */
	INCIDENT_LEAK,            /* takes longer and longer, `factor` times in the end */
	INCIDENT_RESTART,         /* is away; what it held is lost; then slow until it has warmed up */
	INCIDENT_HANG,            /* takes requests and answers none */
	INCIDENT_SLOW_DEPENDENCY, /* what it depends on takes `factor` times as long */
	INCIDENT_FREEZE,          /* the measurements repeat themselves, and say that they are fresh */
	INCIDENT_STALE,           /* the measurements say that they are not fresh */
	INCIDENT_BLIND,           /* no response times */
	INCIDENT_STARVE,          /* the controller runs once in `factor` seconds */
	INCIDENT_HICCUPS,         /* the service stands still for `factor` seconds, by chance once a second */
};

struct incident {
	enum incident_kind kind;
	double from_s, until_s, factor;
};

enum measure {
	MEASURE_ANSWERED, /* share of a crowd's requests that were answered in time */
	MEASURE_SPILLED,  /* share of a crowd's packets that were spilled */
	MEASURE_P50,      /* response of a crowd, milliseconds */
	MEASURE_P99,
	MEASURE_GOODPUT,   /* answered in time, against the most that the service can do */
	MEASURE_UNEVEN,    /* (most - least) / mean of what the users of a crowd had admitted */
	MEASURE_RECOVERED, /* seconds until a crowd is back at 99 % answered, and stays */
	MEASURE_RELEASED,  /* seconds until no level is felt and nothing is spilled */
	MEASURE_SWING,     /* (most - least) / mean of the level */
	MEASURE_LEVEL,     /* the lowest level, packets a second */
	MEASURE_FAULTS,    /* faults told */
	MEASURE_NOTICED,   /* seconds until the first fault was told */
};

struct expectation {
	enum measure measure;
	char crowd[NAME_ROOM]; /* empty: all of them */
	double from_s, until_s;
	double least, most; /* NAN: whatever */
};

struct scenario {
	char name[NAME_ROOM];
	char about[256];
	double seconds;
	double objective_s; /* an answer after it is none */
	double burst_s;     /* how far ahead of its level a user may run */
	uint64_t seed;
	struct service_plan service, dependency; /* a dependency without workers is none */
	struct controller_bounds bounds;
	struct crowd_plan crowds[CROWDS_MAX];
	struct incident incidents[INCIDENTS_MAX];
	struct expectation expectations[EXPECTATIONS_MAX];
	size_t crowd_count, incident_count, expectation_count;
};

/* Returns 0, or -errno with the file, the line and the cause in `err`. */
int scenario_read(const char *path, struct scenario *out, struct error *err);

/* Requests a second that the service can do at best. */
double scenario_capacity(const struct scenario *scenario);
