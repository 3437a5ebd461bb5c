/* SPDX-License-Identifier: GPL-2.0-only */
/* Users of kind `tenant`, through the real program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/world.h"
#include "unit/tenants_reference.h"

#define SERVICES                                                                                                      \
	"mode: enforce\nservices:\n"                                                                                  \
	"  - {name: dns, protocol: udp, ports: [53], user: {kind: tenant}, limit: {packets_per_second: 1, burst: "    \
	"900}}\n"                                                                                                     \
	"  - {name: plain, protocol: udp, ports: [54], limit: {packets_per_second: 1, burst: 900}}\n"                 \
	"  - {name: big, protocol: udp, ports: [55], user: {kind: tenant},\n"                                         \
	"     limit: {bytes_per_second: 1000, burst_bytes: 100kB}}\n"                                                 \
	"  - {name: web, protocol: tcp, ports: [80], user: {kind: tenant},\n"                                         \
	"     limit: {connections_per_second: 1, burst_connections: 800}}\n"                                          \
	"  - {name: tight, protocol: udp, ports: [56], user: {kind: tenant}, capacity: 1}\n"                          \
	"  - {name: slow, protocol: udp, ports: [57], user: {kind: tenant}, limit: {packets_per_second: 0.1, burst: " \
	"90}}\n"
#define TENANTS                                                                          \
	"tenants:\n"                                                                     \
	"  - {name: wide, prefixes: [10.0.0.0/8, \"2001:db8::/32\"], weight: 4}\n"       \
	"  - {name: inner, prefixes: [10.1.0.0/16, \"2001:db8:1::/48\"], weight: 0.5}\n" \
	"  - {name: host, prefixes: [10.1.2.3, \"2001:db8:1::3\"]}\n"                    \
	"  - {name: heavy, prefixes: [172.16.0.0/12], weight: 1000}\n"                   \
	"  - {name: third, prefixes: [192.168.0.0/20], weight: 3}\n"                     \
	"  - {name: first-class, prefixes: [192.0.2.0/24], class: critical}\n"           \
	"  - {name: last-class, prefixes: [203.0.113.0/24], class: sheddable}\n"

static struct world world;

static unsigned run(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	return world_run(&world, frame, length, repeat);
}

static unsigned send_from(const char *source, const char *transport, unsigned repeat)
{
	char words[120];

	snprintf(words, sizeof(words), "%c:src=%s %s", strchr(source, ':') ? '6' : '4', source, transport);
	return run(words, repeat);
}

static __u64 passed(const char *service)
{
	return world_tallies(&world, service).outcomes[OUTCOME_PASSED].packets;
}

static __u64 spilled(const char *service, enum reason reason)
{
	return world_tallies(&world, service).outcomes[OUTCOME_SPILLED + reason].packets;
}

/* The name of the tenant that a key stands for. */
static const char *tenant_name(__u64 key)
{
	static char name[CONFIG_NAME_MAX];
	struct config_faults faults;
	struct config *config;

	assert_int_equal(config_parse(TENANTS, strlen(TENANTS), &config, &faults), 0);
	const struct config_tenant *tenant = config_find_tenant(config, key);
	snprintf(name, sizeof(name), "%s", tenant ? tenant->name : "?");
	config_free(config);
	return name;
}

/* Whose packets from `source` are: the name of a tenant, or "source". */
static const char *user_of(const char *source, const char *transport)
{
	__u64 packets, bytes;

	world_forget(&world);
	send_from(source, transport, 2);
	const struct user_detail *detail = world_only_user(&world, &packets, &bytes);
	assert_non_null(detail);
	assert_int_equal(packets, 2);
	return detail->kind == USER_TENANT ? tenant_name(detail->key[0]) : "source";
}

static void test_the_longest_prefix_names_the_tenant(void **state)
{
	static const struct {
		const char *source, *user;
	} cases[] = {
		{"10.0.0.0", "wide"},
		{"10.255.255.255", "wide"},
		{"10.1.0.0", "inner"},
		{"10.1.255.255", "inner"},
		{"10.1.2.3", "host"},
		{"10.1.2.2", "inner"},
		{"9.255.255.255", "source"},
		{"11.0.0.0", "source"},
		{"192.168.15.255", "third"},
		{"192.168.16.0", "source"},
		{"172.31.0.1", "heavy"},
		{"0.0.0.0", "source"},
		{"2001:db8::", "wide"},
		{"2001:db8:1::", "inner"},
		{"2001:db8:1:ffff::", "inner"},
		{"2001:db8:1::3", "host"},
		{"2001:db8:2::", "wide"},
		{"2001:db9::", "source"},
		{"::", "source"},
		{"::ffff:10.1.2.3", "source"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(user_of(cases[i].source, "udp:53"), cases[i].user);
	/* Only where the service wants it. */
	assert_string_equal(user_of("10.0.0.1", "udp:54"), "source");
}

static void test_a_tenant_is_one_user(void **state)
{
	(void)state;
	world_reset(&world);
	for (int host = 0; host < 50; host++) {
		char source[24];
		snprintf(source, sizeof(source), "192.168.%d.%d", host % 16, host);
		send_from(source, "udp:53", 100);
	}
	assert_in_range(passed("dns"), 2698, 2720); /* 899 s at 3 a second, and one; with what a slow machine adds */
	/* Who has no tenant has a limit of its own, and so has another service. */
	send_from("8.8.8.8", "udp:53", 2000);
	send_from("8.8.4.4", "udp:53", 2000);
	assert_in_range(passed("dns"), 2698 + 1800, 2720 + 1810);
	assert_int_equal(send_from("192.168.1.1", "udp:54", 1), XDP_PASS);
}

static void test_weight_counts_in_packets(void **state)
{
	static const struct {
		const char *source;
		unsigned sent, expected; /* 899 s of burst at a packet a second, and one */
	} cases[] = {
		{"10.0.0.1", 10000, 3597},    {"10.1.0.1", 10000, 450},        {"10.1.2.3", 10000, 900},
		{"192.168.0.1", 10000, 2698}, {"172.16.0.1", 1000000, 899001},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned expected = cases[i].expected;
		world_reset(&world);
		send_from(cases[i].source, "udp:53", cases[i].sent);
		assert_in_range(passed("dns"), expected - expected / 200, expected + expected / 100);
		assert_int_equal(passed("dns") + spilled("dns", REASON_USER_LIMIT), cases[i].sent);
	}
}

static void test_weight_counts_in_bytes(void **state)
{
	static const struct {
		const char *source;
		unsigned expected; /* 100 s at 10 frames a second, and the one that crosses the line */
	} cases[] = {{"10.0.0.1", 4001}, {"10.1.0.1", 501}, {"10.1.2.3", 1001}, {"192.168.0.1", 3001}};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		world_reset(&world);
		send_from(cases[i].source, "udp:55,len=66 raw:58", 20000); /* 100 bytes */
		assert_in_range(passed("big"), cases[i].expected - cases[i].expected / 200,
		                cases[i].expected + cases[i].expected / 100 + 2);
		assert_int_equal(passed("big") + spilled("big", REASON_USER_BYTES), 20000);
	}
}

static void test_weight_counts_in_connections(void **state)
{
	static const struct {
		const char *source;
		unsigned expected; /* 799 s, and one */
	} cases[] = {{"10.0.0.1", 3197}, {"10.1.0.1", 400}, {"10.1.2.3", 800}, {"192.168.0.1", 2398}};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		world_reset(&world);
		send_from(cases[i].source, "tcp:80,flags=2", 5000);
		assert_in_range(passed("web"), cases[i].expected - cases[i].expected / 200,
		                cases[i].expected + cases[i].expected / 100);
		assert_int_equal(passed("web") + spilled("web", REASON_USER_CONNECTIONS), 5000);
	}
}

static void test_class_counts_against_capacity(void **state)
{
	(void)state;
	world_reset(&world);
	/* Of the same capacity the sheddable may use less than newcomers without a tenant, and these less than the
	 * critical. */
	send_from("203.0.113.1", "udp:56", 100);
	__u64 sheddable = passed("tight");
	assert_int_equal(send_from("203.0.113.2", "udp:56", 1), XDP_DROP);
	send_from("8.8.8.8", "udp:56", 100);
	__u64 normal = passed("tight") - sheddable;
	assert_true(normal > 0);
	assert_int_equal(send_from("8.8.8.8", "udp:56", 1), XDP_DROP);
	assert_int_equal(send_from("10.0.0.1", "udp:56", 1), XDP_DROP); /* a tenant without a class has the service's */
	send_from("192.0.2.1", "udp:56", 100);
	assert_true(passed("tight") > sheddable + normal);
	assert_int_equal(send_from("192.0.2.1", "udp:56", 1), XDP_DROP);
	assert_int_equal(spilled("tight", REASON_CAPACITY), 304 - passed("tight"));
}

/* A tenant keeps what it has used up, however the list is changed around it; without it, its addresses are sources. */
static void test_state_outlives_a_reload(void **state)
{
	(void)state;
	world_reset(&world);
	send_from("10.1.2.3", "udp:57", 1000);
	assert_in_range(passed("slow"), 90, 91);
	world_apply(&world, SERVICES "tenants:\n"
	                             "  - {name: aaaa, prefixes: [10.1.0.0/16]}\n"
	                             "  - {name: host, prefixes: [10.7.7.7, 10.1.2.3]}\n"
	                             "  - {name: zzzz, prefixes: [10.0.0.0/8]}\n");
	assert_int_equal(send_from("10.1.2.3", "udp:57", 5), XDP_DROP);
	assert_int_equal(send_from("10.7.7.7", "udp:57", 5), XDP_DROP);
	assert_int_equal(send_from("10.1.2.4", "udp:57", 1), XDP_PASS);
	world_apply(&world, SERVICES "tenants:\n  - {name: zzzz, prefixes: [11.0.0.0/8]}\n");
	assert_int_equal(send_from("10.1.2.3", "udp:57", 1), XDP_PASS);
	world_apply(&world, SERVICES TENANTS);
	assert_int_equal(send_from("10.1.2.3", "udp:57", 5), XDP_DROP);
}

/* Bytes of kernel memory in the map of a slot's tenants; 0 for none. */
static size_t tenants_room(__u32 slot)
{
	struct bpf_map_info map = {0};
	__u32 id, size = sizeof(map);

	if (bpf_map_lookup_elem(bpf_map__fd(world.datapath->keeper->skeleton->maps.tenants), &slot, &id) < 0)
		return 0;
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &map, &size), 0);
	return (size_t)map.max_entries * map.value_size;
}

static void test_only_what_is_used_is_there(void **state)
{
	(void)state;
	assert_true(world.datapath->features & FEATURE_TENANTS);
	assert_true((tenants_room(0) > 0) != (tenants_room(1) > 0));
	assert_int_equal(tenants_room(0) + tenants_room(1), 16 << 20);
	world_apply(&world, "services:\n  - {name: dns, protocol: udp, ports: [53]}\n" TENANTS);
	assert_int_equal(world.datapath->features & ~FEATURE_RESPONSE, 0);
	assert_int_equal(tenants_room(0) + tenants_room(1), 0);
	world_apply(&world, SERVICES TENANTS);
}

/* A new daemon finds the tenants at work, and takes them over. */
static void test_adoption(void **state)
{
	(void)state;
	struct datapath_options options = {.pins = world.pins, .table_users = 1000};
	struct error err;

	world_reset(&world);
	send_from("10.1.2.3", "udp:57", 1000);
	datapath_close(world.datapath);
	assert_int_equal(datapath_open(&world.datapath, &options, &err), 0);
	assert_true(datapath_adopted(world.datapath));
	assert_int_equal(send_from("10.1.2.3", "udp:57", 5), XDP_DROP); /* before it has applied anything */
	assert_string_equal(user_of("10.1.0.1", "udp:53"), "inner");
	world_apply(&world, SERVICES TENANTS);
	assert_string_equal(user_of("10.1.0.1", "udp:53"), "inner");
}

/* Packets of all users of that kind and key in the table. */
static __u64 packets_of(enum user_kind kind, __u64 key)
{
	struct table_view table = datapath_table(world.datapath);
	__u64 packets = 0;

	for (size_t set = 0; set < table.count; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			if (table.sets[set].cells[cell].tag && table.details[set].users[cell].kind == kind &&
			    (kind == USER_SOURCE || table.details[set].users[cell].key[0] == key))
				packets += table.sets[set].states[cell] & STATE_PACKETS_MASK;
	return packets;
}

/* The kernel's walk says what the obvious search does, with as many prefixes as there may be. */
static void test_a_hundred_thousand_prefixes(void **state)
{
	uint64_t seed = 42;
	(void)state;

	for (int spread = ANYWHERE; spread <= IN_BLOCKS; spread++) {
		struct config_faults faults;
		struct config *config;
		struct error err;
		unsigned tenants_seen = 0;

		assert_int_equal(config_parse(SERVICES TENANTS, strlen(SERVICES TENANTS), &config, &faults), 0);
		free(config->tenants);
		free(config->tenant_prefixes);
		size_t fewer = world_emulated() ? 20 : 1;
		random_tenants(&seed, (enum spread)spread, CONFIG_TENANTS_MAX / fewer,
		               CONFIG_TENANT_PREFIXES_MAX / fewer, config);
		assert_int_equal(datapath_apply(world.datapath, config, &err), 0);
		for (int i = 0; i < 100; i++) {
			world_forget(&world); /* in a crowded set nobody is written down with the second packet */
			bool ipv4 = random_below(&seed, 2);
			char source[INET6_ADDRSTRLEN];
			uint8_t address[16];
			random_address(&seed, config, ipv4, address);
			inet_ntop(ipv4 ? AF_INET : AF_INET6, address + (ipv4 ? 12 : 0), source, sizeof(source));
			unsigned expected = slow_lookup(config, ipv4, address);
			enum user_kind kind = expected ? USER_TENANT : USER_SOURCE;
			__u64 key = expected ? config->tenants[expected - 1].key : 0, before = packets_of(kind, key);
			send_from(source, "udp:53", 2);
			assert_int_equal(packets_of(kind, key) - before, 2);
			tenants_seen += expected != 0;
		}
		assert_in_range(tenants_seen, 30, 100);
		config_free(config);
	}
	world_apply(&world, SERVICES TENANTS);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, SERVICES TENANTS);
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_longest_prefix_names_the_tenant),
		cmocka_unit_test(test_a_tenant_is_one_user),
		cmocka_unit_test(test_weight_counts_in_packets),
		cmocka_unit_test(test_weight_counts_in_bytes),
		cmocka_unit_test(test_weight_counts_in_connections),
		cmocka_unit_test(test_class_counts_against_capacity),
		cmocka_unit_test(test_state_outlives_a_reload),
		cmocka_unit_test(test_only_what_is_used_is_there),
		cmocka_unit_test(test_adoption),
		cmocka_unit_test(test_a_hundred_thousand_prefixes),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
