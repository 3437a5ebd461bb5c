/* SPDX-License-Identifier: GPL-2.0-only */
/* Whatever is quoted in a text, and wherever it was cut, it leaves as UTF-8. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"

static void what_is_utf8_stays(void **state)
{
	static const char *const texts[] = {"", "plain", "Ångström", "\u20ac \U0001f600", "\xf4\x8f\xbf\xbf"};
	char text[64];
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		snprintf(text, sizeof(text), "%s", texts[i]);
		utf8_mend(text);
		assert_string_equal(text, texts[i]);
	}
}

static void each_byte_of_none_is_marked(void **state)
{
	static const struct {
		const char *before, *after;
	} texts[] = {
		{"\xff", "?"},
		{"a\xc3", "a?"},         /* cut */
		{"\xe2\x82", "??"},      /* cut */
		{"\xf0\x9f\x98", "???"}, /* cut */
		{"\xa9"                  /* a rest */
	         "b",
	         "?b"},
		{"\xc0\xaf", "??"},            /* longer than it need be */
		{"\xe0\x80\x80", "???"},       /* the same */
		{"\xed\xa0\x80", "???"},       /* half of a pair */
		{"\xf4\x90\x80\x80", "????"},  /* beyond the last */
		{"\xc3\xc3\xa9", "?\xc3\xa9"}, /* and on with the next */
	};
	char text[16];
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		snprintf(text, sizeof(text), "%s", texts[i].before);
		utf8_mend(text);
		assert_string_equal(text, texts[i].after);
	}
}

static void control_characters_are_marked(void **state)
{
	char text[] = "a\033[2Jb\r\nc\td\x7f\x01 \xc2\x9b"
		      "31m \xc2\xa0";
	(void)state;

	utf8_mend(text);
	assert_string_equal(text, "a?[2Jb?\nc\td?? ??31m \xc2\xa0");
}

static void an_error_that_cuts_a_character_is_utf8(void **state)
{
	struct error err;
	(void)state;

	error_set(&err, -1, "'%.3s' is none", "\xc3\xa9\xc3\xa9");
	assert_string_equal(err.text, "'\xc3\xa9?' is none");
	error_prefix(&err, -1, "%.1s", "\xc3\xa9");
	assert_string_equal(err.text, "?: '\xc3\xa9?' is none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_utf8_stays),
		cmocka_unit_test(each_byte_of_none_is_marked),
		cmocka_unit_test(control_characters_are_marked),
		cmocka_unit_test(an_error_that_cuts_a_character_is_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
