/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/times.h"

#define NOW 1764081000 /* 2025-11-25 14:30:00 UTC, 15:30 in Berlin */

static const struct {
	const char *text;
	int64_t expected; /* -1: refused */
} cases[] = {
	{"now", NOW},
	{"-2h", NOW - 7200},
	{"-1d 12h", NOW - 129600},
	{"today", 1764025200},
	{"yesterday", 1763938800},
	{"@1764072000", 1764072000},
	{"2025-11-25", 1764025200},
	{"2025-11-25 15:30", NOW},
	{"2025-11-25T15:30:00", NOW},
	{"2025-11-25T14:30:00Z", NOW},
	{"2025-11-25t14:30:00.25z", NOW},
	{"2025-11-25T16:30:00+02:00", NOW},
	{"2025-11-25T09:00:00-05:30", NOW},
	{"2025-07-01 12:00", 1751364000}, /* summer time */
	{"2024-02-29", 1709161200},
	{"2025-02-29", -1},
	{"2025-13-01", -1},
	{"2025-00-10", -1},
	{"2025-11-31", -1},
	{"2025-11-25 24:00", -1},
	{"2025-11-25 14", -1},
	{"2025-11-25T14:30:00+2", -1},
	{"2025-11-25T14:30:00Zulu", -1},
	{"25.11.2025", -1},
	{"2h", -1},
	{"-2", -1},
	{"-", -1},
	{"", -1},
	{"@", -1},
	{"@9999999999999", -1},
	{"tomorrow", -1},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error err = {""};
		int64_t time_s = -1;
		int failure = times_parse(cases[i].text, NOW, &time_s, &err);
		if (time_s != cases[i].expected || (failure != 0) != (cases[i].expected < 0))
			fail_msg("'%s': %lld, expected %lld", cases[i].text, (long long)time_s,
			         (long long)cases[i].expected);
		if (failure)
			assert_non_null(strstr(err.text, cases[i].text));
	}
}

static void test_format(void **state)
{
	char text[TIMES_TEXT_MAX];
	(void)state;

	times_format_utc(NOW, text);
	assert_string_equal(text, "2025-11-25T14:30:00Z");
	times_format_local(NOW, text);
	assert_string_equal(text, "2025-11-25 15:30:00");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_format)};

	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
