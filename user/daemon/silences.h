/* SPDX-License-Identifier: GPL-2.0-only */
/* Tells when a service stops answering, and when it is back: as events, of the services that are not adaptive. */
#pragma once

#include "base/error.h"

struct silences;
struct daemon;

/* Returns 0 with `*out` owned by the caller, or -ENOMEM. `daemon` is borrowed: its data path, signals and events are
 * there by now. */
int silences_new(struct silences **out, struct daemon *daemon, struct error *err);
void silences_free(struct silences *silences);

/* One tick, after the signals'. */
void silences_tick(struct silences *silences, double now_s);
