/* SPDX-License-Identifier: GPL-2.0-only */
/* Crafted packets through the real program, each on an empty table: its verdict, service, user, and every counter. A
 * case is a line; the words of a frame are in frame.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "base/prefix.h"
#include "packet/frame.h"
#include "packet/world.h"

static const char configuration[] =
	"mode: enforce\n"
	"services:\n"
	"  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100, burst: 100}}\n"
	"  - {name: game, protocol: udp, ports: [27000-27999]}\n"
	"  - {name: edges, protocol: udp, ports: [1, 65535]}\n"
	"  - {name: web, protocol: tcp, ports: [80, 443, 8000-8010]}\n"
	"  - {name: vip4, protocol: tcp, ports: [9000], destinations: [192.0.2.0/28, 192.0.2.128/25]}\n"
	"  - {name: vip6, protocol: tcp, ports: [9000], destinations: [\"2001:db8::/64\", 203.0.113.9]}\n"
	"  - {name: vip0, protocol: tcp, ports: [9001], destinations: [\"2001:db8:8000::/33\"]}\n"
	"  - {name: mid4, protocol: udp, ports: [9002], destinations: [10.0.0.0/9, 10.128.0.0/10]}\n"
	"  - {name: sig, protocol: sctp, ports: [2905]}\n"
	"  - {name: ping, protocol: icmp, user: {kind: source, ipv4: 24}}\n"
	"  - {name: nd, protocol: icmpv6, user: {kind: source, ipv6: 128}}\n"
	"  - {name: cut0, protocol: udp, ports: [9003], user: {kind: source, ipv4: 0, ipv6: 0}}\n"
	"  - {name: cut1, protocol: udp, ports: [9004], user: {kind: source, ipv4: 31, ipv6: 65}}\n";

#define NOBODY        NULL /* the packet has no user */
#define V4            "198.51.100.7"
#define V6            "2001:db8:1:2::"
#define NOT_MALFORMED MALFORMATIONS

static const struct packet_case {
	const char *frame;
	const char *service;
	const char *user; /* as in the table: its prefix's address */
	enum malformation malformed;
} cases[] = {
	/* lies and cuts */
	{"q 4 udp:53 cut:17", "other", NOBODY, MALFORMED_ETHERNET},
	{"ad q 4 udp:53 cut:21", "other", NOBODY, MALFORMED_ETHERNET},
	{"4 udp:53 cut:14", "other", NOBODY, MALFORMED_IP},
	{"4 udp:53 cut:33", "other", NOBODY, MALFORMED_IP},
	{"4:version=5 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:version=6 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:version=0 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:ihl=4 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:ihl=0 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:ihl=15 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:total=19 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:total=0 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:total=29 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:total=65535 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:opt=40,total=59 udp:53", "other", NOBODY, MALFORMED_IP},
	{"4:total=27 udp:53", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 udp:53,len=7", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 udp:53,len=0", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 udp:53,len=9", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 udp:53,len=65535 raw:100", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4:total=28 udp:53,len=12 raw:4", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:17", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:17 raw:7", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:6 raw:19", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:132 raw:11", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:1 raw:7", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 none:1", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4:total=39 tcp:80", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 tcp:80,doff=4", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 tcp:80,doff=0", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 tcp:80,doff=6", "other", NOBODY, MALFORMED_TRANSPORT},
	{"4 tcp:80,doff=15 raw:39", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 udp:53 cut:53", "other", NOBODY, MALFORMED_IP},
	{"6:version=4 udp:53", "other", NOBODY, MALFORMED_IP},
	{"6:payload=9 udp:53", "other", NOBODY, MALFORMED_IP},
	{"6:payload=65535 udp:53", "other", NOBODY, MALFORMED_IP},
	{"6:payload=7 udp:53", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6:payload=0 udp:53", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 udp:53,len=9", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 udp:53,len=0", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 tcp:80,doff=4", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 tcp:80,doff=8", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 none:6 raw:12", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 none:58 raw:3", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 none:0", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 none:43 raw:7", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 none:44 raw:7", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 none:51 raw:7", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 none:60 raw:1", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 hbh:claim=1 udp:53", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 hbh:claim=2 udp:53", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 hbh:claim=255 udp:53", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 dst:claim=1 udp:53", "other", NOBODY, MALFORMED_TRANSPORT},
	{"6 hbh rt:claim=40 tcp:80", "other", NOBODY, MALFORMED_EXTENSION},
	{"6 ah:claim=255 udp:53", "other", NOBODY, MALFORMED_EXTENSION},

	/* what hides its ports */
	{"4:off=1480 raw:100", "other", V4, NOT_MALFORMED},
	{"4:off=1480,mf,protocol=17 raw:100", "other", V4, NOT_MALFORMED},
	{"4:off=8,protocol=6 raw:8", "other", V4, NOT_MALFORMED},
	{"4:off=65528,protocol=17 raw:8", "other", V4, NOT_MALFORMED},
	{"4:off=1480,protocol=1 raw:8", "other", V4, NOT_MALFORMED},
	{"4:off=1480,protocol=132 raw:8", "other", V4, NOT_MALFORMED},
	{"4:mf,protocol=17 raw:4", "other", V4, NOT_MALFORMED},
	{"4:mf,protocol=6 raw:8", "other", V4, NOT_MALFORMED},
	{"4:mf,protocol=17", "other", V4, NOT_MALFORMED},
	{"6 frag:off=8 none:17 raw:100", "other", V6, NOT_MALFORMED},
	{"6 frag:off=8,mf none:6 raw:100", "other", V6, NOT_MALFORMED},
	{"6 frag:off=8 none:60 raw:100", "other", V6, NOT_MALFORMED},
	{"6 frag:off=65528 none:17", "other", V6, NOT_MALFORMED},
	{"6 hbh frag:off=1480 none:17 raw:8", "other", V6, NOT_MALFORMED},
	{"6 frag:mf none:17 raw:4", "other", V6, NOT_MALFORMED},
	{"6 hbh dst dst dst dst dst dst dst dst udp:53", "other", V6, NOT_MALFORMED},
	{"6 dst dst dst dst dst dst dst dst dst dst dst tcp:80", "other", V6, NOT_MALFORMED},

	/* what has no ports */
	{"4 none:47 raw:20", "other", V4, NOT_MALFORMED},
	{"4 none:50 raw:20", "other", V4, NOT_MALFORMED},
	{"4 none:0", "other", V4, NOT_MALFORMED},
	{"4 none:255 raw:1", "other", V4, NOT_MALFORMED},
	{"4 ah udp:53", "other", V4, NOT_MALFORMED},
	{"4 none:60 raw:8", "other", V4, NOT_MALFORMED},
	{"6 none:59", "other", V6, NOT_MALFORMED},
	{"6 none:50 raw:20", "other", V6, NOT_MALFORMED},
	{"6 hbh none:59", "other", V6, NOT_MALFORMED},
	{"type:0x0806 raw:28", "other", NOBODY, NOT_MALFORMED},
	{"type:0x88cc raw:50", "other", NOBODY, NOT_MALFORMED},
	{"type:0", "other", NOBODY, NOT_MALFORMED},
	{"q type:0x0806 raw:28", "other", NOBODY, NOT_MALFORMED},
	{"q q q 4 udp:53", "other", NOBODY, NOT_MALFORMED},
	{"ad ad ad 6 udp:53", "other", NOBODY, NOT_MALFORMED},

	/* services by port */
	{"4 udp:53", "dns", V4, NOT_MALFORMED},
	{"4 udp:53 raw:1400", "dns", V4, NOT_MALFORMED},
	{"4 udp:53 pad:18", "dns", V4, NOT_MALFORMED},
	{"4 udp:53,len=8 raw:4", "dns", V4, NOT_MALFORMED},
	{"4 udp:52", "other", V4, NOT_MALFORMED},
	{"4 udp:54", "other", V4, NOT_MALFORMED},
	{"4 udp:0", "other", V4, NOT_MALFORMED},
	{"4 udp:1", "edges", V4, NOT_MALFORMED},
	{"4 udp:2", "other", V4, NOT_MALFORMED},
	{"4 udp:65534", "other", V4, NOT_MALFORMED},
	{"4 udp:65535", "edges", V4, NOT_MALFORMED},
	{"4 udp:26999", "other", V4, NOT_MALFORMED},
	{"4 udp:27000", "game", V4, NOT_MALFORMED},
	{"4 udp:27500", "game", V4, NOT_MALFORMED},
	{"4 udp:27999", "game", V4, NOT_MALFORMED},
	{"4 udp:28000", "other", V4, NOT_MALFORMED},
	{"4 udp:80", "other", V4, NOT_MALFORMED},
	{"4 tcp:53", "other", V4, NOT_MALFORMED},
	{"4 tcp:80", "web", V4, NOT_MALFORMED},
	{"4 tcp:443", "web", V4, NOT_MALFORMED},
	{"4 tcp:8000", "web", V4, NOT_MALFORMED},
	{"4 tcp:8010", "web", V4, NOT_MALFORMED},
	{"4 tcp:8011", "other", V4, NOT_MALFORMED},
	{"4 tcp:80,doff=15 raw:40", "web", V4, NOT_MALFORMED},
	{"4 sctp:2905", "sig", V4, NOT_MALFORMED},
	{"4 sctp:2906", "other", V4, NOT_MALFORMED},
	{"6 udp:53", "dns", V6, NOT_MALFORMED},
	{"6 tcp:443", "web", V6, NOT_MALFORMED},
	{"6 sctp:2905", "sig", V6, NOT_MALFORMED},

	/* options, tags, extension headers */
	{"4:opt=4 udp:53", "dns", V4, NOT_MALFORMED},
	{"4:opt=40 udp:53", "dns", V4, NOT_MALFORMED},
	{"4:opt=40 tcp:80", "web", V4, NOT_MALFORMED},
	{"q 4 udp:53", "dns", V4, NOT_MALFORMED},
	{"ad 4 udp:53", "dns", V4, NOT_MALFORMED},
	{"ad q 4 udp:53", "dns", V4, NOT_MALFORMED},
	{"q q 6 tcp:80", "web", V6, NOT_MALFORMED},
	{"ad q 6 udp:53", "dns", V6, NOT_MALFORMED},
	{"6 hbh udp:53", "dns", V6, NOT_MALFORMED},
	{"6 rt udp:53", "dns", V6, NOT_MALFORMED},
	{"6 dst tcp:80", "web", V6, NOT_MALFORMED},
	{"6 ah tcp:80", "web", V6, NOT_MALFORMED},
	{"6 ah:len=7 tcp:80", "web", V6, NOT_MALFORMED},
	{"6 hbh dst rt dst ah tcp:80", "web", V6, NOT_MALFORMED},
	{"6 hbh dst dst dst dst dst dst dst udp:53", "dns", V6, NOT_MALFORMED},
	{"6 hbh:len=100 udp:53", "dns", V6, NOT_MALFORMED},
	{"6 dst:len=255 udp:53", "dns", V6, NOT_MALFORMED},
	{"6 frag udp:53", "dns", V6, NOT_MALFORMED},
	{"6 frag:mf udp:53 raw:1000", "dns", V6, NOT_MALFORMED},
	{"6 frag:mf udp:53,len=4000 raw:1000", "dns", V6, NOT_MALFORMED},
	{"6 hbh frag:mf dst udp:53 raw:1000", "dns", V6, NOT_MALFORMED},
	{"4:mf udp:53,len=4000 raw:1000", "dns", V4, NOT_MALFORMED},
	{"4:mf tcp:80 raw:1000", "web", V4, NOT_MALFORMED},

	/* destinations */
	{"4:dst=192.0.2.1 tcp:9000", "vip4", V4, NOT_MALFORMED},
	{"4:dst=192.0.2.15 tcp:9000", "vip4", V4, NOT_MALFORMED},
	{"4:dst=192.0.2.16 tcp:9000", "other", V4, NOT_MALFORMED},
	{"4:dst=192.0.2.127 tcp:9000", "other", V4, NOT_MALFORMED},
	{"4:dst=192.0.2.128 tcp:9000", "vip4", V4, NOT_MALFORMED},
	{"4:dst=192.0.2.255 tcp:9000", "vip4", V4, NOT_MALFORMED},
	{"4:dst=192.0.3.1 tcp:9000", "other", V4, NOT_MALFORMED},
	{"4:dst=203.0.113.9 tcp:9000", "vip6", V4, NOT_MALFORMED},
	{"4:dst=203.0.113.8 tcp:9000", "other", V4, NOT_MALFORMED},
	{"4:dst=203.0.113.9 udp:9000", "other", V4, NOT_MALFORMED},
	{"6:dst=2001:db8::ffff tcp:9000", "vip6", V6, NOT_MALFORMED},
	{"6:dst=2001:db8:0:1:: tcp:9000", "other", V6, NOT_MALFORMED},
	{"6:dst=2001:db8:8000:: tcp:9001", "vip0", V6, NOT_MALFORMED},
	{"6:dst=2001:db8:ffff:1::2 tcp:9001", "vip0", V6, NOT_MALFORMED},
	{"6:dst=2001:db8:7fff:: tcp:9001", "other", V6, NOT_MALFORMED},
	{"4 tcp:9001", "other", V4, NOT_MALFORMED},
	{"4:dst=10.0.0.1 udp:9002", "mid4", V4, NOT_MALFORMED},
	{"4:dst=10.127.255.255 udp:9002", "mid4", V4, NOT_MALFORMED},
	{"4:dst=10.191.0.1 udp:9002", "mid4", V4, NOT_MALFORMED},
	{"4:dst=10.192.0.1 udp:9002", "other", V4, NOT_MALFORMED},
	{"4:dst=11.0.0.1 udp:9002", "other", V4, NOT_MALFORMED},

	/* users cut to prefixes */
	{"4 icmp", "ping", "198.51.100.0", NOT_MALFORMED},
	{"6 icmp", "ping", V6, NOT_MALFORMED},
	{"6 icmp6", "nd", "2001:db8:1:2::7", NOT_MALFORMED},
	{"4:src=255.255.255.255 udp:53", "dns", "255.255.255.255", NOT_MALFORMED},
	{"4:src=0.0.0.0 udp:53", "dns", "0.0.0.0", NOT_MALFORMED},
	{"4 udp:9003", "cut0", "0.0.0.0", NOT_MALFORMED},
	{"6 udp:9003", "cut0", "::", NOT_MALFORMED},
	{"4 udp:9004", "cut1", "198.51.100.6", NOT_MALFORMED},
	{"6:src=2001:db8:1:2:ffff::7 udp:9004", "cut1", "2001:db8:1:2:8000::", NOT_MALFORMED},
	{"6:src=2001:db8:1:2:7fff::7 udp:9004", "cut1", "2001:db8:1:2::", NOT_MALFORMED},
	{"6:src=:: udp:53", "dns", "::", NOT_MALFORMED},
};

static struct world world;

static void assert_counters(const struct packet_case *packet, size_t length)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(world.datapath);
	unsigned expected = packet->malformed == NOT_MALFORMED ? OUTCOME_PASSED : OUTCOME_SPILLED + REASON_MALFORMED;
	struct tally malformed[MALFORMATIONS];
	struct error err;

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct service_tallies tallies;
		if (!catalogue->names[number][0])
			continue;
		tallies = world_tallies(&world, catalogue->names[number]);
		bool mine = strcmp(catalogue->names[number], packet->service) == 0;
		for (unsigned outcome = 0; outcome < OUTCOMES; outcome++) {
			bool counted = mine && outcome == expected;
			assert_int_equal(tallies.outcomes[outcome].packets, counted);
			assert_int_equal(tallies.outcomes[outcome].bytes, counted ? length : 0);
		}
	}
	assert_int_equal(datapath_read_malformations(world.datapath, malformed, &err), 0);
	for (unsigned why = 0; why < MALFORMATIONS; why++)
		assert_int_equal(malformed[why].packets, why == packet->malformed);
}

static void assert_user(const struct packet_case *packet, size_t length)
{
	struct prefix expected;
	__u64 packets = 0, bytes = 0;
	const struct user_detail *user = world_only_user(&world, &packets, &bytes);

	if (!packet->user) {
		assert_null(user);
		return;
	}
	assert_non_null(user);
	assert_int_equal(prefix_parse(packet->user, &expected, NULL), 0);
	assert_memory_equal(user->key, expected.address, sizeof(expected.address));
	assert_int_equal(packets, 2);
	assert_int_equal(bytes, 2 * length);
}

static void test_packet(void **state)
{
	const struct packet_case *packet = *state;
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write(packet->frame, frame);

	world_reset(&world);
	unsigned verdict = world_run(&world, frame, length, 1);
	assert_int_equal(verdict, packet->malformed == NOT_MALFORMED ? XDP_PASS : XDP_DROP);
	assert_counters(packet, length);
	world_run(&world, frame, length, 1); /* a user is introduced by its second packet */
	assert_user(packet, length);
}

/* No cut of any packet is judged but passed or dropped, and each is counted once. */
static void test_truncations(void **state)
{
	(void)state;
	world_reset(&world);
	__u64 sent = 0, counted = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned char frame[FRAME_MAX];
		size_t whole = frame_write(cases[i].frame, frame);
		for (size_t length = 14; length < whole && length < 200; length++, sent++) {
			unsigned verdict = world_run(&world, frame, length, 1);
			assert_true(verdict == XDP_PASS || verdict == XDP_DROP);
		}
	}
	const struct catalogue_slot *catalogue = datapath_catalogue(world.datapath);
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (!catalogue->names[number][0])
			continue;
		struct service_tallies tallies = world_tallies(&world, catalogue->names[number]);
		for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
			counted += tallies.outcomes[outcome].packets;
	}
	assert_int_equal(counted, sent);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, configuration);
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
	enum { CASES = sizeof(cases) / sizeof(*cases) };
	static struct CMUnitTest tests[CASES + 1];

	for (size_t i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){.name = cases[i].frame,
		                               .test_func = test_packet,
		                               .initial_state = (void *)(uintptr_t)&cases[i]};
	tests[CASES] = (struct CMUnitTest)cmocka_unit_test(test_truncations);
	return cmocka_run_group_tests(tests, make, remove_world);
}
