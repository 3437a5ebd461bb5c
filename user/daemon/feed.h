/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as they happen, to readers over HTTP: server-sent events at /api/v1/events (HTML standard, section 9.2). A
 * reader that is slow loses events and is told how many by one of its own, `lost` with `count`; it slows nobody. */
#pragma once

#include <event2/http.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define FEED_READERS_MAX 128             /* at once, on both servers; more are refused with 503 */
#define FEED_QUEUE_BYTES ((size_t)65536) /* waiting for one reader; what does not fit is lost to it */
#define FEED_HEARTBEAT_S 10 /* a comment, so that a dead reader is found, and a dead daemon by its reader */
#define FEED_STUCK_S     60 /* a reader that takes nothing of what waits for so long is let go */

struct events;
struct event_base;
struct feed;

int feed_new(struct feed **out, struct event_base *loop, struct events *events, struct error *err);

/* After the servers on which it has readers: they are told by those that they end. */
void feed_free(struct feed *feed);

/* Answers the request for as long as its client stays. `service`: events of that one only; NULL: all. The `recent`
 * newest events go before; after a break, by Last-Event-ID, those that were missed. */
void feed_serve(struct feed *feed, struct evhttp_request *request, const char *service, size_t recent);

size_t feed_readers(const struct feed *feed);

/* Events that were lost to readers: one that two readers lost counts twice. */
uint64_t feed_lost(const struct feed *feed);

DEFINE_CLEANUP(struct feed, feed_free)
