/* SPDX-License-Identifier: GPL-2.0-only */
/* The law, one step at a time: what it makes of a queue and of what it remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/knee.h"

#define TICK_S   0.1
#define TARGET_S 0.020
#define BEST_S   0.001
#define PROVEN   500.0
#define KNEE     1000.0
#define FIGURES  10 /* more than enough for a knee to be believed */

/* What comes is a crowd's, more than can be borne; what is let in is used up. */
static struct capacity_view crowd(const struct capacity *capacity, double response_s)
{
	double strain = response_s / TARGET_S;

	return (struct capacity_view){.elapsed_s = TICK_S,
	                              .offered_pps = 3 * KNEE,
	                              .admitted_pps = capacity->pps,
	                              .used_pps = 1.01 * capacity->pps,
	                              .done_pps = capacity->pps,
	                              .response_s = response_s,
	                              .target_s = TARGET_S,
	                              .best_s = BEST_S,
	                              .proven_pps = PROVEN,
	                              .ordinary_pps = PROVEN,
	                              .tail = 1,
	                              .backlog = 1,
	                              .strain = strain,
	                              .severe = strain > 4,
	                              .surge = true};
}

static void step(struct capacity *capacity, struct capacity_view view)
{
	capacity->strained_s = view.strain > 1 ? capacity->strained_s + TICK_S : 0;
	capacity->calm_s = view.strain > 1 ? 0 : capacity->calm_s + TICK_S;
	view.calm_s = capacity->calm_s;
	capacity->pps = capacity->law(capacity, &view);
}

/* An overload in which a queue stood for so many figures of KNEE packets a second, and is gone. */
static struct capacity learnt(int figures)
{
	struct capacity capacity;

	capacity_init(&capacity);
	capacity.pps = KNEE;
	capacity.overload = true;
	for (int i = 0; i < figures; i++) {
		struct capacity_view queue = crowd(&capacity, 5 * TARGET_S);
		queue.done_pps = KNEE;
		queue.backlog = 0.8;
		step(&capacity, queue);
	}
	capacity.pps = KNEE / 2;
	return capacity;
}

static void steps(struct capacity *capacity, double seconds, double response_s)
{
	for (int left = (int)(seconds / TICK_S + 0.5); left > 0; left--)
		step(capacity, crowd(capacity, response_s));
}

static void test_settles_by_the_length_of_the_queue(void **state)
{
	struct capacity shorter = learnt(FIGURES), longer = learnt(FIGURES);
	(void)state;

	assert_true(shorter.knee_pps > 0.99 * KNEE && shorter.knee_pps < 1.01 * KNEE);
	steps(&shorter, 0.5, 2 * BEST_S);
	steps(&longer, 0.5, 0.9 * TARGET_S);
	assert_true(shorter.pps < KNEE && longer.pps > 0.9 * KNEE);
	assert_true(longer.pps < 0.99 * shorter.pps);

	/* Beyond the target: down, but not as if there were an alarm, nor so far that the service would be idle before
	 * its response tells. */
	double before = longer.pps;
	step(&longer, crowd(&longer, 2 * TARGET_S));
	assert_true(longer.pps < before && longer.pps > 0.94 * KNEE);
}

/* A knee that was seen while the host was slow is not believed for ever. */
static void test_lifts_a_knee_that_no_queue_confirms(void **state)
{
	enum { TICKS = 50 };
	struct capacity capacity = learnt(FIGURES), unused = learnt(FIGURES);
	(void)state;

	for (int i = 0; i < TICKS; i++) {
		struct capacity_view view = crowd(&capacity, TARGET_S / 2);
		view.used_pps = 0.9 * capacity.pps;
		step(&capacity, view);
		view = crowd(&unused, TARGET_S / 2);
		view.used_pps = 0.8 * unused.pps;
		step(&unused, view);
	}
	/* A strain, so that both say what they believe. */
	step(&capacity, crowd(&capacity, 1.1 * TARGET_S));
	step(&unused, crowd(&unused, 1.1 * TARGET_S));
	assert_true(capacity.knee_pps > 1.03 * KNEE);
	assert_true(unused.knee_pps < 1.01 * KNEE);
}

/* Whoever is held back then is not whom the queue is worked off for. */
static void test_drains_at_once_for_others_than_are_held_back(void **state)
{
	struct capacity everybody = learnt(FIGURES), guarded = learnt(FIGURES), few = learnt(FIGURES);
	(void)state;

	everybody.pps = guarded.pps = few.pps = KNEE;
	struct capacity_view view = crowd(&everybody, 5 * TARGET_S);
	step(&everybody, view);
	view.guarded = true;
	step(&guarded, view);
	view.guarded = false;
	view.few = true;
	step(&few, view);
	assert_true(everybody.pps > 0.7 * KNEE);
	assert_true(guarded.pps < 1.3 * PROVEN && few.pps < 1.3 * PROVEN);
	assert_true(guarded.pps > PROVEN && few.pps > PROVEN);
}

/* Where newcomers are held back for the tenured, the tenured's slowest answers are what may not suffer. */
static void test_rises_while_guarded_only_with_a_good_tail(void **state)
{
	struct capacity good = learnt(FIGURES), bad = learnt(FIGURES);
	(void)state;

	for (int i = 0; i < 100; i++) {
		struct capacity_view view = crowd(&good, TARGET_S / 2);
		view.guarded = true;
		step(&good, view);
		view.used_pps = bad.pps;
		view.tail = 2;
		step(&bad, view);
	}
	assert_true(bad.pps < 0.9 * KNEE && bad.pps > 0.8 * KNEE);
	assert_true(good.pps > 1.01 * bad.pps);
}

/* Where their slowest answers suffer all the same, it makes way for them, and does not come straight back. */
static void test_yields_to_the_guarded(void **state)
{
	struct capacity guarded = learnt(FIGURES), everybody = learnt(FIGURES), ordinary = learnt(FIGURES);
	(void)state;

	guarded.pps = everybody.pps = 0.85 * KNEE;
	ordinary.pps = KNEE;
	for (int i = 0; i < 10; i++) {
		struct capacity_view view = crowd(&guarded, TARGET_S / 2);
		view.tail = 2.5;
		step(&everybody, view);
		view.guarded = true;
		step(&guarded, view);
	}
	assert_true(everybody.pps > 0.9 * KNEE);
	assert_true(guarded.pps < 0.75 * KNEE && guarded.pps > 0.65 * KNEE);

	double yielded = guarded.pps;
	for (int i = 0; i < 300; i++) {
		struct capacity_view view = crowd(&guarded, TARGET_S / 2);
		view.guarded = true;
		step(&guarded, view);
		assert_true(i > 40 || guarded.pps <= 1.001 * yielded);
	}
	assert_true(guarded.pps > 1.02 * yielded);

	for (int i = 0; i < 300; i++) {
		struct capacity_view view = crowd(&ordinary, TARGET_S / 2);
		view.tail = 2.5;
		view.guarded = true;
		step(&ordinary, view);
	}
	assert_true(ordinary.pps > PROVEN && ordinary.pps < 1.3 * PROVEN);
}

/* Where no queue was ever seen, the first one would be before the tenured: a crowd's is sought ten times as fast. */
static void test_seeks_an_unknown_knee_slowly_while_guarded(void **state)
{
	struct capacity everybody = learnt(0), guarded = learnt(0);
	(void)state;

	for (int i = 0; i < 5; i++) {
		step(&everybody, crowd(&everybody, 2 * BEST_S));
		struct capacity_view view = crowd(&guarded, 2 * BEST_S);
		view.guarded = true;
		step(&guarded, view);
	}
	assert_true(everybody.pps > 1.3 * KNEE / 2);
	assert_true(guarded.pps > KNEE / 2 && guarded.pps < 1.05 * KNEE / 2);
}

/* Newcomers may use up what is let in with what needs no service: then still there is to be room for the tenured's own
 * bursts, half as much again as is ordinary. */
static void test_makes_room_for_the_guarded_before_they_use_it(void **state)
{
	struct capacity guarded = learnt(0), everybody = learnt(0);
	(void)state;

	for (int i = 0; i < 200; i++) {
		struct capacity_view view = crowd(&guarded, 2 * BEST_S);
		view.used_pps = 0.1 * guarded.pps;
		view.guarded = true;
		step(&guarded, view);
		view.guarded = false;
		step(&everybody, view);
	}
	assert_true(guarded.pps >= 1.5 * PROVEN && guarded.pps < 1.6 * PROVEN);
	assert_true(everybody.pps < 1.01 * PROVEN);
}

/* What a few's beginning says on little evidence is theirs; what many figures say is the service's. While the tenured
 * are guarded little is better than none. */
static void test_forgets_what_a_few_made_it_believe(void **state)
{
	struct capacity little = learnt(4), much = learnt(FIGURES), guarded = learnt(4);
	struct capacity *const capacities[] = {&little, &much, &guarded};
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		struct capacity_view view = crowd(capacities[i], 2 * BEST_S);
		view.few = true;
		step(capacities[i], view);
		assert_true(capacities[i]->settled_pps > 0);
		view = crowd(capacities[i], 2 * BEST_S);
		view.guarded = capacities[i] == &guarded;
		step(capacities[i], view);
	}
	assert_false(little.settled_pps > 0);
	assert_true(much.settled_pps > 0.9 * KNEE);
	assert_true(guarded.settled_pps > 0.8 * KNEE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settles_by_the_length_of_the_queue),
		cmocka_unit_test(test_lifts_a_knee_that_no_queue_confirms),
		cmocka_unit_test(test_drains_at_once_for_others_than_are_held_back),
		cmocka_unit_test(test_rises_while_guarded_only_with_a_good_tail),
		cmocka_unit_test(test_yields_to_the_guarded),
		cmocka_unit_test(test_seeks_an_unknown_knee_slowly_while_guarded),
		cmocka_unit_test(test_makes_room_for_the_guarded_before_they_use_it),
		cmocka_unit_test(test_forgets_what_a_few_made_it_believe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
