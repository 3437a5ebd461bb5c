/* SPDX-License-Identifier: GPL-2.0-only */
/* What capacity, its ranks and tenure promise, through the real program. Traffic is paced by the packet path's own
 * clock, so that nothing that is asserted hangs on how fast or how evenly this machine runs. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define NS_PER_SECOND  1000000000ULL
#define SATURATED_IN_S 30
#define SOURCE_OFFSET  26 /* of the IPv4 address in an untagged frame */
#define CONFIG_BYTES   16384
#define NEWCOMERS_RANK 4 /* of a datagram, in the class normal */

/* Users are 10.0.KIND.USER. */
enum kind { NEWCOMER, TENURED };
#define USER_ADDRESS(kind, user) {10, 0, (unsigned char)(kind), (unsigned char)((user) + 1)}

static struct world world;

static __u64 clock_now(void)
{
	__u64 now_ns;
	struct error err;

	if (datapath_clock(world.datapath, &now_ns, &err) < 0)
		fail_msg("%s", err.text);
	return now_ns;
}

static unsigned service_number(const char *service)
{
	return (unsigned)catalogue_find(datapath_catalogue(world.datapath), service);
}

static struct policy *live_policy(const char *service)
{
	struct state *live = world.datapath->state;

	return &live->policies[LIVE_POLICY_SLOT(live->live.active)].policies[service_number(service)];
}

/* What a rank of the service may run further ahead than the one below it. */
static __u64 live_step_ns(const char *service)
{
	const struct policy *policy = live_policy(service);

	return policy->capacity_tick_ns + CAPACITY_STEP_PACKETS * policy->capacity_increment;
}

/* Runs packets of the user 10.0.KIND.USER. */
static unsigned shot_send(struct shot *shot, enum kind kind, unsigned user, unsigned repeat)
{
	const unsigned char address[] = USER_ADDRESS(kind, user);

	memcpy(shot->frame + SOURCE_OFFSET, address, sizeof(address));
	return world_run(&world, shot->frame, shot->length, repeat);
}

/* The cell of an IPv4 user that has passed two packets, as a set and a number in it. */
struct seat {
	struct meter_set *set;
	struct user_detail *detail;
	int cell;
};

static struct seat seat_find(const char *service, enum kind kind, unsigned user)
{
	struct datapath *dp = world.datapath;
	const unsigned char address[] = USER_ADDRESS(kind, user);

	for (size_t set = 0; set < dp->sets; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++) {
			struct user_detail *detail = &dp->details[set].users[cell];
			if (dp->table[set].cells[cell].tag && detail->service == service_number(service) &&
			    memcmp((const char *)detail->key + 12, address, sizeof(address)) == 0)
				return (struct seat){.set = &dp->table[set], .detail = detail, .cell = cell};
		}
	}
	fprintf(stderr, "%s: user %u has no cell\n", service, user);
	exit(2);
}

static __u64 *seat_state(const struct seat *seat)
{
	return &seat->set->states[seat->cell];
}

/* Seats a user and grants it the tenure that takes a minute to earn. */
static void tenure_grant(const char *service, struct shot *shot, unsigned user)
{
	shot_send(shot, TENURED, user, 2);
	struct seat seat = seat_find(service, TENURED, user);
	*seat_state(&seat) |= STATE_TENURED;
}

/* A stream of packets at a rate, of a few users that take turns. --------------------------------------------------- */

struct stream {
	const char *service;
	double per_second;
	enum kind kinds[2]; /* users alternate between them */
	unsigned users;
	bool pool;   /* the users are 11.0.0.0 and the addresses behind it instead, a packet each */
	bool random; /* arrivals are a Poisson process, each sent by itself and its verdict counted */
	struct shot shot;
	double owed; /* packets; where they are random, until the next one comes */
	unsigned next;
	__u64 sent, lost;
};

static void stream_load(struct stream *stream, const char *words)
{
	shot_load(&stream->shot, words, 1);
	for (unsigned user = 0; !stream->pool && user < stream->users; user++)
		if (stream->kinds[user % 2] == TENURED)
			tenure_grant(stream->service, &stream->shot, user);
}

static void stream_send_from_pool(struct stream *stream, unsigned packets)
{
	for (unsigned i = 0; i < packets; i++) {
		__u32 address = htonl(0x0b000000 + stream->next++ % stream->users);
		memcpy(stream->shot.frame + SOURCE_OFFSET, &address, sizeof(address));
		world_run(&world, stream->shot.frame, stream->shot.length, 1);
	}
	stream->sent += packets;
}

/* The users share them as evenly as packets go. */
static void stream_send(struct stream *stream, unsigned packets)
{
	if (stream->pool) {
		stream_send_from_pool(stream, packets);
		return;
	}
	for (unsigned left = packets, turn = 0; left && turn < stream->users; turn++) {
		unsigned user = stream->next++ % stream->users;
		unsigned share = (left + stream->users - turn - 1) / (stream->users - turn);
		shot_send(&stream->shot, stream->kinds[user % 2], user, share);
		left -= share;
	}
	stream->sent += packets;
}

static void stream_send_random(struct stream *stream, double packets)
{
	stream->owed -= packets;
	while (stream->owed < 0) {
		unsigned user = stream->next++ % stream->users;
		stream->owed -= log(1 - drand48());
		stream->sent++;
		if (shot_send(&stream->shot, stream->kinds[user % 2], user, 1) != XDP_PASS)
			stream->lost++;
	}
}

/* What arrives at the stream's rate in that time. */
static void stream_advance(struct stream *stream, __u64 elapsed_ns)
{
	double packets = stream->per_second * (double)elapsed_ns / (double)NS_PER_SECOND;

	if (stream->random) {
		stream_send_random(stream, packets);
		return;
	}
	stream->owed += packets;
	unsigned due = (unsigned)stream->owed;
	stream->owed -= due;
	if (due)
		stream_send(stream, due);
}

/* Runs streams for that long, tick by tick. What would have come while this thread was halted comes then, as far as
 * `catch_up_ns`. Returns the packet path's time that passed; `*halted_ns` is what halts took beyond `bridged_ns` each.
 */
static __u64 streams_run(struct stream *streams, size_t count, __u64 duration_ns, __u64 catch_up_ns, __u64 bridged_ns,
                         __u64 *halted_ns)
{
	__u64 began_ns = clock_now(), last_ns = began_ns;

	for (*halted_ns = 0; last_ns - began_ns < duration_ns;) {
		__u64 now_ns = clock_now(), elapsed_ns = now_ns - last_ns;
		if (!elapsed_ns) {
			usleep(100);
			continue;
		}
		if (elapsed_ns > bridged_ns)
			*halted_ns += elapsed_ns - bridged_ns;
		for (size_t i = 0; i < count; i++)
			stream_advance(&streams[i], elapsed_ns < catch_up_ns ? elapsed_ns : catch_up_ns);
		last_ns = now_ns;
	}
	return last_ns - began_ns;
}

static __u64 passed(const char *service)
{
	return world_tallies(&world, service).outcomes[OUTCOME_PASSED].packets;
}

static __u64 spilled(const char *service, enum reason reason)
{
	return world_tallies(&world, service).outcomes[OUTCOME_SPILLED + reason].packets;
}

/* What is known of a service at one moment. */
struct reading {
	__u64 clock_ns, tat_ns, passed;
};

static struct reading reading_take(const char *service)
{
	const volatile __u64 *tat_ns = &world.datapath->state->capacities[service_number(service)].tat_ns;
	struct reading reading;

	do
		reading = (struct reading){.clock_ns = clock_now(), .tat_ns = *tat_ns, .passed = passed(service)};
	while (clock_now() != reading.clock_ns); /* this thread was halted */
	return reading;
}

/* How far what was admitted is ahead of the capacity. */
static __s64 reading_ahead_ns(const struct reading *reading)
{
	return reading->tat_ns > reading->clock_ns ? (__s64)(reading->tat_ns - reading->clock_ns) : 0;
}

/* A configuration that grows service by service. ------------------------------------------------------------------- */

static char configuration[CONFIG_BYTES];

__attribute__((format(printf, 1, 2))) static void configure(const char *format, ...)
{
	size_t length = strlen(configuration);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(configuration + length, sizeof(configuration) - length, format, arguments);
	va_end(arguments);
}

static void configure_anew(void)
{
	configuration[0] = 0;
	configure("mode: enforce\nservices:\n");
}

static void begin(void)
{
	world_apply(&world, configuration);
	world_reset(&world);
}

/* Capacity --------------------------------------------------------------------------------------------------------- */

/* How many times its capacity a service is offered, by users of one rank or of two. The first OFFERS_SLOW are not
 * beyond an emulated processor; the highest capacity of either comes last. */
static const struct offer {
	double capacity, times;
	bool mixed;
} offers[] = {
	{100, 1.01, false},   {100, 1.5, true},   {100, 10, false},    {1000, 1.01, true}, {1000, 3, false},
	{10000, 1.01, false}, {100, 1000, true},  {1000, 1000, false}, {10000, 100, true}, {100000, 1.01, true},
	{100000, 5, false},   {1e6, 1.01, false}, {1e6, 1.5, true},
};
#define OFFERS      (sizeof(offers) / sizeof(*offers))
#define OFFERS_SLOW 6

static void test_capacity_is_filled_and_held(void **state)
{
	static struct stream streams[OFFERS];
	static char names[OFFERS][8];
	struct reading before[OFFERS];
	size_t count = world_emulated() ? OFFERS_SLOW : OFFERS;
	__u64 halted_ns;
	(void)state;

	configure_anew();
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "s%zu", i);
		configure("  - {name: %s, protocol: udp, ports: [%zu], capacity: %.0f}\n", names[i], i + 1,
		          offers[i].capacity);
	}
	begin();
	for (size_t i = 0; i < count; i++) {
		char words[32];
		streams[i] = (struct stream){.service = names[i],
		                             .per_second = offers[i].capacity * offers[i].times,
		                             .kinds = {NEWCOMER, offers[i].mixed ? TENURED : NEWCOMER},
		                             .users = 4};
		snprintf(words, sizeof(words), "4 udp:%zu", i + 1);
		stream_load(&streams[i], words);
		/* From the first moment it is used up, also by its highest rank. */
		shot_send(&streams[i].shot, streams[i].kinds[1], 1, world_emulated() ? 20000 : 200000);
	}

	/* A newcomer's datagram may find five steps ahead: for shorter halts than that its capacity goes on. */
	__u64 bridged_ns = (NEWCOMERS_RANK + 1) * live_step_ns(names[count - 1]);
	streams_run(streams, count, NS_PER_SECOND / 2, ~0ULL, bridged_ns, &halted_ns);
	for (size_t i = 0; i < count; i++)
		before[i] = reading_take(names[i]);
	__u64 elapsed_ns = streams_run(streams, count, 3 * NS_PER_SECOND, ~0ULL, bridged_ns, &halted_ns);
	for (size_t i = 0; i < count; i++) {
		struct reading after = reading_take(names[i]);
		double admitted = (double)(after.passed - before[i].passed);
		/* What was admitted ahead of its time at the one moment or the other. */
		__s64 ahead_ns = reading_ahead_ns(&after) - reading_ahead_ns(&before[i]);
		__s64 between_ns = (__s64)(after.clock_ns - before[i].clock_ns);
		double most = offers[i].capacity * (double)(between_ns + ahead_ns) / (double)NS_PER_SECOND;
		/* Nothing was offered while this thread was halted, nor before the first packet and behind the last. */
		__s64 idle_ns = (__s64)halted_ns + between_ns - (__s64)elapsed_ns;
		double least = most - offers[i].capacity * (double)idle_ns / (double)NS_PER_SECOND;
		print_message("%8.0f/s offered %.2f times%s: %.2f %%\n", offers[i].capacity, offers[i].times,
		              offers[i].mixed ? " by two ranks" : "", 100 * admitted / most);
		if (admitted > most * 1.02 || admitted < least * 0.97)
			fail_msg("%.0f admitted, expected %.0f to %.0f", admitted, least, most);
	}
	print_message("this thread was halted for %.3f s of %.3f\n", (double)halted_ns / 1e9, (double)elapsed_ns / 1e9);
}

/* A capacity that moves while packets are judged by it. ------------------------------------------------------------ */

/* What an adaptive service passes in a second of what it is offered, as a rate; and for which part of it this thread
 * was halted for longer than the lowest rank's step. */
static double admitted_of(struct stream *stream, double *halted)
{
	__u64 halted_ns, before = passed(stream->service);
	__u64 elapsed_ns = streams_run(stream, 1, NS_PER_SECOND, ~0ULL, 2 * world.datapath->jiffy_ns, &halted_ns);

	*halted = (double)halted_ns / (double)elapsed_ns;
	return (double)(passed(stream->service) - before) * (double)NS_PER_SECOND / (double)elapsed_ns;
}

/* `within`: what may be ahead at the end and was not at the beginning, in packets. */
static void assert_admits(struct stream *stream, double expected, double within)
{
	double halted, admitted = admitted_of(stream, &halted), least = expected * (1 - halted);

	print_message("%s: %.0f/s admitted, %.0f expected\n", stream->service, admitted, expected);
	if (admitted > expected * 1.02 + within || admitted < least * 0.98 - within)
		fail_msg("%.0f admitted, expected %.0f to %.0f", admitted, least, expected);
}

static void capacity_set_to(const char *service, struct datapath_capacity capacity)
{
	struct error err;

	assert_int_equal(datapath_set_capacity(world.datapath, service_number(service), &capacity, &err), 0);
}

static void capacity_set(const char *service, double per_second)
{
	capacity_set_to(service, (struct datapath_capacity){.per_second = per_second});
}

/* As if the controller had last stood by the capacity longer ago than the relax time. */
static void capacity_forget(const char *service)
{
	__u64 *word = &world.datapath->state->capacities[service_number(service)].word;

	*word = (*word & ~LEVEL_TIME_MASK) | ((*word - world.datapath->state->live.relax_after - 1) & LEVEL_TIME_MASK);
}

static void test_a_capacity_moves_and_relaxes(void **state)
{
	struct stream open = {.service = "open", .per_second = 20000, .users = 4};
	struct stream bounded = {.service = "bounded", .per_second = 20000, .users = 4};
	(void)state;

	configure_anew();
	configure("  - {name: open, protocol: udp, ports: [1], adaptive: {minimum: 1, maximum: 1M}}\n");
	configure(
		"  - {name: bounded, protocol: udp, ports: [2], adaptive: {minimum: 1, maximum: 1M}, capacity: 2k}\n");
	begin();
	stream_load(&open, "4 udp:1");
	stream_load(&bounded, "4 udp:2");
	/* None was set: there is none, or the configured one. */
	assert_admits(&open, 20000, 0);
	assert_admits(&bounded, 2000, 100);
	/* One step of a newcomer's datagram lies ahead of a capacity that was just set: it is no class above others. */
	capacity_set("open", 500);
	assert_admits(&open, 500, CAPACITY_STEP_PACKETS + 500 * 0.01 + 5);
	assert_admits(&open, 500, 25);
	assert_true(spilled("open", REASON_CAPACITY) > (world_emulated() ? 3000 : 30000));
	/* A higher one counts at once, whatever was charged at the lower. */
	capacity_set("open", 10000);
	assert_admits(&open, 10000, 600);
	capacity_set("bounded", 1000);
	assert_admits(&bounded, 1000, 150);
	/* Without the controller: none, and what is configured. */
	capacity_forget("open");
	capacity_forget("bounded");
	assert_admits(&open, 20000, 0);
	assert_admits(&bounded, 2000, 150);
	capacity_set("bounded", INFINITY);
	assert_admits(&bounded, 2000, 100);
}

/* One that rises a little each tick does not let in a burst each time: what is owed stays owed. */
static void test_a_rising_capacity_is_no_burst(void **state)
{
	struct stream stream = {.service = "open", .users = 1};
	double per_second = 100;
	(void)state;

	configure_anew();
	configure("  - {name: open, protocol: udp, ports: [1], adaptive: {minimum: 1, maximum: 1M}}\n");
	begin();
	stream_load(&stream, "4 udp:1");
	capacity_set("open", per_second);
	shot_send(&stream.shot, NEWCOMER, 0, 1000); /* until nothing more is let in */
	__u64 before = passed("open"), began_ns = clock_now();
	for (int rise = 0; rise < 20; rise++) {
		capacity_set("open", per_second *= 1.01);
		shot_send(&stream.shot, NEWCOMER, 0, 1000);
	}
	double allowed = per_second * (double)(clock_now() - began_ns) / (double)NS_PER_SECOND;
	/* A step is a little shorter at a higher capacity, and what is due in it with it: that is no room. */
	assert_in_range(passed("open") - before, 0, (__u64)allowed + CAPACITY_STEP_PACKETS);
}

/* What may come at once beside that. */
static void test_a_capacity_has_a_burst(void **state)
{
	struct shot shot;
	(void)state;

	configure_anew();
	configure("  - {name: open, protocol: udp, ports: [1], adaptive: {minimum: 1, maximum: 1M}}\n");
	begin();
	shot_load(&shot, "4 udp:1", 1);
	capacity_set_to("open", (struct datapath_capacity){.per_second = 100, .burst = 200});
	shot_send(&shot, NEWCOMER, 0, 1000);
	assert_in_range(passed("open"), 200, 200 + CAPACITY_STEP_PACKETS + 25);
}

/* Uses the capacity up, waits (for less than a step), and uses up what has become free: so many a second. */
static void assert_frees(struct shot *shot, double per_second)
{
	shot_send(shot, NEWCOMER, 0, 200);
	__u64 before = passed("open"), began_ns = clock_now();
	usleep(80000);
	shot_send(shot, NEWCOMER, 0, 200);
	__u64 due = (__u64)(per_second * (double)(clock_now() - began_ns) / (double)NS_PER_SECOND);
	assert_in_range(passed("open") - before, due - 1, due + 2);
}

/* A SYN may count for more than a packet, and a packet for less than one. */
static void test_a_syn_counts_for_its_connection(void **state)
{
	struct shot segment, syn;
	(void)state;

	configure_anew();
	configure("  - {name: open, protocol: tcp, ports: [1], adaptive: {minimum: 1, maximum: 1M}}\n");
	begin();
	shot_load(&segment, "4 tcp:1,flags=16", 1);
	shot_load(&syn, "4 tcp:1,flags=2", 1);
	uint64_t connects = datapath_connects(world.datapath, service_number("open"));
	capacity_set("open", 100);
	assert_frees(&syn, 100);
	capacity_set_to("open", (struct datapath_capacity){.per_second = 100, .packet_cost = 0.5, .connect_cost = 3});
	assert_frees(&segment, 200);
	assert_frees(&syn, 100 / 3.0);
	assert_int_equal(datapath_connects(world.datapath, service_number("open")) - connects, 800);
}

/* Who finds no room is known all the same, one a jiffy: with what it was spilled, and nothing that passed. */
static void test_newcomers_without_room_are_named(void **state)
{
	struct shot shot;
	(void)state;

	configure_anew();
	configure("  - {name: open, protocol: udp, ports: [1], adaptive: {minimum: 1, maximum: 1M}}\n");
	begin();
	shot_load(&shot, "4 udp:1", 1);
	capacity_set("open", 0.1);
	shot_send(&shot, NEWCOMER, 0, 1000);
	__u64 passed_before = passed("open");
	usleep((unsigned)(2 * world.datapath->jiffy_ns / 1000));
	shot_send(&shot, NEWCOMER, 1, 1);
	struct seat seat = seat_find("open", NEWCOMER, 1);
	assert_int_equal(seat.detail->spilled_packets, 1);
	assert_int_equal((*seat_state(&seat) & STATE_PACKETS_MASK) + seat.detail->carried_packets, 0);
	assert_int_equal(passed("open"), passed_before);
	/* It is judged like anybody else from then on. */
	shot_send(&shot, NEWCOMER, 1, 1);
	assert_int_equal(seat.detail->spilled_packets, 2);
	capacity_set("open", INFINITY);
	shot_send(&shot, NEWCOMER, 1, 3);
	assert_int_equal((*seat_state(&seat) & STATE_PACKETS_MASK) + seat.detail->carried_packets, 3);
	assert_int_equal(seat.detail->spilled_packets, 2);
}

static void test_a_capacity_in_bytes(void **state)
{
	struct stream stream = {.service = "big", .per_second = 5000, .users = 4};
	(void)state;

	configure_anew();
	configure("  - {name: big, protocol: udp, ports: [1], adaptive: {minimum_bytes: 1kB, maximum_bytes: 1GB}}\n");
	begin();
	stream_load(&stream, "4 udp:1,len=1008 raw:1000");
	assert_admits(&stream, 5000, 0);
	capacity_set("big", 1042000);
	double halted;
	admitted_of(&stream, &halted);
	assert_admits(&stream, 1000, 60);
}

/* Priority --------------------------------------------------------------------------------------------------------- */

/* Neighbours among the ranks: what both send, and under which class. */
static const struct contest {
	const char *name;
	const char *classes[2]; /* lower, higher */
	const char *packets[2];
	enum kind kinds[2];
} contests[] = {
	{"SYNs before established", {"normal", "normal"}, {"tcp:%u,flags=2", "tcp:%u,flags=16"}, {NEWCOMER, NEWCOMER}},
	{"newcomers before tenured", {"normal", "normal"}, {"tcp:%u,flags=16", "tcp:%u,flags=2"}, {NEWCOMER, TENURED}},
	{"sheddable before normal",
         {"sheddable", "normal"},
         {"tcp:%u,flags=16", "tcp:%u,flags=2"},
         {TENURED, NEWCOMER}},
	{"normal before critical", {"normal", "critical"}, {"tcp:%u,flags=16", "tcp:%u,flags=2"}, {TENURED, NEWCOMER}},
};
static const unsigned contested[] = {100, 1000, 10000}; /* the first alone where a processor is emulated */
#define CONTESTS   (sizeof(contests) / sizeof(*contests))
#define CONTESTED  (sizeof(contested) / sizeof(*contested))
#define CONTENDERS (2 * CONTESTS * CONTESTED)

static bool is_contested(unsigned contender)
{
	return !world_emulated() || contender / 2 % CONTESTED == 0;
}

/* The lower rank offers 100 times the capacity. The higher one offers half of it, as it comes in life: at random. */
static void test_a_higher_rank_loses_nothing(void **state)
{
	static struct stream streams[CONTENDERS];
	static char names[CONTENDERS][8];
	__u64 halted_ns;
	(void)state;

	configure_anew();
	for (unsigned i = 0; i < CONTENDERS; i++) {
		snprintf(names[i], sizeof(names[i]), "s%u", i);
		configure("  - {name: %s, protocol: tcp, ports: [%u], capacity: %u, class: %s}\n", names[i], i + 1,
		          contested[i / 2 % CONTESTED], contests[i / 2 / CONTESTED].classes[i % 2]);
	}
	begin();
	/* Both ranks share a capacity, though their class is that of a service. */
	for (unsigned i = 0; i < CONTENDERS; i += 2)
		live_policy(names[i + 1])->service = live_policy(names[i])->service;
	for (unsigned i = 0; i < CONTENDERS; i++) {
		const struct contest *contest = &contests[i / 2 / CONTESTED];
		char packet[32], words[64];
		streams[i] = (struct stream){
			.service = names[i & ~1U],
			.per_second = is_contested(i) ? contested[i / 2 % CONTESTED] * (i % 2 ? 0.5 : 100) : 0,
			.kinds = {contest->kinds[i % 2], contest->kinds[i % 2]},
			.users = 1,
			.random = i % 2};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(packet, sizeof(packet), contest->packets[i % 2], i + 1);
#pragma GCC diagnostic pop
		snprintf(words, sizeof(words), "4 %s", packet);
		stream_load(&streams[i], words);
	}

	__u64 jiffy_ns = world.datapath->jiffy_ns;
	streams_run(streams, CONTENDERS, 3 * NS_PER_SECOND, jiffy_ns, jiffy_ns, &halted_ns);
	for (unsigned i = 1; i < CONTENDERS; i += 2)
		print_message("%s, %u/s: %llu of %llu lost\n", contests[i / 2 / CONTESTED].name,
		              contested[i / 2 % CONTESTED], streams[i].lost, streams[i].sent);
	for (unsigned i = 1; i < CONTENDERS; i += 2) {
		if (!is_contested(i))
			continue;
		assert_true(streams[i].sent > 0);
		if (streams[i].lost * 1000 > streams[i].sent)
			fail_msg("%s", contests[i / 2 / CONTESTED].name);
		/* It was a flood: nearly all of the lower rank was spilled, and most of it where this thread was
		 * halted. */
		assert_true(spilled(names[i - 1], REASON_CAPACITY) > streams[i - 1].sent / 2);
	}
}

/* Six users use more than half of their bursts, and with that up to half of their rank's last step what the service can
 * take. There is still room for who left its burst unused; and none for one of them, nor for whom nobody knows. */
static void test_who_is_within_its_share_goes_first(void **state)
{
	enum { GREEDY = 6, MODEST = 6, STRANGER = 7, USED = 7, LAST_USED = 5, TRIES = 100 };
	__u64 began_ns, took_ns = ~0ULL;
	unsigned greedy = 0, modest = 0, stranger = 0;
	struct shot shot;
	(void)state;

	configure_anew();
	configure("  - {name: ranked, protocol: udp, ports: [1], capacity: 100, "
	          "limit: {packets_per_second: 1000, burst: %u}}\n",
	          USED + 1);
	begin();
	shot_load(&shot, "4 udp:1", 1);
	for (int try = 0; try < TRIES && took_ns; try++) {
		world_reset(&world);
		shot_send(&shot, NEWCOMER, MODEST, 2);
		usleep(50000);
		began_ns = clock_now();
		for (unsigned user = 0; user < GREEDY; user++)
			shot_send(&shot, NEWCOMER, user, USED);
		greedy = shot_send(&shot, NEWCOMER, 0, 1);
		modest = shot_send(&shot, NEWCOMER, MODEST, 1);
		stranger = shot_send(&shot, NEWCOMER, STRANGER, 1);
		took_ns = clock_now() - began_ns;
	}
	assert_int_equal(took_ns, 0); /* else this machine is too slow */
	assert_int_equal(modest, XDP_PASS);
	assert_int_equal(greedy, XDP_DROP);
	assert_int_equal(stranger, XDP_DROP);
	assert_int_equal(passed("ranked"), 2 + (GREEDY - 1) * USED + LAST_USED + 1);
	assert_int_equal(spilled("ranked", REASON_CAPACITY), USED - LAST_USED + 2);
}

/* Two CPUs at once, on users apart: the capacity is theirs together, to the packet. ----------------------------------
 */

/* Reads at a moment when the capacity is used up for all that send: nothing passes before the clock moves on, and it
 * did not while this was read. */
static struct reading read_used_up(const char *service)
{
	__s64 least_ahead_ns = (NEWCOMERS_RANK + 1) * (__s64)live_step_ns(service);

	for (__u64 began_ns = clock_now(); clock_now() - began_ns < SATURATED_IN_S * NS_PER_SECOND; usleep(200)) {
		struct reading reading = reading_take(service), again = reading_take(service);
		if (reading_ahead_ns(&reading) > least_ahead_ns && again.tat_ns == reading.tat_ns &&
		    again.clock_ns == reading.clock_ns)
			return reading;
	}
	fprintf(stderr, "%s: not used up in %d s: this machine is too slow\n", service, SATURATED_IN_S);
	exit(2); /* the threads are at work: no way back into the test */
}

#define TWO_CPUS_TRIES 10

/* What was admitted in half a second beyond what the capacity lets in; negative: less. `*expected`: that. */
static double admitted_beyond(const char *service, double *expected)
{
	struct reading from = read_used_up(service);
	usleep(500000);
	struct reading until = read_used_up(service);

	*expected = (double)(until.clock_ns - from.clock_ns) / (double)live_policy(service)->capacity_increment;
	return (double)(until.passed - from.passed) - *expected;
}

static void hold_on_two_cpus(const char *service, unsigned port)
{
	double expected, beyond, slack;
	int tries = 0;
	struct shot *shots = calloc(4, sizeof(*shots));
	struct hammer hammers[HAMMERS_MAX];
	char words[64];

	for (unsigned user = 0; user < 4; user++) {
		snprintf(words, sizeof(words), "4:src=10.0.0.%u udp:%u", user + 1, port);
		shot_load(&shots[user], words, world_emulated() ? 2000 : 100000);
	}
	hammers_start(hammers, HAMMERS_MAX, &world, shots, 4, 0);
	usleep(200000);
	do { /* a machine that stands still meanwhile offers nothing: never more, but once in a while all of it */
		beyond = admitted_beyond(service, &expected);
		/* A packet of each thread may find room that the other takes, or be charged and not counted yet. */
		slack = 2 * HAMMERS_MAX + expected / 1000;
	} while (beyond < -slack && ++tries < TWO_CPUS_TRIES);
	hammers_end(hammers, HAMMERS_MAX);
	free(shots);
	if (fabs(beyond) > slack)
		fail_msg("%s: %.0f admitted, expected %.0f", service, expected + beyond, expected);
}

static void test_two_cpus_share_a_capacity(void **state)
{
	(void)state;
	configure_anew();
	configure("  - {name: hundred, protocol: udp, ports: [1], capacity: 100}\n");
	configure("  - {name: ten-thousand, protocol: udp, ports: [2], capacity: 10k}\n");
	configure("  - {name: million, protocol: udp, ports: [3], capacity: 1M}\n");
	begin();
	hold_on_two_cpus("hundred", 1);
	hold_on_two_cpus("ten-thousand", 2);
	if (!world_emulated())
		hold_on_two_cpus("million", 3);
}

/* What this CPU owes the service's capacity. */
static __u64 owed_ns(const char *service)
{
	_cleanup_free_ struct service_tallies *values = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*values));
	__u32 number = service_number(service);

	assert_non_null(values);
	assert_int_equal(bpf_map_lookup_elem(world.datapath->fds[OBJECT_TALLIES], &number, values), 0);
	return values[sched_getcpu()].owed_ns;
}

/* What is admitted is charged for many packets at once, and to the last of them. Of who is new, each by itself. */
static void test_a_cpu_owes_before_it_charges(void **state)
{
	cpu_set_t usable, one;
	struct shot shot;
	(void)state;

	assert_int_equal(sched_getaffinity(0, sizeof(usable), &usable), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	configure_anew();
	configure("  - {name: million, protocol: udp, ports: [1], capacity: 1M}\n");
	begin();
	const __u64 *tat_ns = &world.datapath->state->capacities[service_number("million")].tat_ns;
	__u64 cost_ns = NS_PER_SECOND / 1000000;
	unsigned due = (unsigned)((live_step_ns("million") >> CAPACITY_OWED_SHIFT) / cost_ns) + 1;
	shot_load(&shot, "4 udp:1", 1);

	shot_send(&shot, NEWCOMER, 0, 1);
	__u64 charged_ns = *tat_ns;
	assert_true(charged_ns > 0);
	assert_int_equal(owed_ns("million"), 0);
	shot_send(&shot, NEWCOMER, 0, due - 1);
	assert_int_equal(owed_ns("million"), (due - 1) * cost_ns);
	assert_int_equal(*tat_ns, charged_ns);
	__u64 before_ns = clock_now();
	shot_send(&shot, NEWCOMER, 0, 1);
	assert_int_equal(owed_ns("million"), 0);
	assert_in_range(*tat_ns, before_ns + due * cost_ns, clock_now() + (due + 1) * cost_ns);
	assert_int_equal(passed("million"), due + 1);
	assert_int_equal(sched_setaffinity(0, sizeof(usable), &usable), 0);
}

/* Tenure ----------------------------------------------------------------------------------------------------------- */

#define EPOCH_NS (1ULL << TENURE_EPOCH_SHIFT)

/* Whether a user who sends steadily has tenure at the end of that time. Time is made up: before each packet the epoch
 * in which the user last was steady is moved to be as long ago as it would be. */
static bool earns(double per_second, unsigned seconds)
{
	struct shot shot;
	__u32 steady = 0;

	world_reset(&world);
	shot_load(&shot, "4 udp:53", 1);
	shot_send(&shot, NEWCOMER, 0, 2);
	struct seat seat = seat_find("dns", NEWCOMER, 0);
	for (unsigned packet = 2; packet < seconds * per_second; packet++) {
		__u32 epoch = (__u32)(packet / per_second * (double)NS_PER_SECOND / (double)EPOCH_NS) + 1000;
		__u16 now = (__u16)(clock_now() >> TENURE_EPOCH_SHIFT);
		seat.detail->epoch = (__u16)(now - (epoch - steady));
		shot_send(&shot, NEWCOMER, 0, 1);
		if (seat.detail->epoch == now)
			steady = epoch;
	}
	return *seat_state(&seat) & STATE_TENURED;
}

static void test_tenure_is_for_the_steady(void **state)
{
	struct shot shot;
	(void)state;

	configure_anew();
	configure("  - {name: dns, protocol: udp, ports: [53], capacity: 10M}\n");
	begin();
	/* A packet a second for half a day; a little too few for an hour; and enough, for two minutes. */
	assert_false(earns(1, 43200));
	assert_false(earns(1.6, 3600));
	assert_true(earns(2, 120));
	/* A burst, however large. */
	world_reset(&world);
	shot_load(&shot, "4 udp:53", 1);
	shot_send(&shot, NEWCOMER, 0, 1000000);
	struct seat seat = seat_find("dns", NEWCOMER, 0);
	assert_false(*seat_state(&seat) & STATE_TENURED);
}

static void flood_every_set(unsigned port)
{
	char words[32];
	struct stream flood = {.users = 1000000, .pool = true};

	snprintf(words, sizeof(words), "4 udp:%u", port);
	stream_load(&flood, words);
	stream_send(&flood, world_emulated() ? 20000 : 200000);
}

static void test_tenure_outlasts_silence(void **state)
{
	const __u64 minute = (60 * NS_PER_SECOND) << STATE_TAT_SHIFT;
	struct shot shot;
	(void)state;

	configure_anew();
	configure("  - {name: dns, protocol: udp, ports: [53], capacity: 10M, limit: {packets_per_second: 10}}\n");
	begin();
	shot_load(&shot, "4 udp:53", 1);
	tenure_grant("dns", &shot, 0);
	struct seat seat = seat_find("dns", TENURED, 0);
	__u32 tag = seat.set->cells[seat.cell].tag;
	*seat_state(&seat) -= 5 * minute;
	flood_every_set(53);
	assert_int_equal(seat.set->cells[seat.cell].tag, tag);
	shot_send(&shot, TENURED, 0, 1);
	assert_true(*seat_state(&seat) & STATE_TENURED);
	/* Not for ever. */
	*seat_state(&seat) -= 10 * minute;
	flood_every_set(53);
	assert_int_not_equal(seat.set->cells[seat.cell].tag, tag);
}

/* F22 -------------------------------------------------------------------------------------------------------------- */

/* A flood from a million forged sources, over and over, keeps all cells of all sets running. Whoever was there before
 * it is judged as ever: nobody within the limit loses a packet, nobody beyond it gains one. */
static void test_f22_users_stay_exact_in_a_full_table(void **state)
{
	/* A tenth of all rates where a processor is emulated, and less of the flood, which fills the table there too.
	 */
	const double slower = world_emulated() ? 10 : 1;
	struct stream streams[] = {
		{.service = "dns", .per_second = world_emulated() ? 10000 : 400000, .users = 1000000, .pool = true},
		{.service = "dns", .per_second = 20 * 20 / slower, .users = 20, .random = true}, /* 20/s each */
		{.service = "dns",
	         .per_second = 10 * 90 / slower,
	         .users = 10,
	         .kinds = {TENURED, TENURED},
	         .random = true},
	};
	struct shot shot;
	__u64 halted_ns;
	(void)state;

	configure_anew();
	configure("  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: %.0f, burst: 30}}\n",
	          30 / slower);
	begin();
	for (size_t i = 0; i < 3; i++)
		shot_load(&streams[i].shot, "4 udp:53", 1);
	shot_load(&shot, "4 udp:53", 1);
	for (unsigned user = 0; user < 20; user++)
		shot_send(&shot, NEWCOMER, user, 20);
	for (unsigned user = 0; user < 10; user++)
		shot_send(&shot, TENURED, user, 60);
	__u64 jiffy_ns = world.datapath->jiffy_ns;
	__u64 elapsed_ns = streams_run(streams, 3, 2 * NS_PER_SECOND, jiffy_ns, jiffy_ns, &halted_ns);
	__u64 gained = streams[2].sent - streams[2].lost;
	double due = 10 * 30 / slower * (double)elapsed_ns / (double)NS_PER_SECOND;
	__u64 overflowed = 0;
	for (size_t set = 0; set < world.datapath->sets; set++)
		overflowed += world.datapath->overflows[set].packets;
	print_message("of %llu forged %llu went through overflow cells; within the limit %llu of %llu lost; beyond it "
	              "%llu passed, due %.0f\n",
	              streams[0].sent, overflowed, streams[1].lost, streams[1].sent, gained, due);
	assert_true(overflowed > streams[0].sent / 10);
	assert_true(streams[1].lost * 1000 <= streams[1].sent);
	/* While this thread is halted they send nothing. */
	double missed = due * (double)halted_ns / (double)elapsed_ns;
	assert_true((double)gained < due + due / 50 + 10 && (double)gained > due - missed - due / 50 - 10);
}

/* A test run of many packets first makes the kernel patch the program into the path of all XDP programs, which takes
 * some 10 ms, unless it is there already: so it is attached, in a network of this process's own. */
static void attach(void)
{
	struct error err;
	int status = 0;

	if (unshare(CLONE_NEWNET)) {
		perror("a network namespace");
		exit(2);
	}
	pid_t pid = fork();
	if (pid == 0) {
		execlp("ip", "ip", "link", "add", "edge", "type", "veth", "peer", "name", "wire", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status || datapath_attach(world.datapath, "edge", &err) < 0) {
		fprintf(stderr, "no interface to attach to\n");
		exit(2);
	}
}

static int make(void **state)
{
	(void)state;
	world_make(&world, "mode: enforce\nservices:\n  - {name: dns, protocol: udp, ports: [53]}\n");
	attach();
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
		cmocka_unit_test(test_capacity_is_filled_and_held),
		cmocka_unit_test(test_a_capacity_moves_and_relaxes),
		cmocka_unit_test(test_a_rising_capacity_is_no_burst),
		cmocka_unit_test(test_a_capacity_has_a_burst),
		cmocka_unit_test(test_a_syn_counts_for_its_connection),
		cmocka_unit_test(test_newcomers_without_room_are_named),
		cmocka_unit_test(test_a_capacity_in_bytes),
		cmocka_unit_test(test_a_higher_rank_loses_nothing),
		cmocka_unit_test(test_who_is_within_its_share_goes_first),
		cmocka_unit_test(test_two_cpus_share_a_capacity),
		cmocka_unit_test(test_a_cpu_owes_before_it_charges),
		cmocka_unit_test(test_tenure_is_for_the_steady),
		cmocka_unit_test(test_tenure_outlasts_silence),
		cmocka_unit_test(test_f22_users_stay_exact_in_a_full_table),
	};

	srand48(1);
	return cmocka_run_group_tests(tests, make, remove_world);
}
