/* SPDX-License-Identifier: GPL-2.0-only */
/* The bus of events: each is told to all, in order, with its time, and what is none to nobody. */
#include <errno.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "observe/events.h"

struct heard {
	size_t count;
	char last[2000];
};

static void hear(const json_t *event, const char *line, void *argument)
{
	struct heard *heard = argument;
	json_t *parsed = json_loads(line, 0, NULL);

	assert_true(json_equal(parsed, event));
	json_decref(parsed);
	heard->count++;
	snprintf(heard->last, sizeof(heard->last), "%s", line);
}

static void test_told_to_all(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	struct heard first = {0}, second = {0};
	assert_int_equal(events_new(&events, NULL), 0);
	assert_int_equal(events_listen(events, hear, &first), 0);
	events_publish(events, json_pack("{s:s,s:s}", "event", "reload", "why", "a line\nand another"));
	assert_int_equal(events_listen(events, hear, &second), 0);
	events_tell(events, "level", "dns", "192.0.2.1", json_pack("{s:i}", "users_above", 3), "%d above", 3);
	assert_int_equal(first.count, 2);
	assert_int_equal(second.count, 1);
	assert_string_equal(first.last, second.last);
	assert_null(strchr(first.last, '\n'));

	regex_t shape;
	assert_int_equal(
		regcomp(&shape,
	                "^\\{\"time\":\"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z\","
	                "\"event\":\"level\",\"service\":\"dns\",\"user\":\"192\\.0\\.2\\.1\",\"users_above\":3,"
	                "\"why\":\"3 above\"\\}$",
	                REG_EXTENDED | REG_NOSUB),
		0);
	assert_int_equal(regexec(&shape, first.last, 0, NULL, 0), 0);
	regfree(&shape);

	events_unlisten(events, hear, &first);
	events_tell(events, "level", NULL, NULL, NULL, "again");
	assert_int_equal(first.count, 2);
	assert_int_equal(second.count, 2);
	assert_null(strstr(second.last, "service"));
}

static void test_no_event_is_counted_as_lost(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	struct heard heard = {0};
	assert_int_equal(events_new(&events, NULL), 0);
	events_listen(events, hear, &heard);
	events_publish(events, NULL);
	events_publish(events, json_pack("{s:s}", "event", "level"));
	events_publish(events, json_pack("{s:s}", "why", "nothing"));
	events_publish(events, json_pack("{s:i,s:s}", "event", 1, "why", "x"));
	events_publish(events, json_string("level"));
	assert_int_equal(heard.count, 0);
	assert_true(events_lost(events) == 5);
	assert_true(events_number(events) == 0);
}

static void test_the_newest_are_kept(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	static struct events_told recent[EVENTS_RECENT + 1];
	assert_int_equal(events_new(&events, NULL), 0);
	assert_int_equal(events_recent(events, recent, EVENTS_RECENT), 0);
	for (int i = 1; i <= 1000; i++)
		events_tell(events, "level", NULL, NULL, json_pack("{s:i}", "n", i), "x");
	assert_int_equal(events_recent(events, recent, EVENTS_RECENT + 1), EVENTS_RUN);
	assert_int_equal(events_recent(events, recent, 3), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(json_integer_value(json_object_get(recent[i].event, "n")), 998 + i);
		assert_true(recent[i].number == (uint64_t)(998 + i));
		assert_non_null(strstr(recent[i].line, "\"level\""));
	}
}

static void test_a_busy_service_leaves_the_others_theirs(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	static struct events_told recent[EVENTS_RECENT];
	static const char *const kinds[] = {"level", "capacity", "hot", "hot_over", "fault", "served"};
	unsigned quiet = 0, host = 0, busy[2] = {0}, begun = 0;
	assert_int_equal(events_new(&events, NULL), 0);
	events_tell(events, "reload", NULL, NULL, NULL, "x");
	for (int i = 0; i < 3; i++)
		events_tell(events, "fault", "quiet", NULL, NULL, "x");
	events_tell(events, "spilling", "dns", NULL, NULL, "x");
	for (int i = 0; i < 3000; i++)
		events_tell(events, kinds[i / 2 % 6], i % 2 ? "web" : "dns", NULL, NULL, "x");
	assert_int_equal(events_recent(events, recent, EVENTS_RECENT), EVENTS_RECENT);
	for (size_t i = 0; i < EVENTS_RECENT; i++) {
		const char *service = json_string_value(json_object_get(recent[i].event, "service"));
		host += !service;
		quiet += service && strcmp(service, "quiet") == 0;
		busy[0] += service && strcmp(service, "dns") == 0;
		busy[1] += service && strcmp(service, "web") == 0;
		begun += strstr(recent[i].line, "\"spilling\"") != NULL;
		assert_true(i == 0 || recent[i].number > recent[i - 1].number);
	}
	assert_int_equal(host, 1);
	assert_int_equal(quiet, 3);
	assert_int_equal(begun, 1);
	assert_in_range(busy[0], (EVENTS_RECENT - 4) / 2 - 6, (EVENTS_RECENT - 4) / 2 + 6);
	assert_int_equal(busy[0] + busy[1], EVENTS_RECENT - 4);
	/* More services than there is room for: the newest of each are what is left. */
	for (int i = 0; i < 300; i++) {
		char name[16];
		snprintf(name, sizeof(name), "s%d", i);
		events_tell(events, "fault", name, NULL, NULL, "x");
	}
	assert_int_equal(events_recent(events, recent, EVENTS_RECENT), EVENTS_RECENT);
	assert_true(recent[EVENTS_RECENT - 1].number == events_number(events));
}

static void test_counted_by_kind(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	size_t count;
	char kind[64];
	assert_int_equal(events_new(&events, NULL), 0);
	for (int i = 0; i < 3; i++)
		events_tell(events, "fault", NULL, NULL, NULL, "x");
	for (int i = 0; i < 100; i++) {
		snprintf(kind, sizeof(kind), "a_kind_with_a_name_longer_than_any_that_there_is_%d", i);
		events_tell(events, kind, NULL, NULL, NULL, "x");
	}
	const struct events_count *counts = events_counts(events, &count);
	assert_true(count <= EVENTS_KINDS_MAX);
	assert_string_equal(counts[0].event, "fault");
	assert_true(counts[0].count == 3);
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += counts[i].count;
	assert_true(sum == 103);
}

static void test_listeners_are_bounded(void **state)
{
	(void)state;
	struct events *events _cleanup_(events_freep);
	static struct heard heard;
	assert_int_equal(events_new(&events, NULL), 0);
	for (int i = 0; i < EVENTS_LISTENERS_MAX; i++)
		assert_int_equal(events_listen(events, hear, &heard), 0);
	assert_int_equal(events_listen(events, hear, &heard), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_told_to_all),
	                                   cmocka_unit_test(test_no_event_is_counted_as_lost),
	                                   cmocka_unit_test(test_the_newest_are_kept),
	                                   cmocka_unit_test(test_a_busy_service_leaves_the_others_theirs),
	                                   cmocka_unit_test(test_counted_by_kind),
	                                   cmocka_unit_test(test_listeners_are_bounded)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
