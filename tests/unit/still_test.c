/* SPDX-License-Identifier: GPL-2.0-only */
/* How much is let in while a few ask for too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/still.h"

#define TICK_S   0.1
#define ORDINARY 500.0
#define KNEE     1000.0

/* All is well, and all that may be is let in. */
static struct capacity_view seen(const struct still *still, double tail)
{
	return (struct capacity_view){.elapsed_s = TICK_S,
	                              .used_pps = still->pps,
	                              .ordinary_pps = ORDINARY,
	                              .proven_pps = ORDINARY,
	                              .tail = tail,
	                              .few = true};
}

static void steps(struct still *still, double *knee_pps, double seconds, double tail)
{
	for (int left = (int)(seconds / TICK_S + 0.5); left > 0; left--) {
		struct capacity_view view = seen(still, tail);
		still_step(still, &view, knee_pps, false, 0);
	}
}

static struct still begun(double *knee_pps)
{
	struct still still = {0};

	steps(&still, knee_pps, TICK_S, 1);
	return still;
}

/* One step with that view, which moves nothing. */
static void stands(struct still *still, double *knee_pps, const struct capacity_view *view, bool alarmed,
                   double strained_s)
{
	double before = still->pps;

	still_step(still, view, knee_pps, alarmed, strained_s);
	assert_true(still->pps >= before && still->pps <= before);
}

static void test_begins_well_below_the_knee(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	assert_true(still.pps > ORDINARY && still.pps < 0.8 * KNEE);
}

static void test_begins_with_what_is_ordinary_where_nothing_is_known(void **state)
{
	struct still still = {0};
	double knee_pps = 0;

	(void)state;
	steps(&still, &knee_pps, TICK_S, 1);
	assert_true(still.pps > ORDINARY && still.pps < 1.3 * ORDINARY);
}

/* Overloaded from the first moment on: from what is let in, up. */
static void test_is_not_stuck_where_nothing_ever_went_well(void **state)
{
	struct still still = {0};
	double knee_pps = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct capacity_view view = {
			.elapsed_s = TICK_S, .used_pps = still.pps > 0 ? still.pps : 10, .few = true};
		still_step(&still, &view, &knee_pps, false, 0);
	}
	assert_true(still.pps > 20);
}

static void test_stands_still_while_nobody_waits(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	double before = still.pps;
	steps(&still, &knee_pps, 240, 1.9);
	assert_true(still.pps >= before && still.pps <= before);
}

static void test_rises_after_minutes_but_not_to_the_knee(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	double before = still.pps;
	steps(&still, &knee_pps, 900, 1);
	assert_true(still.pps > before && still.pps < 0.9 * KNEE);
}

static void test_eases_while_others_wait_down_to_what_is_ordinary(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	double before = still.pps;
	steps(&still, &knee_pps, 0.5, 3);
	assert_true(still.pps < before);
	steps(&still, &knee_pps, 30, 3);
	assert_true(still.pps > ORDINARY && still.pps < 1.3 * ORDINARY);
}

static void test_climbs_until_others_wait_and_remembers_where(void **state)
{
	struct still still = {0};
	double knee_pps = 0;

	(void)state;
	steps(&still, &knee_pps, 3, 1);
	double reached = still.pps;
	assert_true(reached > 2 * ORDINARY);
	steps(&still, &knee_pps, TICK_S, 3);
	assert_true(knee_pps >= 0.95 * reached);
	steps(&still, &knee_pps, 60, 1);
	assert_true(still.pps <= reached);
}

static void test_a_moment_of_the_hosts_is_no_queue_and_a_long_one_is(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	struct capacity_view view = seen(&still, 9);
	view.strain = 2;
	stands(&still, &knee_pps, &view, false, 0.3);
	knee_pps = ORDINARY / 2; /* it does half of what it did */
	for (int i = 0; i < 100; i++)
		still_step(&still, &view, &knee_pps, false, 5);
	assert_true(still.pps < ORDINARY / 2);
}

static void test_a_queue_cuts_and_a_burst_does_not(void **state)
{
	double knee_pps = KNEE;
	struct still still = begun(&knee_pps);

	(void)state;
	double before = still.pps;
	struct capacity_view view = seen(&still, 1);
	view.strain = 2;
	stands(&still, &knee_pps, &view, true, TICK_S);
	view.severe = true;
	still_step(&still, &view, &knee_pps, true, TICK_S);
	assert_true(still.pps < before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_begins_well_below_the_knee),
		cmocka_unit_test(test_begins_with_what_is_ordinary_where_nothing_is_known),
		cmocka_unit_test(test_is_not_stuck_where_nothing_ever_went_well),
		cmocka_unit_test(test_stands_still_while_nobody_waits),
		cmocka_unit_test(test_rises_after_minutes_but_not_to_the_knee),
		cmocka_unit_test(test_eases_while_others_wait_down_to_what_is_ordinary),
		cmocka_unit_test(test_climbs_until_others_wait_and_remembers_where),
		cmocka_unit_test(test_a_moment_of_the_hosts_is_no_queue_and_a_long_one_is),
		cmocka_unit_test(test_a_queue_cuts_and_a_burst_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
