/* SPDX-License-Identifier: GPL-2.0-only */
/* What the daemon tells of itself: the figures and the words of the events that are its own doing. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct daemon;
struct override;
struct prefix;

/* The log's ear on the bus: every event in its own words; of those that come in series one for each service at a time.
 */
void tell_log(const json_t *event, const char *line, void *argument);

/* A reload: `refusal` says why it was refused, NULL where it was applied. */
void tell_reload(const struct daemon *daemon, const struct error *refusal);

void tell_override(const struct daemon *daemon, const struct override *set);
void tell_override_lapsed(const struct daemon *daemon, const struct override *lapsed);

/* `why` in words; `generic` has a meaning where it is attached. */
void tell_interface(const struct daemon *daemon, const char *name, bool attached, bool generic, const char *why);

/* A verb's change of a list: "allow", "deny", or NULL for off both; `for_ns` 0: for good. */
void tell_lists(const struct daemon *daemon, const char *list, const struct prefix *prefixes, size_t count,
                uint64_t for_ns);
