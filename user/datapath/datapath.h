/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel side as one thing: programs, maps, links and their pins. The only code that knows libbpf. State lives
 * pinned in a directory of bpffs; whoever opens it adopts what is there, and leaves it there on closing. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "bpf/abi.h"
#include "config/config.h"

struct datapath;

/* Who does what needs privileges: another process, by a function that carries orders there (keeper.h). */
struct keeper_order;
struct keeper_answer;
struct datapath_keeper {
	void (*execute)(void *argument, const struct keeper_order *order, struct keeper_answer *answer);
	void *argument;
};

struct datapath_options {
	struct datapath_keeper keeper; /* `execute` NULL: this process does it itself */
	const char *pins;              /* the directory, on bpffs; made when missing */
	uint64_t table_users;          /* room for so many active at once; an adopted table keeps its own size */
	uint32_t list_entries;         /* room for so many on the lists; 0: the default; adopted lists keep their own */
	bool allow_generic;            /* attach in generic mode where the driver has no native one */
	uint32_t features;             /* that the first configuration uses: image_features() */
	bool drop_passed; /* a benchmark\'s: what passes is dropped, to weigh the program without the stack behind it */
};

/* What is attached to an interface. */
struct datapath_link {
	char name[IF_NAMESIZE]; /* as configured */
	unsigned index;         /* of the device; 0: not attached */
	bool generic;
	long long since_s; /* wall clock, when this daemon attached or adopted it */
};

/* Opens the directory for this process alone, adopts or makes the maps, loads the program. Nothing is attached yet.
 * Returns 0 with `*out` owned by the caller (datapath_close), or -errno: -EBUSY where another daemon has the directory,
 * -EPERM without the rights, -ESTALE where the pinned state is of another version. */
int datapath_open(struct datapath **out, const struct datapath_options *options, struct error *err);

/* Leaves everything pinned and at work. */
void datapath_close(struct datapath *dp);

/* Makes `config` the policy: compiles it into the idle slots and flips. All or nothing. */
int datapath_apply(struct datapath *dp, const struct config *config, struct error *err);

/* Attaches the program to the device that has this name now, or takes over the pinned link to it. Returns 0, or -errno:
 * -ENODEV where there is no such interface, -EBUSY where another XDP program is attached (the words name it). */
int datapath_attach(struct datapath *dp, const char *name, struct error *err);

/* Whether attachments from now on may be in generic mode; what is attached stays. */
void datapath_allow_generic(struct datapath *dp, bool allow);

/* Detaches the configured interface `name` and forgets it. Nothing happens where it is not attached. */
void datapath_detach(struct datapath *dp, const char *name);

/* Drops links whose device is gone or no longer bears the configured name, and says whether any was dropped. */
bool datapath_drop_stale_links(struct datapath *dp);

/* Detaches and unpins what lies under links that no configured interface claims. Call it after the attachments. */
void datapath_drop_strangers(struct datapath *dp);

/* Pins again whatever somebody has removed. Returns how many pins that were, or -errno. */
int datapath_keep_pins(struct datapath *dp, struct error *err);

const struct datapath_link *datapath_links(const struct datapath *dp, size_t *count);

/* Whether applications can name users. */
struct datapath_tags {
	bool used; /* a service has users of kind `tag` */
	bool on;
	const char *why; /* not; valid until the next change */
};
struct datapath_tags datapath_tags(const struct datapath *dp);

/* Response times as the kernel measures them: one entry a service, and the requests that wait for their replies. Live
 * and shared with the kernel. */
struct datapath_responses {
	bool used;       /* a service is to be timed */
	bool on;         /* replies are met on every interface */
	const char *why; /* not; valid until the next change */
	struct service_responses *services;
	struct response_sample *samples; /* RESPONSE_SAMPLES */
};
struct datapath_responses datapath_responses(const struct datapath *dp);

/* What the host itself dropped of what came for a service, by the kernel's own reasons. Live and shared with the
 * kernel. */
#define DROP_NAME_MAX 48
struct datapath_drops {
	bool on;
	const char *why;                      /* not; valid until the next change */
	bool listeners;                       /* SYNs that find a listener's queue full are seen as well */
	const char *why_listeners;            /* not */
	unsigned listen_reason;               /* what `datapath_count_listen_drops` counts under */
	const struct service_drops *services; /* SERVICES_MAX; NULL where it is off */
	const char (*reasons)[DROP_NAME_MAX]; /* DROP_REASONS: as the kernel spells them; empty: there is none */
};
struct datapath_drops datapath_drops(const struct datapath *dp);

/* The number of the TCP service at a port and destination (in network order, IPv4 as ::ffff:a.b.c.d); of any that is at
 * the port where the destination is NULL. */
unsigned datapath_tcp_service(const struct datapath *dp, uint16_t port, const __u64 *destination, bool ipv6);

/* Counts what listeners of a service have dropped, where no program sees it. */
void datapath_count_listen_drops(struct datapath *dp, unsigned service, __u64 packets);

/* The policy and the names that count now. Valid until the next change. */
const struct policy_slot *datapath_policies(const struct datapath *dp);
const struct catalogue_slot *datapath_catalogue(const struct datapath *dp);

/* What all users of an adaptive service may send together, in packets, or in bytes where its policy says so. */
struct datapath_capacity {
	double per_second; /* above 0; INFINITY: what is configured */
	double burst;      /* how much of it at once; 0: the ranks have their steps (bpf/capacity.h) */
	/* How many packets (to a 256th) any packet counts for, and a TCP SYN; 0: one. Not of a service in bytes, nor of
	 * a capacity that is the configured one. */
	double packet_cost, connect_cost;
};

/* Sets the level of an adaptive service: what a user of weight 1 may send a second, in the same unit, above 0, INFINITY
 * for what is configured; and its capacity. Both count until they have not been set for the relax time (30 s unless
 * configured); then what is configured does, `maximum` and the capacity's maximum (without one, no limit): whoever
 * decided to shed more than that is no longer there to take it back. Returns 0, or -errno where the packet path's clock
 * could not be asked. */
int datapath_set_level(struct datapath *dp, unsigned service, double per_second, struct error *err);
int datapath_set_capacity(struct datapath *dp, unsigned service, const struct datapath_capacity *capacity,
                          struct error *err);

/* The TCP SYNs that have come to a service with a capacity, modulo 2^64; two CPUs at once may have lost some. */
uint64_t datapath_connects(const struct datapath *dp, unsigned service);

/* What is in force now, a second; 0: no limit. The level is that of a user of weight 1. */
struct datapath_paces {
	double level_packets, level_bytes;
	double capacity_packets, capacity_bytes;
};
int datapath_paces(struct datapath *dp, unsigned service, struct datapath_paces *out, struct error *err);

/* Sums a service's counters over the CPUs. */
int datapath_read_tallies(struct datapath *dp, unsigned service, struct service_tallies *out, struct error *err);
int datapath_read_malformations(struct datapath *dp, struct tally out[MALFORMATIONS], struct error *err);

/* The table of users as it stands, live and shared with the kernel: `count` sets, and their details beside them. */
struct table_view {
	const struct meter_set *sets;
	const struct set_details *details;
	const struct set_overflow *overflows;
	size_t count;
	size_t bytes; /* of kernel memory */
};
struct table_view datapath_table(const struct datapath *dp);

/* Whether charges are settled in batches, which pays where many users are active (bpf/batch.h); as it was when the
 * state is adopted. What that costs in exactness is said there; what users have sent is told up to a batch a CPU late.
 */
void datapath_batch(struct datapath *dp, bool on);
bool datapath_batches(const struct datapath *dp);

/* The packet path's time in nanoseconds. */
int datapath_clock(struct datapath *dp, __u64 *out_ns, struct error *err);

/* Keeps times that have passed long ago from wrapping round to the future. To be called every DATAPATH_AGE_S. */
#define DATAPATH_AGE_S 3600
int datapath_age(struct datapath *dp, struct error *err);

/* What this kernel grants. Where it refuses, the data path does without. */
struct datapath_grants {
	bool frags;   /* frames in several buffers, as large MTUs make them (kernel 5.18) */
	bool jiffies; /* the tick is the packet path's clock; else it is the coarse clock, for a call a packet */
	bool flat;    /* the meter's table is one value, and there is a short way to it (kernel 5.19) */
};
struct datapath_grants datapath_grants(const struct datapath *dp);

/* Whether an earlier daemon's state was found and adopted. */
bool datapath_adopted(const struct datapath *dp);

/* Detaches and unpins everything that this one has; it is then good for nothing but to be closed. */
int datapath_remove(struct datapath *dp, struct error *err);

/* Detaches and unpins everything under `pins`, whoever attached it and whatever state it is in. -EBUSY where a daemon
 * has the directory. Returns 0 also where nothing is there. */
int datapath_unload(const char *pins, struct error *err);
