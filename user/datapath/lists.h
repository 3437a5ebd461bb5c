/* SPDX-License-Identifier: GPL-2.0-only */
/* The allow and deny lists. Everything that is on them lies in the pinned trie, and nowhere else, so that a new daemon
 * adopts them by reading it once. The packet path looks at lists only while anything is on them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/prefix.h"
#include "bpf/abi.h"
#include "config/config.h"
#include "datapath/datapath.h"

/* An entry as it counts now. */
struct listed {
	struct prefix prefix;
	enum list list;   /* LIST_NONE: it has expired, and is not swept away yet */
	bool filed;       /* the file says so, and no verb anything else */
	bool expires;     /* after `left_ns` */
	uint64_t left_ns; /* of its time */
};

struct lists_totals {
	size_t allowed, denied; /* entries; one that has expired is counted until it is swept away, seconds later */
	size_t room;            /* for so many more */
	uint64_t over_packets;  /* from allowed sources, beyond the allow list's limit */
};

/* Puts prefixes, each once, on a list for `for_ns` (0: for good), in place of what any verb said of them before;
 * LIST_NONE takes them off, whoever put them there. All or none: -ENOENT names the first that is not there to be taken
 * off, -ENOSPC says how much room there is. -ENOMEM, from the kernel, says how many were done. */
int lists_set(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count, uint64_t for_ns,
              struct error *err);

/* Whether lists_set() would, and how many entries it would add. */
int lists_check(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count, size_t *added,
                struct error *err);

/* Makes the file's entries those of `config`; what verbs have said stays, and goes before. All or nothing. */
int lists_file(struct datapath *dp, const struct config_lists *config, struct error *err);

/* Reads on after the prefix `after` (NULL: from the start), up to `count` entries. Returns how many there were, 0 at
 * the end; `*last` is where to go on. -ESTALE where `after` is gone meanwhile. */
int lists_read(struct datapath *dp, const struct prefix *after, struct listed *out, size_t count, struct prefix *last,
               struct error *err);

struct lists_totals lists_totals(const struct datapath *dp);

/* A piece of the housekeeping, some milliseconds: entries that have expired are swept away, and what is left of old
 * ones in the filter. Returns 1 where there is more to do, else 0; or -errno. */
int lists_keep(struct datapath *dp, struct error *err);
