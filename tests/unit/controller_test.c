/* SPDX-License-Identifier: GPL-2.0-only */
/* The controller, one tick after the other: what it does with good and with bad input. How it does over time, against
 * services that have queues, is in tools/simulator/scenarios/. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/controller.h"

#define TICK_S 0.1
#define USERS  20

struct trial {
	struct controller controller;
	struct controller_bounds bounds;
	struct controller_signals signals;
	struct demand users[USERS];
	size_t count;
	struct controller_decision decision;
	char why[CONTROLLER_WHY_MAX];
};

/* A service at 1,000 packets a second that answers in a millisecond, to two users. */
static struct trial calm(void)
{
	struct trial trial = {
		.bounds = {.level_minimum = 20, .level_maximum = 5000, .capacity_minimum = 50, .replies = true},
		.signals = {.elapsed_s = TICK_S,
	                    .fresh = true,
	                    .offered_pps = 1000,
	                    .admitted_pps = 1000,
	                    .requests = 100,
	                    .responses = 100,
	                    .response_p50_s = 0.001,
	                    .response_p99_s = 0.002,
	                    .overflows = 0,
	                    .host_pressure = 0.1},
		.users = {{.rate = 600, .weight = 1}, {.rate = 400, .weight = 1}},
		.count = 2,
	};

	controller_init(&trial.controller);
	return trial;
}

static void step(struct trial *trial)
{
	struct controller_signals *signals = &trial->signals;

	signals->done = signals->requests ? signals->responses * signals->admitted_pps * TICK_S / signals->requests : 0;
	controller_step(&trial->controller, &trial->bounds, &trial->signals, trial->users, trial->count, NAN,
	                &trial->decision);
	controller_why(&trial->decision, trial->why, sizeof(trial->why));
	assert_true(strlen(trial->why) > 0);
	assert_non_null(trial->decision.signal);
}

static void steps(struct trial *trial, double seconds)
{
	for (int left = (int)(seconds / TICK_S + 0.5); left > 0; left--)
		step(trial);
}

static bool unlimited(const struct trial *trial)
{
	return trial->decision.level_pps >= trial->bounds.level_maximum && !trial->decision.overloaded &&
	       trial->decision.capacity_pps > trial->signals.offered_pps;
}

/* The same service with five times the load and a queue. */
static void flood(struct trial *trial)
{
	trial->signals.offered_pps = 5000;
	trial->signals.admitted_pps = fmin(5000, trial->decision.capacity_pps);
	trial->signals.responses = 30;
	trial->signals.response_p50_s = 0.2;
	trial->users[2] = (struct demand){.rate = 4000, .weight = 1};
	trial->count = 3;
}

static void test_calm(void **state)
{
	struct trial trial = calm();

	(void)state;
	for (int i = 0; i < 600; i++) {
		step(&trial);
		assert_true(unlimited(&trial));
		assert_false(trial.decision.level_moved || trial.decision.capacity_moved);
	}
	assert_true(fabs(trial.decision.best_response_s - 0.001) < 1e-9);
	assert_true(fabs(trial.decision.proven_pps - 1000) < 1);
}

/* What comes at once and goes well may come again, and half as much again; and steady traffic is no burst. */
static void test_bursts(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	assert_true(trial.decision.capacity_burst < 1);
	for (int i = 0; i < 600; i++) {
		trial.signals.offered_pps = trial.signals.admitted_pps = i % 100 ? 50 : 6000;
		step(&trial);
	}
	assert_true(trial.decision.capacity_burst > 1.5 * 6000 * TICK_S);
	trial.signals.fresh = false; /* nor is it forgotten where nobody measures */
	step(&trial);
	assert_true(trial.decision.capacity_burst > 1.5 * 6000 * TICK_S);
	trial.signals.fresh = true; /* in an overload there is none, from its first moment on */
	trial.signals.offered_pps = 100000;
	step(&trial);
	assert_true(trial.decision.capacity_pps < 15000 && trial.decision.capacity_burst <= 0);
}

static bool counts(const struct trial *trial, double packet, double connect)
{
	const struct capacity_costs *costs = &trial->decision.costs;

	return fabs(costs->packet - packet) < 0.01 && fabs(costs->connect - connect) < 0.01;
}

/* Where connections bring a few packets each a SYN counts for them, while the service is not overloaded; what is
 * ordinary counts as it is. Where they bring many, it does not: they are there to stay. */
static void test_new_connections_count_for_what_they_bring(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.signals.connections = 200 * TICK_S;
	steps(&trial, 10); /* nothing is known yet */
	assert_true(counts(&trial, 1, 1));
	steps(&trial, 50);
	assert_true(counts(&trial, 5 / 9.0, 25 / 9.0));
	assert_true(fabs(trial.decision.costs.packet * 800 + trial.decision.costs.connect * 200 - 1000) < 1);
	trial.signals.fresh = false;
	step(&trial);
	assert_true(counts(&trial, 5 / 9.0, 25 / 9.0));
	trial.signals.fresh = true;
	flood(&trial);
	steps(&trial, 3);
	assert_true(trial.decision.overloaded && counts(&trial, 1, 1));

	trial = calm();
	trial.signals.connections = 10 * TICK_S;
	steps(&trial, 60);
	assert_true(counts(&trial, 1, 1));
}

static void test_flood(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	flood(&trial);
	step(&trial);
	assert_true(trial.decision.capacity_pps < 1000); /* cut at once: what is proven, less what drains the queue */
	assert_true(trial.decision.capacity_pps >= 599);
	assert_true(trial.decision.overloaded && trial.decision.capacity_moved && trial.decision.level_moved);
	assert_true(trial.decision.level_pps < 600);
	assert_int_equal(trial.decision.users_above, level_above(trial.users, 3, trial.decision.level_pps));
	assert_string_equal(trial.decision.signal, "response");
	assert_true(trial.decision.value > trial.decision.target);
	assert_non_null(strstr(trial.why, "is above its target of"));
}

/* More than there ever was: before any response says how that is, what is let in is what is ordinary. */
static void test_surge(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	trial.signals.offered_pps = 5000;
	trial.signals.admitted_pps = trial.decision.capacity_pps;
	step(&trial);
	assert_true(trial.decision.overloaded);
	assert_true(trial.decision.capacity_pps >= 1000 && trial.decision.capacity_pps < 1250);
}

/* What a flood showed to go well was sought as far as it went: the next one gets little more at once, though days that
 * went well would be granted twice what they brought. */
static void test_room_after_a_flood(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	assert_true(fabs(trial.decision.capacity_pps - 2000) < 1);
	trial.signals.offered_pps = 20000;
	for (int i = 0; i < 600 && trial.decision.proven_pps < 3000; i++) {
		step(&trial);
		trial.signals.admitted_pps = trial.decision.capacity_pps;
		trial.signals.requests = trial.signals.responses = (unsigned)(trial.signals.admitted_pps * TICK_S);
	}
	assert_true(trial.decision.overloaded && trial.decision.proven_pps >= 3000);
	trial.signals = calm().signals;
	steps(&trial, 60);
	assert_false(trial.decision.overloaded);
	assert_true(fabs(trial.decision.capacity_pps / trial.decision.proven_pps - 1.2) < 0.01);

	trial.signals.offered_pps = 20000; /* more than even that: down to what is ordinary */
	step(&trial);
	assert_true(trial.decision.overloaded && trial.decision.capacity_pps < 1250);
}

/* Ten seconds after a flood nothing is felt of it. */
static void test_release(void **state)
{
	struct trial trial = calm(), before;

	(void)state;
	steps(&trial, 60);
	before = trial;
	flood(&trial);
	steps(&trial, 1);
	trial.signals = before.signals;
	trial.signals.offered_pps = trial.signals.admitted_pps = 500;
	trial.users[0].rate = 300;
	trial.users[1].rate = 200;
	trial.count = 2;
	steps(&trial, 10);
	assert_true(trial.decision.level_pps >= 600 && trial.decision.capacity_pps > 1000);
	steps(&trial, 5);
	assert_true(unlimited(&trial));
}

static void test_target(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.bounds.target_response_s = 0.5; /* a queue of 200 ms is what the operator bargained for */
	steps(&trial, 60);
	assert_true(fabs(trial.decision.target_response_s - 0.5) < 1e-9);
	flood(&trial);
	steps(&trial, 1);
	assert_false(trial.decision.value > trial.decision.target);
}

static void test_overflows(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	trial.signals.offered_pps = trial.signals.admitted_pps = 2500;
	trial.signals.overflows = 100; /* of 250 packets */
	steps(&trial, 0.3);
	assert_string_equal(trial.decision.signal, "overflows");
	assert_true(trial.decision.capacity_pps < 2500);
}

/* Requests that nothing follows are told within two seconds, and their end; then it comes back by small steps. */
static void test_fault(void **state)
{
	struct trial trial = calm();
	double silent = 0;

	(void)state;
	steps(&trial, 60);
	trial.signals.responses = 0;
	trial.signals.response_p50_s = NAN;
	do {
		step(&trial);
		silent += TICK_S;
	} while (!trial.decision.fault_begins && silent < 5);
	assert_true(silent > 1.85 && silent < 2.15);
	assert_true(trial.decision.faulty);
	assert_string_equal(trial.decision.signal, "replies");
	assert_true(trial.decision.capacity_pps < 100); /* enough to see it come back */
	steps(&trial, 20);
	assert_true(trial.decision.faulty && !trial.decision.fault_begins);

	trial.signals.responses = 5;
	trial.signals.response_p50_s = 0.001;
	step(&trial);
	assert_true(trial.decision.fault_ends && !trial.decision.faulty);
	for (int i = 0; i < 10; i++) {
		trial.signals.admitted_pps = fmin(1000, trial.decision.capacity_pps);
		trial.signals.requests = trial.signals.responses = (unsigned)(trial.signals.admitted_pps / 10) + 1;
		step(&trial);
		assert_true(trial.decision.capacity_pps <= trial.decision.capacity_before * 1.21);
	}
	assert_true(trial.decision.capacity_pps < 1000);
	for (int i = 0; i < 150; i++) {
		trial.signals.admitted_pps = fmin(1000, trial.decision.capacity_pps);
		trial.signals.requests = trial.signals.responses = (unsigned)(trial.signals.admitted_pps / 10) + 1;
		step(&trial);
	}
	assert_true(trial.decision.capacity_pps > 1000);
}

/* Syslog over UDP: nothing ever answers, by nature. Neither said nor unsaid is that a fault. */
static void test_no_replies(void **state)
{
	(void)state;
	for (int said = 0; said < 2; said++) {
		struct trial trial = calm();
		trial.bounds.replies = !said;
		trial.signals.responses = 0;
		trial.signals.unanswered = 100;
		trial.signals.response_p50_s = trial.signals.response_p99_s = NAN;
		for (int i = 0; i < 300; i++) {
			step(&trial);
			assert_false(trial.decision.faulty || trial.decision.fault_begins);
			assert_true(unlimited(&trial));
		}
	}
}

static void test_no_traffic(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.signals = (struct controller_signals){.elapsed_s = TICK_S, .fresh = true, .response_p50_s = NAN};
	trial.count = 0;
	steps(&trial, 120);
	assert_true(unlimited(&trial) && !trial.decision.faulty);

	trial = calm();
	steps(&trial, 60);
	flood(&trial);
	steps(&trial, 1);
	trial.signals = (struct controller_signals){.elapsed_s = TICK_S, .fresh = true, .response_p50_s = NAN};
	trial.count = 0;
	steps(&trial, 30);
	assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
	assert_false(trial.decision.faulty);
}

/* F21: a starved daemon's samples are of another time. Terrible as they are, nothing is tightened; and after as long as
 * the kernel itself would stand by old orders, they are let go. */
static void test_f21_stale(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	double capacity = trial.decision.capacity_pps;
	flood(&trial);
	trial.signals.fresh = false;
	trial.signals.elapsed_s = 2;
	for (int i = 0; i < 10; i++) {
		step(&trial);
		assert_true(trial.decision.capacity_pps >= capacity);
		assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
		assert_string_equal(trial.decision.signal, "stale");
	}

	trial.signals.fresh = true;
	trial.signals.elapsed_s = TICK_S;
	steps(&trial, 1);
	double level = trial.decision.level_pps;
	capacity = trial.decision.capacity_pps;
	assert_true(level < 600);
	trial.signals.fresh = false;
	steps(&trial, 29);
	assert_true(trial.decision.level_pps >= level && trial.decision.level_pps <= level); /* held */
	assert_true(trial.decision.capacity_pps >= capacity && trial.decision.capacity_pps <= capacity);
	steps(&trial, 10);
	assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
	assert_true(trial.decision.capacity_pps > 5000);
}

/* F20, F24: a clock that stood still, ran back, or jumped. */
static void test_f24_clock(void **state)
{
	static const double elapsed[] = {0, -1, NAN, 60, 1e300, INFINITY, -INFINITY};

	(void)state;
	for (size_t i = 0; i < sizeof(elapsed) / sizeof(elapsed[0]); i++) {
		struct trial trial = calm();
		steps(&trial, 60);
		double capacity = trial.decision.capacity_pps;
		flood(&trial);
		trial.signals.elapsed_s = elapsed[i];
		step(&trial);
		assert_true(trial.decision.capacity_pps >= capacity);
		assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
	}
}

/* F24: measurements that stay the same for ever are believed, and say that all is well; or say that all is ill, and
 * then the minimum is kept. */
static void test_f24_frozen(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 600);
	assert_true(unlimited(&trial));
	flood(&trial);
	for (int i = 0; i < 6000; i++) {
		step(&trial);
		assert_true(trial.decision.level_pps >= 20 && trial.decision.capacity_pps >= 50);
	}
}

static void test_f24_zero_and_missing(void **state)
{
	struct trial trial = calm();

	(void)state;
	steps(&trial, 60);
	trial.signals = (struct controller_signals){.elapsed_s = TICK_S, .fresh = true};
	steps(&trial, 60);
	assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
	trial.signals = (struct controller_signals){TICK_S, true, NAN, NAN, 0, 0, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN};
	steps(&trial, 60);
	assert_true(trial.decision.level_pps >= trial.bounds.level_maximum);
	assert_true(trial.decision.capacity_pps >= 50);
}

/* A target that is not known is none, and not 0. */
static void test_no_target_yet(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.bounds.target_response_s = 0;
	trial.signals.responses = 0;
	trial.signals.response_p50_s = NAN;
	step(&trial);
	assert_true(isnan(trial.decision.target) && isnan(trial.decision.target_response_s));
}

/* Of a service that answers nothing, the host's stall is a signal, and called by its name. */
static void test_host(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.bounds.replies = false;
	trial.signals.requests = trial.signals.responses = 0;
	trial.signals.response_p50_s = trial.signals.response_p99_s = NAN;
	trial.signals.host_pressure = 0.99;
	step(&trial);
	assert_string_equal(trial.decision.signal, "host");
	assert_true(trial.decision.value > trial.decision.target);
	assert_non_null(strstr(trial.why, "stands still for 99 %"));
}

static double junk(uint64_t *chance)
{
	static const double odd[] = {0,    -1,    NAN,   INFINITY, -INFINITY, 1e-300, 1e300,
	                             1e18, -1e18, 0.001, 0.1,      1,         1000,   1e6};

	*chance = *chance * UINT64_C(6364136223846793005) + 1442695040888963407;
	return odd[(*chance >> 33) % (sizeof(odd) / sizeof(odd[0]))];
}

/* F24: whatever it is fed, it stays within bounds, moves by bounded steps, and finds its way back. */
static void test_f24_absurd(void **state)
{
	struct trial trial = calm(), good = calm();
	uint64_t chance = 3;

	(void)state;
	trial.bounds.capacity_maximum = 20000;
	steps(&trial, 10);
	for (int i = 0; i < 20000; i++) {
		trial.signals = (struct controller_signals){
			.elapsed_s = i % 3 ? TICK_S : junk(&chance),
			.fresh = i % 5,
			.offered_pps = junk(&chance),
			.admitted_pps = junk(&chance),
			.requests = (unsigned)(chance >> 40),
			.responses = (unsigned)(chance >> 50),
			.unanswered = (unsigned)(chance >> 60),
			.response_p50_s = junk(&chance),
			.response_p99_s = junk(&chance),
			.overflows = junk(&chance),
			.host_pressure = junk(&chance),
		};
		for (size_t k = 0; k < 4; k++)
			trial.users[k] = (struct demand){
				.rate = junk(&chance), .weight = (float)(k ? 1 : -1), .tenured = chance >> 63};
		trial.count = (size_t)i % 5;
		step(&trial);
		assert_true(trial.decision.level_pps >= 20 && trial.decision.level_pps <= 5000);
		assert_true(trial.decision.capacity_pps >= 50 && trial.decision.capacity_pps <= 20000);
	}
	trial.signals = good.signals;
	memcpy(trial.users, good.users, sizeof(trial.users));
	trial.count = 2;
	steps(&trial, 60);
	assert_true(trial.decision.level_pps >= 600);
	assert_true(trial.decision.capacity_pps > 1000);
}

static void crowd(struct trial *trial, double rate)
{
	for (size_t i = 2; i < USERS; i++)
		trial->users[i] = (struct demand){.rate = rate, .weight = 1};
	trial->count = USERS;
}

/* Who asks for too much is told: it decides what becomes of it. */
static void test_excess_by(void **state)
{
	struct trial calmly = calm(), trial;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		calmly.users[i].tenured = true;
	steps(&calmly, 60);
	assert_string_equal(calmly.decision.excess_by, "none");

	trial = calmly;
	flood(&trial);
	crowd(&trial, 4); /* others ask for little, and one for all the rest */
	trial.users[2].rate = 4000;
	steps(&trial, 1);
	assert_string_equal(trial.decision.excess_by, "few");
	assert_non_null(strstr(trial.why, "a few ask for too much"));

	trial = calmly;
	flood(&trial);
	trial.count = 2; /* nobody who is known asks for more than always */
	steps(&trial, 1);
	assert_string_equal(trial.decision.excess_by, "nameless");
	assert_non_null(strstr(trial.why, "who do not stay"));

	trial = calmly;
	flood(&trial);
	crowd(&trial, 4000. / (USERS - 2));
	steps(&trial, 1);
	assert_string_equal(trial.decision.excess_by, "newcomers");
	assert_non_null(strstr(trial.why, "the tenured are guarded"));

	trial = calmly;
	trial.users[0].tenured = trial.users[1].tenured = false;
	flood(&trial);
	crowd(&trial, 4000. / (USERS - 2));
	steps(&trial, 1);
	assert_string_equal(trial.decision.excess_by, "crowd");
	assert_null(strstr(trial.why, "few"));
}

/* Everybody asks for `rate`, but for one who asks for four times all. */
static void one_above(struct trial *trial, double rate)
{
	crowd(trial, rate);
	trial->users[0].rate = trial->users[1].rate = rate;
	trial->users[2].rate = 4000;
}

/* Calm, then flooded so, until the queue is gone and the level settled. */
static void settle_with_one_above(struct trial *trial, double rate)
{
	steps(trial, 60);
	flood(trial);
	one_above(trial, rate);
	step(trial);
	trial->signals.responses = 100;
	trial->signals.response_p50_s = 0.001;
	steps(trial, 10);
	assert_string_equal(trial->decision.excess_by, "few");
}

/* A few are left what the others do not ask for: what those ask for in half a second of haste does not move it, and
 * what they go on asking for does. */
static void test_a_burst_of_others_moves_no_level_of_a_few(void **state)
{
	struct trial trial = calm();

	(void)state;
	settle_with_one_above(&trial, 50);
	double before = trial.decision.level_pps;

	one_above(&trial, 58);
	double wanted = level_find(trial.users, trial.count, 0, trial.controller.capacity.pps);
	assert_true(wanted < before / 2);
	steps(&trial, 0.5);
	assert_true(trial.decision.level_pps > 0.98 * before);
	steps(&trial, 30);
	assert_true(trial.decision.level_pps < 1.2 * wanted);
}

/* A few are left what the others do not take of the capacity: where that falls, by as much, and at once. */
static void test_a_falling_capacity_takes_the_level_of_a_few_along(void **state)
{
	struct trial trial = calm();

	(void)state;
	settle_with_one_above(&trial, 20);
	double level = trial.decision.level_pps, left = trial.controller.leveled_pps - 20 * (USERS - 1);

	trial.controller.capacity.ordinary_pps = 500; /* below that it does not fall */
	trial.signals.response_p99_s = 0.05;          /* somebody waits for them */
	steps(&trial, 2);
	double left_now = trial.controller.leveled_pps - 20 * (USERS - 1);
	assert_true(left_now > 0.3 * left && left_now < 0.6 * left);
	assert_true(trial.decision.level_pps >= 0.97 * level * left_now / left && trial.decision.level_pps <= left_now);
}

/* Between two steps as well: not by chance, not before anything is known, and not while there is an overload. */
static void test_a_flood_is_seen_before_the_next_step(void **state)
{
	struct trial trial = calm();
	const struct capacity *capacity = &trial.controller.capacity;

	(void)state;
	step(&trial);
	assert_false(capacity_surges(capacity, 1e6, TICK_S));
	steps(&trial, 60);
	assert_true(fabs(trial.decision.capacity_pps - 2000) < 100);
	assert_false(capacity_surges(capacity, 0, TICK_S));
	assert_false(capacity_surges(capacity, 210, TICK_S));
	assert_true(capacity_surges(capacity, 280, TICK_S));
	assert_true(capacity_surges(capacity, 130, TICK_S / 3)); /* nor is a whole step waited for */
	assert_false(capacity_surges(capacity, 50, TICK_S / 100));

	/* What is known to come at once is none. */
	trial.controller.capacity.burst = 100;
	assert_false(capacity_surges(capacity, 400, TICK_S));

	flood(&trial);
	step(&trial);
	assert_true(trial.decision.overloaded);
	assert_false(capacity_surges(capacity, 1e6, TICK_S));
}

/* Connections are what comes at random, and their packets together: what seems much of those may be chance. */
static void test_packets_of_connections_come_together(void **state)
{
	struct trial apart = calm(), together = calm();

	(void)state;
	apart.signals.connections = 0;
	together.signals.connections = 200 * TICK_S;
	for (int i = 0; i < 600; i++) {
		apart.signals.offered_pps = apart.signals.admitted_pps = i % 2 ? 500 : 1700;
		together.signals.offered_pps = together.signals.admitted_pps = apart.signals.offered_pps;
		step(&apart);
		step(&together);
	}
	assert_true(apart.decision.capacity_burst > 30 && together.decision.capacity_burst <= 0);
	double most = together.decision.capacity_pps * TICK_S, chance = 3 * sqrt(most);
	assert_false(capacity_surges(&together.controller.capacity, most + 2 * chance, TICK_S));
	assert_true(capacity_surges(&together.controller.capacity, most + 3 * chance, TICK_S));
}

static void test_minimum_above_maximum(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.bounds.level_minimum = 700;
	trial.bounds.level_maximum = 30;
	trial.bounds.capacity_minimum = 800;
	trial.bounds.capacity_maximum = 200;
	steps(&trial, 10);
	assert_true(trial.decision.level_pps >= 700 && trial.decision.level_pps <= 700);
	assert_true(trial.decision.capacity_pps >= 800 && trial.decision.capacity_pps <= 800);
}

/* Newcomers are so many that a fair share for all would cut into those who have been there for long. */
static void test_tenured(void **state)
{
	struct trial trial = calm();

	(void)state;
	trial.users[0].tenured = trial.users[1].tenured = 1;
	steps(&trial, 60);
	flood(&trial);
	trial.users[2] =
		(struct demand){.rate = 4000, .weight = 400, .users = 400}; /* 400 users of 10 packets a second */
	steps(&trial, 0.5);
	assert_true(trial.decision.level_pps >= 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calm),
		cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_new_connections_count_for_what_they_bring),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_surge),
		cmocka_unit_test(test_room_after_a_flood),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_overflows),
		cmocka_unit_test(test_fault),
		cmocka_unit_test(test_no_replies),
		cmocka_unit_test(test_no_traffic),
		cmocka_unit_test(test_f21_stale),
		cmocka_unit_test(test_f24_clock),
		cmocka_unit_test(test_f24_frozen),
		cmocka_unit_test(test_f24_zero_and_missing),
		cmocka_unit_test(test_no_target_yet),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_f24_absurd),
		cmocka_unit_test(test_a_burst_of_others_moves_no_level_of_a_few),
		cmocka_unit_test(test_a_falling_capacity_takes_the_level_of_a_few_along),
		cmocka_unit_test(test_a_flood_is_seen_before_the_next_step),
		cmocka_unit_test(test_packets_of_connections_come_together),
		cmocka_unit_test(test_minimum_above_maximum),
		cmocka_unit_test(test_excess_by),
		cmocka_unit_test(test_tenured),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
