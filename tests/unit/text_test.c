/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(struct text *text, const char *expected)
{
	char *bytes;
	size_t length;

	assert_int_equal(text_take(text, &bytes, &length), 0);
	assert_int_equal(length, strlen(expected));
	assert_memory_equal(bytes, expected, length);
	free(bytes);
}

static void numbers_are_as_printf_writes_them(void **state)
{
	static const double numbers[] = {0,   1,       9,          10,   999999999, 1e9,       1e15,
	                                 0.5, 1.0 / 3, 123456.789, 1e-7, -1,        6.5536e-05};
	char expected[64];
	struct text text;
	(void)state;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		text_begin(&text, 8);
		text_add_number(&text, numbers[i]);
		snprintf(expected, sizeof(expected), "%.10g", numbers[i]);
		assert_text(&text, expected);
	}
	text_begin(&text, 1);
	text_add_whole(&text, UINT64_MAX);
	text_add(&text, " ");
	text_add_whole(&text, 0);
	assert_text(&text, "18446744073709551615 0");
}

static void it_grows_over_any_size(void **state)
{
	struct text text;
	char *bytes;
	size_t length;
	(void)state;

	text_begin(&text, 1);
	for (unsigned i = 0; i < 100000; i++)
		text_add(&text, "0123456789");
	assert_int_equal(text_take(&text, &bytes, &length), 0);
	assert_int_equal(length, 1000000);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(bytes[i], '0' + (char)(i % 10));
	free(bytes);
}

static void what_finds_no_memory_is_told_at_the_end(void **state)
{
	struct text text;
	char *bytes = NULL;
	size_t length = 7;
	(void)state;

	text_begin(&text, 4);
	text_add(&text, "text");
	text.failure = -12; /* as text_grow() does */
	text_add(&text, "more");
	assert_int_equal(text_take(&text, &bytes, &length), -12);
	assert_null(bytes);
	assert_int_equal(length, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_as_printf_writes_them),
		cmocka_unit_test(it_grows_over_any_size),
		cmocka_unit_test(what_finds_no_memory_is_told_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
