/* SPDX-License-Identifier: GPL-2.0-only */
/* What not every configuration uses, through the real program: limits in bytes and connections, users by payload,
 * capacity with its ranks, tenure, levels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/world.h"

#define ENFORCE "mode: enforce\nservices:\n"

static struct world world;

static unsigned run(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	return world_run(&world, frame, length, repeat);
}

static __u64 outcome(const char *service, unsigned number)
{
	return world_tallies(&world, service).outcomes[number].packets;
}

static __u64 spilled(const char *service, enum reason reason)
{
	return outcome(service, OUTCOME_SPILLED + reason);
}

static void begin(const char *services)
{
	world_apply(&world, services);
	world_reset(&world);
}

static void test_limit_in_bytes(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: big, protocol: udp, ports: [53],\n"
	              "     limit: {bytes_per_second: 64, burst_bytes: 50500}}\n");
	/* Frames of 1,042 bytes: 48 fit, and the one that crosses the line. */
	run("4 udp:53,len=1008 raw:1000", 500);
	assert_int_equal(outcome("big", OUTCOME_PASSED), 49);
	assert_int_equal(outcome("big", OUTCOME_PASSED) + spilled("big", REASON_USER_BYTES), 500);
	/* Small frames of the same user are over as well, another user's are not. */
	assert_int_equal(run("4 udp:53", 1), XDP_DROP);
	assert_int_equal(run("4:src=203.0.113.9 udp:53", 1), XDP_PASS);
}

static void test_limit_in_connections(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: web, protocol: tcp, ports: [80],\n"
	              "     limit: {connections_per_second: 1, burst_connections: 20}}\n");
	run("4 tcp:80,flags=2", 100);
	assert_in_range(outcome("web", OUTCOME_PASSED), 20, 21);
	assert_int_equal(outcome("web", OUTCOME_PASSED) + spilled("web", REASON_USER_CONNECTIONS), 100);
	/* What is no SYN, and a SYN that answers one, goes on. */
	assert_int_equal(run("4 tcp:80,flags=16", 1), XDP_PASS);
	assert_int_equal(run("4 tcp:80,flags=18", 1), XDP_PASS);
	assert_int_equal(run("4 tcp:80,flags=2", 1), XDP_DROP);
}

/* A packet that one limit spills is not charged to the others. */
static void test_limits_do_not_charge_each_other(void **state)
{
	(void)state;
	begin(ENFORCE
	      "  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 1, burst: 60,\n"
	      "     connections_per_second: 1, burst_connections: 20, bytes_per_second: 64, burst_bytes: 50kB}}\n");
	run("4 tcp:80,flags=2", 500); /* 20 pass, 480 are over in connections alone */
	assert_in_range(outcome("web", OUTCOME_PASSED), 20, 21);
	run("4 tcp:80,flags=16", 500); /* so that 40 packets are left */
	assert_in_range(outcome("web", OUTCOME_PASSED), 60, 62);
	assert_in_range(spilled("web", REASON_USER_CONNECTIONS), 479, 480);
	assert_in_range(spilled("web", REASON_USER_LIMIT), 458, 460);
	assert_int_equal(spilled("web", REASON_USER_BYTES), 0);
}

/* Where nobody had limits in bytes for a while, cells have changed hands: whose they are now owes nothing. */
static void test_bytes_owed_by_earlier_users(void **state)
{
	static const char with_bytes[] = ENFORCE "  - {name: dns, protocol: udp, ports: [53],\n"
						 "     limit: {bytes_per_second: 64, burst_bytes: 50500}}\n";
	char words[80];
	(void)state;

	begin(with_bytes);
	for (int user = 0; user < 16; user++) {
		snprintf(words, sizeof(words), "4:src=10.0.0.%d udp:53 raw:1400", user);
		run(words, 100);
	}
	world_apply(&world, ENFORCE "  - {name: dns, protocol: udp, ports: [53]}\n");
	for (int user = 0; user < (int)world.datapath->sets * SET_CELLS; user++) {
		snprintf(words, sizeof(words), "4:src=10.1.%d.%d udp:53", user / 256, user % 256);
		run(words, 1);
	}
	world_apply(&world, with_bytes);
	for (int user = 0; user < (int)world.datapath->sets * SET_CELLS; user++) {
		snprintf(words, sizeof(words), "4:src=10.1.%d.%d udp:53 raw:1400", user / 256, user % 256);
		assert_int_equal(run(words, 1), XDP_PASS);
	}
}

static void test_users_by_payload(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: game, protocol: udp, ports: [27015], user: {kind: payload, offset: 4, length: 8},\n"
	              "     limit: {packets_per_second: 1, burst: 50}}\n");
	/* One session from many addresses is one user. */
	for (int host = 1; host <= 100; host++) {
		char words[80];
		snprintf(words, sizeof(words), "4:src=203.0.113.%d udp:27015 hex:000000001122334455667788", host);
		run(words, 1);
	}
	assert_in_range(outcome("game", OUTCOME_PASSED), 50, 51);
	/* Many sessions from one address are many; what follows the ID does not count. */
	for (int session = 1; session <= 100; session++) {
		char words[80];
		snprintf(words, sizeof(words), "4 udp:27015 hex:0000000099%02x445566778899%02x", session, session);
		assert_int_equal(run(words, 1), XDP_PASS);
	}
	/* A longer datagram, read at once, and a short one, read by the byte, name the same user. */
	assert_int_equal(run("4 udp:27015 hex:0000000011223344556677880000000000000000000000000000", 1), XDP_DROP);
	assert_int_equal(run("6 udp:27015 hex:000000001122334455667788", 1), XDP_DROP);
}

/* A datagram that ends before the user's bytes counts for its source. */
static void test_payload_beyond_the_datagram(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: game, protocol: udp, ports: [27015], user: {kind: payload, offset: 4, length: 8},\n"
	              "     limit: {packets_per_second: 1, burst: 50}}\n");
	run("4 udp:27015 hex:0000000011223344556677", 1000);
	assert_in_range(outcome("game", OUTCOME_PASSED), 50, 51);
	/* Bytes behind the datagram's own length are padding, and name nobody. */
	assert_int_equal(run("4 udp:27015,len=12 hex:000000001122334455667788", 1), XDP_DROP);
	assert_int_equal(run("4:src=203.0.113.1 udp:27015 hex:00", 1), XDP_PASS);
	assert_int_equal(run("4 udp:27015 hex:000000001122334455667788", 1), XDP_PASS);
}

static void test_capacity_bounds_all_users_together(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: dns, protocol: udp, ports: [53], class: sheddable, capacity: 10}\n");
	struct error err;
	__u64 sent = 0, began_ns = 0, ended_ns = 0;
	assert_int_equal(datapath_clock(world.datapath, &began_ns, &err), 0);
	for (int user = 0; user < 200; user++, sent++) {
		char words[80];
		snprintf(words, sizeof(words), "4:src=10.0.%d.1 udp:53", user);
		run(words, 1);
	}
	/* At 10 a second a newcomer's first datagram may find half a step ahead: four packets and a jiffy. */
	assert_in_range(outcome("dns", OUTCOME_PASSED), 5, 8);
	assert_int_equal(outcome("dns", OUTCOME_PASSED) + spilled("dns", REASON_CAPACITY), sent);
	/* Newcomers that are spilled take nobody's cell, but for one a jiffy. */
	assert_int_equal(datapath_clock(world.datapath, &ended_ns, &err), 0);
	__u64 jiffies = (ended_ns - began_ns) / world.datapath->jiffy_ns + 1;
	size_t seated = 0;
	for (size_t set = 0; set < world.datapath->sets; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			seated += world.datapath->table[set].cells[cell].tag != 0;
	/* Two that pass within a jiffy may share one: neither owes any. */
	assert_in_range(seated, 1, outcome("dns", OUTCOME_PASSED) + jiffies);
}

static void test_syns_go_before_established(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: web, protocol: tcp, ports: [80], capacity: 1}\n");
	run("4 tcp:80,flags=16", 1);
	run("4 tcp:80,flags=2", 100);
	assert_int_equal(run("4 tcp:80,flags=2", 1), XDP_DROP);
	assert_int_equal(run("4 tcp:80,flags=16", 1), XDP_PASS);
	run("4 tcp:80,flags=16", 100);
	assert_int_equal(run("4 tcp:80,flags=16", 1), XDP_DROP);
}

/* The detail of the one user in the table. */
static struct user_detail *only_detail(void)
{
	__u64 packets, bytes;
	const struct user_detail *found = world_only_user(&world, &packets, &bytes);

	assert_non_null(found);
	size_t offset = (size_t)((const char *)found - (const char *)world.datapath->details);
	return (struct user_detail *)((char *)world.datapath->details + offset);
}

static bool tenured(void)
{
	for (size_t set = 0; set < world.datapath->sets; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			if (world.datapath->table[set].cells[cell].tag)
				return world.datapath->table[set].states[cell] & STATE_TENURED;
	return false;
}

static void be_steady(void)
{
	assert_int_equal(run("4 udp:53", TENURE_PACKETS), XDP_PASS);
}

/* Puts the user's last steady epoch `back` epochs into the past, as if time had gone by; not when an epoch is about to
 * end. */
static void let_pass(struct user_detail *detail, unsigned back)
{
	const __u64 epoch_ns = 1ULL << TENURE_EPOCH_SHIFT;
	struct error err;
	__u64 now_ns;

	do
		assert_int_equal(datapath_clock(world.datapath, &now_ns, &err), 0);
	while (now_ns % epoch_ns > epoch_ns - epoch_ns / 16);
	detail->epoch = (__u16)((now_ns >> TENURE_EPOCH_SHIFT) - back);
}

#define TENURED_SERVICE                                                                                             \
	ENFORCE "  - {name: dns, protocol: udp, ports: [53], capacity: 1M, limit: {packets_per_second: 1k, burst: " \
		"900}}\n"

static void test_tenure_takes_time(void **state)
{
	(void)state;
	begin(TENURED_SERVICE);
	run("4 udp:53", 600); /* a burst is one epoch, or two where it meets a border */
	struct user_detail *detail = only_detail();
	assert_in_range(detail->streak, 1, 2);
	assert_false(tenured());
	for (unsigned streak = 2; streak <= TENURE_STREAK; streak++) {
		detail->streak = streak - 1;
		let_pass(detail, 1);
		be_steady();
		assert_in_range(detail->streak, streak, streak + 1);
		if (streak < TENURE_STREAK - 1)
			assert_false(tenured());
	}
	assert_true(tenured());
	/* It is kept beside silence and spills. */
	let_pass(detail, 20);
	run("4 udp:53", 5000);
	assert_true(tenured());
}

static void test_a_gap_or_a_spill_starts_the_streak_anew(void **state)
{
	(void)state;
	begin(TENURED_SERVICE);
	be_steady();
	be_steady();
	struct user_detail *detail = only_detail();
	detail->streak = TENURE_STREAK - 1;
	let_pass(detail, 2);
	be_steady();
	assert_int_equal(detail->streak, 1);
	detail->streak = TENURE_STREAK - 1;
	run("4 udp:53", 5000);
	assert_int_equal(detail->streak, 0);
	assert_false(tenured());
}

static void test_the_tenured_go_before_newcomers(void **state)
{
	(void)state;
	begin(ENFORCE "  - {name: dns, protocol: udp, ports: [53], capacity: 10}\n");
	run("4 udp:53", 1);
	for (size_t set = 0; set < world.datapath->sets; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			if (world.datapath->table[set].cells[cell].tag)
				world.datapath->table[set].states[cell] |= STATE_TENURED;
	for (int user = 0; user < 200; user++) {
		char words[80];
		snprintf(words, sizeof(words), "4:src=10.0.%d.1 udp:53", user);
		run(words, 1);
	}
	assert_int_equal(run("4:src=10.9.9.9 udp:53", 1), XDP_DROP);
	assert_int_equal(run("4 udp:53", 1), XDP_PASS);
}

/* As if nobody had stood by a level or a capacity for so many seconds. */
static __u64 word_aged(__u64 word, unsigned seconds)
{
	return (word & ~LEVEL_TIME_MASK) | ((word - seconds) & LEVEL_TIME_MASK);
}

/* A level counts while somebody stands by it; then the maximum does. */
static void test_a_level_relaxes(void **state)
{
	struct datapath *dp = world.datapath;
	struct error err;
	(void)state;

	begin(ENFORCE
	      "  - {name: dns, protocol: udp, ports: [53], adaptive: {minimum: 0.1, maximum: 1M, burst: 100ms}}\n"
	      "controller: {relax_after: 20s}\n");
	unsigned number = (unsigned)catalogue_find(datapath_catalogue(dp), "dns");
	assert_int_equal(run("4 udp:53", 1000), XDP_PASS);
	assert_int_equal(datapath_set_level(dp, number, 0.1, &err), 0);
	run("4:src=10.0.0.1 udp:53", 1000);
	assert_in_range(spilled("dns", REASON_USER_LIMIT), 990, 999);
	assert_int_equal(run("4:src=10.0.0.1 udp:53", 3), XDP_DROP);

	__u64 word = dp->state->levels[number];
	dp->state->levels[number] = word_aged(word, 19);
	assert_int_equal(run("4:src=10.0.0.1 udp:53", 1), XDP_DROP);
	dp->state->levels[number] = word_aged(word, 21);
	assert_int_equal(run("4:src=10.0.0.1 udp:53", 1), XDP_PASS);
	usleep(20000);
	assert_int_equal(run("4:src=10.0.0.1 udp:53", 1000), XDP_PASS);
	/* Somebody is back. */
	assert_int_equal(datapath_set_level(dp, number, 0.1, &err), 0);
	run("4:src=10.0.0.2 udp:53", 10);
	assert_int_equal(run("4:src=10.0.0.2 udp:53", 1), XDP_DROP);
	/* What it owes is forgiven, all but the burst. */
	assert_int_equal(datapath_set_level(dp, number, INFINITY, &err), 0);
	assert_int_equal(run("4:src=10.0.0.2 udp:53", 1), XDP_PASS);
	usleep(20000);
	assert_int_equal(run("4:src=10.0.0.2 udp:53", 1000), XDP_PASS);
}

/* The same in bytes; packets are not what it limits. */
static void test_a_level_in_bytes(void **state)
{
	struct datapath *dp = world.datapath;
	struct datapath_paces paces;
	struct error err;
	(void)state;

	begin(ENFORCE "  - {name: big, protocol: udp, ports: [53],\n"
	              "     adaptive: {minimum_bytes: 1kB, maximum_bytes: 1GB, burst: 10s}}\n");
	unsigned number = (unsigned)catalogue_find(datapath_catalogue(dp), "big");
	assert_int_equal(run("4 udp:53,len=1008 raw:1000", 500), XDP_PASS);
	assert_int_equal(datapath_set_level(dp, number, 5050, &err), 0);
	assert_int_equal(datapath_paces(dp, number, &paces, &err), 0);
	assert_true(paces.level_bytes > 5049 && paces.level_bytes < 5051 && paces.level_packets <= 0);
	/* Ten seconds' worth: 48 frames of 1,042 bytes fit, and the one that crosses the line. */
	run("4:src=10.0.0.1 udp:53,len=1008 raw:1000", 500);
	assert_in_range(spilled("big", REASON_USER_BYTES), 450, 451);
	dp->state->levels[number] = word_aged(dp->state->levels[number], 32);
	assert_int_equal(run("4:src=10.0.0.1 udp:53,len=1008 raw:1000", 1), XDP_PASS);
	usleep(20000);
	assert_int_equal(run("4:src=10.0.0.1 udp:53,len=1008 raw:1000", 500), XDP_PASS);
}

/* Under a level new connections find the burst's end before those that have begun. */
static void test_a_level_lets_connections_end(void **state)
{
	static const char syn[] = "4:src=10.0.0.1 tcp:80,flags=2", segment[] = "4:src=10.0.0.1 tcp:80,flags=16";
	struct datapath *dp = world.datapath;
	struct error err;
	(void)state;

	/* One packet a second: a level passes some at once, however short its burst is. */
	begin(ENFORCE "  - {name: web, protocol: tcp, ports: [80], adaptive: {minimum: 0.1, maximum: 2}}\n"
	              "  - {name: dns, protocol: udp, ports: [53], adaptive: {minimum: 0.1, maximum: 2}}\n");
	unsigned web = (unsigned)catalogue_find(datapath_catalogue(dp), "web"),
		 dns = (unsigned)catalogue_find(datapath_catalogue(dp), "dns");
	assert_int_equal(datapath_set_level(dp, web, 1, &err), 0);
	assert_int_equal(datapath_set_level(dp, dns, 1, &err), 0);
	run("4:src=10.0.0.1 udp:53", 100);
	assert_in_range(outcome("dns", OUTCOME_PASSED), 9, 11); /* what a slow machine adds */
	run(syn, 100);
	__u64 connections = outcome("web", OUTCOME_PASSED);
	assert_in_range(connections, 17, 19);
	run(segment, 100);
	assert_in_range(outcome("web", OUTCOME_PASSED), connections + 32, connections + 36);
	assert_int_equal(run(syn, 1), XDP_DROP);
	/* A limit of the file is for all packets alike. */
	begin(ENFORCE "  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 0.35, burst: 22}}\n");
	run(syn, 100);
	assert_int_equal(outcome("web", OUTCOME_PASSED), 22);
}

/* A number that another service gets has no level and no capacity of the old one's. */
static void test_a_level_ends_with_its_service(void **state)
{
	struct datapath *dp = world.datapath;
	struct datapath_paces paces;
	struct error err;
	(void)state;

	begin(ENFORCE "  - {name: old, protocol: udp, ports: [53], adaptive: {minimum: 1, maximum: 1M}}\n");
	unsigned number = (unsigned)catalogue_find(datapath_catalogue(dp), "old");
	assert_int_equal(datapath_set_level(dp, number, 2, &err), 0);
	assert_int_equal(datapath_set_capacity(dp, number, &(struct datapath_capacity){.per_second = 3}, &err), 0);
	/* Until every number has been another's. */
	for (int turn = 0; turn < 3; turn++) {
		static const char *const names[] = {"a", "b", "c"};
		char yaml[256];
		snprintf(yaml, sizeof(yaml),
		         ENFORCE "  - {name: %s, protocol: udp, ports: [53], adaptive: {minimum: 1, maximum: 1M}}\n",
		         names[turn]);
		begin(yaml);
		int now = catalogue_find(datapath_catalogue(dp), names[turn]);
		assert_int_equal(datapath_paces(dp, (unsigned)now, &paces, &err), 0);
		assert_true(paces.level_packets > 999999 && paces.capacity_packets <= 0);
	}
}

/* A level in packets says nothing of one in bytes, though the service is the same. */
static void test_a_level_ends_with_its_unit(void **state)
{
	struct datapath *dp = world.datapath;
	struct datapath_paces paces;
	struct error err;
	(void)state;

	begin(ENFORCE "  - {name: turned, protocol: udp, ports: [53], adaptive: {minimum: 1, maximum: 1M}}\n");
	unsigned number = (unsigned)catalogue_find(datapath_catalogue(dp), "turned");
	assert_int_equal(datapath_set_level(dp, number, 2, &err), 0);
	assert_int_equal(datapath_set_capacity(dp, number, &(struct datapath_capacity){.per_second = 3}, &err), 0);
	begin(ENFORCE "  - {name: turned, protocol: udp, ports: [53],\n"
	              "     adaptive: {minimum_bytes: 1kB, maximum_bytes: 1GB}}\n");
	assert_int_equal(catalogue_find(datapath_catalogue(dp), "turned"), number);
	assert_int_equal(datapath_paces(dp, number, &paces, &err), 0);
	assert_true(paces.level_bytes > 999e6 && paces.capacity_bytes <= 0);
	/* While the unit stays, so do they. */
	assert_int_equal(datapath_set_level(dp, number, 2000, &err), 0);
	begin(ENFORCE "  - {name: turned, protocol: udp, ports: [53],\n"
	              "     adaptive: {minimum_bytes: 1kB, maximum_bytes: 2GB}}\n");
	assert_int_equal(datapath_paces(dp, number, &paces, &err), 0);
	assert_true(paces.level_bytes > 1999 && paces.level_bytes < 2001);
}

/* F12. A pin that was removed is not missed by a program that takes another's place: it goes on with the same maps. */
static void test_a_swap_does_without_pins(void **state)
{
	char path[128];
	(void)state;

	begin(ENFORCE "  - {name: dns, protocol: udp, ports: [53]}\n");
	run("4 udp:53", 10);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", world.pins, i ? "state" : "tallies");
		assert_int_equal(unlink(path), 0);
	}
	world_apply(&world, ENFORCE "  - {name: dns, protocol: udp, ports: [53], limit: {bytes_per_second: 1MB}}\n");
	assert_true(world.datapath->features & FEATURE_GAUGES);
	run("4 udp:53", 10);
	assert_int_equal(outcome("dns", OUTCOME_PASSED), 20);
	assert_true(datapath_keep_pins(world.datapath, NULL) >= 0);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", world.pins, i ? "state" : "tallies");
		assert_int_equal(access(path, F_OK), 0);
	}
}

/* The program that is loaded can do what the configuration uses, and no more. */
static void test_features_follow_the_configuration(void **state)
{
	static const struct {
		const char *key;
		uint32_t features;
	} cases[] = {
		{"", 0},
		{", capacity: 10", FEATURE_CAPACITY},
		{", limit: {bytes_per_second: 1kB}", FEATURE_GAUGES},
		{", adaptive: {minimum: 1, maximum: 2}", FEATURE_LEVELS | FEATURE_CAPACITY},
		{", replies: true", FEATURE_RESPONSE},
		{"", 0},
	};
	char services[256];
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool replies = cases[i].features & FEATURE_RESPONSE;
		snprintf(services, sizeof(services), ENFORCE "  - {name: dns, protocol: udp, ports: [53]%s%s}\n",
		         cases[i].key, replies ? "" : ", replies: false");
		begin(services);
		assert_int_equal(world.datapath->features, cases[i].features);
	}
	/* A service that is silent about it is one that replies, unless its protocol has no replies that we know of. */
	begin(ENFORCE "  - {name: dns, protocol: udp, ports: [53]}\n");
	assert_int_equal(world.datapath->features, FEATURE_RESPONSE);
	begin(ENFORCE "  - {name: signalling, protocol: sctp, ports: [53]}\n");
	assert_int_equal(world.datapath->features, 0);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, ENFORCE "  - {name: dns, protocol: udp, ports: [53]}\n");
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
		cmocka_unit_test(test_limit_in_bytes),
		cmocka_unit_test(test_limit_in_connections),
		cmocka_unit_test(test_limits_do_not_charge_each_other),
		cmocka_unit_test(test_bytes_owed_by_earlier_users),
		cmocka_unit_test(test_users_by_payload),
		cmocka_unit_test(test_payload_beyond_the_datagram),
		cmocka_unit_test(test_capacity_bounds_all_users_together),
		cmocka_unit_test(test_syns_go_before_established),
		cmocka_unit_test(test_tenure_takes_time),
		cmocka_unit_test(test_a_gap_or_a_spill_starts_the_streak_anew),
		cmocka_unit_test(test_the_tenured_go_before_newcomers),
		cmocka_unit_test(test_a_level_relaxes),
		cmocka_unit_test(test_a_level_lets_connections_end),
		cmocka_unit_test(test_a_level_in_bytes),
		cmocka_unit_test(test_a_level_ends_with_its_service),
		cmocka_unit_test(test_a_level_ends_with_its_unit),
		cmocka_unit_test(test_features_follow_the_configuration),
		cmocka_unit_test(test_a_swap_does_without_pins),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
