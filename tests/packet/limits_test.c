/* SPDX-License-Identifier: GPL-2.0-only */
/* F32. Limits are held exactly, also where two CPUs charge one user at once. What is asserted hangs on the packet
 * path's own clock and on the meter's arithmetic, not on how fast or how evenly this machine runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datapath/image.h"
#include "packet/frame.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define NS_PER_SECOND  1000000000ULL
#define SATURATED_IN_S 30

/* Services with a limit, in packets a second. */
enum { TEN, THOUSAND, TEN_THOUSAND, HUNDRED_THOUSAND, MILLION, LIMITED };

static const struct limited {
	const char *name;
	unsigned port, per_second;
} limited[LIMITED] = {
	[TEN] = {"ten", 1, 10},
	[THOUSAND] = {"thousand", 2, 1000},
	[TEN_THOUSAND] = {"ten-thousand", 3, 10000},
	[HUNDRED_THOUSAND] = {"hundred-thousand", 4, 100000},
	[MILLION] = {"million", 5, 1000000},
};

static struct world world;

static __u64 clock_now(void)
{
	__u64 now_ns;
	struct error err;

	if (datapath_clock(world.datapath, &now_ns, &err) < 0)
		fail_msg("%s", err.text);
	return now_ns;
}

/* The one user of a service: its limit, and its cell in the live table. ------------------------------------------- */

struct subject {
	const char *service;
	const struct policy *policy;
	const struct meter_set *set;
	int cell;
};

static __u64 subject_passed(const struct subject *subject)
{
	return world_tallies(&world, subject->service).outcomes[OUTCOME_PASSED].packets;
}

static __u64 subject_tat(const struct subject *subject)
{
	return __atomic_load_n(&subject->set->states[subject->cell], __ATOMIC_SEQ_CST) & ~STATE_PACKETS_MASK;
}

/* How far the user's TAT runs ahead; times wrap at 2^44 ns. */
static __s64 subject_ahead(const struct subject *subject, __u64 now_ns)
{
	return (__s64)(subject_tat(subject) - (now_ns << STATE_TAT_SHIFT)) >> STATE_TAT_SHIFT;
}

/* Sends the shot until it is spilled: from then on the user's TAT is never behind while somebody hammers on. */
static struct subject subject_saturate(const char *service, const struct shot *shot)
{
	struct table_view table = datapath_table(world.datapath);
	int number = catalogue_find(datapath_catalogue(world.datapath), service);
	struct subject subject = {.service = service, .policy = &datapath_policies(world.datapath)->policies[number]};

	while (world_run(&world, shot->frame, shot->length, shot->repeat) != XDP_DROP)
		;
	for (size_t set = 0; set < table.count; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			if (table.sets[set].cells[cell].tag && table.details[set].users[cell].service == number) {
				subject.set = &table.sets[set];
				subject.cell = cell;
			}
	assert_non_null(subject.set);
	return subject;
}

/* What is known at one moment about a service and its one user. */
struct reading {
	__u64 clock_ns, tat, passed;
};

static struct reading subject_read(const struct subject *subject)
{
	return (struct reading){
		.clock_ns = clock_now(), .tat = subject_tat(subject), .passed = subject_passed(subject)};
}

/* Reads at a moment when the user has just used up all that its limit allows by the packet path's clock: nothing passes
 * then before the clock moves on, and it did not while this was read. */
static struct reading subject_read_saturated(const struct subject *subject)
{
	for (__u64 began_ns = clock_now(); clock_now() - began_ns < SATURATED_IN_S * NS_PER_SECOND; usleep(200)) {
		struct reading reading = subject_read(subject);
		if (subject_ahead(subject, reading.clock_ns) > (__s64)subject->policy->tolerance_ns &&
		    reading.tat == subject_tat(subject) && reading.clock_ns == clock_now())
			return reading;
	}
	fprintf(stderr, "%s: its limit was not used up in %d s: this machine is too slow\n", subject->service,
	        SATURATED_IN_S);
	exit(2); /* the threads are at work: no way back into the test */
}

static void assert_near(const char *service, __u64 passed, double expected, double slack)
{
	if ((double)passed < expected - slack || (double)passed > expected + slack)
		fail_msg("%s: %llu packets passed, expected %.1f within %.1f", service, passed, expected, slack);
}

/* Threads hammer one user of each service far over its limit. Between two moments at which it was used up, what passes
 * is the limit within `share` (to the packet where few pass). And TAT moves on by one increment for each packet that
 * passed, to the nanosecond: none was passed without being charged, or charged without being passed. */
static void hold(const struct limited *const services[], size_t count, int threads, double share)
{
	struct shot *shots = calloc(count, sizeof(*shots));
	struct subject subjects[LIMITED];
	struct reading resting[LIMITED], from[LIMITED], until[LIMITED];
	struct hammer hammers[HAMMERS_MAX];

	world_reset(&world);
	for (size_t i = 0; i < count; i++) {
		char words[32];
		snprintf(words, sizeof(words), "4 udp:%u", services[i]->port);
		shot_load(&shots[i], words, world_emulated() ? 2000 : 200000);
		subjects[i] = subject_saturate(services[i]->name, &shots[i]);
		resting[i] = subject_read(&subjects[i]);
	}
	hammers_start(hammers, threads, &world, shots, count, 0);
	for (size_t i = 0; i < count; i++)
		from[i] = subject_read_saturated(&subjects[i]);
	usleep(1000000);
	for (size_t i = 0; i < count; i++)
		until[i] = subject_read_saturated(&subjects[i]);
	hammers_end(hammers, threads);
	free(shots);

	for (size_t i = 0; i < count; i++) {
		__u64 increment_ns = subjects[i].policy->increment_ns;
		double expected = (double)(until[i].clock_ns - from[i].clock_ns) / (double)increment_ns;
		/* A packet of each thread may be charged and not counted yet, and time has room for part of one. */
		double exact = threads + 1;
		print_message("%u/s on %d CPU%s: %llu passed, %.1f due, %+.4f %%\n", services[i]->per_second, threads,
		              threads == 1 ? "" : "s", until[i].passed - from[i].passed, expected,
		              100 * ((double)(until[i].passed - from[i].passed) / expected - 1));
		assert_near(services[i]->name, until[i].passed - from[i].passed, expected,
		            expected * share > exact ? expected * share : exact);

		struct reading rested = subject_read(&subjects[i]);
		assert_int_equal((rested.tat - resting[i].tat) >> STATE_TAT_SHIFT,
		                 (rested.passed - resting[i].passed) * increment_ns);
	}
}

static void test_f32_two_cpus_on_one_user(void **state)
{
	/* An emulated processor does not send much more than a thousand where it is busy. */
	size_t slowest = world_emulated() ? THOUSAND : TEN_THOUSAND, fastest = world_emulated() ? THOUSAND : MILLION;
	(void)state;

	for (size_t i = slowest; i <= fastest; i++)
		hold((const struct limited *const[]){&limited[i]}, 1, 2, 0.001);
}

static void test_one_cpu(void **state)
{
	size_t count = world_emulated() ? 2 : 3;
	(void)state;

	hold((const struct limited *const[]){&limited[TEN], &limited[THOUSAND], &limited[HUNDRED_THOUSAND]}, count, 1,
	     0.01);
}

/* The burst lets the threads be halted for as long before a limit is not used up: a second, or ten where a processor is
 * emulated, which may itself be halted. */
static int make(void **state)
{
	char configuration[1024];
	size_t length = (size_t)snprintf(configuration, sizeof(configuration), "mode: enforce\nservices:\n");
	(void)state;

	for (size_t i = 0; i < LIMITED; i++)
		length += (size_t)snprintf(configuration + length, sizeof(configuration) - length,
		                           "  - {name: %s, protocol: udp, ports: [%u],"
		                           " limit: {packets_per_second: %u, burst: %u}}\n",
		                           limited[i].name, limited[i].port, limited[i].per_second,
		                           limited[i].per_second * (world_emulated() ? 10 : 1));
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
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_f32_two_cpus_on_one_user),
		cmocka_unit_test(test_one_cpu),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
