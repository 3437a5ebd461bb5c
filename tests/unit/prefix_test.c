/* SPDX-License-Identifier: GPL-2.0-only */
/* Address prefixes: read, written, compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prefix.h"

static void test_round_trip(void **state)
{
	(void)state;
	static const char *const good[] = {"10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct prefix prefix;
		char text[PREFIX_TEXT_MAX];
		assert_int_equal(prefix_parse(good[i], &prefix, NULL), 0);
		prefix_format(&prefix, text);
		assert_string_equal(text, good[i]);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "10.0.0.1/8", "10.0.0.0/33", "::/129", "x", "1.2.3", "::/", "1.2.3.4/-1"};
	struct prefix prefix;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(prefix_parse(bad[i], &prefix, NULL) < 0);
}

static void test_overlaps(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		bool overlaps;
	} pairs[] = {
		{"10.0.0.0/8", "10.1.2.3", true},    {"10.0.0.0/9", "10.128.0.0/9", false},
		{"0.0.0.0/0", "::/0", false},        {"2001:db8::/32", "2001:db8:1::/48", true},
		{"10.0.0.0/8", "11.0.0.0/8", false},
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct prefix a, b;
		assert_int_equal(prefix_parse(pairs[i].a, &a, NULL), 0);
		assert_int_equal(prefix_parse(pairs[i].b, &b, NULL), 0);
		assert_int_equal(prefix_overlaps(&a, &b), pairs[i].overlaps);
		assert_int_equal(prefix_overlaps(&b, &a), pairs[i].overlaps);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
	                                   cmocka_unit_test(test_overlaps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
