/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers with units, read and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"

static void test_counts(void **state)
{
	(void)state;
	double count = 7;
	assert_int_equal(units_parse_count("1.25M", &count, NULL), 0);
	assert_true(count == 1250000);
	static const char *const bad[] = {"",   "-1", "1e3", "010", "1.",
	                                  ".5", "1x", "1k ", "nan", "9999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(units_parse_count(bad[i], &count, NULL) < 0);
	assert_true(count == 1250000);
}

static void test_durations(void **state)
{
	(void)state;
	uint64_t ns = 7;
	assert_int_equal(units_parse_duration("1h 30m", &ns, NULL), 0);
	assert_true(ns == UINT64_C(5400000000000));
	assert_int_equal(units_parse_duration("5ms", &ns, NULL), 0);
	assert_true(ns == 5000000);
	assert_true(units_parse_duration("5", &ns, NULL) < 0);
	assert_true(units_parse_duration("999999999d", &ns, NULL) < 0);
	assert_true(ns == 5000000);
}

static void test_formats(void **state)
{
	(void)state;
	char text[UNITS_TEXT_MAX];
	units_format_count(1250000, text, sizeof(text));
	assert_string_equal(text, "1.25 M");
	units_format_bytes(512, text, sizeof(text));
	assert_string_equal(text, "512 B");
	units_format_duration_ns(UINT64_C(90000000000), text, sizeof(text));
	assert_string_equal(text, "1m 30s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_durations),
	                                   cmocka_unit_test(test_formats)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
