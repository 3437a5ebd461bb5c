/* SPDX-License-Identifier: GPL-2.0-only */
/* Charging in batches (bpf/batch.h): who passes is the same as where each packet is charged at once, and whatever has
 * passed is charged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datapath/image.h"
#include "packet/frame.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define BATCH         16    /* BATCH_CHARGES */
#define TWO_JIFFIES   25000 /* us, wherever a kernel ticks a hundred times a second */
#define INCREMENT_S   4.0
#define SETTLER_WORDS "4:src=10.99.99.99 udp:99"

/* One packet in four seconds beside the burst: time changes nothing within a test. */
static const char configuration[] =
	"mode: enforce\n"
	"tenants: [{name: acme, prefixes: [10.0.0.0/30], weight: 2}]\n"
	"services:\n"
	"  - {name: wide, protocol: udp, ports: [53], limit: {packets_per_second: 0.25, burst: 200}}\n"
	"  - {name: narrow, protocol: udp, ports: [54], limit: {packets_per_second: 0.25, burst: 5}}\n"
	"  - {name: margin, protocol: udp, ports: [55], limit: {packets_per_second: 0.25, burst: 32}}\n"
	"  - {name: capped,\n"
	"     protocol: udp, ports: [56], capacity: 50M, limit: {packets_per_second: 0.25, burst: 80}}\n"
	"  - {name: tenants,\n"
	"     protocol: udp, ports: [57], user: {kind: tenant}, limit: {packets_per_second: 0.25, burst: 40}}\n"
	"  - {name: slowest, protocol: udp, ports: [58], limit: {packets_per_second: 0.1, burst: 2}}\n"
	"  - {name: web,\n"
	"     protocol: tcp, ports: [80], limit: {packets_per_second: 0.25, burst: 99,\n"
	"     connections_per_second: 0.25, burst_connections: 60}}\n"
	"  - {name: observed, protocol: udp, ports: [59], mode: observe, limit: {packets_per_second: 0.25, burst: "
	"50}}\n"
	"  - {name: settler, protocol: udp, ports: [99], limit: {packets_per_second: 0.25, burst: 99}}\n";

/* With room for everybody: whose set is full is another matter. */
static struct world world = {.table_users = 20000};
static cpu_set_t usable;
static int home; /* the CPU of what is not said to run on others */

static void begin(bool batches)
{
	world_reset(&world);
	datapath_batch(world.datapath, batches);
}

static unsigned offer(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	return world_run(&world, frame, length, repeat);
}

static void move_to(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Has each CPU settle what waits there: a packet of a later jiffy does. What waits, waits on the CPU that took it. */
static void settle(void)
{
	usleep(TWO_JIFFIES);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &usable)) {
			move_to(cpu);
			offer(SETTLER_WORDS, 1);
		}
	move_to(home);
}

static __u64 passed(const char *service)
{
	return world_tallies(&world, service).outcomes[OUTCOME_PASSED].packets;
}

/* The table counts so many packets, of all services; those aside that were charged to sets in which there was no room,
 * which rarely happens. */
static void assert_counted(__u64 packets)
{
	struct table_view table = datapath_table(world.datapath);
	__u64 counted = 0, overflowed = 0;

	for (size_t set = 0; set < table.count; set++) {
		overflowed += table.overflows[set].packets;
		for (int cell = 0; cell < SET_CELLS; cell++) {
			const struct user_detail *detail = &table.details[set].users[cell];
			counted += table.sets[set].states[cell] & STATE_PACKETS_MASK;
			counted += detail->tag == table.sets[set].cells[cell].tag ? detail->carried_packets : 0;
		}
	}
	assert_in_range(counted, packets - overflowed, packets);
}

static __u64 clock_now(void)
{
	struct error err;
	__u64 now_ns = 0;

	assert_int_equal(datapath_clock(world.datapath, &now_ns, &err), 0);
	return now_ns;
}

/* How many packets' time all cells and overflows run ahead. */
static double charged(void)
{
	struct table_view table = datapath_table(world.datapath);
	__u64 now_ns = clock_now();
	double ahead_s = 0;

	for (size_t set = 0; set < table.count; set++)
		for (int cell = 0; cell <= SET_CELLS; cell++) {
			__u64 word = cell < SET_CELLS ? table.sets[set].states[cell] : table.overflows[set].state;
			__s64 ahead_ns = (__s64)(word - (now_ns << STATE_TAT_SHIFT)) >> STATE_TAT_SHIFT;
			ahead_s += ahead_ns > 0 ? (double)ahead_ns / 1e9 : 0;
		}
	return ahead_s / INCREMENT_S;
}

/* Packets of many users to all services, in an order of chance in which some come much more often than others. */
#define SCHEDULE 30000

static const char *const services[] = {"wide", "margin", "capped", "tenants", "slowest", "web", "observed"};
static const char *const ports[] = {"udp:53", "udp:55", "udp:56", "udp:57", "udp:58", "tcp:80,flags=2", "udp:59"};

#define SERVICES (sizeof(services) / sizeof(*services))

static void schedule_word(unsigned *chance, char words[96])
{
	*chance = *chance * 1103515245U + 12345U;
	unsigned user = (*chance >> 16) % 40, port = (*chance >> 8) % SERVICES;

	user = user * user / 40; /* the first ones come more often */
	if (*chance >> 30)
		snprintf(words, 96, "4:src=10.0.0.%u %s", user, ports[port]);
	else
		snprintf(words, 96, "6:src=2001:db8:%x::1 %s", user, ports[port]);
}

static void run_schedule(unsigned char verdicts[SCHEDULE])
{
	unsigned chance = 2026;
	char words[96];

	for (int i = 0; i < SCHEDULE; i++) {
		schedule_word(&chance, words);
		verdicts[i] = (unsigned char)offer(words, 1);
	}
}

static void test_verdicts_are_those_of_one_by_one(void **state)
{
	static unsigned char alone[SCHEDULE], batched[SCHEDULE];
	__u64 shadows = 0, spilled = 0;
	(void)state;

	begin(false);
	run_schedule(alone);
	for (int i = 0; i < SCHEDULE; i++)
		spilled += alone[i] == XDP_DROP;
	shadows = world_tallies(&world, "observed").outcomes[OUTCOME_SHADOW + REASON_USER_LIMIT].packets;
	assert_in_range(spilled, SCHEDULE / 20, SCHEDULE - SCHEDULE / 20);
	assert_int_not_equal(shadows, 0);

	begin(true);
	run_schedule(batched);
	for (int i = 0; i < SCHEDULE; i++)
		if (alone[i] != batched[i])
			fail_msg("packet %d: verdict %u, %u where it is charged at once", i, batched[i], alone[i]);
	assert_int_equal(world_tallies(&world, "observed").outcomes[OUTCOME_SHADOW + REASON_USER_LIMIT].packets,
	                 shadows);
}

static void test_users_are_charged_what_has_passed(void **state)
{
	static unsigned char verdicts[SCHEDULE];
	(void)state;

	begin(true);
	run_schedule(verdicts);
	settle();
	__u64 all = passed("settler");
	for (size_t i = 0; i < SERVICES; i++)
		all += passed(services[i]);
	assert_counted(all);
}

/* A charge waits for the next jiffy, and no longer. */
static void test_what_waits_is_settled_in_the_next_jiffy(void **state)
{
	(void)state;

	begin(true);
	for (int i = 0; i < 3; i++)
		offer("4:src=10.1.0.1 udp:53", 1);
	usleep(TWO_JIFFIES);
	offer("4:src=10.1.0.1 udp:53", 1);
	assert_counted(4);
}

/* A burst smaller than a batch: at once may come a batch more, and that is owed. */
static void test_more_than_a_small_burst_is_owed(void **state)
{
	enum { SENT = 1000, BURST = 5 };
	(void)state;

	begin(false);
	offer("4:src=10.2.0.1 udp:54", SENT);
	__u64 alone = passed("narrow");
	assert_in_range(alone, BURST, BURST + 1);

	begin(true);
	settle();
	double before = charged();
	offer("4:src=10.2.0.1 udp:54", SENT);
	__u64 batched = passed("narrow");
	assert_in_range(batched, alone, alone + BATCH);
	__u64 settled = passed("settler");
	settle();
	assert_int_equal(passed("narrow"), batched);
	settled = passed("settler") - settled;
	assert_true(fabs(charged() - before - (double)(batched + settled)) < 0.5);
	/* It is watched until it has paid, whoever looks. */
	assert_int_equal(offer("4:src=10.2.0.1 udp:54", SENT), XDP_DROP);
	assert_int_equal(passed("narrow"), batched);
}

/* Far more users than the table has cells for: each packet that passed is charged to a cell or to a set's overflow. */
static void test_nobody_passes_uncharged(void **state)
{
	enum { USERS = 40000, ROUNDS = 2 };
	double times = (double)datapath_table(world.datapath).count * (SET_CELLS + 1);
	char words[96];
	(void)state;

	begin(true);
	settle();
	double before = charged();
	__u64 settled = passed("settler");
	__u64 began_ns = clock_now();
	for (int round = 0; round < ROUNDS; round++)
		for (int user = 0; user < USERS; user++) {
			snprintf(words, sizeof(words), "4:src=10.%d.%d.1 udp:54", 20 + user / 200, user % 200);
			offer(words, 1);
		}
	settle();
	__u64 all = passed("narrow") + passed("settler") - settled;
	double owed = charged() - before, worked_off = (double)(clock_now() - began_ns) / 1e9 / INCREMENT_S * times;
	/* Else nobody found the table full, or everybody did. */
	assert_in_range(all, (__u64)times, USERS * ROUNDS / 2);
	if (owed > (double)all + 1 || owed < (double)all - worked_off)
		fail_msg("%llu packets passed, %.0f were charged, %.0f of it worked off at most", all, owed,
		         worked_off);
}

/* While one CPU judges a user that has nearly used its burst, another may hold a batch of its packets: they are owed.
 */
static void test_what_another_cpu_holds_is_owed(void **state)
{
	enum { TIMES = 50, ROUNDS = 40, REPEAT = 7 };
	static struct shot shot;
	(void)state;

	begin(false);
	offer("4:src=10.3.0.1 udp:53", 1000);
	__u64 alone = passed("wide");
	shot_load(&shot, "4:src=10.3.0.1 udp:53", REPEAT);
	for (int time = 0; time < TIMES; time++) {
		struct hammer hammers[HAMMERS_MAX];
		begin(true);
		double before = charged();
		sched_setaffinity(0, sizeof(usable), &usable);
		hammers_start(hammers, HAMMERS_MAX, &world, &shot, 1, ROUNDS);
		hammers_end(hammers, HAMMERS_MAX);
		assert_in_range(passed("wide"), alone, alone + (HAMMERS_MAX - 1ULL) * BATCH);
		settle();
		__u64 all = passed("wide") + passed("settler");
		assert_true(fabs(charged() - before - (double)all) < 0.5);
	}
}

/* The mode changes, the policy is applied again, and the program is swapped around what waits. */
static void test_changes_lose_no_charge(void **state)
{
	enum { TIMES = 40, PACKETS = 37 };
	static const char with_capacity[] =
		"  - {name: more, protocol: udp, ports: [60], user: {kind: payload, offset: 0, "
		"length: 4}}\n";
	char words[96], other[sizeof(configuration) + sizeof(with_capacity)];
	(void)state;

	snprintf(other, sizeof(other), "%s%s", configuration, with_capacity);
	begin(true);
	for (int time = 0; time < TIMES; time++) {
		for (int packet = 0; packet < PACKETS; packet++) {
			snprintf(words, sizeof(words), "4:src=10.4.0.%d udp:53", packet);
			offer(words, 1);
		}
		datapath_batch(world.datapath, time % 3 != 1);
		if (time % 8 == 3)
			world_apply(&world, time % 16 == 3 ? other : configuration);
	}
	assert_true(datapath_batches(world.datapath));
	settle();
	assert_int_equal(passed("wide"), (__u64)TIMES * PACKETS);
	assert_counted((__u64)TIMES * PACKETS + passed("settler"));
	world_apply(&world, configuration);
}

static int make(void **state)
{
	(void)state;

	world.table_users = 4000; /* hardly any set is full where it is not meant to be */
	world_make(&world, configuration);
	home = sched_getcpu();
	assert_int_equal(sched_getaffinity(0, sizeof(usable), &usable), 0);
	move_to(home);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts_are_those_of_one_by_one),
		cmocka_unit_test(test_users_are_charged_what_has_passed),
		cmocka_unit_test(test_what_waits_is_settled_in_the_next_jiffy),
		cmocka_unit_test(test_more_than_a_small_burst_is_owed),
		cmocka_unit_test(test_nobody_passes_uncharged),
		cmocka_unit_test(test_what_another_cpu_holds_is_owed),
		cmocka_unit_test(test_changes_lose_no_charge),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
