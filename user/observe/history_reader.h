/* SPDX-License-Identifier: GPL-2.0-only */
/* The history's database, as whoever looks back sees it: read only, beside the daemon that writes it, or without one.
 * Knows no packing and no roll-up but what observe/samples.h does. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "observe/samples.h"

#define HISTORY_SAMPLES_MOST 1000000 /* of one question */

struct history_reader;

/* Returns 0 with `*out` the caller's, or -errno: -ENOENT, -EACCES, -EMEDIUMTYPE where it is no history of ours, -EPROTO
 * where a newer version made it, -EUCLEAN where it is damaged. So do the questions below. */
int history_reader_open(struct history_reader **out, const char *path, struct error *err);
void history_reader_close(struct history_reader *reader);

/* A service that the history knows. */
struct history_service {
	unsigned number;
	char name[32];
};

/* All of them, by name; `*out` is the caller's (free). */
int history_reader_services(struct history_reader *reader, struct history_service **out, size_t *count,
                            struct error *err);

/* One sample for each step from `from_s` up to `to_s` (cut down to the step, the first one included, the last not). A
 * sample with no SAMPLE_SECONDS: no daemon ran then, or it is not kept so long. Silence while a daemon ran is a sample
 * of zeros. `*out` is the caller's (free). `service` 0 is the host as a whole. -E2BIG beyond HISTORY_SAMPLES_MOST. */
int history_reader_samples(struct history_reader *reader, unsigned service, enum history_step step, int64_t from_s,
                           int64_t to_s, struct sample **out, size_t *count, struct error *err);

/* Called for each minute's heaviest users of a service, in the order of time. */
typedef void history_users_visitor(int64_t minute_s, unsigned service, const struct sampled_user *users, size_t count,
                                   void *argument);

/* Those of one service, or of all where `service` is 0. */
int history_reader_users(struct history_reader *reader, unsigned service, int64_t from_s, int64_t to_s,
                         history_users_visitor *visitor, void *argument, struct error *err);

/* How a service's users were distributed from the quarter of an hour that holds `from_s` up to `to_s`: what was seen
 * then, summed. `passes` is 0 where nothing is known. */
int history_reader_distribution(struct history_reader *reader, unsigned service, int64_t from_s, int64_t to_s,
                                struct distribution *out, struct error *err);

/* Called for each event, in the order of time, with its JSON. */
typedef void history_event_visitor(int64_t time_us, const char *document, void *argument);

/* Those about one service (by name), or all where it is NULL. */
int history_reader_events(struct history_reader *reader, const char *service, int64_t from_s, int64_t to_s,
                          history_event_visitor *visitor, void *argument, struct error *err);

DEFINE_CLEANUP(struct history_reader, history_reader_close)
