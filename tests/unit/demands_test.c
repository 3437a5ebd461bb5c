/* SPDX-License-Identifier: GPL-2.0-only */
/* Users of many a service are handed over in bins: the level that comes of them is the one that they would have had. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "observe/demands.h"

#define BIN_WIDTH (1.0 / (1 << DEMANDS_SHARPER))

static struct demand *users_make(size_t count)
{
	struct demand *users = calloc(count, sizeof(*users));

	assert_non_null(users);
	for (size_t i = 0; i < count; i++)
		users[i] = (struct demand){.rate = exp(drand48() * 18 - 4),
		                           .weight = drand48() < 0.1 ? 4 : 1,
		                           .tenured = drand48() < 0.3,
		                           .users = 1};
	return users;
}

static struct demand *gather(struct demands *demands, const struct demand *users, size_t count, size_t *out_count)
{
	for (size_t i = 0; i < count; i++)
		demands_add(demands, users[i].rate, (double)users[i].weight, users[i].tenured);
	demands_settle(demands);
	return demands_list(demands, out_count);
}

static double sum(const struct demand *users, size_t count, bool tenured)
{
	double rate = 0;

	for (size_t i = 0; i < count; i++)
		rate += users[i].tenured == tenured ? users[i].rate : 0;
	return rate;
}

static void assert_near(double value, double expected, double share)
{
	if (!(fabs(value - expected) <= expected * share))
		fail_msg("%g, expected %g within %g", value, expected, share);
}

static void check(struct demands *demands, size_t users_count)
{
	struct demand *users = users_make(users_count);
	size_t count, again;
	struct demand *list = gather(demands, users, users_count, &count);

	assert_true(count <= users_count);
	assert_near(sum(list, count, true), sum(users, users_count, true), 1e-9);
	assert_near(sum(list, count, false), sum(users, users_count, false), 1e-9);
	double total = sum(users, users_count, true) + sum(users, users_count, false);
	for (int percent = 2; percent < 100; percent += 7) {
		double share = percent / 100.0;
		double rest = total / 100, level = level_find(users, users_count, rest, total * share);
		assert_near(level_find(list, count, rest, total * share), level, BIN_WIDTH);
		/* Between the levels that lie a bin apart. */
		size_t above = level_above(list, count, level);
		assert_true(above <= level_above(users, users_count, level * (1 - 2 * BIN_WIDTH)));
		assert_true(above >= level_above(users, users_count, level * (1 + 2 * BIN_WIDTH)));
	}
	/* Everything fits. */
	assert_true(isinf(level_find(list, count, 0, total * 1.01)));
	/* What the caller does to its list stays there. */
	list[0].rate = 0;
	assert_true(demands_list(demands, &again)->rate > 0);
	assert_int_equal(again, count);
	free(users);
}

static void test_few_users_are_handed_over_one_by_one(void **state)
{
	_cleanup_(demands_freep) struct demands *demands = demands_new();
	struct demand *users = users_make(DEMANDS_SINGLE);
	size_t count;
	(void)state;

	assert_non_null(demands);
	struct demand *list = gather(demands, users, DEMANDS_SINGLE, &count);
	assert_int_equal(count, DEMANDS_SINGLE);
	assert_memory_equal(list, users, sizeof(*users) * DEMANDS_SINGLE);
	gather(demands, users, 0, &count);
	assert_int_equal(count, 0);
	free(users);
}

static void test_many_users_make_the_same_level(void **state)
{
	_cleanup_(demands_freep) struct demands *demands = demands_new();
	(void)state;

	assert_non_null(demands);
	check(demands, DEMANDS_SINGLE + 1);
	check(demands, 100000);
	check(demands, 10); /* few again */
	check(demands, 5000);
}

/* Nothing is too small or too large for a bin, and nothing gets lost. */
static void test_extremes(void **state)
{
	_cleanup_(demands_freep) struct demands *demands = demands_new();
	static const double rates[] = {1e-300, 1e-3, 1, 1e9, 1e13, 1e300};
	double expected = 0, got = 0;
	size_t count;
	(void)state;

	assert_non_null(demands);
	for (size_t i = 0; i < 6000; i++) {
		double rate = rates[i % 5];
		expected += rate;
		demands_add(demands, rate, 1, false);
	}
	demands_settle(demands);
	const struct demand *list = demands_list(demands, &count);
	for (size_t i = 0; i < count; i++)
		got += list[i].rate;
	assert_near(got, expected, 1e-9);
	demands_add(demands, rates[5], 1e-6, true);
	demands_settle(demands);
	assert_true(demands_list(demands, &count)->rate == rates[5] && count == 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_users_are_handed_over_one_by_one),
		cmocka_unit_test(test_many_users_make_the_same_level),
		cmocka_unit_test(test_extremes),
	};

	srand48(4);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
