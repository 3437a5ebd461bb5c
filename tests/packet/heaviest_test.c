/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is heaviest, by the real program and the real observer: of many users with Zipf's rates those whom the observer
 * names are the true ones, with their true rates and counts, while forged sources come beside them as fast as another
 * CPU sends them. What a pass costs with the hot spots' ear on it is printed.
 *
 * The truth is a log of every packet that was sent, with its time. A user's rate is held against its packets between
 * the very moments at which the observer read it: whoever else wants the processor delays sender and observer alike,
 * and neither is to be blamed for it.
 *
 * Small here; full size, with a flood from within the kernel over an interface: make bench-heaviest */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "control/hotspot.h"
#include "datapath/image.h"
#include "observe/observer.h"
#include "packet/frame.h"
#include "packet/world.h"

#define SOURCE_AT 26 /* in an untagged frame */
#define NAMED     OBSERVER_HEAVIEST
#define PASSES    3    /* a rate is counted between the first of them and the last */
#define LOOKED_AT 1000 /* of the heaviest users: those whose readings are noted */
#define BATCH     16   /* packets that share a time */

static const char configuration[] = "mode: enforce\n"
				    "services:\n"
				    "  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 1M}}\n";

static struct world world;
static struct observer *observer;
static struct hotspots *hotspots;
static size_t users;
static double packet_rate, seconds;

/* What was sent: whose each packet was, and when each BATCH of them was. */
static double *chances; /* cumulated */
static uint32_t *senders;
static double *times_s;
static size_t room;
static atomic_size_t sent;

/* When the observer saw each of the heaviest users in its last passes, newest first. */
static double seen_s[LOOKED_AT][PASSES];

static atomic_bool stop;

static double clock_s(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double number_from(const char *name, double otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtod(text, NULL) : otherwise;
}

static void set_source(unsigned char *frame, unsigned char net, uint32_t user)
{
	frame[SOURCE_AT] = net;
	frame[SOURCE_AT + 1] = (unsigned char)(user >> 16);
	frame[SOURCE_AT + 2] = (unsigned char)(user >> 8);
	frame[SOURCE_AT + 3] = (unsigned char)user;
}

static void *forge(void *argument)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded("4 udp:53", frame);
	uint32_t source = 1;
	(void)argument;

	while (!stop) {
		source = source * 1664525 + 1013904223;
		set_source(frame, (unsigned char)(100 + (source >> 30)), source >> 6);
		world_run(&world, frame, length, 1);
	}
	return NULL;
}

/* The golden ratio's multiples fall evenly: each user's packets come at its rate, and not by chance. */
static size_t draw(size_t turn)
{
	double at = fmod((double)(turn + 1) * 0.6180339887498949, 1) * chances[users - 1];
	size_t low = 0, high = users - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (chances[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Returns the time at which it is so late, or the test is over. */
static double wait_until(double time_s)
{
	double now_s = clock_s(CLOCK_MONOTONIC);

	while (now_s < time_s && !stop) {
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
		now_s = clock_s(CLOCK_MONOTONIC);
	}
	return now_s;
}

static void *send_packets(void *argument)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded("4 udp:53", frame);
	double began_s = clock_s(CLOCK_MONOTONIC);
	(void)argument;

	for (size_t turn = 0; !stop && turn < room; turn++) {
		if (turn % BATCH == 0)
			times_s[turn / BATCH] = wait_until(began_s + (double)turn / packet_rate);
		senders[turn] = (uint32_t)draw(turn);
		set_source(frame, 10, senders[turn]);
		world_run(&world, frame, length, 1);
		sent = turn + 1;
	}
	return NULL;
}

static size_t user_of(const struct observed_user *user)
{
	const unsigned char *address = (const unsigned char *)user->key + 12;

	return address[0] == 10 ? (size_t)address[1] << 16 | (size_t)address[2] << 8 | address[3] : users;
}

static void count_user(unsigned service, const struct observed_user *user, void *argument)
{
	struct hotspot_user counted = {.key = {user->key[0], user->key[1]},
	                               .source = user->kind == USER_SOURCE,
	                               .ipv6 = user->ipv6,
	                               .pps = user->lately_per_second};
	size_t number = user_of(user);
	(void)argument;

	hotspots_count(hotspots, service, &counted);
	if (number >= LOOKED_AT || number >= users)
		return;
	memmove(&seen_s[number][1], &seen_s[number][0], (PASSES - 1) * sizeof(double));
	seen_s[number][0] = clock_s(CLOCK_MONOTONIC);
}

static void ignore(const struct hotspot *spot, bool begins, void *argument)
{
	(void)spot, (void)begins, (void)argument;
}

/* What the daemon does after a pass. Returns what it takes of this thread. */
static double judge(unsigned number, double now_s)
{
	static const struct hotspot_settings settings = {.share = 0.2, .past = 8, .level = 2, .least_pps = 1000};
	struct hotspot_user heaviest[NAMED];
	struct observed_service observed;
	double began_s = clock_s(CLOCK_THREAD_CPUTIME_ID);

	assert_int_equal(observer_service(observer, number, &observed, NULL), 0);
	for (size_t i = 0; i < observed.heaviest_count; i++)
		heaviest[i] = (struct hotspot_user){.key = {observed.heaviest[i].key[0], observed.heaviest[i].key[1]},
		                                    .source = true,
		                                    .pps = observed.heaviest[i].lately_per_second};
	struct hotspot_service seen = {.pps = observed.packets_per_second,
	                               .active_users = observed.active_users,
	                               .heaviest = heaviest,
	                               .heaviest_count = observed.heaviest_count,
	                               .full = observed.heaviest_count == NAMED};
	hotspots_begin(hotspots, &settings, now_s, ignore, NULL);
	hotspots_service(hotspots, number, &seen);
	hotspots_end(hotspots);
	return clock_s(CLOCK_THREAD_CPUTIME_ID) - began_s;
}

static int heavier(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a < b) - (a > b);
}

/* How many packets each user sent from one time to another; with `*least` the least of the NAMED heaviest. To be freed.
 */
static uint32_t *sent_between(double from_s, double to_s, uint32_t *least)
{
	uint32_t *counts = calloc(users, sizeof(*counts)), *sorted = malloc(users * sizeof(*sorted));

	assert_non_null(counts);
	assert_non_null(sorted);
	for (size_t turn = 0, end = sent; turn < end; turn++)
		if (times_s[turn / BATCH] >= from_s && times_s[turn / BATCH] < to_s)
			counts[senders[turn]]++;
	memcpy(sorted, counts, users * sizeof(*sorted));
	qsort(sorted, users, sizeof(*sorted), heavier);
	*least = sorted[NAMED - 1];
	free(sorted);
	return counts;
}

/* The true rate of a user between two of its readings. */
static double rate_between(size_t user, const double read_s[PASSES])
{
	double from_s = read_s[PASSES - 1], to_s = read_s[0], packets = 0;

	for (size_t turn = 0, end = sent; turn < end; turn++)
		packets += senders[turn] == user && times_s[turn / BATCH] >= from_s && times_s[turn / BATCH] < to_s;
	return packets / (to_s - from_s);
}

/* When the last passes were, newest first. */
static void compare(const struct observed_service *seen, const double passes_s[PASSES])
{
	uint32_t least;
	uint32_t *counts = sent_between(passes_s[PASSES - 1], passes_s[0], &least);
	double worst = 0;
	size_t right = 0;

	assert_int_equal(seen->heaviest_count, NAMED);
	for (size_t i = 0; i < NAMED; i++) {
		size_t number = user_of(&seen->heaviest[i]);
		if (number >= LOOKED_AT)
			continue; /* a forged one, or far from the heaviest */
		right += counts[number] >= least;
		if (counts[number] < least)
			printf("%zu count %u least %u rate %.1f true %.1f over %.3f (passes %.3f)\n", number,
			       counts[number], least, seen->heaviest[i].packets_per_second,
			       rate_between(number, seen_s[number]), seen_s[number][0] - seen_s[number][2],
			       passes_s[0] - passes_s[2]);
		worst = fmax(worst,
		             fabs(seen->heaviest[i].packets_per_second / rate_between(number, seen_s[number]) - 1));
	}
	free(counts);
	printf("%zu of the true %d heaviest are named; their rates over %.1f s are off by %.2f %% at the most\n", right,
	       NAMED, passes_s[0] - passes_s[PASSES - 1], worst * 100);
	assert_true(right >= NAMED - 1);
	assert_true(worst <= 0.02);
}

/* To the packet, once nobody sends: none of the heaviest is counted for another, or lost; but for what it sent before
 * it had a cell for good, since until its KEPT_PACKETS-th a forged newcomer may have taken that in a pause. */
static void compare_counts(const struct observed_service *seen)
{
	uint32_t least;
	uint32_t *counts = sent_between(0, INFINITY, &least);

	for (size_t i = 0; i < seen->heaviest_count; i++) {
		size_t number = user_of(&seen->heaviest[i]);
		if (number >= users)
			continue;
		assert_true(counts[number] > 2 * KEPT_PACKETS);
		assert_in_range(seen->heaviest[i].passed_packets + seen->heaviest[i].spilled_packets,
		                counts[number] - 2 * KEPT_PACKETS, counts[number]);
	}
	free(counts);
}

static void sleep_tick(void)
{
	nanosleep(&(struct timespec){.tv_nsec = OBSERVER_TICK_MS * 1000000L}, NULL);
}

static void test_the_heaviest_are_the_true_ones(void **state)
{
	pthread_t *threads = *state;
	double began_s = clock_s(CLOCK_MONOTONIC), now_s = began_s, passes_s[PASSES] = {0}, cost_s = 0, judged_s = 0;
	unsigned long pass = 0, first = observer_pass(observer).number;
	unsigned number = (unsigned)catalogue_find(datapath_catalogue(world.datapath), "dns");
	struct observed_service seen;

	assert_int_equal(pthread_create(&threads[1], NULL, send_packets, NULL), 0);
	while (now_s - began_s < seconds || pass < first + PASSES) {
		sleep_tick();
		double ticked_s = clock_s(CLOCK_MONOTONIC);
		assert_int_equal(observer_tick(observer, ticked_s, NULL), 0);
		now_s = clock_s(CLOCK_MONOTONIC);
		if (observer_pass(observer).number == pass)
			continue;
		pass = observer_pass(observer).number;
		memmove(&passes_s[1], &passes_s[0], (PASSES - 1) * sizeof(double));
		passes_s[0] = (ticked_s + now_s) / 2;
		cost_s = fmax(cost_s, observer_pass(observer).cost_s);
		judged_s = fmax(judged_s, judge(number, now_s));
	}
	assert_int_equal(observer_service(observer, number, &seen, NULL), 0);
	double took_s = clock_s(CLOCK_MONOTONIC) - began_s;
	struct service_tallies tallies = world_tallies(&world, "dns");
	printf("%zu users, %.0f packets/s, %.0f forged ones/s beside, %lu passes, %zu active: a pass costs %.1f ms at "
	       "the most, judging it %.1f ms\n",
	       users, (double)sent / took_s, ((double)tallies.outcomes[OUTCOME_PASSED].packets - (double)sent) / took_s,
	       pass - first, seen.active_users, cost_s * 1000, judged_s * 1000);
	compare(&seen, passes_s);

	stop = true;
	pthread_join(threads[1], NULL);
	threads[1] = 0;
	for (unsigned long last = pass; observer_pass(observer).number == last; sleep_tick())
		assert_int_equal(observer_tick(observer, clock_s(CLOCK_MONOTONIC), NULL), 0);
	assert_int_equal(observer_service(observer, number, &seen, NULL), 0);
	compare_counts(&seen);
}

static bool makes_room(void)
{
	room = (size_t)(packet_rate * (seconds + 60)) / BATCH * BATCH;
	chances = calloc(users, sizeof(*chances));
	senders = calloc(room, sizeof(*senders));
	times_s = calloc(room / BATCH, sizeof(*times_s));
	return chances && senders && times_s;
}

static int set_up(void **state)
{
	static pthread_t threads[2]; /* who forges, who sends */
	const char *interface = getenv("HEAVIEST_INTERFACE");
	struct error err;

	users = (size_t)number_from("HEAVIEST_USERS", 20000);
	packet_rate = number_from("HEAVIEST_RATE", 100000);
	seconds = number_from("HEAVIEST_SECONDS", 4);
	*state = threads;
	world.table_users = 2 * users;
	world.drop_passed = interface != NULL;
	world_make(&world, configuration);
	if (!makes_room() || users < (size_t)2 * NAMED || users > 1U << 24)
		return -1;
	for (size_t i = 0; i < users; i++)
		chances[i] = (i ? chances[i - 1] : 0) + 1.0 / (double)(i + 1);
	if (hotspots_new(&hotspots, NULL) < 0 || observer_new(&observer, world.datapath, NULL) < 0 ||
	    observer_visit(observer, count_user, NULL) < 0)
		return -1;
	if (!interface)
		return pthread_create(&threads[0], NULL, forge, NULL);
	if (datapath_attach(world.datapath, interface, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int tear_down(void **state)
{
	pthread_t *threads = *state;

	stop = true;
	for (int i = 0; i < 2; i++)
		if (threads[i])
			pthread_join(threads[i], NULL);
	observer_free(observer);
	hotspots_free(hotspots);
	world_remove(&world);
	free(chances);
	free(senders);
	free(times_s);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_heaviest_are_the_true_ones)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
