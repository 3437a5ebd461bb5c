/* SPDX-License-Identifier: GPL-2.0-only */
/* What was, for the verbs that look back: out of the history's database, which they read themselves, so that they work
 * while the daemon is down, and a year's worth does not occupy its loop; or out of a Prometheus server, for the fleet.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "observe/history_reader.h"

struct timeline_source {
	const char *database;   /* NULL: the one that the daemon at `socket` writes, or else the default */
	const char *prometheus; /* NULL: the database */
	const char *socket;
};

struct timeline {
	enum history_step step;
	int64_t from_s;         /* of the first sample */
	struct sample *samples; /* see history_reader_samples() */
	size_t count;
};

/* The path of the database. */
void timeline_database(const struct timeline_source *source, char out[PATH_MAX]);

/* Opens it. Returns EXIT_DONE with `*out` the caller's (history_reader_close); or the exit status, what is wrong having
 * been said. So do the others. */
int timeline_open(const struct timeline_source *source, struct history_reader **out);

/* The number of a service by its name; 0, the host as a whole, where it is NULL. */
int timeline_service(struct history_reader *reader, const char *name, unsigned *out);

/* Reads one service's samples (NULL: all services together). `out->samples` is the caller's (free). */
int timeline_read(const struct timeline_source *source, const char *service, enum history_step step, int64_t from_s,
                  int64_t to_s, struct timeline *out);

/* The step that shows a time well: some hundreds of samples. */
enum history_step timeline_step(int64_t from_s, int64_t to_s);

/* A field's count as a rate a second; NAN where nothing is known of the time. */
double timeline_rate(const struct sample *sample, enum sample_field field);
