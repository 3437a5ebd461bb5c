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

/* The programs that count what the host drops. */
enum drop_program {
	DROP_SEEN,     /* packets that the kernel gives a reason for */
	DROP_LISTENER, /* SYNs that found a listener's queue full */
	DROP_PROGRAMS,
};

struct drops {
	struct drops_bpf *skeleton;                /* NULL: off */
	struct bpf_link *links[DROP_PROGRAMS];     /* NULL: not attached */
	struct service_drops *counts;              /* shared with the kernel */
	char reasons[DROP_REASONS][DROP_NAME_MAX]; /* empty: none of this number */
	struct error why[DROP_PROGRAMS];           /* each is off */
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

struct datapath {
	char pins[PATH_MAX];
	int lock;
	bool allow_generic;
	bool adopted;  /* an earlier daemon's state was found */
	bool complete; /* every map of it was pinned */
	bool drop_passed;
	uint32_t sets;
	struct datapath_grants grants;
	uint32_t features; /* FEATURE_*, of the program that is loaded */
	__u64 jiffy_ns;
	struct spillway_bpf *skeleton;

	/* shared with the kernel */
	struct state *state;
	struct catalogue_slot *catalogues;
	struct meter_set *table;
	struct set_details *details;
	struct set_overflow *overflows;
	struct service_responses *responses;
	struct response_sample *samples;

	struct lists lists;

	/* one for each configured interface, attached or not */
	struct datapath_link links[CONFIG_INTERFACES_MAX];
	int link_fds[CONFIG_INTERFACES_MAX];
	size_t links_count;

	struct tags tags;
	struct responder responder;
	struct drops drops;
};

DEFINE_CLEANUP(struct datapath, datapath_close)
DEFINE_CLEANUP(struct spillway_bpf, spillway_bpf__destroy)
DEFINE_CLEANUP(struct tag_bpf, tag_bpf__destroy)
DEFINE_CLEANUP(struct response_bpf, response_bpf__destroy)
DEFINE_CLEANUP(struct drops_bpf, drops_bpf__destroy)

/* Loads the programs with `features` and what else `*dp` says, adopting or making the pinned maps, and puts them in the
 * place of those that were there, under every link. On failure the old ones stay. */
int program_load(struct datapath *dp, uint32_t features, struct error *err);

/* Learns what the pinned trie holds, and makes its filter anew; lists_release() lets go of that. */
int lists_adopt(struct datapath *dp, struct error *err);
void lists_release(struct datapath *dp);

/* What to do about a call of the kernel's that was refused with this -errno. */
const char *program_remedy(int failure);

/* Before a start: pins again the maps that only a pinned link's program still holds. */
void datapath_recover(struct datapath *dp);

/* Detaches and unpins everything in the directory, whose lock the caller holds, and removes it. */
int datapath_unpin_all(const char *pins, struct error *err);

/* Follows the configuration that has just been applied: attaches the programs on sockets where a service has users of
 * kind `tag`, and removes them, with all tags, where none has. What the host refuses is off, and says why. */
void tags_apply(struct datapath *dp, const struct config_tags *config);

/* The trusted cgroup comes and goes with the service whose it is: attaches to the one that is there. */
void tags_follow_cgroup(struct datapath *dp);

/* Lets go of everything, and leaves it at work. */
void tags_close(struct tags *tags);

/* The name of the pin of a program's link. */
const char *tags_link_name(enum tag_program program);

/* Loads the program that meets replies, unless it is there. False where the kernel refuses it: then no request is to be
 * sampled. */
bool response_load(struct datapath *dp);

/* Puts it on the devices that have the packet path's program, and takes it off all others: to be called whenever those
 * or the features change. */
void response_follow(struct datapath *dp);

/* Pins again the links that somebody has removed the pins of. Returns how many, or -errno. */
int response_keep_pins(struct datapath *dp, struct error *err);

/* Lets go of everything, and leaves it at work. */
void response_close(struct datapath *dp);

/* Takes the program off a device, where the pin called `name` says that it is there. */
void response_unpin(const char *dir, const char *name);

/* Begins to count what the host drops, if the kernel grants it; what it refuses is off, and says why. */
void drops_start(struct datapath *dp);

/* A service's counters begin anew. */
void drops_forget(struct datapath *dp, unsigned service);

/* As response_keep_pins() and response_close(). */
int drops_keep_pins(struct datapath *dp, struct error *err);
void drops_close(struct datapath *dp);
