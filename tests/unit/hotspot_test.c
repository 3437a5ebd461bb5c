/* SPDX-License-Identifier: GPL-2.0-only */
/* Hot spots in made-up traffic of which the truth is known: each is told in the pass that shows it, by its name and
 * why, ends within five seconds, and neither wavering rates nor ordinary traffic make any. */
#include <arpa/inet.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/prefix.h"
#include "control/hotspot.h"

#define USERS_MOST 4000
#define LIST       100
#define WARM_UP    30

static const struct hotspot_settings settings = {.share = 0.2, .past = 8, .level = 2, .least_pps = 1000};

struct change {
	double at_s;
	struct hotspot spot;
	bool begins;
};

static struct world {
	struct hotspots *hotspots;
	struct hotspot_user users[USERS_MOST];
	size_t count;
	double now_s, capacity_pps;
	unsigned random;
	struct change changes[1000];
	size_t changes_count;
} world;

static void record(const struct hotspot *spot, bool begins, void *argument)
{
	(void)argument;
	if (world.changes_count < sizeof(world.changes) / sizeof(*world.changes))
		world.changes[world.changes_count] = (struct change){world.now_s, *spot, begins};
	world.changes_count++;
}

static int set_up(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.random = 1;
	world.now_s = 1000;
	return hotspots_new(&world.hotspots, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	hotspots_free(world.hotspots);
	return 0;
}

/* From 0 to 1, the same each time. */
static double chance(void)
{
	world.random = world.random * 1103515245 + 12345;
	return (double)(world.random >> 8 & 0xffff) / 65536;
}

static struct hotspot_user *add(const char *address, double pps)
{
	struct hotspot_user *user = &world.users[world.count++];
	uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff};

	assert_true(world.count <= USERS_MOST);
	*user = (struct hotspot_user){.source = true, .ipv6 = strchr(address, ':') != NULL, .pps = pps};
	assert_int_equal(inet_pton(user->ipv6 ? AF_INET6 : AF_INET, address, user->ipv6 ? bytes : bytes + 12), 1);
	memcpy(user->key, bytes, sizeof(bytes));
	return user;
}

/* `count` users of one prefix, "192.0.2.#", who send the same. */
static struct hotspot_user *add_many(const char *pattern, unsigned count, double pps)
{
	struct hotspot_user *first = &world.users[world.count];
	int before = (int)strcspn(pattern, "#");
	char address[64];

	for (unsigned i = 1; i <= count; i++) {
		snprintf(address, sizeof(address), "%.*s%u%s", before, pattern, i, pattern + before + 1);
		add(address, pps);
	}
	return first;
}

/* Ordinary users from all over the world. */
static void add_ordinary(unsigned count, double pps)
{
	char address[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(address, sizeof(address), "%u.%u.7.1", 20 + i % 150, i / 150);
		add(address, pps);
	}
}

static int heavier(const void *left, const void *right)
{
	double a = ((const struct hotspot_user *)left)->pps, b = ((const struct hotspot_user *)right)->pps;

	return (a < b) - (a > b);
}

/* One second of service 7 in which everybody's rate wavers by `noise` either way. */
static void pass_service(unsigned service, double noise)
{
	static struct hotspot_user now[USERS_MOST];
	struct hotspot_service seen = {.capacity_pps = world.capacity_pps, .heaviest = now};

	for (size_t i = 0; i < world.count; i++) {
		struct hotspot_user user = world.users[i];
		user.pps *= 1 + noise * (2 * chance() - 1);
		if (user.pps <= 0)
			continue;
		now[seen.active_users++] = user;
		seen.pps += user.pps;
		hotspots_count(world.hotspots, service, &user);
	}
	qsort(now, seen.active_users, sizeof(*now), heavier);
	seen.full = seen.active_users > LIST;
	seen.heaviest_count = seen.full ? LIST : seen.active_users;
	hotspots_service(world.hotspots, service, &seen);
}

static void pass(double noise)
{
	world.now_s++;
	hotspots_begin(world.hotspots, &settings, world.now_s, record, NULL);
	pass_service(7, noise);
	hotspots_end(world.hotspots);
}

static void passes(unsigned count, double noise)
{
	while (count--)
		pass(noise);
}

/* The only change since the last call. */
static const struct change *only(bool begins, enum hotspot_kind kind)
{
	assert_int_equal(world.changes_count, 1);
	world.changes_count = 0;
	assert_int_equal(world.changes[0].begins, begins);
	assert_int_equal(world.changes[0].spot.kind, kind);
	assert_int_equal(world.changes[0].spot.service, 7);
	return &world.changes[0];
}

static void assert_named(const struct change *change, const char *name)
{
	char text[PREFIX_TEXT_MAX];

	inet_ntop(change->spot.ipv6 ? AF_INET6 : AF_INET,
	          (const uint8_t *)change->spot.key + (change->spot.ipv6 ? 0 : 12), text, sizeof(text));
	if (change->spot.kind == HOTSPOT_PREFIX)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "/%u", change->spot.length);
	assert_string_equal(text, name);
}

static void assert_ends(enum hotspot_kind kind)
{
	double stopped_s = world.now_s;

	while (!world.changes_count && world.now_s < stopped_s + 60)
		pass(0.1);
	assert_true(only(false, kind)->at_s <= stopped_s + 5);
	passes(60, 0.1);
	assert_int_equal(world.changes_count, 0);
}

static void test_a_share_of_the_service(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	assert_int_equal(world.changes_count, 0);
	struct hotspot_user *user = add("192.0.2.1", 5000);
	pass(0);
	const struct change *change = only(true, HOTSPOT_USER);
	assert_named(change, "192.0.2.1");
	assert_string_equal(change->spot.why,
	                    "5 k packets/s, 33 % of the service: 500 times the others' average of 10");
	passes(100, 0.1);
	assert_int_equal(world.changes_count, 0);
	user->pps = 0;
	assert_ends(HOTSPOT_USER);
}

static void test_its_own_past(void **state)
{
	(void)state;
	add_ordinary(2000, 20);
	struct hotspot_user *user = add("192.0.2.1", 150);
	passes(WARM_UP, 0.1);
	user->pps = 1100;
	pass(0);
	assert_int_equal(world.changes_count, 0); /* seven times */
	user->pps = 1500;
	pass(0);
	assert_named(only(true, HOTSPOT_USER), "192.0.2.1");
	assert_non_null(strstr(world.changes[0].spot.why, "times its usual"));
	user->pps = 200;
	assert_ends(HOTSPOT_USER);
}

static void test_the_level(void **state)
{
	(void)state;
	add_ordinary(2000, 20);
	struct hotspot_user *user = add("192.0.2.1", 150);
	user->limit_pps = 200;
	passes(WARM_UP, 0.1);
	user->pps = 410;
	pass(0);
	assert_non_null(strstr(only(true, HOTSPOT_USER)->spot.why, "2.0 times its limit of 200"));
	user->pps = 200;
	assert_ends(HOTSPOT_USER);
}

static void test_the_service_itself(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	for (size_t i = 0; i < world.count; i++)
		world.users[i].pps *= 9;
	pass(0);
	assert_non_null(strstr(only(true, HOTSPOT_SERVICE)->spot.why, "times its usual "));
	for (size_t i = 0; i < world.count; i++)
		world.users[i].pps /= 9;
	assert_ends(HOTSPOT_SERVICE);

	world.capacity_pps = 9000;
	pass(0);
	assert_non_null(strstr(only(true, HOTSPOT_SERVICE)->spot.why, "times its capacity of 9 k"));
	world.capacity_pps = 12500; /* four fifths: busy, and no longer hot */
	assert_ends(HOTSPOT_SERVICE);
}

static void test_a_prefix_whose_users_are_light(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	struct hotspot_user *users = add_many("198.51.100.#", 200, 40);
	pass(0);
	const struct change *change = only(true, HOTSPOT_PREFIX);
	assert_named(change, "198.51.100.0/24"); /* and not 198.51.0.0/16 as well */
	assert_string_equal(change->spot.why,
	                    "8 k packets/s, 44 % of the service, from 200 users together: it is new, and "
	                    "before sent 0");
	for (unsigned i = 0; i < 200; i++)
		users[i].pps = 0;
	assert_ends(HOTSPOT_PREFIX);
}

static void test_a_wide_prefix_whose_narrow_ones_are_light(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	add_many("198.51.#.1", 200, 10);
	add_many("198.51.#.2", 200, 10);
	add_many("198.51.#.3", 200, 10);
	pass(0);
	assert_named(only(true, HOTSPOT_PREFIX), "198.51.0.0/16");
}

static void test_ipv6_prefixes(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	struct hotspot_user *users = add_many("2001:db8:7:#::", 200, 40);
	pass(0);
	assert_named(only(true, HOTSPOT_PREFIX), "2001:db8:7::/48");
	for (unsigned i = 0; i < 200; i++)
		users[i].pps = 0;
	assert_ends(HOTSPOT_PREFIX);
	add_many("2001:db8:#:1::", 200, 40);
	pass(0);
	assert_named(only(true, HOTSPOT_PREFIX), "2001:db8::/32");
}

static void test_a_hot_user_does_not_make_its_prefix_hot(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	add_many("198.51.100.#", 50, 1);
	add("198.51.100.77", 8000);
	passes(20, 0.1);
	assert_named(only(true, HOTSPOT_USER), "198.51.100.77");
}

static void test_more_hot_users_than_are_named_count_for_their_prefix(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	struct hotspot_user *users = add_many("198.51.100.#", 200, 300);
	for (unsigned i = 0; i < 200; i++)
		users[i].limit_pps = 100;
	pass(0.1);
	size_t by_kind[3] = {0};
	for (size_t i = 0; i < world.changes_count; i++)
		by_kind[world.changes[i].spot.kind]++;
	assert_int_equal(by_kind[HOTSPOT_USER], HOTSPOTS_USERS_MAX);
	assert_int_equal(by_kind[HOTSPOT_PREFIX], 1);
	assert_int_equal(by_kind[HOTSPOT_SERVICE], 0);
	passes(100, 0.1); /* others are the heaviest each time */
	size_t count;
	hotspots_now(world.hotspots, &count);
	assert_true(count <= HOTSPOTS_USERS_MAX + 1);
}

static void test_ordinary_traffic_makes_none(void **state)
{
	(void)state;
	/* Zipf: the first sends a tenth of it all. All from one /16. */
	for (unsigned i = 1; i <= 2000; i++) {
		char address[64];
		snprintf(address, sizeof(address), "10.1.%u.%u", i / 200, i % 200);
		add(address, 2000.0 / i);
	}
	passes(600, 0.3);
	assert_int_equal(world.changes_count, 0);
	/* And the day goes on: twice the traffic within five minutes, over and over. */
	for (unsigned second = 0; second < 1200; second++) {
		for (size_t i = 0; i < world.count; i++)
			world.users[i].pps = 2000.0 / (double)(i + 1) * (1.5 + 0.5 * sin(second / 95.0));
		pass(0.1);
	}
	assert_int_equal(world.changes_count, 0);
}

static void test_equal_users_do_not_stand_out(void **state)
{
	(void)state;
	add_many("10.0.0.#", 3, 5000);
	passes(60, 0.2);
	assert_int_equal(world.changes_count, 0);
}

static void test_wavering_about_the_threshold_is_one_hot_spot(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	add("192.0.2.1", 2500); /* a fifth */
	passes(600, 0.3);
	only(true, HOTSPOT_USER);
	/* Silent for a second of each two: still the same. */
	for (int i = 0; i < 100; i++) {
		world.users[world.count - 1].pps = i % 2 ? 0 : 4000;
		pass(0);
	}
	assert_int_equal(world.changes_count, 0);
}

/* Random hot spots of every kind, one after another. */
static void test_each_is_told_at_once_and_ends_in_time(void **state)
{
	(void)state;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	size_t ordinary = world.count;
	for (unsigned round = 0; round < 60; round++) {
		char pattern[64];
		unsigned crowd = round % 2 ? 1 : 50 + (unsigned)(chance() * 150);
		double pps = 4000 * pow(10, chance()) / crowd;
		snprintf(pattern, sizeof(pattern), "100.%u.%u.#", 1 + round, (unsigned)(chance() * 250));
		add_many(pattern, crowd, pps);
		pass(0.1);
		/* A crowd of 40 k packets/s makes the service hot beside, or is its heat; no single one of it is. */
		bool named = false;
		for (size_t i = 0; i < world.changes_count; i++) {
			assert_true(world.changes[i].begins);
			named |= world.changes[i].spot.kind == (crowd == 1 ? HOTSPOT_USER : HOTSPOT_PREFIX);
			assert_true(world.changes[i].spot.kind != (crowd == 1 ? HOTSPOT_PREFIX : HOTSPOT_USER));
		}
		assert_true(named);
		size_t begun = world.changes_count, hot;
		passes(5 + (unsigned)(chance() * 20), 0.1);
		world.count = ordinary;
		world.changes_count = 0;
		passes(5, 0.1);
		hotspots_now(world.hotspots, &hot);
		assert_int_equal(hot, 0);
		assert_true(world.changes_count >= begun);
		world.changes_count = 0;
		passes(20, 0.1);
		assert_int_equal(world.changes_count, 0);
	}
}

static void test_bounded_whatever_comes(void **state)
{
	(void)state;
	size_t count;
	for (unsigned i = 0; i < 150; i++) {
		char pattern[32];
		snprintf(pattern, sizeof(pattern), "10.%u.0.#", i);
		add_many(pattern, 1, 5000 + 10 * i);
		world.users[i].limit_pps = 1;
	}
	for (int second = 0; second < 5; second++) {
		world.now_s++;
		hotspots_begin(world.hotspots, &settings, world.now_s, record, NULL);
		for (unsigned service = 0; service < HOTSPOT_SERVICES_MAX; service++)
			pass_service(service, 0.5);
		hotspots_end(world.hotspots);
		hotspots_now(world.hotspots, &count);
		assert_int_equal(count, HOTSPOTS_MAX);
	}
	/* All services go away at once. */
	world.changes_count = 0;
	for (int second = 0; second < 5; second++) {
		world.now_s++;
		hotspots_begin(world.hotspots, &settings, world.now_s, record, NULL);
		hotspots_end(world.hotspots);
	}
	hotspots_now(world.hotspots, &count);
	assert_int_equal(count, 0);
	assert_int_equal(world.changes_count, HOTSPOTS_MAX);
	/* And come back. */
	pass(0);
	hotspots_now(world.hotspots, &count);
	assert_int_equal(count, HOTSPOTS_USERS_MAX);
}

static void test_a_forgotten_service_has_no_past(void **state)
{
	(void)state;
	size_t count;
	add_ordinary(1000, 10);
	passes(WARM_UP, 0.1);
	add("192.0.2.1", 9000);
	pass(0);
	only(true, HOTSPOT_USER);
	hotspots_forget(world.hotspots, 7);
	hotspots_now(world.hotspots, &count);
	assert_int_equal(count, 0);
	world.count--;
	passes(60, 0.1);
	assert_int_equal(world.changes_count, 0);
}

/* A pass over a million active users. How long it takes is printed; tests do not depend on the machine. */
static void test_a_million_users(void **state)
{
	(void)state;
	struct timespec from, to;
	struct hotspot_user user = {.source = true, .pps = 3};
	struct hotspot_service seen = {.pps = 3000000, .active_users = 1000000, .heaviest = &user, .heaviest_count = 1};
	uint32_t address = 1;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (int i = 0; i < 1000000; i++) {
		address = address * 1664525 + 1013904223;
		user.key[1] = (uint64_t)address << 32 | 0xffff0000;
		hotspots_count(world.hotspots, 7, &user);
	}
	hotspots_begin(world.hotspots, &settings, 1, record, NULL);
	hotspots_service(world.hotspots, 7, &seen);
	hotspots_end(world.hotspots);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	printf("1,000,000 users: %.1f ms\n",
	       (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
	assert_int_equal(world.changes_count, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_share_of_the_service),
		TEST(test_its_own_past),
		TEST(test_the_level),
		TEST(test_the_service_itself),
		TEST(test_a_prefix_whose_users_are_light),
		TEST(test_a_wide_prefix_whose_narrow_ones_are_light),
		TEST(test_ipv6_prefixes),
		TEST(test_a_hot_user_does_not_make_its_prefix_hot),
		TEST(test_more_hot_users_than_are_named_count_for_their_prefix),
		TEST(test_ordinary_traffic_makes_none),
		TEST(test_equal_users_do_not_stand_out),
		TEST(test_wavering_about_the_threshold_is_one_hot_spot),
		TEST(test_each_is_told_at_once_and_ends_in_time),
		TEST(test_bounded_whatever_comes),
		TEST(test_a_forgotten_service_has_no_past),
		TEST(test_a_million_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
