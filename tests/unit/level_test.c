/* SPDX-License-Identifier: GPL-2.0-only */
/* The level against a slow obvious reference, on demands of all kinds. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "control/level.h"

#define USERS_MOST 60
#define ROUNDS     2000
#define PRECISE    1e-9

static uint64_t chance_state = 7;

static double chance(void)
{
	chance_state = chance_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (double)(chance_state >> 11) * 0x1p-53;
}

static double taken(const struct demand *users, size_t count, double rest, double level)
{
	double sum = rest;

	for (size_t i = 0; i < count; i++)
		sum += fmin(users[i].rate, (double)users[i].weight * level);
	return sum;
}

/* Serves users one after the other, from the one that is satisfied first: each gets its rate, or all that are left an
 * equal share. */
static double reference(const struct demand *users, size_t count, double rest, double capacity)
{
	bool served[USERS_MOST] = {false};
	double left = capacity - rest, weight = 0;

	for (size_t i = 0; i < count; i++)
		weight += (double)users[i].weight;
	for (size_t round = 0; round < count; round++) {
		size_t first = count;
		for (size_t i = 0; i < count; i++) {
			if (!served[i] && (first == count || users[i].rate / (double)users[i].weight <
			                                             users[first].rate / (double)users[first].weight))
				first = i;
		}
		if (users[first].rate / (double)users[first].weight > left / weight)
			return left / weight;
		served[first] = true;
		left -= users[first].rate;
		weight -= (double)users[first].weight;
	}
	return INFINITY;
}

/* Rates that are equal, few, spread over many orders, or nothing at all. */
static double some_rate(unsigned kind)
{
	if (kind == 0)
		return floor(chance() * 5) * 10;
	if (kind == 1)
		return exp(chance() * 30 - 5);
	return kind == 2 ? 50 : 20 * chance();
}

static void test_reference(void **state)
{
	struct demand users[USERS_MOST];
	unsigned compared = 0;

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t count = 1 + (size_t)(chance() * USERS_MOST);
		double total = 0;
		for (size_t i = 0; i < count; i++) {
			users[i] = (struct demand){.rate = some_rate(round % 4),
			                           .weight = (float)(1 + floor(chance() * (round % 3) * 4) / 2)};
			total += users[i].rate;
		}
		double rest = round % 2 ? chance() * total / 2 : 0;
		double capacity = (total + rest) * (0.01 + chance()) + 1e-6;
		if (fabs(capacity - total - rest) < total * PRECISE || capacity <= rest)
			continue; /* a coin toss for rounding; and its own test below */
		double expected = reference(users, count, rest, capacity),
		       level = level_find(users, count, rest, capacity);
		assert_int_equal(isfinite(expected), isfinite(level));
		if (!isfinite(level))
			continue;
		assert_true(fabs(level - expected) <= PRECISE * expected);
		assert_true(fabs(taken(users, count, rest, level) - capacity) <= PRECISE * capacity);
		compared++;
	}
	assert_true(compared > ROUNDS / 4);
}

static void test_few(void **state)
{
	struct demand users[] = {{.rate = 10, .weight = 1}, {.rate = 100, .weight = 1}, {.rate = 100, .weight = 3}};

	(void)state;
	assert_true(fabs(level_find(users, 3, 0, 90) - 20) < 1e-12); /* 10 + 20 + 60 */
	assert_true(fabs(level_find(users, 3, 30, 90) - 12.5) < 1e-12);
	assert_true(level_find(users, 3, 0, 210) == INFINITY);
	assert_true(level_find(users, 3, 91, 90) <= 0);
	assert_true(level_find(users, 3, 0, 0) <= 0);
	assert_true(level_find(users, 0, 5, 10) == INFINITY);
	assert_true(level_find(users, 3, 0, INFINITY) == INFINITY);
	assert_int_equal(level_above(users, 3, 20), 2);
	assert_int_equal(level_above(users, 3, INFINITY), 0);
}

/* A limit in bytes is found by the same arithmetic: only the numbers are larger. */
static void test_bytes(void **state)
{
	struct demand users[] = {{.rate = 1e6, .weight = 1}, {.rate = 9e9, .weight = 1}, {.rate = 9e9, .weight = 2}};

	(void)state;
	assert_true(fabs(level_find(users, 3, 0, 10e9) - (10e9 - 1e6) / 3) < 1);
}

/* What cannot be asks for nothing, or for no more than everything; and nobody's share is spoilt by it. */
static void test_absurd(void **state)
{
	struct demand users[] = {
		{.rate = NAN, .weight = 1}, {.rate = -5, .weight = 1},        {.rate = INFINITY, .weight = 1},
		{.rate = 50, .weight = 0},  {.rate = 50, .weight = -FLT_MAX}, {.rate = 50, .weight = NAN},
		{.rate = 5, .weight = 1},
	};

	(void)state;
	assert_true(fabs(level_find(users, 7, 0, 45) - 10) < 1e-9); /* four of weight 1 above it, and 5 */
	assert_true(fabs(level_find(users, 7, NAN, 45) - 10) < 1e-9);
	assert_true(level_find(users, 7, 0, NAN) == INFINITY);
}

/* A million users cost as many passes as any: what is printed is no condition. */
static void test_many(void **state)
{
	size_t count = 1000000;
	struct demand *users = calloc(count, sizeof(*users));

	(void)state;
	assert_non_null(users);
	for (size_t i = 0; i < count; i++)
		users[i] = (struct demand){.rate = i % 10 ? chance() * 20 : 1e3, .weight = 1};
	double level = level_find(users, count, 0, 20e6);
	assert_true(fabs(taken(users, count, 0, level) - 20e6) < 1);
	for (size_t i = 0; i < count; i++)
		users[i].rate = 50;
	assert_true(fabs(level_find(users, count, 0, 20e6) - 20) < 1e-6);
	free(users);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference), cmocka_unit_test(test_few),  cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_absurd),    cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
