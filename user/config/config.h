/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration as the operator meant it: YAML in, one plain struct out, or every fault that it has with its place.
 * Knows nothing of the kernel's maps: datapath/ compiles this struct into them. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/prefix.h"

#define CONFIG_NAME_MAX            32   /* a service's name with its terminating zero */
#define CONFIG_SERVICES_MAX        1024 /* services beside the built-in `other` */
#define CONFIG_PORTS_MAX           64   /* ports and port ranges of one service */
#define CONFIG_DESTINATIONS_MAX    64   /* destination prefixes of one service */
#define CONFIG_INTERFACES_MAX      16
#define CONFIG_CGROUP_MAX          1024 /* a cgroup's path with its terminating zero */
#define CONFIG_TAG_UIDS_MAX        64
#define CONFIG_FILE_MAX            (4U << 20) /* bytes; a larger file is refused */
#define CONFIG_TENANTS_MAX         10000
#define CONFIG_TENANT_PREFIXES_MAX 100000 /* of all tenants together */

/* The IANA protocol number is the value (RFC 8200 and the protocol-numbers registry). */
enum config_protocol {
	CONFIG_ICMP = 1,
	CONFIG_TCP = 6,
	CONFIG_UDP = 17,
	CONFIG_ICMPV6 = 58,
	CONFIG_SCTP = 132,
};

enum config_mode {
	CONFIG_OBSERVE, /* decide and count everything, drop nothing */
	CONFIG_ENFORCE,
};

enum config_malformed {
	CONFIG_MALFORMED_SPILL,
	CONFIG_MALFORMED_PASS,
};

struct config_ports {
	uint16_t first;
	uint16_t last; /* the last one in the range: equal to `first` for a single port */
};

/* One of the paces that a user of weight 1 is held to. */
struct config_pace {
	double per_second; /* above 0; 0 where no limit is set */
	double burst;      /* beyond the pace; where the file is silent a tenth of a second's worth, at least 1 */
};

struct config_limit {
	struct config_pace packets, bytes, connections; /* a connection is a TCP SYN */
};

enum config_class {
	CONFIG_SHEDDABLE,
	CONFIG_NORMAL,
	CONFIG_CRITICAL,
};

/* Between what the controller may move a service's level, and how it is to know how the service feels. */
struct config_adaptive {
	bool on;
	bool bytes;               /* level and capacity are in bytes a second; else in packets */
	double minimum, maximum;  /* of the level; the maximum is also the limit while no controller is there */
	double capacity_minimum;  /* the maximum is the service's capacity, 0: any */
	double target_response_s; /* 0: learnt */
};

/* Whose packets are counted together. */
enum config_kind {
	CONFIG_SOURCE,  /* the source address */
	CONFIG_TENANT,  /* the tenant that the source address belongs to; where it has none, the address */
	CONFIG_PAYLOAD, /* bytes of the datagram; where it ends before them, the source address */
	CONFIG_TAG,     /* what the application has said; where it has not, the source address */
};

#define CONFIG_PAYLOAD_OFFSET_MAX 2047
#define CONFIG_PAYLOAD_BYTES_MAX  16

/* A name with its place in the file, so that what fails later can still point at the line. */
struct config_mark {
	unsigned line, column; /* from 1 */
};

struct config_service {
	char name[CONFIG_NAME_MAX];
	struct config_mark mark;
	enum config_protocol protocol;
	struct config_ports ports[CONFIG_PORTS_MAX]; /* none for protocols that have no ports */
	size_t ports_count;
	struct prefix destinations[CONFIG_DESTINATIONS_MAX]; /* none: any destination */
	size_t destinations_count;
	enum config_mode mode; /* the file's own mode unless the service has one */
	struct config_limit limit;
	enum config_class class;
	double capacity_pps; /* of the service as a whole (adaptive.bytes: in bytes); 0: no limit */
	struct config_adaptive adaptive;
	bool level_held, capacity_held; /* an override stands where the controller's would */
	bool replies;                   /* it answers what it is asked, so that its response time can be measured */
	enum config_kind user_kind;
	uint16_t payload_offset;  /* of CONFIG_PAYLOAD, from the end of the UDP header */
	uint8_t payload_bytes;    /* 1 to CONFIG_PAYLOAD_BYTES_MAX */
	uint8_t user_ipv4_length; /* 0 to 32: the source address is cut to this prefix */
	uint8_t user_ipv6_length; /* 0 to 128 */
};

/* The lists that the file gives, and what they are held to. */
#define CONFIG_LISTED_MAX           65536
#define CONFIG_LIST_ENTRIES_DEFAULT 1100000

struct config_listed {
	struct prefix prefix;
	bool denied; /* else allowed */
	struct config_mark mark;
};

struct config_lists {
	struct config_listed *entries; /* in the order of prefixes, each one once */
	size_t count;
	double allowed_pps;    /* of the allow list as a whole; beyond, packets are judged as anybody's */
	uint32_t entries_most; /* on both lists, by the file and by verbs */
};

/* A named list of prefixes whose packets are one user's in each service of kind `tenant`. */
struct config_tenant {
	char name[CONFIG_NAME_MAX];
	struct config_mark mark;
	uint64_t key;  /* made of the name: who it is, after a reload as well */
	double weight; /* its limits are the service's times this */
	enum config_class class;
	bool class_given; /* else the service's class is its */
	uint32_t number;  /* while the file is read: its place in the list */
};

struct config_tenant_prefix {
	struct prefix prefix;
	uint32_t tenant; /* index in config.tenants */
};

struct config_listen {
	bool on;
	char host[64]; /* an address as text */
	uint16_t port;
};

/* What stands out: see control/hotspot.h. */
struct config_hotspots {
	double share;       /* of its service, 0 to 1 */
	double past, level; /* times the usual; times what a user may send; 0: not looked at */
	double least_pps;
};

/* Who may say which user a connection belongs to, beside root. */
struct config_tags {
	char cgroup[CONFIG_CGROUP_MAX]; /* whoever is in it, as /proc/PID/cgroup writes it: "/system.slice"; or empty */
	uint32_t uids[CONFIG_TAG_UIDS_MAX];
	size_t uids_count;
};

/* Who may use the control socket beside root: groups of this host, by name or number; empty: see daemon/peers.h. */
#define CONFIG_GROUP_MAX 64
struct config_control {
	char group[CONFIG_GROUP_MAX];   /* may change */
	char viewers[CONFIG_GROUP_MAX]; /* may only read */
};

#define CONFIG_HISTORY_PATH_MAX      1024
#define CONFIG_HISTORY_PATH_DEFAULT  "/var/lib/spillway/history.db"
#define CONFIG_HISTORY_BYTES_DEFAULT (1ULL << 30)
#define CONFIG_HISTORY_BYTES_LEAST   16000000ULL

/* Where what was is kept, and how much of it. */
struct config_history {
	bool on;
	char path[CONFIG_HISTORY_PATH_MAX]; /* of the database; absolute */
	uint64_t bytes;                     /* that it may take on disk, its log included */
};

struct config {
	char interfaces[CONFIG_INTERFACES_MAX][IF_NAMESIZE];
	size_t interfaces_count;
	enum config_mode mode;
	enum config_malformed malformed; /* what becomes of packets that cannot be parsed */
	bool allow_generic;              /* attach in generic mode where the driver has no native one */
	struct config_listen listen;
	struct config_control control;
	struct config_tags tags;
	struct config_hotspots hotspots;
	uint64_t table_users;   /* users that may be active at once */
	unsigned metrics_users; /* heaviest users a service that /metrics names */
	struct config_lists lists;
	uint32_t relax_after_s; /* after so long without a controller, its levels no longer count */
	struct config_history history;
	struct config_service *services;
	size_t services_count;
	struct config_tenant *tenants; /* sorted by key */
	size_t tenants_count;
	struct config_tenant_prefix *tenant_prefixes; /* one may lie within another: the longest counts */
	size_t tenant_prefixes_count;
};

/* One fault of a file. `line` and `column` count from 1; both are 0 where the fault has no place (the file is missing).
 */
struct config_fault {
	struct config_mark mark;
	char text[256]; /* what was found, what was expected */
};

/* All faults of one file, in the order of their places; at most CONFIG_FAULTS_MAX are kept, `count` is how many there
 * were. */
#define CONFIG_FAULTS_MAX 50
struct config_faults {
	struct config_fault faults[CONFIG_FAULTS_MAX];
	size_t count;
};

/* How files are opened for reading: returns a descriptor, or -errno. -EXDEV: it lies where none may be opened. */
struct config_opener {
	int (*open)(void *argument, const char *path);
	void *argument;
};

/* Reads and validates the file at `path`. Returns 0 with `*out` owned by the caller (config_free); or -EINVAL with
 * every fault in `*faults`; or another negative errno where the file could not be read, `*faults` then holding that one
 * cause.
 * `*out` is left alone on failure. */
int config_load(const char *path, struct config **out, struct config_faults *faults);

/* The same for a file, and those that it names, which somebody else opens. */
int config_load_by(const struct config_opener *opener, const char *path, struct config **out,
                   struct config_faults *faults);

/* The same for `size` bytes at `text`, which need not end in a zero. */
int config_parse(const char *text, size_t size, struct config **out, struct config_faults *faults);

void config_free(struct config *config);

/* The tenant that has that key, NULL for none. */
const struct config_tenant *config_find_tenant(const struct config *config, uint64_t key);

/* Writes one fault as compilers do: "FILE:LINE:COLUMN: what was found: what was expected". */
void config_fault_format(const char *path, const struct config_fault *fault, char *out, size_t size);
