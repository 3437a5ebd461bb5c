/* SPDX-License-Identifier: GPL-2.0-only */
/* Takes each service's sample once a second, and gives the last minutes of one as a document. */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"

struct daemon;
struct minutes;

/* Returns 0 with `*out` owned by the caller, or -ENOMEM. `daemon` is borrowed, and its loop calls each second. */
int minutes_new(struct minutes **out, struct daemon *daemon, struct error *err);
void minutes_free(struct minutes *minutes);

/* {"uptime_seconds": [...], "received_packets_per_second": [...], ...}: columns of the same length, the oldest first,
 * null where something is not known. The document is the caller's; NULL: no memory. */
json_t *minutes_document(const struct minutes *minutes, unsigned service);

DEFINE_CLEANUP(struct minutes, minutes_free)
