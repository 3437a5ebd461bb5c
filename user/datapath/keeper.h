/* SPDX-License-Identifier: GPL-2.0-only */
/* The privileged half of the data path: loads programs, attaches them, pins. It does what a closed list of orders says,
 * each of fixed size and checked here, so that whoever gives them may be another process, and one that is not trusted.
 * What needs no privilege (every map's content) is not its business: it hands descriptors out. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "config/config.h"
#include "datapath/datapath.h"

enum keeper_order_kind {
	KEEPER_OPEN,           /* take the directory of pins, adopt what is there, load: hands out KEEPER_OBJECTS */
	KEEPER_LOAD,           /* the packet path's program again, with `features`: hands out KEEPER_OBJECTS */
	KEEPER_LOAD_RESPONSE,  /* the program that meets replies, unless it is there; result 1: it is there now */
	KEEPER_COUNT_DROPS,    /* begin to count what the host drops: hands out the map of counts where that is on */
	KEEPER_ATTACH,         /* to the interface `name` */
	KEEPER_DETACH,         /* from the interface `name` */
	KEEPER_ALLOW_GENERIC,  /* or not: `allow` */
	KEEPER_DROP_STALE,     /* links whose device is not what is configured; result 1: there were some */
	KEEPER_DROP_STRANGERS, /* links that no interface claims */
	KEEPER_KEEP_PINS,      /* pin again what was removed; the result is how many */
	KEEPER_FOLLOW,         /* the configuration that has just begun to count, and its `tags` */
	KEEPER_TENANTS,        /* hands out a new map for tenants */
	KEEPER_UNLOAD,         /* detach and unpin everything */
	KEEPER_ORDERS,
};

struct keeper_order {
	uint32_t kind;         /* enum keeper_order_kind */
	uint32_t features;     /* FEATURE_* (OPEN, LOAD) */
	uint64_t table_users;  /* (OPEN) */
	uint32_t list_entries; /* (OPEN); 0: the default */
	uint32_t allow;        /* (OPEN, ALLOW_GENERIC): generic mode */
	char name[IF_NAMESIZE];
	struct config_tags tags;
};

/* What OPEN and LOAD hand out, in this order. */
enum keeper_object {
	OBJECT_STATE,
	OBJECT_CATALOGUES,
	OBJECT_METER_SETS,
	OBJECT_METER_DETAILS,
	OBJECT_METER_OVERFLOWS,
	OBJECT_METER_GAUGES,
	OBJECT_LISTS,
	OBJECT_LIST_FILTERS,
	OBJECT_RESPONSES,
	OBJECT_SAMPLES,
	OBJECT_TALLIES,
	OBJECT_MALFORMATIONS,
	OBJECT_TENANTS,
	OBJECT_CLOCK,      /* the program that tells the packet path's time */
	OBJECT_WAIT_OUTER, /* a map of maps, and one that fits: an update waits for packets in flight */
	OBJECT_WAIT_INNER,
	KEEPER_OBJECTS,
};

/* The kernel's reasons by their numbers, as it spells them; empty: none of this number. */
struct drop_names {
	char texts[DROP_REASONS][DROP_NAME_MAX];
};

/* What is known of the privileged half without asking it. */
struct keeper_view {
	struct datapath_link links[CONFIG_INTERFACES_MAX];
	size_t links_count;
	struct datapath_grants grants;
	bool adopted;      /* an earlier daemon's state was found */
	bool complete;     /* every map of it was pinned */
	uint32_t features; /* FEATURE_*, of the program that is loaded */
	uint32_t sets, list_entries;
	uint64_t jiffy_ns;
	bool tags_on, response_on, drops_on, listeners_on;
	struct error tags_why, response_why, drops_why, listeners_why; /* not; empty where nothing was refused */
	struct drop_names reasons;
};

struct keeper_answer {
	int32_t result; /* 0 or what the order says, or -errno: then `why` has the words */
	struct error why;
	struct keeper_view view; /* whatever the result */
	int fds[KEEPER_OBJECTS]; /* whoever asked owns them */
	uint32_t fds_count;
};

struct keeper;

/* For the pins in that directory. `drop_passed` as in datapath_options. Nothing is done yet. NULL: no memory. */
struct keeper *keeper_new(const char *pins, bool drop_passed);

/* Leaves everything pinned and at work. */
void keeper_free(struct keeper *keeper);

/* Does what the order says, or refuses. */
void keeper_execute(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer);

DEFINE_CLEANUP(struct keeper, keeper_free)
