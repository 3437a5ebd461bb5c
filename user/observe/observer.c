/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters, and when the table is read. How it is read is in census.c. */
#include "observe/observer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "observe/census.h"

#define RATES_S 1     /* from one reading of all counters to the next */
#define SLACK_S 0.02  /* by which a tick may come early */
#define SLICE_S 0.025 /* of a tick, for a pass */

struct seen_service {
	__u64 received;
	double packets_per_second;
	struct service_tallies tallies;
	struct following *following; /* NULL: it is not followed */
};

/* What a followed service was offered, and what of it was admitted, in its unit. */
struct totals {
	__u64 offered, admitted;
};

struct following {
	bool bytes;
	struct demands *demands;
	struct totals last, at_pass;
	double read_s, passed_s; /* when those were read; 0: never */
	struct observed_traffic traffic;
	double rest;
};

/* A pass on its way. */
struct passing {
	bool on, visited;
	bool read; /* the table is: it may be idle */
	__u64 received;
	double cost_s;
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
	struct passing passing;
	__u64 received, received_at_pass; /* of all services */
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
	for (unsigned service = 0; service < SERVICES_MAX; service++)
		observer_unfollow(observer, service);
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
		service->tallies = tallies;
		received += packets;
	}
	observer->received = received;
	observer->read_s = now_s;
	return 0;
}

int observer_follow(struct observer *observer, unsigned service, bool bytes, struct error *err)
{
	struct following **following = &observer->services[service].following;

	if (*following && (*following)->bytes == bytes)
		return 0;
	observer_unfollow(observer, service);
	*following = calloc(1, sizeof(**following));
	if (*following)
		(*following)->demands = demands_new();
	if (!*following || !(*following)->demands) {
		observer_unfollow(observer, service);
		return error_set(err, -ENOMEM, "observer: no memory to follow a service");
	}
	(*following)->bytes = bytes;
	census_follow(observer->census, service, (*following)->demands, bytes);
	return 0;
}

void observer_unfollow(struct observer *observer, unsigned service)
{
	struct following **following = &observer->services[service].following;

	if (!*following)
		return;
	census_follow(observer->census, service, NULL, false);
	demands_free((*following)->demands);
	free(*following);
	*following = NULL;
}

void observer_weigh(struct observer *observer, observer_weigher *weigh, void *argument)
{
	census_weigh(observer->census, weigh, argument);
}

/* What never comes as far as the service's own limits. */
static bool is_offered(int outcome)
{
	static const bool elsewhere[REASONS] = {
		[REASON_DENIED] = true, [REASON_MALFORMED] = true, [REASON_DRILL] = true, [REASON_NOT_OWNER] = true};

	return outcome < OUTCOME_SPILLED || outcome >= OUTCOME_SHADOW || !elsewhere[outcome - OUTCOME_SPILLED];
}

static struct totals totals_of(const struct service_tallies *tallies, bool bytes)
{
	struct totals totals = {0};

	for (int outcome = 0; outcome < OUTCOMES; outcome++) {
		const struct tally *tally = &tallies->outcomes[outcome];
		__u64 amount = bytes ? tally->bytes : tally->packets;
		totals.offered += is_offered(outcome) ? amount : 0;
		totals.admitted += outcome < OUTCOME_SPILLED || outcome >= OUTCOME_SHADOW ? amount : 0;
	}
	return totals;
}

static int read_followed(struct observer *observer, double now_s, struct error *err)
{
	for (unsigned service = 0; service < SERVICES_MAX; service++) {
		struct following *following = observer->services[service].following;
		struct service_tallies tallies;
		if (!following)
			continue;
		following->traffic = (struct observed_traffic){0};
		int failure = datapath_read_tallies(observer->dp, service, &tallies, err);
		if (failure)
			return failure;
		struct totals now = totals_of(&tallies, following->bytes), last = following->last;
		double elapsed_s = now_s - following->read_s;
		if (following->read_s > 0 && elapsed_s > 0 && now.offered >= last.offered &&
		    now.admitted >= last.admitted)
			following->traffic = (struct observed_traffic){
				.elapsed_s = elapsed_s,
				.offered = (double)(now.offered - last.offered) / elapsed_s,
				.admitted = (double)(now.admitted - last.admitted) / elapsed_s};
		following->last = now;
		following->read_s = now_s;
	}
	return 0;
}

/* What came beside what users with a name have sent, in the same time; smoothed as their rates are. */
static void read_rests(struct observer *observer, double now_s)
{
	for (unsigned service = 0; service < SERVICES_MAX; service++) {
		struct following *following = observer->services[service].following;
		if (!following)
			continue;
		double window_s = now_s - following->passed_s;
		double offered = (double)(following->last.offered - following->at_pass.offered) / window_s;
		double rest = offered - census_service(observer->census, service).named_rate;
		if (following->passed_s > 0 && following->last.offered >= following->at_pass.offered)
			following->rest +=
				(1 - exp(-window_s / OBSERVER_SMOOTHING_S)) * ((rest > 0 ? rest : 0) - following->rest);
		following->at_pass = following->last;
		following->passed_s = now_s;
	}
}

struct observed_traffic observer_traffic(const struct observer *observer, unsigned service)
{
	const struct following *following = observer->services[service].following;

	return following ? following->traffic : (struct observed_traffic){0};
}

int observer_arrived(const struct observer *observer, unsigned service, double *out, struct error *err)
{
	const struct following *following = observer->services[service].following;
	struct service_tallies tallies;

	int failure = datapath_read_tallies(observer->dp, service, &tallies, err);
	if (failure)
		return failure;
	struct totals now = totals_of(&tallies, following->bytes);
	*out = following->read_s > 0 && now.offered > following->last.offered
	               ? (double)(now.offered - following->last.offered)
	               : 0;
	return 0;
}

struct demand *observer_demands(struct observer *observer, unsigned service, size_t *count, double *rest)
{
	struct following *following = observer->services[service].following;

	*count = 0;
	*rest = following ? following->rest : 0;
	return following ? demands_list(following->demands, count) : NULL;
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

static int pass_begin(struct observer *observer, double now_s, struct error *err)
{
	bool visited = now_s - observer->visited_s >= OBSERVER_PASS_S - SLACK_S;

	/* Two passes without a packet between them see the same: the idle table is left alone. */
	bool needed = observer->received != observer->received_at_pass || census_table(observer->census).active ||
	              observer->hurry || !observer->visited_s;
	observer->passing =
		(struct passing){.on = true, .visited = visited, .read = needed, .received = observer->received};
	observer->taken_s = now_s;
	observer->hurried = observer->hurry;
	if (needed)
		return census_begin(observer->census, visited, err);
	census_idle(observer->census, observer->read_s);
	return 0;
}

static void pass_end(struct observer *observer, double now_s)
{
	observer->passing.on = false;
	read_rests(observer, now_s);
	observer->received_at_pass = observer->passing.received;
	observer->cost_s = observer->passing.cost_s;
	if (!observer->passing.visited)
		return;
	observer->pass.number++;
	observer->pass.ended_s = observer->visited_s = now_s;
	observer->pass.cost_s = observer->cost_s;
}

/* A table that is full takes longer than a tick should: its pass is made in several. */
static void pass_go_on(struct observer *observer, double now_s)
{
	double began_s = thread_time_s();
	bool over = !observer->passing.read || census_go_on(observer->census, SLICE_S);

	observer->passing.cost_s += thread_time_s() - began_s;
	if (over)
		pass_end(observer, now_s);
}

int observer_tick(struct observer *observer, double now_s, struct error *err)
{
	int failure = 0;

	if (!observer->tried_s || now_s - observer->tried_s >= RATES_S - SLACK_S) {
		observer->tried_s = now_s;
		failure = read_rates(observer, now_s, err);
	}
	if (!failure)
		failure = read_followed(observer, now_s, err);
	if (!failure && !observer->passing.on && pass_is_due(observer, now_s)) {
		failure = pass_begin(observer, now_s, err);
		observer->passing.on = !failure;
	}
	if (observer->passing.on)
		pass_go_on(observer, now_s);
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

struct observed_service observer_last(const struct observer *observer, unsigned number, double *read_s)
{
	const struct seen_service *service = &observer->services[number];
	struct census_service counted = census_service(observer->census, number);

	*read_s = observer->read_s;
	return (struct observed_service){.tallies = service->tallies,
	                                 .packets_per_second = service->packets_per_second,
	                                 .active_users = counted.active,
	                                 .heaviest = counted.heaviest,
	                                 .heaviest_count = counted.heaviest_count};
}

int observer_service(struct observer *observer, unsigned number, struct observed_service *out, struct error *err)
{
	double read_s;
	struct observed_service observed = observer_last(observer, number, &read_s);

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

size_t observer_active(const struct observer *observer)
{
	struct census_table counted = census_table(observer->census);

	return counted.active + counted.newcomers;
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
