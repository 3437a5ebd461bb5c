/* SPDX-License-Identifier: GPL-2.0-only */
/* What a log holds back: the same again, more of a kind than anybody reads, more lines than anybody reads; and that it
 * says how much that was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <cmocka.h>

#include "base/log_limit.h"

static struct log_limit limit;
static char written[LOG_TEXT_MAX + 64];
static unsigned count;

static void hear(int priority, const char *line)
{
	(void)priority;
	count++;
	snprintf(written, sizeof(written), "%s", line);
}

static int set_up(void **state)
{
	(void)state;
	memset(&limit, 0, sizeof(limit));
	count = 0;
	return 0;
}

static bool say(const char *line, double now_s)
{
	return log_limit_admits(&limit, LOG_ERR, NULL, 0, line, now_s);
}

static void test_the_same_again_is_counted(void **state)
{
	(void)state;
	assert_true(say("disk full", 100));
	for (int i = 1; i < 600; i++)
		assert_false(say("disk full", 100 + i * 0.1));
	assert_true(say("another thing", 130));
	log_limit_release(&limit, 159, hear);
	assert_int_equal(count, 0);
	log_limit_release(&limit, 160, hear);
	assert_int_equal(count, 1);
	assert_string_equal(written, "disk full (again, 599 times in 60 s)");
	/* It goes on: once a minute. */
	assert_false(say("disk full", 161));
	log_limit_release(&limit, 220, hear);
	assert_int_equal(count, 2);
	assert_string_equal(written, "disk full (again, 1 time in 60 s)");
	/* It has stopped, and is new when it comes again. */
	log_limit_release(&limit, 280, hear);
	assert_int_equal(count, 2);
	assert_true(say("disk full", 281));
}

static void test_of_a_topic_the_newest_is_told(void **state)
{
	(void)state;
	char line[64];
	unsigned told = 0;
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "level %d", i);
		told += log_limit_admits(&limit, LOG_INFO, "level dns", 10, line, 100 + i * 0.1);
		assert_int_equal(log_limit_admits(&limit, LOG_INFO, "level web", 10, "x", 100), i == 0);
	}
	assert_int_equal(told, 1);
	log_limit_release(&limit, 110, hear);
	assert_int_equal(count, 2);
	set_up(state);
	log_limit_admits(&limit, LOG_INFO, "level dns", 10, "level 1", 100);
	log_limit_admits(&limit, LOG_INFO, "level dns", 10, "level 2", 101);
	log_limit_admits(&limit, LOG_INFO, "level dns", 10, "level 3", 102);
	log_limit_release(&limit, 110, hear);
	assert_string_equal(written, "level 3 (and 1 like it before, in 10 s)");
}

static void test_lines_are_bounded_in_all(void **state)
{
	(void)state;
	char line[64];
	unsigned told = 0;
	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "line %d", i);
		told += say(line, 100 + i * 0.0001);
	}
	assert_true(told >= LOG_BURST && told <= LOG_BURST + 10 * LOG_PER_SECOND + 1);
	log_limit_release(&limit, 115, hear);
	assert_int_equal(count, 1);
	snprintf(line, sizeof(line), "%u lines were too many at once, and are not here", 100000 - told);
	assert_string_equal(written, line);
	log_limit_release(&limit, 116, hear);
	assert_int_equal(count, 1);
	assert_true(say("a line", 117));
}

static void test_more_topics_than_places_lose_no_count(void **state)
{
	(void)state;
	char line[64];
	for (int i = 0; i < 2 * LOG_TOPICS_MAX; i++) {
		snprintf(line, sizeof(line), "line %d", i);
		assert_true(say(line, 100 + i));
		assert_false(say(line, 100 + i));
	}
	log_limit_release(&limit, 1000, hear);
	assert_int_equal(count, LOG_TOPICS_MAX + 1);
	assert_string_equal(written, "32 lines were too many at once, and are not here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_the_same_again_is_counted, set_up),
	                                   cmocka_unit_test_setup(test_of_a_topic_the_newest_is_told, set_up),
	                                   cmocka_unit_test_setup(test_lines_are_bounded_in_all, set_up),
	                                   cmocka_unit_test_setup(test_more_topics_than_places_lose_no_count, set_up)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
