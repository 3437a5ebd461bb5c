/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel programs and user space share: the value of every map, and nothing else. A change here changes what
 * lies pinned on running hosts: raise SPILLWAY_ABI with it. */
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

#define SPILLWAY_ABI 12

#define IPV4_MAPPED bpf_htonl(0x0000ffff) /* the third word of ::ffff:a.b.c.d */

#define CACHE_ALIGNED __attribute__((aligned(64)))

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

/* When this CPU samples a request of a service next: once it has passed more than so many packets, or past a time. What
 * comes before is only touched when it does. */
struct sampler {
	__u64 stood_for; /* what had passed, of what the service is measured in, that some request stands for */
	__u64 tat_ns;    /* GCRA of the samples taken, in the samples' time */
	__u64 last_ns;
	__u64 last_packets;
	__u64 past_packets;
	__u64 past_ns; /* in the meter's time */
};

/* Per-CPU value of `tallies`, one a service. */
struct service_tallies {
	struct sampler sampler; /* here, since its end shares a cache line with the packets that passed */
	__u64 owed_ns;          /* what this CPU has admitted and not yet charged to the service's capacity */
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

/* What a configuration uses of the packet path. When the program is loaded its questions for these bits are answered,
 * so that the verifier deletes the code of all others. */
#define FEATURE_GAUGES   (1U << 0) /* limits in bytes or connections */
#define FEATURE_CAPACITY (1U << 1) /* capacity, class and tenure */
#define FEATURE_LEVELS   (1U << 2) /* levels that are set while it runs */
#define FEATURE_PAYLOAD  (1U << 3) /* users by bytes of the datagram */
#define FEATURE_TENANTS  (1U << 4)
#define FEATURE_TAGS     (1U << 5)
#define FEATURE_LISTS    (1U << 6)
#define FEATURE_RESPONSE (1U << 7) /* requests are sampled, and their replies timed */

/* And what this kernel grants. */
#define FEATURE_FLAT (1U << 8) /* the meter's table is one value, whose address is known: there is a short way */

/* Those that a service's policy may ask for. */
#define FEATURES_OF_KINDS    (FEATURE_PAYLOAD | FEATURE_TENANTS | FEATURE_TAGS)
#define FEATURES_OF_POLICIES (FEATURE_GAUGES | FEATURE_CAPACITY | FEATURE_LEVELS | FEATURES_OF_KINDS)

/* What marks an instruction that asks for features: its operand, with the bits that it asks for below. */
#define FEATURE_ASKED      0x5ea70000U
#define FEATURE_ASKED_MASK 0xffff0000U

/* The same for the size of the meter's table: an operand that becomes the number of sets less one. */
#define SETS_MASK_ASKED 0x5ea80000U

#define POLICY_OBSERVE   (1U << 0) /* decide and count, drop nothing */
#define POLICY_GAUGED    (1U << 1) /* users have limits in bytes or connections */
#define POLICY_CAPACITY  (1U << 2) /* the service as a whole has one */
#define POLICY_LEVEL     (1U << 3) /* the limit is a maximum: the level below it is in `levels` */
#define POLICY_MOVES     (1U << 4) /* the capacity is a maximum: the one below it is in `capacities` */
#define POLICY_BYTES     (1U << 5) /* both are in bytes */
#define POLICY_RESPONSE  (1U << 6) /* requests are sampled: the service is one that replies */
#define POLICY_PLAIN     (1U << 7) /* nothing but a limit in packets for each source: none of FEATURES_OF_POLICIES */
#define POLICY_ASKS_MORE (POLICY_GAUGED | POLICY_CAPACITY | POLICY_LEVEL | POLICY_MOVES | POLICY_BYTES)

/* Whose packets are counted together. A packet without what its kind asks for counts for its source address. */
enum user_kind {
	USER_SOURCE,
	USER_TENANT,
	USER_PAYLOAD,
	USER_TAG,
	USER_KINDS,
};

/* Who goes first when a service is over its capacity. */
enum service_class {
	CLASS_SHEDDABLE,
	CLASS_NORMAL,
	CLASS_CRITICAL,
	CLASSES,
};

/* What the packet path needs to judge one service's packet, immutable while its slot is active: a cache line for every
 * packet, and one that only services with more than a limit in packets need. */
struct policy {
	__u64 increment_ns; /* what one packet moves a user's theoretical arrival time on by; 0: no limit */
	__u64 tolerance_ns; /* how far ahead of now that time may run: the burst */
	__u64 charge;       /* the first one in a state's units, with the packet that it counts: what is added to it */
	__s64 least_late; /* the second one in the same: how late a state's time must be at least, less than nothing */
	__u64 ipv6_mask[2]; /* [high, low], network order: cuts a source address to its user */
	__u32 ipv4_mask;
	__u32 flags;   /* POLICY_* */
	__u16 service; /* whose tallies count the packet */
	__u8 kind;     /* enum user_kind */
	__u8 class;    /* enum service_class: of users whose tenant says nothing else */
	__u32 reserved;

	__u64 byte_increment; /* nanoseconds << BYTE_SHIFT that one byte moves a user's time of bytes on by */
	__u64 byte_tolerance_ns;
	__u64 connection_increment_ns; /* the same for a TCP SYN */
	__u64 connection_tolerance_ns;
	__u64 capacity_increment; /* as a level's: nanoseconds a packet, or as `byte_increment` a byte; 0: no limit */
	__u64 capacity_tick_ns; /* what arrives in that time, and CAPACITY_STEP_PACKETS at once, is a rank's step; where
	                         * there is never a capacity, CAPACITY_STEP_NONE_NS */
	__u64 payload_mask[2];  /* cuts 16 bytes of the datagram to the user's */
};

#define BYTE_SHIFT 10

/* A rank at half the capacity that found room for two packets alone lost 4 %; with eight it loses less than 0.01 % (the
 * queue M/D/1). Where capacity is in bytes they are of a common size. */
#define CAPACITY_STEP_PACKETS 8
#define CAPACITY_STEP_NONE_NS (1ULL << 48) /* a step that nobody fills */
#define CAPACITY_STEP_BYTES   (CAPACITY_STEP_PACKETS * 1514ULL)

/* Of a step, what a CPU has admitted and owes the capacity: a 32nd at most, so that sixteen CPUs owe half a step. */
#define CAPACITY_OWED_SHIFT 5

#define PAYLOAD_BYTES_MAX           16
#define PAYLOAD_OFFSET_MAX          2047
#define PAYLOAD_SPAN(offset, bytes) ((offset) << 5 | (bytes))
#define PAYLOAD_OFFSET(span)        ((span) >> 5)
#define PAYLOAD_BYTES(span)         ((span) & 31)

/* Policies beyond the services': for packets whose ports cannot be known (a later fragment without its first, a chain
 * of headers beyond the bound), one for each port table and one for an unknown protocol. They carry the tightest limit
 * that the packet could have fallen under, and count for `other`. */
#define POLICY_STRAY_UNKNOWN PORT_TABLES
#define POLICY_STRAYS        (PORT_TABLES + 1)
#define POLICY_STRAY(table)  (SERVICES_MAX + (table))
#define POLICIES             (SERVICES_MAX + POLICY_STRAYS)

struct policy_slot {
	struct policy policies[POLICIES];
	__u16 payload_spans[POLICIES]; /* PAYLOAD_SPAN: where in the datagram a user of kind `payload` is named */
	__u32 malformed_flags;         /* POLICY_OBSERVE: malformed packets are shadowed; MALFORMED_PASSES: passed */
	__u32 other_denied_flags;      /* POLICY_OBSERVE: what is denied and counts for `other` is shadowed */
	__u64 allowed_increment_ns;    /* of the allow list as a whole */
	__u64 allowed_tolerance_ns;
	__u32 tenant_roots[2]; /* [ipv6]: the leaf at which the search for a source's tenant begins */
	__u32 tenants;         /* which entry of the map `tenants` goes with this slot */
	__u64 sample_gap_ns;   /* between two samples of a busy service on one CPU */
} CACHE_ALIGNED;

#define MALFORMED_PASSES (1U << 1)

/* Tenants: from a source address to whose it is ------------------------------------------------------------------ */

#define SHARE_SHIFT 20
#define SHARE_ONE   (1U << SHARE_SHIFT)

/* What the packet path needs of a tenant. */
struct tenant {
	__u64 key;   /* made of its name, so that it is the same user after a reload */
	__u32 share; /* of what a packet costs a user of weight 1, in SHARE_ONEths: the weight's reciprocal */
	__u8 class;  /* enum service_class; CLASSES: the service's */
};

/* A trie of a byte or more a step, whose nodes are as small as what is in them (after the adaptive radix tree; Leis,
 * Kemper and Neumann, 2013). A leaf is what it leads to above a number: of a tenant, 0 for none, or of the line at
 * which a node begins. */
enum tenant_leaf {
	LEAF_TENANT,
	LEAF_DENSE,   /* 16 lines: a leaf for each value of the next byte */
	LEAF_SPARSE,  /* one line: a leaf for each run of values */
	LEAF_PAIR,    /* one line: a leaf for each run of values of the next two bytes */
	LEAF_COMPARE, /* one line: many bits that must be the same */
};
#define LEAF_KIND_SHIFT   29
#define LEAF_OF(kind, at) ((__u32)(kind) << LEAF_KIND_SHIFT | (at))
#define LEAF_KIND(leaf)   ((leaf) >> LEAF_KIND_SHIFT)
#define LEAF_AT(leaf)     ((leaf) & ((1U << LEAF_KIND_SHIFT) - 1))
#define DENSE_LEAVES      16 /* in a line */
#define SPARSE_LEAVES     12
#define PAIR_LEAVES       10
#define TENANTS_IN_LINE   4
#define TENANT_STEPS_MAX  16 /* each takes a byte of the address at least, and none begins behind the last */

/* The unit of a tenants' map: a cache line. The tenants themselves, by number, are in the first ones. */
union tenant_line {
	struct tenant tenants[TENANTS_IN_LINE];
	__u32 dense[DENSE_LEAVES];
	struct {
		__u64 ends[2]; /* bytes: the last value of each run but the last, in order; then 255 */
		__u32 leaves[SPARSE_LEAVES];
	} sparse;
	struct {
		__u64 ends[3]; /* the same in halves of a word; then 65535 */
		__u32 leaves[PAIR_LEAVES];
	} pair;
	struct {
		__u64 value[2], mask[2]; /* network order */
		__u32 same, other;       /* leaves */
		__u32 byte;              /* at which the search goes on */
	} compare;
} CACHE_ALIGNED;

#define TENANT_LINES 262144 /* 16 MiB; 100,000 prefixes at random take 9 at the most */

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

#define HASH_KEYS 6 /* the last one is for the lists' filter */

/* `active` is read once a packet, so that a packet is judged by one policy and one classifier throughout. */
struct live {
	__u32 active;               /* LIVE_* */
	__u32 abi;                  /* SPILLWAY_ABI of the state; 0 until it is ready */
	__u64 hash_keys[HASH_KEYS]; /* odd, random for the life of the table */
	__u64 clock_ns;             /* the packet path's time, written by the program `clock` when user space asks */
	__u32 features;             /* FEATURE_* that the active policy uses */
	__u32 relax_after;          /* a level or a capacity older than that (>> SECOND_SHIFT) no longer counts */
	__u32 list_anchors[2];      /* [ipv6]: which of the family's anchors any entry of the lists has */
	__u32 list_generation;      /* of the lists' content: another one after each change */
} CACHE_ALIGNED;

/* A level in one word, so that it is never torn: the increment, above the time (>> SECOND_SHIFT) at which the
 * controller last stood by it. The increment is nanoseconds a packet, or with POLICY_BYTES as in `byte_increment`; 0
 * says nothing, and what is configured counts. */
#define LEVEL_TIME_BITS              24
#define LEVEL_TIME_MASK              ((1ULL << LEVEL_TIME_BITS) - 1)
#define LEVEL_WORD(increment, clock) ((__u64)(increment) << LEVEL_TIME_BITS | ((clock) & LEVEL_TIME_MASK))

#define COST_SHIFT 8

/* How far a service has used its capacity, and what that is: a cache line to itself. */
struct capacity_state {
	__u64 tat_ns;   /* GCRA's theoretical arrival time; written by the packet path, as is `named_ns` */
	__u64 word;     /* LEVEL_WORD; written by user space, as are `burst_ns` and `costs` */
	__u64 burst_ns; /* how much further ahead any packet may find that time than its rank says */
	__u64 named_ns; /* when a newcomer without room was last given a name */
	__u64 connects; /* TCP SYNs that came; two CPUs at once may lose some */
	__u32 costs[2]; /* [TCP SYN]: of a packet, in 256ths (COST_SHIFT) of what the word says; 0: all of it */
} CACHE_ALIGNED;

/* How far the allow list as a whole has used its limit: GCRA's theoretical arrival time, and what came beyond it. */
struct list_allowance {
	__u64 tat_ns;
	__u64 over_packets;
} CACHE_ALIGNED;

#define LIVE_POLICY_SLOT(active)     ((active) & 1)
#define LIVE_CLASSIFIER_SLOT(active) (((active) >> 1) & 1)
#define LIVE_BATCHES                 (1U << 2) /* many users are active: charges are settled in batches */

/* All that user space writes and every packet reads, as the program's one global variable: its address is known when
 * the program is loaded, where an entry of a map must be looked up (1 ns each). It has 4 MB at most before kernel 5.19.
 */
struct state {
	struct live live;
	struct policy_slot policies[2];
	__u64 levels[POLICIES]; /* LEVEL_WORD: what a user of weight 1 may send now */
	struct capacity_state capacities[SERVICES_MAX];
	struct classifier_slot classifiers[2];
	struct list_allowance allowance; /* written by the packet path */
};

/* The meter's table ---------------------------------------------------------------------------------------------- */

#define SET_CELLS 4

struct meter_cell {
	__u32 tag;   /* whose it is; 0: nobody's */
	__u32 bytes; /* modulo 2^32 */
};

/* A set is one cache line, and a cell a column of it: of the same size as its state. `states` holds the 44-bit
 * theoretical arrival time (TAT) in nanoseconds above a bit for tenure and 19 bits of packets passed, so that one
 * compare-and-swap charges and counts. */
struct meter_set {
	__u64 states[SET_CELLS];
	struct meter_cell cells[SET_CELLS];
};

#define STATE_TAT_SHIFT    20
#define STATE_TENURED      (1ULL << 19)
#define STATE_PACKETS_MASK (STATE_TENURED - 1)
#define STATE_TAT_MASK     (~0ULL << STATE_TAT_SHIFT)

/* What a user's cell has no room for; written on the user's second packet, or its eighteenth where users crowd its set,
 * and on its spills. Where the tag is not the cell's, or the user has sent one packet, as in a forged flood, what lies
 * here is an earlier user's. `carried` is what was carried out of the cell's narrow counts; the sum of both is the
 * user's. */
struct user_detail {
	__u64 key[2];     /* a source prefix, network order, IPv4 as ::ffff:a.b.c.d; or what the kind says */
	__u32 first_seen; /* the meter's clock >> SECOND_SHIFT */
	__u16 service;
	__u8 kind; /* enum user_kind: what the key is */
	__u8 ipv6;
	__u64 carried_packets;
	__u64 carried_bytes; /* and those of spilled packets: a user's bytes are all that it sent */
	__u64 spilled_packets;
	__u64 shadow_packets;
	__u32 tag;
	__u16 epoch;  /* of tenure: when the user last was steady, in its lowest bits */
	__u16 streak; /* epochs in a row in which it was */
};

#define SECOND_SHIFT 30 /* a second, nearly: 2^30 ns; a shift where a division would cost more than the rest */

/* One entry of `meter_details`, beside the set of the same index. */
struct set_details {
	struct user_detail users[SET_CELLS];
};

/* What newcomers share while all four cells of the set are running; one entry of `meter_overflows`. */
struct set_overflow {
	__u64 state;
	__u64 packets; /* metered there */
};

/* The times of limits in bytes and connections, as in `states` but whole words; one entry of `meter_gauges`. */
struct set_gauges {
	__u64 bytes_tat_ns[SET_CELLS];
	__u64 connections_tat_ns[SET_CELLS];
};

/* Whoever has passed so many packets keeps its cell through pauses of half a second, such as chance makes at 20 packets
 * a second: a flood that fills the table does not take it between two packets. */
#define KEPT_PACKETS 16
#define KEPT_BITS    29
#define KEPT_NS      (1ULL << KEPT_BITS)

/* Tenure is earned by being steady in TENURE_STREAK epochs in a row: by passing another TENURE_PACKETS-th packet within
 * each. That takes a minute and more than 1.6 packets a second throughout, so that neither a burst nor a packet a
 * second from each of many forged addresses buys it. A spill starts the streak anew. Whoever has tenure keeps it
 * through TENURE_KEPT_NS of silence: so long its cell is nobody else's. */
#define TENURE_PACKETS     16
#define TENURE_EPOCH_SHIFT 33 /* 8.6 s */
#define TENURE_STREAK      8
#define TENURE_KEPT_BITS   39
#define TENURE_KEPT_NS     (1ULL << TENURE_KEPT_BITS) /* 9 minutes */

/* Tags ----------------------------------------------------------------------------------------------------------- */

/* Which user an application says that a connection is (include/spillway.h): what lies in `tags`, under the addresses
 * and ports that the peer's packets carry. */
#define TAGS_MAX (1U << 20)

struct tag_key {
	__u64 remote[2]; /* as in struct packet: the source */
	__u64 local[2];
	__be16 remote_port;
	__be16 local_port;
	__u32 table; /* PORTS_TCP or PORTS_UDP */
};

struct tag {
	__u64 user;
	__u64 tagged_ns; /* by which the socket knows it again as its own */
};

#define TAG_UIDS_MAX 64 /* beside root */

/* Fragments ------------------------------------------------------------------------------------------------------ */

/* Direct-mapped memory of which service a datagram's first fragment went to: one word an entry, so that it is never
 * torn: 32 bits of tag, 16 of time (>> SECOND_SHIFT), 16 of service. */
#define FRAGMENTS         65536
#define FRAGMENT_LIFETIME 28 /* times 2^30 ns: as long as Linux keeps an incomplete datagram (ip_frag_time) */

/* The lists ------------------------------------------------------------------------------------------------------ */

enum list {
	LIST_NONE,
	LIST_ALLOW,
	LIST_DENY,
	LISTS,
};

/* Key of `lists`, a longest-prefix-match trie: IPv4 as ::ffff:a.b.c.d, so that its lengths begin at LIST_IPV4. */
struct list_key {
	__u32 length; /* in bits */
	__u32 address[4];
};

#define LIST_ADDRESS_BITS 128
#define LIST_IPV4         96

/* What is said about a prefix: by a verb until a time, and by the file as long as the verb says nothing. Where neither
 * says anything any more, the entry is none, and the next shorter prefix counts. */
struct list_entry {
	__u64 expires_ns; /* of `set`, on the meter's clock; LIST_FOR_GOOD */
	__u8 length;      /* the key's own */
	__u8 set, filed;  /* enum list: by a verb, by the file */
};

#define LIST_FOR_GOOD (~0ULL)

/* What most packets are spared the trie by: a Bloom filter of one hash over each entry's address, cut to the longest of
 * its family's anchors that is no longer than its prefix. A packet whose address, cut to each anchor that is in use,
 * finds no bit set is on no list. */
#define LIST_ANCHORS     6
#define LIST_FILTER_BITS 24 /* of a bit's index: 2 MiB; 100,000 entries make one anchor err on 0.6 % of addresses */

struct list_filter {
	__u64 words[1 << (LIST_FILTER_BITS - 6)];
};

/* What the trie has said about an address, so that a flood from listed ones asks it but once for each: direct-mapped,
 * overwritten by whoever comes next. `word` holds until when the answer is good above the list in LIST_WORD_BITS;
 * `check` is its exclusive or with the address's hash, which has the generation in it: words of two writers, or of
 * another time, do not match. */
#define LIST_MEMORY_BITS 18 /* of an index: 4 MiB */
#define LIST_WORD_BITS   2

struct list_memory {
	__u64 check;
	__u64 word;
};

/* Response times ------------------------------------------------------------------------------------------------- */

/* A request that waits for its reply: an entry of `samples`, a direct-mapped table in which a connection may
 * take either half of a cache line. `flow` is its keyed hash above two bits of state; whoever swaps that word has the
 * entry. */
#define RESPONSE_SAMPLES 8192

enum sample_kind {
	SAMPLE_SYN, /* answered by a SYN-ACK: by the kernel, which says nothing of the application's response time */
	SAMPLE_SEGMENT,  /* answered by bytes of the service's that come with an acknowledgement of it */
	SAMPLE_DATAGRAM, /* answered by a datagram */
};

#define SAMPLE_WAITING    1ULL /* in the lowest bits of `flow` */
#define SAMPLE_BUSY       2ULL /* the whole word: it is being written */
#define SAMPLE_OVERDUE    3ULL /* counted as unanswered; a reply that comes all the same counts */
#define SAMPLE_STATE_MASK 3ULL

struct response_sample {
	__u64 flow;  /* 0: free */
	__u64 at_ns; /* CLOCK_MONOTONIC */
	__u32 end;   /* TCP: the sequence number behind the request, which a reply acknowledges */
	__u32 had; /* TCP: what the peer had of the service's bytes by then: a reply goes beyond, a resent one does not
	            */
	__u16 service;
	__u8 kind; /* enum sample_kind */
	__u8 reserved;
	__u32 stands_for; /* packets (or bytes, where the service is measured in those) since the request before it that
	                     was written down, itself included */
};

/* Unanswered for so long is overdue: what the daemon tells within two seconds. What it has not looked after for twice
 * that long may be overwritten. */
#define RESPONSE_OVERDUE_NS 1500000000ULL

/* Buckets of response times in units of 4 us: 16 of a unit each, then 16 to each doubling, up to 17 s. */
#define RESPONSE_UNIT_SHIFT 12
#define RESPONSE_STEPS_BITS 4
#define RESPONSE_STEPS      (1 << RESPONSE_STEPS_BITS)
#define RESPONSE_UNITS_BITS 22
#define RESPONSE_BUCKETS    ((RESPONSE_UNITS_BITS - RESPONSE_STEPS_BITS + 1) * RESPONSE_STEPS)

/* One entry of `responses`, one a service. Shared by all CPUs: it is changed by samples and their replies alone, a
 * thousand times a second at the most, and read without a system call. */
struct service_responses {
	__u64 requests;   /* sampled segments and datagrams */
	__u64 connects;   /* sampled SYNs */
	__u64 accepted;   /* of them answered */
	__u64 unanswered; /* requests and SYNs that became overdue */
	__u64 crowded;    /* requests that were not sampled because both their entries were taken */
	__u64 done;       /* what the requests that were answered stood for, packets or bytes */
	__u64 apart;      /* passed on CPUs other than the requests that they came with: the next one stands for them */
	__u64 sum_ns;     /* of all response times */
	__u64 buckets[RESPONSE_BUCKETS];
};

/* What the host dropped -------------------------------------------------------------------------------------------- */

/* One entry of `host_drops`, one a service: packets by the running kernel's `enum skb_drop_reason`. */
#define DROP_REASONS 192
#define DROP_OTHER   190 /* a reason of a subsystem's own, or of a kernel that has more of them */
#define DROP_LISTEN_OVERFLOW \
	191 /* a listener's queue was full, where the kernel has no such reason of its own (6.14) */

struct service_drops {
	__u64 packets[DROP_REASONS];
};
