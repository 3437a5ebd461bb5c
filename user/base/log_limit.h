/* SPDX-License-Identifier: GPL-2.0-only */
/* What keeps a log readable when something goes wrong a thousand times a second: what was said already is held back and
 * counted, and how much is said in all is bounded. Pure: no clock, no I/O, fixed memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_TEXT_MAX   1400
#define LOG_TOPICS_MAX 32    /* held back at once; more, and the one that ends first makes room */
#define LOG_REPEAT_S   60.0  /* the same line again within this time is held back */
#define LOG_BURST      200.0 /* lines at once, */
#define LOG_PER_SECOND 10.0  /* and in the long run */

struct log_topic {
	uint64_t hash; /* 0: a free place */
	double until_s, every_s;
	unsigned held;
	int priority;
	char first[LOG_TEXT_MAX]; /* what was said */
	char last[LOG_TEXT_MAX];  /* what was held back, the newest */
};

/* All zero is a good start. */
struct log_limit {
	struct log_topic topics[LOG_TOPICS_MAX];
	double tokens, filled_s;
	bool filled;
	uint64_t unsaid; /* beyond LOG_PER_SECOND, and not told yet */
};

/* Whether to write a line now. `topic` says what it is about; lines of one topic are written once in `every_s` seconds,
 * the newest of them when that is over. NULL: the line itself, and LOG_REPEAT_S. */
bool log_limit_admits(struct log_limit *limit, int priority, const char *topic, double every_s, const char *line,
                      double now_s);

/* Writes what is due: of each topic whose time is over the newest line that was held back, with how many there were;
 * and how many lines were too many. To be called about each second. */
void log_limit_release(struct log_limit *limit, double now_s, void (*write)(int priority, const char *line));
