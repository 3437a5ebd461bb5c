/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/recent.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct recent *recent;
static struct recent_row rows[RECENT_SECONDS];

static int setup(void **state)
{
	struct error err;
	(void)state;

	return recent_new(&recent, &err);
}

static int teardown(void **state)
{
	(void)state;
	recent_free(recent);
	return 0;
}

static void add(double at_s, const char *name, __u64 passed, __u64 spilled)
{
	struct sums sums = {.received = {.packets = passed + spilled},
	                    .passed = {.packets = passed},
	                    .spilled = {.packets = spilled}};
	struct recent_sample sample = {.level = 200, .capacity = NAN, .p50_s = 0.5F, .p99_s = NAN};

	recent_begin(recent, at_s);
	recent_add(recent, 3, name, &sums, &sample);
}

static void rates_are_made_of_counters_and_time(void **state)
{
	(void)state;
	add(10, "dns", 100, 1000);
	add(12, "dns", 300, 1000);
	add(13, "dns", 300, 1500);

	assert_int_equal(recent_read(recent, 3, rows), 3);
	assert_true(isnan(rows[0].sample.received));
	assert_true(rows[1].sample.passed == 100 && rows[1].sample.spilled == 0);
	assert_true(rows[2].sample.passed == 0 && rows[2].sample.spilled == 500 && rows[2].sample.received == 500);
	assert_true(rows[2].at_s == 13 && rows[2].sample.level == 200 && rows[2].sample.p50_s == 0.5F);
	assert_true(isnan(rows[2].sample.capacity));
	assert_int_equal(recent_read(recent, 4, rows), 0);
}

static void the_oldest_go(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RECENT_SECONDS + 50; i++)
		add(i, "dns", (__u64)i * i, 0);
	assert_int_equal(recent_read(recent, 3, rows), RECENT_SECONDS);
	for (unsigned i = 0; i < RECENT_SECONDS; i++) {
		double at = 50 + i;
		assert_true(rows[i].at_s == at);
		assert_true(rows[i].sample.received == (float)(at * at - (at - 1) * (at - 1)));
	}
}

static void gaps_counters_that_go_back_and_new_names_are_not_rates(void **state)
{
	(void)state;
	add(1, "dns", 100, 0);
	recent_begin(recent, 2); /* without the service */
	add(3, "dns", 300, 0);
	add(4, "dns", 5, 0);
	add(5, "dns", 15, 0);
	assert_int_equal(recent_read(recent, 3, rows), 5);
	assert_true(isnan(rows[1].sample.received) && isnan(rows[1].sample.level));
	assert_true(isnan(rows[2].sample.received) && isnan(rows[3].sample.received));
	assert_true(rows[4].sample.received == 10);

	add(6, "web", 100, 0);
	add(7, "web", 101, 0);
	assert_int_equal(recent_read(recent, 3, rows), 7);
	assert_true(isnan(rows[4].sample.received) && isnan(rows[5].sample.received));
	assert_true(rows[6].sample.received == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rates_are_made_of_counters_and_time, setup, teardown),
		cmocka_unit_test_setup_teardown(the_oldest_go, setup, teardown),
		cmocka_unit_test_setup_teardown(gaps_counters_that_go_back_and_new_names_are_not_rates, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
