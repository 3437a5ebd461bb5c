/* SPDX-License-Identifier: GPL-2.0-only */
/* What the observer makes of packets that the real program has judged: who asks for how much, by which weight, and what
 * nobody with a name has sent. Packets are paced by this thread's own clock, and what is expected is counted by it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "observe/observer.h"
#include "packet/frame.h"
#include "packet/world.h"

static const char configuration[] =
	"mode: enforce\n"
	"tenants: [{name: acme, prefixes: [10.4.0.0/16], weight: 4}]\n"
	"services:\n"
	"  - {name: dns, protocol: udp, ports: [53], user: {kind: tenant}, adaptive: {minimum: 1, maximum: 1M}}\n"
	"  - {name: big, protocol: udp, ports: [54], adaptive: {minimum_bytes: 1kB, maximum_bytes: 1GB}}\n"
	"deny: [10.9.0.0/16]\n";

static struct world world;
static struct observer *observer;

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static unsigned number_of(const char *service)
{
	return (unsigned)catalogue_find(datapath_catalogue(world.datapath), service);
}

static void run(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	world_run(&world, frame, length, repeat);
}

static void tick(void)
{
	struct error err;

	if (observer_tick(observer, clock_s(), &err) < 0)
		fail_msg("%s", err.text);
}

/* Packets a second of who sends one in each tick, in the slowest and the fastest stretch as long as a pass: a machine
 * that is busy with others does not tick evenly, and a rate is of the stretch in which it was counted. */
struct pace {
	double slowest, fastest;
	unsigned ticks, first; /* of the newest stretch */
	double ticks_s[256];
};

static void pace_tick(struct pace *pace)
{
	double now_s = clock_s();

	assert_true(pace->ticks < sizeof(pace->ticks_s) / sizeof(pace->ticks_s[0]));
	pace->ticks_s[pace->ticks] = now_s;
	if (now_s - pace->ticks_s[0] >= OBSERVER_PASS_S) {
		while (now_s - pace->ticks_s[pace->first + 1] >= OBSERVER_PASS_S)
			pace->first++;
		double rate = (pace->ticks - pace->first) / (now_s - pace->ticks_s[pace->first]);
		pace->slowest = pace->slowest > 0 ? fmin(pace->slowest, rate) : rate;
		pace->fastest = fmax(pace->fastest, rate);
	}
	pace->ticks++;
}

/* Ticks as the daemon does, and lets the users of `words` send so many packets in each. */
static struct pace live(double seconds, const char *const words[], const unsigned packets[], size_t count)
{
	double began_s = clock_s();
	struct pace pace = {0};

	while (clock_s() - began_s < seconds) {
		for (size_t i = 0; i < count; i++)
			run(words[i], packets[i]);
		pace_tick(&pace);
		tick();
		usleep(OBSERVER_TICK_MS * 1000);
	}
	return pace;
}

static double weight_of(enum user_kind kind, const __u64 key[2], void *argument)
{
	unsigned *asked = argument;
	(void)key;

	*asked += 1;
	return kind == USER_TENANT ? 4 : 1;
}

/* Whether `rate` is of who sends so much in each tick. */
static bool is_paced(const struct pace *pace, double rate, double in_tick)
{
	return rate >= in_tick * pace->slowest * 0.9 && rate <= in_tick * pace->fastest * 1.1;
}

/* The only demand of so much in each tick; NULL: none is, or more than one. */
static const struct demand *demand_find(const struct demand *users, size_t count, const struct pace *pace,
                                        double in_tick)
{
	const struct demand *found = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!is_paced(pace, users[i].rate, in_tick))
			continue;
		if (found)
			return NULL;
		found = &users[i];
	}
	return found;
}

static void test_demands_and_the_rest(void **state)
{
	static const char *const words[] = {"4:src=10.0.0.1 udp:53", "4:src=10.0.0.2 udp:53",
	                                    "4:src=10.4.1.1 udp:53", "4:src=10.4.2.2 udp:53",
	                                    "4:src=10.9.0.1 udp:53", "4:src=10.0.0.1 udp:54,len=1008 raw:1000"};
	static const unsigned packets[] = {5, 50, 100, 100, 77, 10};
	unsigned dns = number_of("dns"), big = number_of("big"), asked = 0;
	struct error err;
	size_t count;
	double rest;
	(void)state;

	observer_weigh(observer, weight_of, &asked);
	assert_int_equal(observer_follow(observer, dns, false, &err), 0);
	assert_int_equal(observer_follow(observer, big, true, &err), 0);
	struct pace pace = live(2.5, words, packets, 6);
	const struct demand *users = observer_demands(observer, dns, &count, &rest);
	assert_int_equal(count, 3);
	assert_non_null(demand_find(users, count, &pace, 5));
	const struct demand *heavy = demand_find(users, count, &pace, 50),
			    *acme = demand_find(users, count, &pace, 200);
	assert_non_null(heavy);
	assert_non_null(acme); /* from two addresses, one user */
	assert_true(heavy->weight == 1 && acme->weight == 4);
	assert_true(asked > 0);
	/* Everybody has a name, and what the deny list takes is not offered. */
	assert_true(rest < pace.fastest);
	struct observed_traffic traffic = observer_traffic(observer, dns);
	double in_tick = traffic.offered * traffic.elapsed_s;
	assert_true(fabs(in_tick - 255) < 1e-6 && traffic.admitted == traffic.offered);

	/* And since that tick. */
	double arrived = -1;
	assert_int_equal(observer_arrived(observer, dns, &arrived, &err), 0);
	assert_true(arrived == 0);
	run(words[0], 7);
	assert_int_equal(observer_arrived(observer, dns, &arrived, &err), 0);
	assert_true(arrived == 7);

	/* In bytes: 1,042 a frame. */
	users = observer_demands(observer, big, &count, &rest);
	assert_int_equal(count, 1);
	assert_non_null(demand_find(users, count, &pace, 10 * 1042));

	/* Nobody follows it any more. */
	observer_unfollow(observer, big);
	assert_true(observer_demands(observer, big, &count, &rest) == NULL && count == 0);
	assert_true(observer_traffic(observer, big).elapsed_s <= 0);
}

/* A flood from sources of a packet each: they have no name, and are the rest. */
static void test_the_nameless_are_the_rest(void **state)
{
	unsigned dns = number_of("dns"), sources = 0;
	double began_s = clock_s(), rest;
	struct pace pace = {0};
	struct error err;
	size_t count;
	(void)state;

	world_forget(&world);
	assert_int_equal(observer_follow(observer, dns, false, &err), 0);
	while (clock_s() - began_s < 4.5) {
		for (unsigned i = 0; i < 50; i++, sources++) {
			char words[64];
			snprintf(words, sizeof(words), "4:src=11.%u.%u.%u udp:53", sources >> 16, sources >> 8 & 255,
			         sources & 255);
			run(words, 1);
		}
		run("4:src=10.0.0.7 udp:53", 20);
		pace_tick(&pace);
		tick();
		usleep(OBSERVER_TICK_MS * 1000);
	}
	const struct demand *users = observer_demands(observer, dns, &count, &rest);
	assert_int_equal(count, 1);
	assert_non_null(demand_find(users, count, &pace, 20));
	if (!is_paced(&pace, rest, 50))
		fail_msg("the rest is %.0f/s, expected %.0f to %.0f", rest, 50 * pace.slowest, 50 * pace.fastest);
}

/* Visitors see each active user once a second, whoever is in a hurry, and nobody else. */
struct seen {
	unsigned visits;
	double sum;
};

static void visit(unsigned service, const struct observed_user *user, void *argument)
{
	struct seen *seen = argument;

	if (service != number_of("big"))
		return;
	seen->visits++;
	seen->sum += user->packets_per_second;
}

static void test_visitors(void **state)
{
	static const char *const words[] = {"4:src=10.0.0.1 udp:54", "4:src=10.0.0.2 udp:54"};
	static const unsigned packets[] = {10, 30};
	struct seen seen = {0};
	(void)state;

	world_forget(&world);
	assert_int_equal(observer_visit(observer, visit, &seen), 0);
	struct pace before = live(2.5, words, packets, 2);
	observer_hurry(observer, true);
	unsigned long passes = observer_pass(observer).number;
	seen = (struct seen){0};
	double began_s = clock_s();
	struct pace pace = live(3.2, words, packets, 2);
	passes = observer_pass(observer).number - passes;
	double seconds = clock_s() - began_s;
	assert_true((double)passes <= seconds + 1 && passes >= 2);
	assert_int_equal(seen.visits, 2 * passes);
	double rate = seen.sum / (double)passes;
	pace.slowest = fmin(pace.slowest, before.slowest); /* the first pass is of packets of both */
	pace.fastest = fmax(pace.fastest, before.fastest);
	if (!is_paced(&pace, rate, 40))
		fail_msg("%.0f/s were seen, expected %.0f to %.0f", rate, 40 * pace.slowest, 40 * pace.fastest);
	/* Silence: they are seen a while longer, and then no more. */
	live(3.2, NULL, NULL, 0);
	seen = (struct seen){0};
	live(1.2, NULL, NULL, 0);
	assert_int_equal(seen.visits, 0);
	observer_hurry(observer, false);
}

/* Whoever sends fragments whose first was not seen is held to other limits by them, and is one user all the same. */
static void test_strays_are_their_senders(void **state)
{
	static const char *const words[] = {"4:src=10.0.0.1 udp:7", "4:src=10.0.0.1,off=80,protocol=17 raw:100",
	                                    "4:src=10.0.0.1,off=80,protocol=6 raw:100", "4:src=10.0.0.2 udp:7"};
	static const unsigned packets[] = {5, 10, 20, 15};
	struct observed_service other;
	struct error err;
	(void)state;

	world_forget(&world);
	live(2.5, words, packets, 4);
	assert_int_equal(observer_service(observer, number_of("other"), &other, &err), 0);
	assert_int_equal(other.heaviest_count, 2);
	double times = other.heaviest[0].packets_per_second / other.heaviest[1].packets_per_second;
	assert_true(fabs(times - 35 / 15.0) < 0.1);
	assert_true(other.heaviest[0].passed_packets == 35 * (other.heaviest[1].passed_packets / 15));
	assert_int_equal(other.active_users, 2);
}

/* What comes after the table was left alone for a while is not spread over that while. */
static void test_a_rate_begins_with_its_packets(void **state)
{
	static const char *const words[] = {"4:src=10.0.0.1 udp:54"};
	static const unsigned packets[] = {100};
	unsigned big = number_of("big");
	double read_s, rate = 0;
	(void)state;

	world_forget(&world);
	live(6, NULL, NULL, 0);
	assert_int_equal(observer_last(observer, big, &read_s).active_users, 0);
	run(words[0], 2000);
	double began_s = clock_s();
	while (rate <= 0 && clock_s() - began_s < 10) {
		live(0.1, words, packets, 1);
		struct observed_service seen = observer_last(observer, big, &read_s);
		rate = seen.heaviest_count ? seen.heaviest[0].packets_per_second : 0;
	}
	/* By a pass of each second, and one counter's reading before it. */
	double seconds = clock_s() - began_s + 2 * OBSERVER_PASS_S;
	if (rate < 2000 / seconds)
		fail_msg("%.0f/s were seen, at least %.0f came", rate, 2000 / seconds);
}

static int make(void **state)
{
	struct error err;
	(void)state;

	world_make(&world, configuration);
	return observer_new(&observer, world.datapath, &err);
}

static int remove_world(void **state)
{
	(void)state;
	observer_free(observer);
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demands_and_the_rest),
		cmocka_unit_test(test_the_nameless_are_the_rest),
		cmocka_unit_test(test_visitors),
		cmocka_unit_test(test_strays_are_their_senders),
		cmocka_unit_test(test_a_rate_begins_with_its_packets),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
