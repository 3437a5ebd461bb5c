/* SPDX-License-Identifier: GPL-2.0-only */
/* Hot spots of this host: feeds the rules (control/hotspot.h) from each of the observer's passes, tells when one begins
 * and ends, and shows those that last. */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/prefix.h"

struct daemon;
struct heat;

int heat_new(struct heat **out, struct daemon *daemon, struct error *err);
void heat_free(struct heat *heat);

/* To be called after each tick of the observer; does something when there was a pass. */
void heat_tick(struct heat *heat);

/* [{"service", "user", "kind", "since", "packets_per_second", "peak_packets_per_second", "share", "why"}], where `user`
 * is null where the service as a whole is hot, and a prefix where `kind` is "prefix". NULL heat: none. */
json_t *heat_document(const struct heat *heat);

/* Each of them by the names of its service and of its user, which is empty where it has none. */
void heat_each(const struct heat *heat, void (*each)(const char *service, const char *user, void *argument),
               void *argument);

DEFINE_CLEANUP(struct heat, heat_free)
