/* SPDX-License-Identifier: GPL-2.0-only */
/* What observing a table full of active users costs: the time that the observer's ticks take of this thread, with a
 * million users of whom each sends a packet between two passes, and with as many who are silent. No packet is sent:
 * the users' cells are written as the packet path would. Prints JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "datapath/internal.h"
#include "observe/observer.h"
#include "packet/world.h"

#define USERS   1000000
#define SECONDS 10
#define TICKS   (SECONDS * 1000 / OBSERVER_TICK_MS)

static const char configuration[] = "mode: enforce\n"
				    "services:\n"
				    "  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 1k}}\n";

static struct world world = {.table_users = USERS};
static struct observer *observer;

static double clock_s(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const struct error *err)
{
	fprintf(stderr, "observing: %s\n", err->text);
	exit(1);
}

/* Every user passes another packet now, in the table as it would be. */
static void users_send(bool first)
{
	struct datapath *dp = world.datapath;
	struct error err = {0};
	__u64 now_ns;

	if (!dp || datapath_clock(dp, &now_ns, &err) < 0)
		fail(&err);
	for (unsigned user = 0; user < USERS; user++) {
		unsigned set = user % dp->sets, cell = user / dp->sets;
		__u64 state = dp->table[set].states[cell];
		if (first) {
			dp->table[set].cells[cell].tag = user + 1;
			dp->details[set].users[cell] = (struct user_detail){
				.key = {0, user}, .service = 1, .kind = USER_SOURCE, .first_seen = 1};
		}
		dp->table[set].states[cell] =
			now_ns << STATE_TAT_SHIFT | ((state & STATE_PACKETS_MASK) + (first ? 2 : 1));
		dp->table[set].cells[cell].bytes += 64;
	}
}

static void count_visited(unsigned service, const struct observed_user *user, void *argument)
{
	double *sum = argument;

	if (service == 1)
		*sum += user->packets_per_second;
}

/* Ticks at their pace. Prints the longest one, and the share of a core that all of them took. */
static bool found; /* a level */

static void observe(const char *name, bool hurry, bool active, const char *end)
{
	unsigned char frame[64] = {0}; /* one that counts, so that the table is worth a look */
	double longest_s = 0, took_s = 0, began_s = clock_s(CLOCK_MONOTONIC);
	struct timespec rest = {.tv_nsec = OBSERVER_TICK_MS * 1000000L};
	unsigned long passes = 0;
	struct error err;

	observer_hurry(observer, hurry);
	for (int tick = 0; tick < TICKS; tick++) {
		if (active)
			users_send(false);
		world_run(&world, frame, sizeof(frame), 1);
		double from_s = clock_s(CLOCK_THREAD_CPUTIME_ID);
		if (observer_tick(observer, clock_s(CLOCK_MONOTONIC), &err) < 0)
			fail(&err);
		size_t count;
		double others, level = INFINITY;
		struct demand *demands = observer_demands(observer, 1, &count, &others);
		for (size_t i = 0; i < count; i++)
			others += demands[i].rate;
		if (count)
			level = level_find(demands, count, 0, others / 2);
		found |= isfinite(level);
		double tick_s = clock_s(CLOCK_THREAD_CPUTIME_ID) - from_s;
		longest_s = tick_s > longest_s ? tick_s : longest_s;
		took_s += tick_s;
		passes += tick_s > 0.001;
		nanosleep(&rest, NULL);
	}
	double seconds = clock_s(CLOCK_MONOTONIC) - began_s;
	printf("  \"%s\": {\"longest_tick_milliseconds\": %.1f, \"core_percent\": %.2f, \"passes_per_second\": "
	       "%.1f}%s\n",
	       name, longest_s * 1000, took_s * 100 / seconds, (double)passes / seconds, end);
}

int main(void)
{
	double visited = 0;
	struct error err;

	world_make(&world, configuration);
	users_send(true);
	if (observer_new(&observer, world.datapath, &err) < 0)
		fail(&err);
	printf("{\"users\": %d,\n", USERS);
	observe("silent", false, false, ",");
	observe("active", false, true, ",");
	if (observer_follow(observer, 1, false, &err) < 0)
		fail(&err);
	observe("active_and_followed_in_a_hurry", true, true, ",");
	observer_visit(observer, count_visited, &visited);
	observe("active_followed_visited_in_a_hurry", true, true, "}");
	observer_free(observer);
	world_remove(&world);
	return visited > 0 && found ? 0 : 1;
}
