/* SPDX-License-Identifier: GPL-2.0-only */
/* How many may be connected to a server, and for how long without asking anything whole: libevent's own timeout starts
 * anew with each byte, so that one byte every few seconds would hold a connection for good. Where all places are taken,
 * whoever has asked nothing for longest makes room. */
#pragma once

#include <event2/event.h>
#include <event2/http.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

struct connections;

/* Counts what `http` accepts from now on: at most `most` at once, and none that has asked nothing whole for `idle_s`.
 * Returns 0 with `*out` owned by the caller, which is to outlive `http`; or -ENOMEM. */
int connections_new(struct connections **out, struct event_base *loop, struct evhttp *http, size_t most,
                    unsigned idle_s, struct error *err);
void connections_free(struct connections *connections);

/* A whole request has come. `stays`: its answer goes on until the client goes; whoever serves it bounds how many. */
void connections_heard(struct connections *connections, struct evhttp_request *request, bool stays);

DEFINE_CLEANUP(struct connections, connections_free)
