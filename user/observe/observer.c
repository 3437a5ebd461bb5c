/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters, and when the table is read. How it is read is in census.c. */
#include "observe/observer.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "observe/census.h"

#define RATES_S 1    /* from one reading of all counters to the next */
#define SLACK_S 0.02 /* by which a tick may come early */

struct seen_service {
	__u64 received;
	double packets_per_second;
};

struct observer {
	struct datapath *dp;
	struct census *census;
	struct seen_service services[SERVICES_MAX];
	double read_s, taken_s, visited_s; /* when counters were read, a pass was made, visitors saw one; 0: never */
	double tried_s;                    /* when counters were to be read */
	bool hurry, hurried;               /* now, and when the last pass was made */
	struct observed_pass pass;         /* that visitors saw */
	double cost_s;                     /* of the last pass */
	__u64 received, received_at_pass;  /* of all services */
};

int observer_new(struct observer **out, struct datapath *dp, struct error *err)
{
	struct observer *observer = calloc(1, sizeof(*observer));
	if (!observer)
		return error_set(err, -ENOMEM, "observer: no memory");
	observer->dp = dp;
	int failure = census_new(&observer->census, dp, err);
	if (failure) {
		observer_free(observer);
		return failure;
	}
	*out = observer;
	return 0;
}

void observer_free(struct observer *observer)
{
	if (!observer)
		return;
	census_free(observer->census);
	free(observer);
}

static __u64 tallies_packets(const struct service_tallies *tallies)
{
	__u64 packets = 0;

	for (int outcome = 0; outcome < OUTCOMES; outcome++)
		packets += tallies->outcomes[outcome].packets;
	return packets;
}

static int read_rates(struct observer *observer, double now_s, struct error *err)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(observer->dp);
	double elapsed_s = now_s - observer->read_s;
	__u64 received = 0;

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct seen_service *service = &observer->services[number];
		struct service_tallies tallies;
		if (!catalogue->names[number][0])
			continue;
		int failure = datapath_read_tallies(observer->dp, number, &tallies, err);
		if (failure)
			return failure;
		__u64 packets = tallies_packets(&tallies);
		if (observer->read_s > 0 && packets >= service->received)
			service->packets_per_second = (double)(packets - service->received) / elapsed_s;
		service->received = packets;
		received += packets;
	}
	observer->received = received;
	observer->read_s = now_s;
	return 0;
}

static double thread_time_s(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool pass_is_due(const struct observer *observer, double now_s)
{
	double interval_s = observer->hurry ? OBSERVER_HURRY_S : OBSERVER_PASS_S;
	double affordable_s = observer->cost_s / OBSERVER_PASS_SHARE;

	if (!observer->taken_s)
		return true;
	if (observer->hurry && !observer->hurried) /* what has changed is to be seen now, and again soon */
		interval_s = OBSERVER_TICK_MS / 1000.0;
	if (interval_s < affordable_s)
		interval_s = affordable_s;
	return now_s - observer->taken_s >= interval_s - SLACK_S;
}

static int make_pass(struct observer *observer, double now_s, struct error *err)
{
	bool visited = now_s - observer->visited_s >= OBSERVER_PASS_S - SLACK_S;
	double began_s = thread_time_s();

	observer->taken_s = now_s;
	observer->hurried = observer->hurry;
	/* Two passes without a packet between them see the same: the idle table is left alone. */
	if (observer->received != observer->received_at_pass || !census_table(observer->census).quiet ||
	    observer->hurry || !observer->visited_s) {
		int failure = census_take(observer->census, visited, err);
		if (failure)
			return failure;
	}
	observer->received_at_pass = observer->received;
	observer->cost_s = thread_time_s() - began_s;
	if (visited) {
		observer->pass.number++;
		observer->pass.ended_s = observer->visited_s = now_s;
		observer->pass.cost_s = observer->cost_s;
	}
	return 0;
}

int observer_tick(struct observer *observer, double now_s, struct error *err)
{
	int failure = 0;

	if (!observer->tried_s || now_s - observer->tried_s >= RATES_S - SLACK_S) {
		observer->tried_s = now_s;
		failure = read_rates(observer, now_s, err);
	}
	if (!failure && pass_is_due(observer, now_s))
		failure = make_pass(observer, now_s, err);
	return failure;
}

void observer_hurry(struct observer *observer, bool hurry)
{
	observer->hurry = hurry;
}

int observer_visit(struct observer *observer, observer_visitor *visitor, void *argument)
{
	return census_visit(observer->census, visitor, argument);
}

struct observed_pass observer_pass(const struct observer *observer)
{
	return observer->pass;
}

int observer_service(struct observer *observer, unsigned number, struct observed_service *out, struct error *err)
{
	struct census_service counted = census_service(observer->census, number);
	struct observed_service observed = {.packets_per_second = observer->services[number].packets_per_second,
	                                    .active_users = counted.active,
	                                    .heaviest = counted.heaviest,
	                                    .heaviest_count = counted.heaviest_count};

	int failure = datapath_read_tallies(observer->dp, number, &observed.tallies, err);
	if (!failure)
		failure = datapath_paces(observer->dp, number, &observed.paces, err);
	if (failure)
		return failure;
	*out = observed;
	return 0;
}

/* Overflow counts lie among the details, a page apart: they are read only when somebody asks. */
static __u64 read_overflow(const struct table_view *table)
{
	__u64 packets = 0;

	for (size_t set = 0; set < table->count; set++)
		packets += table->overflows[set].packets;
	return packets;
}

struct observed_table observer_table(const struct observer *observer)
{
	struct table_view table = datapath_table(observer->dp);
	struct census_table counted = census_table(observer->census);

	return (struct observed_table){.cells = table.count * SET_CELLS,
	                               .used = counted.used,
	                               .newcomers = counted.newcomers,
	                               .overflowed = read_overflow(&table),
	                               .bytes = table.bytes};
}
