/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the data path share among themselves. */
#pragma once

#include <limits.h>

#include "base/cleanup.h"
#include "bpf/abi.h"
#include "bpf/drops.skel.h"
#include "bpf/response.skel.h"
#include "bpf/spillway.skel.h"
#include "bpf/tag.skel.h"
#include "datapath/datapath.h"
#include "datapath/keeper.h"

/* The programs on sockets, through which applications name users: each is attached to a cgroup by a link. */
enum tag_program {
	TAG_SET,         /* setsockopt(2), of everybody */
	TAG_SET_TRUSTED, /* of the trusted cgroup; attached when there is such a one */
	TAG_END,         /* the last close(2) */
	TAG_PROGRAMS,
};

struct tags {
	struct tag_bpf *skeleton;   /* NULL: off */
	int link_fds[TAG_PROGRAMS]; /* -1: not attached */
	struct config_tags config;  /* what it was made for */
	struct error why;           /* why it is off */
};

/* The program that meets replies on their way out, on every device that has the packet path's. */
struct responder {
	struct response_bpf *skeleton; /* NULL: off */
	struct {
		unsigned device;
		int fd; /* the link; -1 where it is a filter of a qdisc */
	} attached[CONFIG_INTERFACES_MAX];
	size_t attached_count;
	struct error why; /* empty where it is on, and everywhere */
};

#define LISTEN_OVERFLOW "TCP_LISTEN_OVERFLOW" /* the kernel's reason for a SYN that found a full queue */

/* The programs that count what the host drops. */
enum drop_program {
	DROP_SEEN,     /* packets that the kernel gives a reason for */
	DROP_LISTENER, /* SYNs that found a listener's queue full */
	DROP_PROGRAMS,
};

struct drops {
	struct drops_bpf *skeleton;            /* NULL: off */
	struct bpf_link *links[DROP_PROGRAMS]; /* NULL: not attached */
	struct drop_names reasons;
	struct error why[DROP_PROGRAMS]; /* each is off */
};

/* The lists: what is known of the trie without reading it. */
struct lists {
	struct list_filter *filter; /* shared with the kernel */
	size_t entries_max;
	size_t counts[LISTS];        /* entries, by the list that they are on until they expire */
	size_t stale;                /* bits of the filter whose entries are gone, at most */
	__u64 expires_ns;            /* no entry does before */
	struct config_listed *filed; /* the file's entries, as they were last put in force; owned */
	size_t filed_count;
	struct lists_pass *pass; /* owned; NULL: none is on its way */
};

/* The privileged half. */
struct keeper {
	char pins[PATH_MAX];
	int lock; /* -1: nothing is open */
	bool allow_generic;
	bool adopted;  /* an earlier daemon's state was found */
	bool complete; /* every map of it was pinned */
	bool drop_passed;
	bool flat; /* the meter's table is one value */
	uint32_t sets, list_entries;
	struct datapath_grants grants;
	uint32_t features; /* FEATURE_*, of the program that is loaded */
	struct spillway_bpf *skeleton;
	struct state *state; /* the skeleton's, shared with the kernel */
	int wait_outer, wait_inner;

	/* one for each configured interface, attached or not */
	struct datapath_link links[CONFIG_INTERFACES_MAX];
	int link_fds[CONFIG_INTERFACES_MAX];
	size_t links_count;

	struct tags tags;
	struct responder responder;
	struct drops drops;
};

/* The half that anybody may have who holds the descriptors. */
struct datapath {
	struct datapath_keeper far;  /* who is asked */
	struct keeper *keeper;       /* owned; NULL where it is another process */
	struct keeper_answer answer; /* the last */
	int fds[KEEPER_OBJECTS];
	uint32_t features; /* FEATURE_*, of the program that is loaded */
	uint32_t sets;
	__u64 jiffy_ns;

	/* shared with the kernel */
	struct state *state;
	struct catalogue_slot *catalogues;
	struct meter_set *table;
	struct set_details *details;
	struct set_overflow *overflows;
	struct service_responses *responses;
	struct response_sample *samples;
	struct service_drops *drop_counts; /* NULL where the host's drops are not counted */

	struct lists lists;
};

DEFINE_CLEANUP(struct datapath, datapath_close)
DEFINE_CLEANUP(struct spillway_bpf, spillway_bpf__destroy)
DEFINE_CLEANUP(struct tag_bpf, tag_bpf__destroy)
DEFINE_CLEANUP(struct response_bpf, response_bpf__destroy)
DEFINE_CLEANUP(struct drops_bpf, drops_bpf__destroy)

/* Loads the programs with `features` and what else `*keeper` says, adopting or making the pinned maps, and puts them in
 * the place of those that were there, under every link. On failure the old ones stay. */
int program_load(struct keeper *keeper, uint32_t features, struct error *err);

/* Asks for that, and takes over what is handed out. */
int datapath_load(struct datapath *dp, uint32_t features, struct error *err);

/* Gives an order. Returns its result; `*fd`, where it is asked for, is the one descriptor that was handed out, owned by
 * the caller, or -1. */
int datapath_order(struct datapath *dp, const struct keeper_order *order, int *fd, struct error *err);

/* Gives every cell of the table, and every set's overflow, a time that is long past: nobody owes anything. Who is in a
 * cell, and what was counted there, is the caller's to wipe. Returns 0, or a negative errno value: the clock cannot be
 * read. */
int datapath_empty_cells(struct datapath *dp, struct error *err);

/* Of a table of so many sets, in the kernel. */
size_t table_bytes(size_t sets);

/* Learns what the pinned trie holds, and makes its filter anew; lists_release() lets go of that. */
int lists_adopt(struct datapath *dp, struct error *err);
void lists_release(struct datapath *dp);

/* What to do about a call of the kernel's that was refused with this -errno. */
const char *program_remedy(int failure);

/* Before a start: pins again the maps that only a pinned link's program still holds. */
void keeper_recover(struct keeper *keeper);

/* As datapath.h has them of the same name. */
int keeper_attach(struct keeper *keeper, const char *name, struct error *err);
void keeper_detach(struct keeper *keeper, const char *name);
bool keeper_drop_stale_links(struct keeper *keeper);
void keeper_drop_strangers(struct keeper *keeper);
int keeper_keep_pins(struct keeper *keeper, struct error *err);

/* Detaches and unpins everything in the directory, whose lock the caller holds, and removes it. */
int datapath_unpin_all(const char *pins, struct error *err);

/* Follows the configuration that has just been applied: attaches the programs on sockets where a service has users of
 * kind `tag`, and removes them, with all tags, where none has. What the host refuses is off, and says why. */
void tags_apply(struct keeper *keeper, const struct config_tags *config);

/* The trusted cgroup comes and goes with the service whose it is: attaches to the one that is there. */
void tags_follow_cgroup(struct keeper *keeper);

/* Lets go of everything, and leaves it at work. */
void tags_close(struct tags *tags);

/* The name of the pin of a program's link. */
const char *tags_link_name(enum tag_program program);

/* Loads the program that meets replies, unless it is there. False where the kernel refuses it: then no request is to be
 * sampled. */
bool response_load(struct keeper *keeper);

/* Whether it is on all devices that have the packet path's. */
bool response_on_everywhere(const struct keeper *keeper);

/* Puts it on the devices that have the packet path's program, and takes it off all others: to be called whenever those
 * or the features change. */
void response_follow(struct keeper *keeper);

/* Pins again the links that somebody has removed the pins of. Returns how many, or -errno. */
int response_keep_pins(struct keeper *keeper, struct error *err);

/* Lets go of everything, and leaves it at work. */
void response_close(struct keeper *keeper);

/* Takes the program off a device, where the pin called `name` says that it is there. */
void response_unpin(const char *dir, const char *name);

/* Begins to count what the host drops, if the kernel grants it; what it refuses is off, and says why. */
void drops_start(struct keeper *keeper);

/* The map of what is counted; -1 where nothing is. */
int drops_map(const struct keeper *keeper);

/* The number of the kernel's reason of that name; UINT32_MAX where it has none. */
uint32_t drops_reason_called(const struct drop_names *reasons, const char *name);

/* A service's counters begin anew. */
void drops_forget(struct datapath *dp, unsigned service);

/* As response_keep_pins() and response_close(). */
int drops_keep_pins(struct keeper *keeper, struct error *err);
void drops_close(struct keeper *keeper);
