/* SPDX-License-Identifier: GPL-2.0-only */
/* The overload benchmark's schedule: as many requests as it says, when it says, of everybody alike. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "overload/arrivals.h"

#define ASKED 100000
#define USERS 20

static void test_the_rate_is_kept_and_users_are_alike(void **state)
{
	struct arrivals arrivals = {.rate = 1000, .users = USERS, .random = 1};
	unsigned by_user[USERS] = {0};
	double before_s = 0, last_s = 0;
	(void)state;

	for (int i = 0; i < ASKED; i++) {
		struct arrival next = arrivals_next(&arrivals);

		assert_true(next.due_s >= before_s && next.user < USERS);
		by_user[next.user]++;
		before_s = last_s = next.due_s;
	}
	/* Of a Poisson process: within five standard deviations. */
	assert_true(fabs(last_s - 100) < 5 * 100 / sqrt(ASKED));
	for (int user = 0; user < USERS; user++)
		assert_true(fabs(by_user[user] - (double)ASKED / USERS) < 5 * sqrt((double)ASKED / USERS));
}

static void test_a_wave_sends_in_the_first_half_of_each_period(void **state)
{
	struct arrivals arrivals = {.rate = 1000, .users = 1, .random = 1, .wave_hz = 2};
	double last_s = 0;
	(void)state;

	for (int i = 0; i < ASKED; i++) {
		last_s = arrivals_next(&arrivals).due_s;
		assert_true(fmod(last_s, 0.5) < 0.25 + 1e-9);
	}
	assert_true(fabs(last_s - 200) < 5 * 200 / sqrt(ASKED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_rate_is_kept_and_users_are_alike),
		cmocka_unit_test(test_a_wave_sends_in_the_first_half_of_each_period),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
