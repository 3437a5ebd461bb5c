/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel programs and user space share: the value of every map, and nothing else. A change here changes what
 * lies pinned on running hosts: raise SPILLWAY_ABI with it. */
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

#define SPILLWAY_ABI 2

/* Services ------------------------------------------------------------------------------------------------------- */

#define SERVICE_OTHER 0    /* the built-in service of whatever matches none: counted, never spilled */
#define SERVICES_MAX  1025 /* `other` and 1,024 configured ones */

/* How a packet is looked up by its port. A protocol without ports is a row of the last table, its port is its number.
 */
enum port_table {
	PORTS_TCP,
	PORTS_UDP,
	PORTS_SCTP,
	PORTS_NONE,
	PORT_TABLES,
};

/* Why a packet went where it went. One packet has one outcome, counted once. SPILLED_* and SHADOW_* keep the order of
 * `enum reason`, so that an outcome is a base plus a reason. */
enum reason {
	REASON_USER_LIMIT,
	REASON_USER_BYTES,
	REASON_USER_CONNECTIONS,
	REASON_CAPACITY,
	REASON_DENIED,
	REASON_MALFORMED,
	REASON_DRILL,
	REASON_NOT_OWNER,
	REASONS,
};

#define OUTCOME_PASSED  0
#define OUTCOME_SPILLED 1             /* + reason */
#define OUTCOME_SHADOW  (1 + REASONS) /* + reason: would have been spilled, was passed */
#define OUTCOMES        (1 + 2 * REASONS)

struct tally {
	__u64 packets;
	__u64 bytes; /* of the frames as they arrived */
};

/* Per-CPU value of `tallies`, one a service. */
struct service_tallies {
	struct tally outcomes[OUTCOMES];
};

/* What made a packet malformed; per-CPU counters in `malformations`. */
enum malformation {
	MALFORMED_ETHERNET,  /* the frame ends within its Ethernet or VLAN header */
	MALFORMED_IP,        /* version, header length or total length lie, or the frame ends within the header */
	MALFORMED_EXTENSION, /* an IPv6 extension or authentication header runs past the end */
	MALFORMED_TRANSPORT, /* the transport header is cut off, or its length lies */
	MALFORMATIONS,
};

/* Policy --------------------------------------------------------------------------------------------------------- */

#define POLICY_OBSERVE (1U << 0) /* decide and count, drop nothing */

/* What the packet path needs to judge one service's packet: one cache line, immutable while its slot is active. */
struct policy {
	__u64 seed;              /* the service's part of the users' hash */
	__u64 increment_ns;      /* what one packet moves a user's theoretical arrival time on by; 0: no limit */
	__u64 tolerance_ns;      /* how far ahead of now that time may run: the burst */
	__u64 source_mask[2][2]; /* [ipv6][high, low], network order: cuts a source address to its user */
	__u32 flags;             /* POLICY_* */
	__u32 service;           /* whose tallies count the packet */
};

/* Policies beyond the services': for packets whose ports cannot be known (a later fragment without its first, a chain
 * of headers beyond the bound), one for each port table and one for an unknown protocol. They carry the tightest limit
 * that the packet could have fallen under, and count for `other`. */
#define POLICY_STRAY_UNKNOWN PORT_TABLES
#define POLICY_STRAYS        (PORT_TABLES + 1)
#define POLICY_STRAY(table)  (SERVICES_MAX + (table))
#define POLICIES             (SERVICES_MAX + POLICY_STRAYS)

struct policy_slot {
	struct policy policies[POLICIES];
	__u32 malformed_flags; /* POLICY_OBSERVE: malformed packets are shadowed; MALFORMED_PASSES: passed */
	__u32 reserved[15];
};

#define MALFORMED_PASSES (1U << 1)

/* The classifier: from port and destination to a service ---------------------------------------------------------- */

#define ROW_HAS_DESTINATIONS 0x8000U /* the rest of the row is a number in `roots`; else it is a service */
#define ROOTS_MAX            2048
#define NODES_MAX            2048

/* Where the walk over destination bytes starts for one row and family: the bytes before `skip` are the same in all of
 * its prefixes and compared at once. */
struct destination_root {
	__u64 value[2];
	__u64 mask[2]; /* network order, as the packet has them */
	__u16 node;    /* 0: no prefix of this family */
	__u16 leaf;    /* the service outright where no byte is left to walk */
	__u32 skip;    /* bytes */
};

#define LEAF_IS_NODE 0x8000U /* the rest of the leaf is the next node's number; else it is a service, 0 for none */

/* A 256-way trie node: each step takes one byte of the destination (multibit trie; Srinivasan and Varghese, 1999). */
struct destination_node {
	__u16 leaves[256];
};

struct classifier_slot {
	__u16 rows[PORT_TABLES][65536];
	struct destination_root roots[ROOTS_MAX][2]; /* [ipv6] */
	struct destination_node nodes[NODES_MAX];    /* node 0 is not used */
};

/* Names of the services in a slot: how a daemon that adopts the state finds which number is whose. */
#define SERVICE_NAME_MAX 32
struct catalogue_slot {
	char names[SERVICES_MAX][SERVICE_NAME_MAX]; /* empty: the number is free */
};

/* The live word: which slots count ------------------------------------------------------------------------------- */

#define HASH_KEYS 6 /* the last one is for the services' seeds */

/* `active` is read once a packet, so that a packet is judged by one policy and one classifier throughout. */
struct live {
	__u32 active;               /* LIVE_* */
	__u32 abi;                  /* SPILLWAY_ABI of the state; 0 until it is ready */
	__u64 hash_keys[HASH_KEYS]; /* odd, random for the life of the table */
	__u64 sets_mask;            /* sets in the table, less one */
	__u64 clock_ns;             /* the packet path's time, written by the program `clock` when user space asks */
	__u64 reserved[7];          /* what follows starts a cache line */
};

#define LIVE_POLICY_SLOT(active)     ((active) & 1)
#define LIVE_CLASSIFIER_SLOT(active) (((active) >> 1) & 1)

/* All that user space writes and every packet reads, as the program's one global variable: its address is known when
 * the program is loaded, where an entry of a map must be looked up (1 ns each). It has 4 MB at most before kernel 5.19.
 */
struct state {
	struct live live;
	struct policy_slot policies[2];
	struct classifier_slot classifiers[2];
};

/* The meter's table ---------------------------------------------------------------------------------------------- */

#define SET_CELLS 4

/* A set is one cache line, and a cell a column of it. `states` holds the 44-bit theoretical arrival time (TAT) in
 * nanoseconds above 20 bits of packets passed, so that one compare-and-swap charges and counts; `tags` whose cell it
 * is, 0 for nobody's; `bytes` counts modulo 2^32. */
struct meter_set {
	__u64 states[SET_CELLS];
	__u32 tags[SET_CELLS];
	__u32 bytes[SET_CELLS];
};

#define STATE_PACKETS_BITS 20
#define STATE_PACKETS_MASK ((1ULL << STATE_PACKETS_BITS) - 1)

/* What a user's cell has no room for; touched on the user's second packet and on its spills. A user of one packet, as
 * in a forged flood, has none: what lies here is then an earlier user's. `carried` is what was carried out of the
 * cell's narrow counts; the sum of both is the user's. */
struct user_detail {
	__u64 key[2];     /* the source prefix, network order, IPv4 as ::ffff:a.b.c.d */
	__u32 first_seen; /* the meter's clock >> SECOND_SHIFT */
	__u16 service;
	__u16 flags; /* DETAIL_* */
	__u64 carried_packets;
	__u64 carried_bytes;
	__u64 spilled_packets;
	__u64 shadow_packets;
};

#define DETAIL_IPV6 1U

#define SECOND_SHIFT 30 /* a second, nearly: 2^30 ns; a shift where a division would cost more than the rest */

/* One entry of `meter_details`, beside the set of the same index. */
struct set_details {
	struct user_detail users[SET_CELLS];
	__u64 overflow_state;   /* what newcomers share while all four cells of the set are running */
	__u64 overflow_packets; /* metered there */
};

/* Fragments ------------------------------------------------------------------------------------------------------ */

/* Direct-mapped memory of which service a datagram's first fragment went to: one word an entry, so that it is never
 * torn: 32 bits of tag, 16 of time (>> SECOND_SHIFT), 16 of service. */
#define FRAGMENTS         65536
#define FRAGMENT_LIFETIME 28 /* times 2^30 ns: as long as Linux keeps an incomplete datagram (ip_frag_time) */
