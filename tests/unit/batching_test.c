/* SPDX-License-Identifier: GPL-2.0-only */
/* When charges are settled in batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/batching.h"

static void test_few_are_charged_at_once(void **state)
{
	(void)state;
	assert_false(batching_pays(false, 0));
	assert_false(batching_pays(false, BATCHING_BEGINS));
	assert_true(batching_pays(false, BATCHING_BEGINS + 1));
}

static void test_it_ends_well_below_where_it_begins(void **state)
{
	(void)state;
	assert_true(batching_pays(true, BATCHING_BEGINS));
	assert_true(batching_pays(true, BATCHING_ENDS + 1));
	assert_false(batching_pays(true, BATCHING_ENDS));
	assert_true(BATCHING_ENDS <= BATCHING_BEGINS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_are_charged_at_once),
		cmocka_unit_test(test_it_ends_well_below_where_it_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
