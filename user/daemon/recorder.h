/* SPDX-License-Identifier: GPL-2.0-only */
/* Hands what the observer sees and the events tell over to the history, and says what has become of the history itself.
 * Works on the loop's thread; waiting for the disk is the history's own thread's. */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"

struct daemon;
struct recorder;

/* Begins to record as the configuration says, which may be: not at all. A history that cannot be written is no failure:
 * it is an event (`fault`), and `recovery` when it goes on. */
int recorder_new(struct recorder **out, struct daemon *daemon, struct error *err);

/* Writes what is left. Before the observer and the events go. */
void recorder_free(struct recorder *recorder);

/* After each tick of the observer. A few microseconds, and half a microsecond a busy service once a second. */
void recorder_tick(struct recorder *recorder);

/* The configuration is another one: the file or its size may be, too. */
void recorder_reload(struct recorder *recorder);

/* {"path", "state", "why", "bytes", "size_bytes", "lost_records", "queued_records", "slowest_batch_milliseconds"}; null
 * where no history is kept. */
json_t *recorder_document(const struct recorder *recorder);

DEFINE_CLEANUP(struct recorder, recorder_free)
