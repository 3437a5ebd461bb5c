/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of prefixes: what counts, and which line is named where one is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "verbs/prefix_file.h"

/* Reads a file of these bytes. */
static int read_text(const char *text, size_t size, struct prefix **prefixes, size_t *count, struct error *err)
{
	char path[] = "/tmp/prefix_file_test.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), size);
	close(fd);
	int rc = prefix_file_read(path, prefixes, count, err);
	unlink(path);
	return rc;
}

static void test_what_counts(void **state)
{
	static const char text[] = "# a comment\n\n10.0.0.0/8\n  2001:db8::/32\t# why\n\t\n192.0.2.1\r\n203.0.113.9";
	static const char *const expected[] = {"10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "203.0.113.9"};
	_cleanup_free_ struct prefix *prefixes = NULL;
	struct error err;
	size_t count;
	(void)state;

	assert_int_equal(read_text(text, strlen(text), &prefixes, &count, &err), 0);
	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++) {
		char written[PREFIX_TEXT_MAX];
		prefix_format(&prefixes[i], written);
		assert_string_equal(written, expected[i]);
	}
}

static void test_what_is_refused(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"10.0.0.0/8\n\n# three\nnobody\n", ":4: 'nobody' is no IPv4 or IPv6"},
		{"10.0.0.1/8\n", ":1: '10.0.0.1/8' has bits set beyond its length; did you mean 10.0.0.0/8?"},
		{"10.0.0.0/8 11.0.0.0/8\n", ":1: '10.0.0.0/8 11.0.0.0/8' has no prefix length"},
		{"10.0.0.0/33", ":1: '10.0.0.0/33' has no prefix length of 0 to 32"},
		{"", ": no prefix in it"},
		{"# nothing\n", ": no prefix in it"},
	};
	struct prefix *prefixes = NULL;
	struct error err;
	size_t count;
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(read_text(cases[i].text, strlen(cases[i].text), &prefixes, &count, &err) < 0);
		assert_non_null(strstr(err.text, cases[i].expected));
	}
	assert_true(read_text("10.0.0.0/8\n1\0\n", 14, &prefixes, &count, &err) < 0);
	assert_non_null(strstr(err.text, ":2: a zero byte"));
	assert_true(prefix_file_read("/nonexistent/file", &prefixes, &count, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent/file: cannot read: No such file"));
	assert_null(prefixes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_counts), cmocka_unit_test(test_what_is_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
