/* SPDX-License-Identifier: GPL-2.0-only */
/* How judging scales over CPUs: two threads, each on a CPU and with a user of its own, beside one. The kernel's own
 * loop runs the packets, so that neither driver nor generator is in the figures. Prints the medians of some rounds. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "packet/frame.h"
#include "packet/world.h"

#define LANES_MAX 2
#define ROUNDS    15
#define PACKETS   2000000 /* a round and lane: some 100 ms */

struct lane {
	struct world *world;
	int cpu;
	unsigned char frame[FRAME_MAX];
	size_t length;
	pthread_t thread;
	double rate; /* packets a second */
};

static const char configuration[] =
	"mode: enforce\n"
	"services:\n"
	"  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100M, burst: 1M}}\n"
	"  - {name: web, protocol: udp, ports: [80], limit: {packets_per_second: 100M, burst: 1M}, capacity: 100M}\n";

/* Of this thread's own time on its CPU: what others take of it is not held against the program. */
static double seconds_run(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *lane_run(void *context)
{
	struct lane *lane = context;
	cpu_set_t pinned;

	CPU_ZERO(&pinned);
	CPU_SET(lane->cpu, &pinned);
	if (pthread_setaffinity_np(pthread_self(), sizeof(pinned), &pinned))
		fprintf(stderr, "scaling: cannot be pinned to CPU %d\n", lane->cpu);
	double began = seconds_run();
	world_run(lane->world, lane->frame, lane->length, PACKETS);
	lane->rate = PACKETS / (seconds_run() - began);
	return NULL;
}

/* Packets a second of so many lanes at once. */
static double measure(struct lane *lanes, int count)
{
	double rate = 0;

	for (int i = 0; i < count; i++) {
		if (pthread_create(&lanes[i].thread, NULL, lane_run, &lanes[i])) {
			fprintf(stderr, "scaling: cannot start a thread\n");
			exit(1);
		}
	}
	for (int i = 0; i < count; i++) {
		pthread_join(lanes[i].thread, NULL);
		rate += lanes[i].rate;
	}
	return rate;
}

static int ascending(const void *a, const void *b)
{
	double first = *(const double *)a, second = *(const double *)b;

	return (first > second) - (first < second);
}

static double median(double rates[ROUNDS])
{
	qsort(rates, ROUNDS, sizeof(*rates), ascending);
	return rates[ROUNDS / 2];
}

static void compare(struct world *world, const char *what, const char *const words[LANES_MAX])
{
	struct lane lanes[LANES_MAX];
	double rates[LANES_MAX][ROUNDS];

	for (int i = 0; i < LANES_MAX; i++) {
		lanes[i] = (struct lane){.world = world, .cpu = i};
		lanes[i].length = frame_write(words[i], lanes[i].frame);
	}
	for (int round = 0; round < ROUNDS; round++)
		for (int count = 1; count <= LANES_MAX; count++)
			rates[count - 1][round] = measure(lanes, count);
	double one = median(rates[0]), two = median(rates[1]);
	printf("%-48s %6.1f M/s on one CPU, %6.1f M/s on two: %.2f times\n", what, one / 1e6, two / 1e6, two / one);
}

int main(void)
{
	static const char *const apart[] = {"4:src=10.0.0.1 udp:53", "4:src=10.0.0.2 udp:53"};
	static const char *const unmetered[] = {"4:src=10.0.0.1 udp:54", "4:src=10.0.0.2 udp:54"};
	static const char *const same[] = {"4:src=10.0.0.1 udp:53", "4:src=10.0.0.1 udp:53"};
	static const char *const shared[] = {"4:src=10.0.0.1 udp:80", "4:src=10.0.0.2 udp:80"};
	struct world world = {.table_users = 100000};
	cpu_set_t usable;

	sched_getaffinity(0, sizeof(usable), &usable);
	if (!CPU_ISSET(0, &usable) || !CPU_ISSET(1, &usable)) {
		puts("scaling: skipped: wants CPUs 0 and 1");
		return 0;
	}
	world_make(&world, configuration);
	compare(&world, "no limit, nothing shared: what this machine has", unmetered);
	compare(&world, "users apart", apart);
	compare(&world, "users apart, one capacity", shared);
	compare(&world, "one user", same);
	world_remove(&world);
	return 0;
}
