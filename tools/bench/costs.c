/* SPDX-License-Identifier: GPL-2.0-only */
/* What a service that asks for more than a limit in packets costs a packet beyond one that does not: both in one
 * program that has nothing but what they use, by turns, in the kernel's own loop, with one user and warm caches. Of
 * many short runs the least counts: it is what is left when nobody else wants the machine, and tells nanoseconds apart
 * where the medians of a shared machine do not. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "packet/frame.h"
#include "packet/world.h"

#define ROUNDS  300
#define PACKETS 100000 /* a run: some 5 ms */

#define LIMIT      "limit: {packets_per_second: 100M, burst: 1M}"
#define PLAIN_PORT 1
#define ASKS_PORT  2

/* A service that asks for more, and what else its file needs. */
static const struct row {
	const char *what, *asks, *beside;
} rows[] = {
	{"a capacity", LIMIT ", capacity: 100M", ""},
	{"a capacity and a level that move", "adaptive: {minimum: 1, maximum: 100M}, capacity: 100M", ""},
	{"a limit in bytes", "limit: {bytes_per_second: 10GB}", ""},
	{"users by payload", LIMIT ", user: {kind: payload, offset: 2, length: 8}", ""},
	{"users by tenant, one prefix", LIMIT ", user: {kind: tenant}",
         "tenants: [{name: all, prefixes: [10.0.0.0/8]}]\n"},
	{"users by tag, nobody named", LIMIT ", user: {kind: tag}", ""},
};

/* Of this thread's own time on its CPU. */
static double nanoseconds_run(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* On one CPU all the time: another one's caches are cold. */
static void stay_here(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here)) {
		perror("costs: cannot stay on one CPU");
		exit(1);
	}
}

struct shot {
	unsigned char frame[FRAME_MAX];
	size_t length;
	double least_ns; /* a packet */
};

static void shot_load(struct shot *shot, unsigned port)
{
	char words[64];

	snprintf(words, sizeof(words), "4:src=10.0.0.1 udp:%u,len=26 raw:18", port);
	shot->length = frame_write(words, shot->frame);
	shot->least_ns = INFINITY;
}

static void shot_time(struct shot *shot, struct world *world)
{
	double began_ns = nanoseconds_run();

	world_run(world, shot->frame, shot->length, PACKETS);
	shot->least_ns = fmin(shot->least_ns, (nanoseconds_run() - began_ns) / PACKETS);
}

static void row_measure(const struct row *row)
{
	struct world world = {.table_users = 100000};
	struct shot plain, asks;
	char yaml[1024];

	snprintf(yaml, sizeof(yaml),
	         "mode: enforce\n%sservices:\n"
	         "  - {name: plain, protocol: udp, ports: [%d], " LIMIT "}\n"
	         "  - {name: asks, protocol: udp, ports: [%d], %s}\n",
	         row->beside, PLAIN_PORT, ASKS_PORT, row->asks);
	world_make(&world, yaml);
	shot_load(&plain, PLAIN_PORT);
	shot_load(&asks, ASKS_PORT);
	for (unsigned round = 0; round < ROUNDS; round++) {
		shot_time(&plain, &world);
		shot_time(&asks, &world);
	}
	world_remove(&world);
	printf("%-48s %6.1f ns more than the %.1f without, the loop included\n", row->what,
	       asks.least_ns - plain.least_ns, plain.least_ns);
}

int main(void)
{
	stay_here();
	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++)
		row_measure(&rows[row]);
	return 0;
}
