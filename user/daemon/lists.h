/* SPDX-License-Identifier: GPL-2.0-only */
/* The lists as the API shows and changes them, and their housekeeping beside everything else that the loop does. */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bpf/abi.h"

struct daemon;
struct lists_keeper;

/* {"prefixes": [...], "for_seconds"?, "check"?}: puts them on a list, LIST_NONE takes them off; all or none. With
 * "check" it only says whether it would. The answer is {"new", "room"}. */
json_t *api_lists_change(struct daemon *daemon, enum list list, const json_t *wish, struct error *err);

/* {"entries": [{"prefix", "list", "left_seconds", "by"}], "next"}: a page of at most `limit` (0: as many as there may
 * be) after the prefix `after`, or from the start where that is NULL. "next" is where to go on, null at the end. */
json_t *api_lists(struct daemon *daemon, const char *after, size_t limit, struct error *err);

/* {"allowed", "denied", "room", "over_packets", "allowed_packets_per_second"} */
json_t *api_lists_totals(const struct daemon *daemon);

/* Sweeps in pieces of milliseconds, so that nothing else in the loop waits for it. */
int lists_keeper_new(struct lists_keeper **out, struct daemon *daemon, struct error *err);
void lists_keeper_free(struct lists_keeper *keeper);

DEFINE_CLEANUP(struct lists_keeper, lists_keeper_free)
