/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests in and replies out, through the program that samples them and the one that meets them: which packet is a
 * request, which answers it, and how long that took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "observe/response_times.h"
#include "observe/signals.h"
#include "packet/frame.h"
#include "packet/world.h"

#define SERVICES                                                                                       \
	"mode: enforce\n"                                                                              \
	"services:\n"                                                                                  \
	"  - {name: web, protocol: tcp, ports: [80, 8080]}\n"                                          \
	"  - {name: dns, protocol: udp, ports: [53]}\n"                                                \
	"  - {name: log, protocol: udp, ports: [514], replies: false}\n"                               \
	"  - {name: tight, protocol: udp, ports: [54], limit: {packets_per_second: 0.1, burst: 20}}\n" \
	"  - {name: vip, protocol: tcp, ports: [81], destinations: [192.0.2.1]}\n"

static struct world world;
static struct signals *signals;

/* TCP's flags, and the client's and the server's frames. */
#define SYN      "flags=2"
#define SYN_ACK  "flags=18"
#define ACK      "flags=16"
#define PUSH     "flags=24"
#define PUSH_FIN "flags=25"
#define RESET    "flags=20"
#define IN       "> 4 tcp:80,"
#define OUT      "< 4:src=192.0.2.1,dst=198.51.100.7 tcp:40000,from=80,"
#define ASKS     "> 4 udp:53"
#define ANSWERS  "< 4:src=192.0.2.1,dst=198.51.100.7 udp:40000,from=53"
#define OVERDUE  "overdue" /* whoever waits has waited too long */

/* What a service has counted in the end, and how many wait. */
struct expected {
	unsigned requests, connects, accepted, responses, unanswered, waiting;
};

#define ANSWERED   {.requests = 1, .responses = 1}
#define UNMET      {.requests = 1, .waiting = 1}
#define NO_REQUEST {0}

/* A request of 100 bytes from sequence number 1000, of a client that has had 500 bytes of the service's. */
#define REQUEST IN PUSH ",seq=1000,ack=500 raw:100"

static const struct exchange {
	const char *what;
	const char *steps[6];
	struct expected expected;
} exchanges[] = {
	/* what answers a segment */
	{"bytes that acknowledge it", {REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9"}, ANSWERED},
	{"the first of many",
         {REQUEST, OUT ACK ",seq=500,ack=1100 raw:1000", OUT ACK ",seq=1500,ack=1100 raw:9"},
         ANSWERED},
	{"bytes that acknowledge more", {REQUEST, OUT PUSH ",seq=500,ack=9999 raw:9"}, ANSWERED},
	{"with the end of the connection", {REQUEST, OUT PUSH_FIN ",seq=500,ack=1100 raw:9"}, ANSWERED},
	{"behind what was still on its way", {REQUEST, OUT PUSH ",seq=700,ack=1100 raw:9"}, ANSWERED},
	{"old bytes and new ones", {REQUEST, OUT PUSH ",seq=400,ack=1100 raw:101"}, ANSWERED},
	/* what does not */
	{"a pure acknowledgement", {REQUEST, OUT ACK ",seq=500,ack=1100"}, UNMET},
	{"a pure acknowledgement, padded", {REQUEST, OUT ACK ",seq=500,ack=1100 pad:6"}, UNMET},
	{"bytes sent before it came", {REQUEST, OUT PUSH ",seq=500,ack=1000 raw:9"}, UNMET},
	{"bytes that acknowledge a part", {REQUEST, OUT PUSH ",seq=500,ack=1099 raw:9"}, UNMET},
	{"what was said before, resent", {REQUEST, OUT PUSH ",seq=400,ack=1100 raw:100"}, UNMET},
	{"an end without a word", {REQUEST, OUT "flags=17,seq=500,ack=1100"}, UNMET},
	{"a reset", {REQUEST, OUT RESET ",seq=500,ack=1100"}, UNMET},
	{"a reply to another port",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.7 tcp:40001,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
	{"a reply from another port of the service",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.7 tcp:40000,from=8080," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
	{"a reply to another address",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.8 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
	{"a datagram between the same ports",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.7 udp:40000,from=80 raw:9"},
         UNMET},
	{"the request itself, on its way out", {REQUEST, "< 4 tcp:80," PUSH ",seq=1000,ack=500 raw:100"}, UNMET},
	{"a later fragment",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.7,off=1480 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
	/* what is a request */
	{"an acknowledgement is none", {IN ACK ",seq=1000,ack=500"}, NO_REQUEST},
	{"padding is no payload", {IN PUSH ",seq=1000,ack=500 pad:6"}, NO_REQUEST},
	{"the middle of a request is none", {IN ACK ",seq=1000,ack=500 raw:1000"}, NO_REQUEST},
	{"the last words of a connection are none", {IN PUSH_FIN ",seq=1000,ack=500 raw:31"}, NO_REQUEST},
	{"a reset is none", {IN RESET ",seq=1000,ack=500 raw:31"}, NO_REQUEST},
	{"a SYN-ACK is none", {IN SYN_ACK ",seq=1000,ack=500"}, NO_REQUEST},
	{"padding is not counted",
         {IN PUSH ",seq=1000,ack=500 raw:1 pad:5", OUT PUSH ",seq=500,ack=1001 raw:9"},
         ANSWERED},
	{"options of TCP are not counted",
         {IN PUSH ",seq=1000,ack=500,doff=8 raw:22", OUT PUSH ",seq=500,ack=1010 raw:9"},
         ANSWERED},
	{"options of IPv4",
         {"> 4:opt=8 tcp:80," PUSH ",seq=1000,ack=500 raw:100", OUT PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	/* the same again */
	{"a request resent waits since the first", {REQUEST, REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9"}, ANSWERED},
	{"a request that is answered, and resent for the reply was lost",
         {REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9", REQUEST, OUT ACK ",seq=509,ack=1100"},
         {.requests = 2, .responses = 1, .waiting = 1}},
	{"the next one on the connection",
         {REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9", IN PUSH ",seq=1100,ack=509 raw:100",
          OUT PUSH ",seq=509,ack=1200 raw:9"},
         {.requests = 2, .responses = 2}},
	{"two that do not wait for each other: the first reply is the first one's",
         {REQUEST, IN PUSH ",seq=1100,ack=500 raw:100", OUT PUSH ",seq=500,ack=1200 raw:9",
          OUT PUSH ",seq=509,ack=1200 raw:9"},
         ANSWERED},
	{"a reply without a request", {OUT PUSH ",seq=500,ack=1100 raw:9"}, NO_REQUEST},
	{"one reply counts once",
         {REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9", OUT PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	/* sequence numbers wrap */
	{"the request's end wraps",
         {IN PUSH ",seq=4294967290,ack=500 raw:100", OUT PUSH ",seq=500,ack=94 raw:9"},
         ANSWERED},
	{"and a part of it is a part",
         {IN PUSH ",seq=4294967290,ack=500 raw:100", OUT PUSH ",seq=500,ack=4294967295 raw:9"},
         UNMET},
	{"the service's bytes wrap",
         {IN PUSH ",seq=1000,ack=4294967295 raw:100", OUT PUSH ",seq=4294967295,ack=1100 raw:9"},
         ANSWERED},
	{"and what was said before is",
         {IN PUSH ",seq=1000,ack=4 raw:100", OUT PUSH ",seq=4294967290,ack=1100 raw:10"},
         UNMET},
	/* SYNs */
	{"a SYN-ACK answers a SYN, and is no response",
         {IN SYN ",seq=999", OUT SYN_ACK ",seq=499,ack=1000"},
         {.connects = 1, .accepted = 1}},
	{"but not one for another SYN",
         {IN SYN ",seq=999", OUT SYN_ACK ",seq=499,ack=999"},
         {.connects = 1, .waiting = 1}},
	{"a SYN resent",
         {IN SYN ",seq=999", IN SYN ",seq=999", OUT SYN_ACK ",seq=499,ack=1000"},
         {.connects = 1, .accepted = 1}},
	{"a SYN wraps", {IN SYN ",seq=4294967295", OUT SYN_ACK ",seq=499,ack=0"}, {.connects = 1, .accepted = 1}},
	{"a closed port says RST", {IN SYN ",seq=999", OUT RESET ",ack=1000"}, {.connects = 1, .waiting = 1}},
	{"a connection, a request, a reply",
         {IN SYN ",seq=999", OUT SYN_ACK ",seq=499,ack=1000", IN ACK ",seq=1000,ack=500", REQUEST,
          OUT ACK ",seq=500,ack=1100", OUT PUSH ",seq=500,ack=1100 raw:9"},
         {.connects = 1, .accepted = 1, .requests = 1, .responses = 1}},
	/* overdue */
	{"nobody answers", {REQUEST, OVERDUE}, {.requests = 1, .unanswered = 1}},
	{"an acknowledgement saves nobody",
         {REQUEST, OUT ACK ",seq=500,ack=1100", OVERDUE},
         {.requests = 1, .unanswered = 1}},
	{"late, and all the same",
         {REQUEST, OVERDUE, OUT PUSH ",seq=500,ack=1100 raw:9"},
         {.requests = 1, .unanswered = 1, .responses = 1}},
	{"the next one takes its place",
         {REQUEST, OVERDUE, IN PUSH ",seq=1100,ack=500 raw:100", OUT PUSH ",seq=500,ack=1200 raw:9"},
         {.requests = 2, .unanswered = 1, .responses = 1}},
	{"counted once", {REQUEST, OVERDUE, OVERDUE}, {.requests = 1, .unanswered = 1}},
	{"a SYN that nobody takes", {IN SYN ",seq=999", OVERDUE}, {.connects = 1, .unanswered = 1}},
	/* tags and IPv6 */
	{"a tag on the way in alone",
         {"> q 4 tcp:80," PUSH ",seq=1000,ack=500 raw:100", OUT PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	{"two tags both ways",
         {"> ad q 4 tcp:80," PUSH ",seq=1000,ack=500 raw:100",
          "< ad q 4:src=192.0.2.1,dst=198.51.100.7 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	{"IPv6",
         {"> 6 tcp:80," PUSH ",seq=1000,ack=500 raw:100",
          "< 6:src=2001:db8::1,dst=2001:db8:1:2::7 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	{"IPv6, with extension headers, of a frame beyond 64 kB",
         {"> 6 hbh dst tcp:80," PUSH ",seq=1000,ack=500 raw:100",
          "< 6:src=2001:db8::1,dst=2001:db8:1:2::7,payload=0 hbh tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         ANSWERED},
	{"IPv6, from another host of the network",
         {"> 6 tcp:80," PUSH ",seq=1000,ack=500 raw:100",
          "< 6:src=2001:db8::2,dst=2001:db8:1:2::7 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
	/* frames that lie, or end too early */
	{"a reply without its header", {REQUEST, OUT PUSH ",seq=500,ack=1100 raw:9 cut:40"}, UNMET},
	{"a header longer than the packet", {REQUEST, OUT PUSH ",seq=500,ack=1100,doff=15 raw:9"}, UNMET},
	{"an IPv4 header longer than the packet",
         {REQUEST, "< 4:src=192.0.2.1,dst=198.51.100.7,ihl=15 tcp:40000,from=80," PUSH ",seq=500,ack=1100 raw:9"},
         UNMET},
};

static const struct exchange datagrams[] = {
	{"a datagram back", {ASKS " raw:30", ANSWERS " raw:50"}, ANSWERED},
	{"an empty one", {ASKS, ANSWERS}, ANSWERED},
	{"to another port", {ASKS, "< 4:src=192.0.2.1,dst=198.51.100.7 udp:40001,from=53 raw:50"}, UNMET},
	{"from another address", {ASKS, "< 4:src=192.0.2.2,dst=198.51.100.7 udp:40000,from=53 raw:50"}, UNMET},
	{"a segment between the same ports",
         {ASKS, "< 4:src=192.0.2.1,dst=198.51.100.7 tcp:40000,from=53," PUSH " raw:9"},
         UNMET},
	{"the first fragment of a long one",
         {ASKS, "< 4:src=192.0.2.1,dst=198.51.100.7,mf udp:40000,from=53,len=3000 raw:1400"},
         ANSWERED},
	{"a later fragment has no ports",
         {ASKS, "< 4:src=192.0.2.1,dst=198.51.100.7,off=1408 udp:40000,from=53 raw:50"},
         UNMET},
	{"a long one asks once, with its first fragment",
         {"> 4:mf,id=7 udp:53,len=2000 raw:1472", "> 4:off=1480,id=7,protocol=17 raw:520", ANSWERS},
         ANSWERED},
	{"IPv6, in fragments both ways",
         {"> 6 frag:mf,id=7 udp:53,len=2000 raw:1400", "> 6 frag:off=1408,id=7 raw:600",
          "< 6:src=2001:db8::1,dst=2001:db8:1:2::7 frag:off=1408,id=8 udp:40000,from=53 raw:9",
          "< 6:src=2001:db8::1,dst=2001:db8:1:2::7 frag:mf,id=8 udp:40000,from=53,len=2000 raw:1400"},
         ANSWERED},
	{"asked again, answered once", {ASKS, ASKS, ANSWERS, ANSWERS}, ANSWERED},
	{"asked again when it was overdue",
         {ASKS, OVERDUE, ASKS, ANSWERS},
         {.requests = 2, .unanswered = 1, .responses = 1}},
	{"::ffff:a.b.c.d is not a.b.c.d, but is answered as it asks",
         {"> 6:src=::ffff:198.51.100.7,dst=::ffff:192.0.2.1 udp:53", ANSWERS},
         ANSWERED},
};

static struct service_responses *counts_of(const char *service)
{
	return &world.datapath->responses[catalogue_find(datapath_catalogue(world.datapath), service)];
}

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void begin(void)
{
	struct state *state = world.datapath->state;

	world_reset(&world);
	memset(world.datapath->samples, 0, RESPONSE_SAMPLES * sizeof(*world.datapath->samples));
	memset(world.datapath->responses, 0, SERVICES_MAX * sizeof(*world.datapath->responses));
	/* Every request is sampled. */
	state->policies[LIVE_POLICY_SLOT(state->live.active)].sample_gap_ns = 0;
}

static void send_out(const unsigned char *frame, size_t length)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = (__u32)length, .repeat = 1);

	int failure = bpf_prog_test_run_opts(
		bpf_program__fd(world.datapath->keeper->responder.skeleton->progs.response), &run);
	if (failure < 0)
		fail_msg("test run of %zu bytes: %s", length, strerror(-failure));
	assert_int_equal((int)run.retval, -1); /* TC_ACT_UNSPEC: it goes its way */
}

/* Sets the clocks of all that wait back, and looks. */
static void let_wait(__u64 waited_ns)
{
	for (size_t i = 0; i < RESPONSE_SAMPLES; i++)
		world.datapath->samples[i].at_ns -= waited_ns;
	signals_tick(signals, clock_s());
	struct timespec pause = {.tv_nsec = 60000000}; /* it looks no more often than that */
	nanosleep(&pause, NULL);
}

static void step(const char *words)
{
	unsigned char frame[FRAME_MAX];

	if (strcmp(words, OVERDUE) == 0) {
		let_wait(RESPONSE_OVERDUE_NS);
		return;
	}
	size_t length = frame_write(words + 2, frame);
	if (*words == '<')
		send_out(frame, length);
	else
		world_run(&world, frame, length, 1);
}

static struct expected counted(const char *service)
{
	const struct service_responses *counts = counts_of(service);
	struct expected all = {.requests = (unsigned)counts->requests,
	                       .connects = (unsigned)counts->connects,
	                       .accepted = (unsigned)counts->accepted,
	                       .unanswered = (unsigned)counts->unanswered};

	for (unsigned i = 0; i < RESPONSE_BUCKETS; i++)
		all.responses += (unsigned)counts->buckets[i];
	for (size_t i = 0; i < RESPONSE_SAMPLES; i++)
		all.waiting += (world.datapath->samples[i].flow & SAMPLE_STATE_MASK) == SAMPLE_WAITING;
	return all;
}

static void check(const char *service, const struct exchange *exchange)
{
	begin();
	for (size_t i = 0; i < sizeof(exchange->steps) / sizeof(*exchange->steps) && exchange->steps[i]; i++)
		step(exchange->steps[i]);
	struct expected all = counted(service);
	if (memcmp(&all, &exchange->expected, sizeof(all)) != 0)
		fail_msg("%s: %u requests, %u SYNs, %u accepted, %u responses, %u unanswered, %u waiting",
		         exchange->what, all.requests, all.connects, all.accepted, all.responses, all.unanswered,
		         all.waiting);
}

static void test_segments(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(exchanges) / sizeof(*exchanges); i++)
		check("web", &exchanges[i]);
}

static void test_datagrams(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(datagrams) / sizeof(*datagrams); i++)
		check("dns", &datagrams[i]);
}

static void test_what_is_not_sampled(void **state)
{
	(void)state;
	begin();
	step("> 4 udp:514 raw:30"); /* nobody answers there by nature */
	step("> 4 udp:9999 raw:30");
	step("> 4 icmp");
	step("> 4 udp:53 cut:40");
	for (size_t service = 0; service < SERVICES_MAX; service++)
		assert_int_equal(world.datapath->responses[service].requests, 0);
	/* What is spilled asks nobody. */
	for (int i = 0; i < 100; i++) {
		char words[64];
		snprintf(words, sizeof(words), "> 4 udp:54,from=%d raw:9", 1000 + i);
		step(words);
	}
	__u64 passed = world_tallies(&world, "tight").outcomes[OUTCOME_PASSED].packets;
	assert_in_range(passed, 20, 21);
	assert_int_equal(counted("tight").requests, passed);
	/* A port that belongs to destinations. */
	step("> 4 tcp:81," PUSH ",seq=1000,ack=500 raw:100");
	step("> 4:dst=192.0.2.2 tcp:81," PUSH ",seq=1000,ack=500 raw:100");
	assert_int_equal(counted("vip").requests, 1);
	step("< 4:src=192.0.2.1,dst=198.51.100.7 tcp:40000,from=81," PUSH ",seq=500,ack=1100 raw:9");
	assert_int_equal(counted("vip").responses, 1);
}

/* Asks from `count` ports, one after another, without an answer. */
static void ask_from_ports(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char words[80];
		snprintf(words, sizeof(words), "> 4:src=10.1.%u.%u udp:53,from=%u", i / 256 % 256, i % 256, 1024 + i);
		step(words);
	}
}

static void test_more_connections_than_entries(void **state)
{
	enum { ASKED = 3 * RESPONSE_SAMPLES };
	const struct service_responses *counts = counts_of("dns");
	(void)state;

	begin();
	ask_from_ports(ASKED);
	struct expected all = counted("dns");
	assert_int_equal(all.waiting, all.requests);
	assert_in_range(all.requests, RESPONSE_SAMPLES / 2, RESPONSE_SAMPLES);
	assert_int_equal(counts->crowded + all.requests, ASKED);
	assert_int_equal(all.unanswered, 0);
	/* Where no daemon has looked after them for long, they are counted by who takes their places. */
	for (size_t i = 0; i < RESPONSE_SAMPLES; i++)
		world.datapath->samples[i].at_ns -= 2 * RESPONSE_OVERDUE_NS;
	ask_from_ports(ASKED);
	struct expected later = counted("dns");
	assert_true(later.unanswered > all.requests / 2);
	assert_int_equal(later.unanswered + later.waiting, later.requests);
	/* And the rest by the sweep. */
	let_wait(RESPONSE_OVERDUE_NS);
	later = counted("dns");
	assert_int_equal(later.waiting, 0);
	assert_int_equal(later.unanswered, later.requests);
	/* The overdue are in nobody's way. */
	ask_from_ports(1);
	assert_int_equal(counted("dns").requests, later.requests + 1);
}

/* All of a quiet service, a few of a busy one. */
static void test_how_many_are_sampled(void **state)
{
	enum { ASKED = 20000, GAP_NS = 1000000, AT_ONCE = 64 };
	struct state *live = world.datapath->state;
	(void)state;

	begin();
	live->policies[LIVE_POLICY_SLOT(live->live.active)].sample_gap_ns = GAP_NS;
	ask_from_ports(AT_ONCE);
	assert_in_range(counted("dns").requests, AT_ONCE - 2, AT_ONCE); /* one whose places are taken is left out */

	begin();
	live->policies[LIVE_POLICY_SLOT(live->live.active)].sample_gap_ns = GAP_NS;
	double began_s = clock_s();
	ask_from_ports(ASKED);
	double took_s = clock_s() - began_s;
	unsigned sampled = counted("dns").requests;
	double cpus = (double)libbpf_num_possible_cpus(); /* each has a pace of its own */
	print_message("%u of %d in %.3f s\n", sampled, ASKED, took_s);
	assert_true(sampled >= AT_ONCE);
	assert_true(sampled <= cpus * (AT_ONCE + 1 + 2 * took_s * 1e9 / GAP_NS));
	assert_true(sampled < ASKED / 4 || took_s > 1); /* a machine so slow has a quiet service */

	/* It is quiet again: after a few packets all are sampled, whatever was skipped while it was busy. */
	struct timespec pause = {.tv_nsec = 200000000};
	nanosleep(&pause, NULL);
	begin();
	ask_from_ports(AT_ONCE / 2);
	assert_in_range(counted("dns").requests, AT_ONCE / 2 - 1, AT_ONCE / 2);
}

static void stay_on(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* A request stands for the packets since the one before it that was written down, and is done when it is answered.
 * Counts are a CPU's own. */
static void test_what_a_request_stands_for(void **state)
{
	const struct service_responses *counts = counts_of("web");
	cpu_set_t usable;
	(void)state;

	assert_int_equal(sched_getaffinity(0, sizeof(usable), &usable), 0);
	stay_on(sched_getcpu());
	begin();
	step(REQUEST);
	step(OUT PUSH ",seq=500,ack=1100 raw:9");
	__u64 before = counts->done;
	step(IN SYN ",seq=1999");
	step(OUT SYN_ACK ",seq=499,ack=2000");
	step(IN ACK ",seq=2000,ack=500");
	step(IN PUSH ",seq=2000,ack=500 raw:100");
	assert_int_equal(counts->done, before);
	step(OUT PUSH ",seq=500,ack=2100 raw:9");
	assert_int_equal(counts->done, before + 3);
	step(IN PUSH ",seq=2100,ack=509 raw:100");
	step(OUT PUSH ",seq=509,ack=2200 raw:9");
	assert_int_equal(counts->done, before + 4);
	assert_int_equal(sched_setaffinity(0, sizeof(usable), &usable), 0);
}

/* And for what has passed on a CPU that sees no requests: the acknowledgements of what they were answered, say. */
static void test_what_passes_apart_from_requests(void **state)
{
	const struct service_responses *counts = counts_of("web");
	cpu_set_t usable;
	(void)state;

	assert_int_equal(sched_getaffinity(0, sizeof(usable), &usable), 0);
	int here = sched_getcpu(), apart = here;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &usable) && cpu != here)
			apart = cpu;
	if (apart == here)
		print_message("a single CPU: what passes apart passes here as well\n");
	begin();
	__u64 before = counts->apart;
	stay_on(apart);
	for (int i = 0; i < 16 && counts->apart == before; i++)
		step(IN ACK ",seq=1000,ack=500");
	assert_true(counts->apart > before);
	stay_on(here);
	step(REQUEST);
	step(OUT PUSH ",seq=500,ack=1100 raw:9");
	assert_int_equal(counts->apart, 0);

	before = counts->done;
	stay_on(apart);
	for (int i = 0; i < 32; i++)
		step(IN ACK ",seq=1100,ack=509");
	stay_on(here);
	step(IN PUSH ",seq=1100,ack=509 raw:100");
	step(OUT PUSH ",seq=509,ack=1200 raw:9");
	assert_int_equal(counts->done, before + 33);
	assert_int_equal(sched_setaffinity(0, sizeof(usable), &usable), 0);
}

/* Each bucket's bounds, by times that are known to the nanosecond from their sum. */
static void test_times_fall_into_their_buckets(void **state)
{
	struct service_responses *counts = counts_of("web");
	unsigned last = 0;
	(void)state;

	for (int tenths = -60; tenths <= 15; tenths++) {
		double waited_s = pow(10, tenths / 10.0);
		begin();
		step(REQUEST);
		for (size_t i = 0; i < RESPONSE_SAMPLES; i++)
			world.datapath->samples[i].at_ns -= (__u64)(waited_s * 1e9);
		step(OUT PUSH ",seq=500,ack=1100 raw:9");
		double took_s = (double)counts->sum_ns / 1e9;
		unsigned bucket = 0;
		while (bucket < RESPONSE_BUCKETS && !counts->buckets[bucket])
			bucket++;
		assert_in_range(bucket, 0, RESPONSE_BUCKETS - 1);
		assert_true(took_s >= waited_s - 1e-9);
		assert_true(response_bucket_floor_s(bucket) <= took_s);
		assert_true(took_s < response_bucket_floor_s(bucket + 1) || bucket == RESPONSE_BUCKETS - 1);
		last = bucket;
	}
	assert_int_equal(last, RESPONSE_BUCKETS - 1);
}

/* Asks a service of TCP, waits, and answers. */
static void exchange_of(double waited_s)
{
	step(REQUEST);
	for (size_t i = 0; i < RESPONSE_SAMPLES; i++)
		world.datapath->samples[i].at_ns -= (__u64)(waited_s * 1e9);
	step(OUT PUSH ",seq=500,ack=1100 raw:9");
}

/* What the controller is told: of the interval since its last reading, and nothing that is not. */
static void test_readings(void **state)
{
	struct controller_signals told = {.offered_pps = 7, .admitted_pps = 5};
	unsigned web = (unsigned)catalogue_find(datapath_catalogue(world.datapath), "web");
	unsigned log = (unsigned)catalogue_find(datapath_catalogue(world.datapath), "log");
	double now_s = clock_s() + 1000; /* nothing has been read yet at that time */
	(void)state;

	begin();
	exchange_of(0.1);
	signals_read(signals, web, now_s, &told); /* the first: nobody knows since when */
	assert_false(told.fresh);
	assert_int_equal(told.requests + told.responses, 0);
	assert_true(isnan(told.response_p50_s) && isnan(told.response_p99_s) && isnan(told.overflows));
	assert_true(told.offered_pps == 7 && told.admitted_pps == 5);

	for (int i = 0; i < 20; i++)
		exchange_of(i == 0 ? 1 : 0.01);
	step(REQUEST);
	signals_read(signals, web, now_s + 0.1, &told);
	assert_true(told.fresh);
	assert_true(fabs(told.elapsed_s - 0.1) < 1e-6);
	assert_int_equal(told.requests, 21);
	assert_int_equal(told.responses, 20);
	assert_int_equal(told.unanswered, 0);
	assert_true(told.response_p50_s > 0.01 && told.response_p50_s < 0.02);
	assert_true(told.response_p99_s > 0.9 && told.response_p99_s < 1.2);
	assert_true(told.offered_pps == 7);

	let_wait(RESPONSE_OVERDUE_NS);
	signals_read(signals, web, now_s + 0.2, &told);
	assert_int_equal(told.requests + told.responses, 0);
	assert_int_equal(told.unanswered, 1);
	assert_true(isnan(told.response_p50_s));

	/* After a pause, at the same moment, before it: not of this interval. */
	static const double odd_s[] = {0.2 + SIGNALS_STALE_S + 0.1, 0.2 + SIGNALS_STALE_S + 0.1, -500};
	for (size_t i = 0; i < sizeof(odd_s) / sizeof(*odd_s); i++) {
		exchange_of(0.01);
		signals_read(signals, web, now_s + odd_s[i], &told);
		assert_false(told.fresh);
		assert_int_equal(told.responses, 0);
		assert_true(isnan(told.response_p50_s));
	}
	/* A service without replies, and none at all. */
	signals_read(signals, log, now_s, &told);
	signals_read(signals, log, now_s + 0.1, &told);
	assert_true(told.fresh);
	assert_true(isnan(told.response_p50_s));
	signals_read(signals, SERVICES_MAX, now_s, &told);
	assert_false(told.fresh);

	/* A number that another service gets begins anew. */
	signals_read(signals, web, now_s + 10, &told);
	memset(&world.datapath->responses[web], 0, sizeof(*world.datapath->responses));
	exchange_of(0.01);
	signals_read(signals, web, now_s + 10.1, &told);
	assert_int_equal(told.requests, 1);
	assert_int_equal(told.responses, 1);
}

/* Which service a listener's drops are counted for. */
static void test_listeners_services(void **state)
{
	const struct datapath *dp = world.datapath;
	const struct catalogue_slot *names = datapath_catalogue(dp);
	const __u64 one[2] = {0, 0x010200c0ffff0000}, two[2] = {0, 0x020200c0ffff0000}; /* 192.0.2.1, 192.0.2.2 */
	(void)state;

	assert_string_equal(names->names[datapath_tcp_service(dp, 8080, one, false)], "web");
	assert_string_equal(names->names[datapath_tcp_service(dp, 80, NULL, true)], "web");
	assert_string_equal(names->names[datapath_tcp_service(dp, 81, one, false)], "vip");
	assert_string_equal(names->names[datapath_tcp_service(dp, 81, two, false)], "other");
	assert_string_equal(names->names[datapath_tcp_service(dp, 81, NULL, false)], "vip");
	assert_string_equal(names->names[datapath_tcp_service(dp, 53, NULL, false)], "other");
}

/* What a configuration no longer asks for. */
static void test_policy_is_followed(void **state)
{
	(void)state;
	begin();
	step(REQUEST);
	assert_int_equal(counted("web").waiting, 1);
	/* A service that is no longer timed is sampled no more; what waits is answered as ever. */
	world_apply(&world, "mode: enforce\nservices:\n"
	                    "  - {name: web, protocol: tcp, ports: [80, 8080], replies: false}\n"
	                    "  - {name: dns, protocol: udp, ports: [53]}\n");
	assert_int_equal(world.datapath->features, FEATURE_RESPONSE);
	step(OUT PUSH ",seq=500,ack=1100 raw:9");
	assert_int_equal(counted("web").responses, 1);
	step(IN PUSH ",seq=1100,ack=509 raw:100");
	assert_int_equal(counted("web").requests, 1);
	/* Where none is, nothing of it is left in the program, and none is on the way out. */
	world_apply(&world, "mode: enforce\nservices:\n"
	                    "  - {name: web, protocol: tcp, ports: [80, 8080], replies: false}\n");
	assert_int_equal(world.datapath->features, 0);
	assert_null(world.datapath->keeper->responder.skeleton);
	world_apply(&world, SERVICES);
	assert_non_null(world.datapath->keeper->responder.skeleton);
	/* Another service under the same number begins with nothing. */
	assert_int_equal(counts_of("dns")->requests, 0);
}

static int make(void **state)
{
	struct error err;
	(void)state;

	world_make(&world, SERVICES);
	return signals_new(&signals, world.datapath, &err);
}

static int remove_world(void **state)
{
	(void)state;
	signals_free(signals);
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_what_is_not_sampled),
		cmocka_unit_test(test_more_connections_than_entries),
		cmocka_unit_test(test_how_many_are_sampled),
		cmocka_unit_test(test_what_a_request_stands_for),
		cmocka_unit_test(test_what_passes_apart_from_requests),
		cmocka_unit_test(test_times_fall_into_their_buckets),
		cmocka_unit_test(test_readings),
		cmocka_unit_test(test_listeners_services),
		cmocka_unit_test(test_policy_is_followed),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
