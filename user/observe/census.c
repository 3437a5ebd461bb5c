/* SPDX-License-Identifier: GPL-2.0-only */
/* One pass costs what it reads: the sets in a row, what was seen of them beside it, and of the details, a cache line a
 * user, those of users that may have sent something since. That is told from the state alone: whoever passed a packet
 * has a time that is no older than the last pass. Who is only spilled has not; so whoever was active is looked at as
 * well, and everybody now and then. */
#include "observe/census.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define CHUNK_SETS    4096        /* that are read within less than a millisecond: they share a time */
#define LATE_NS       20000000ULL /* between a packet's look at the clock and the cell's change, and to spare */
#define AHEAD_SETS    16
#define TURNS         16 /* passes in which everybody is looked at once */
#define RATE_LEAST    0.01
#define CARRIED_MOST  (STATE_PACKETS_MASK / 2) /* beyond what is carried at once out of a cell's narrow count */
#define READ_TRIES    3
#define NS_PER_SECOND 1000000000ULL

/* What was seen of a cell at the last pass: a set's four fill a cache line, as the set does. */
struct seen_cell {
	uint32_t tag;     /* whose it was; 0: nobody's who has a name */
	uint32_t packets; /* modulo 2^32, spilled ones included */
	uint32_t bytes;
	float rate; /* packets a second; 0: not active */
};

struct service_census {
	size_t active, active_next;
	struct observed_user *heaviest, *next; /* OBSERVER_HEAVIEST each, made when first needed */
	size_t heaviest_count, next_count;
	struct demands *demands; /* borrowed; NULL: nobody wants them */
	bool bytes;              /* that is what they are in */
	double named_rate, named_next;
};

struct visitor {
	observer_visitor *visit;
	void *argument;
};

struct census {
	struct datapath *dp;
	struct seen_cell *cells;
	double *chunk_times_s; /* when each chunk was read last; 0: never */
	struct service_census services[SERVICES_MAX];
	struct visitor visitors[OBSERVER_VISITORS];
	size_t visitors_count;
	observer_weigher *weigh;
	void *weigh_argument;
	struct census_table table;
	unsigned long passes;
	__u64 clock_ns; /* the packet path's, when the last pass began */
};

/* A pass on its way: what its cells have in common. */
struct pass {
	struct census *census;
	bool visited;
	double window_s, weight;   /* of the chunk; INFINITY: it was never read */
	__u64 since, active_since; /* states: of the last pass, of who may still be active */
};

/* What a cell and its details say at one moment. */
struct counts {
	__u64 passed, bytes;
	uint32_t packets; /* passed and spilled */
};

int census_new(struct census **out, struct datapath *dp, struct error *err)
{
	size_t sets = datapath_table(dp).count;
	struct census *census = calloc(1, sizeof(*census));

	if (!census)
		return error_set(err, -ENOMEM, "observer: no memory");
	census->dp = dp;
	census->table.quiet = true;
	census->cells = calloc(sets * SET_CELLS, sizeof(*census->cells));
	census->chunk_times_s = calloc(sets / CHUNK_SETS + 1, sizeof(*census->chunk_times_s));
	if (!census->cells || !census->chunk_times_s) {
		census_free(census);
		return error_set(err, -ENOMEM, "observer: no memory for %zu users", sets * SET_CELLS);
	}
	*out = census;
	return 0;
}

void census_free(struct census *census)
{
	if (!census)
		return;
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		free(census->services[i].heaviest);
		free(census->services[i].next);
	}
	free(census->chunk_times_s);
	free(census->cells);
	free(census);
}

int census_visit(struct census *census, observer_visitor *visitor, void *argument)
{
	if (census->visitors_count == OBSERVER_VISITORS)
		return -E2BIG;
	census->visitors[census->visitors_count++] = (struct visitor){visitor, argument};
	return 0;
}

void census_follow(struct census *census, unsigned service, struct demands *demands, bool bytes)
{
	census->services[service].demands = demands;
	census->services[service].bytes = bytes;
	census->services[service].named_next = 0;
}

void census_weigh(struct census *census, observer_weigher *weigh, void *argument)
{
	census->weigh = weigh;
	census->weigh_argument = argument;
}

/* Restores the heap order (the lightest on top) below `i`. */
static void heap_sink(struct observed_user *heap, size_t count, size_t i)
{
	for (;;) {
		size_t lightest = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
			if (heap[child].packets_per_second < heap[lightest].packets_per_second)
				lightest = child;
		if (lightest == i)
			return;
		struct observed_user moved = heap[i];
		heap[i] = heap[lightest];
		heap[lightest] = moved;
		i = lightest;
	}
}

static bool is_among_heaviest(const struct service_census *service, double rate)
{
	return service->next_count < OBSERVER_HEAVIEST || rate > service->next[0].packets_per_second;
}

static void keep_heaviest(struct service_census *service, const struct observed_user *user)
{
	if (!service->next)
		service->next = calloc(OBSERVER_HEAVIEST, sizeof(*service->next));
	if (!service->next)
		return; /* the list is shorter, nothing else */
	if (service->next_count < OBSERVER_HEAVIEST) {
		service->next[service->next_count++] = *user;
		if (service->next_count == OBSERVER_HEAVIEST)
			for (size_t i = OBSERVER_HEAVIEST / 2; i-- > 0;)
				heap_sink(service->next, OBSERVER_HEAVIEST, i);
		return;
	}
	service->next[0] = *user;
	heap_sink(service->next, OBSERVER_HEAVIEST, 0);
}

static __u64 state_read(const struct meter_set *set, int cell)
{
	return __atomic_load_n(&set->states[cell], __ATOMIC_RELAXED);
}

/* The narrow count is carried into the wide one by a subtraction here and an addition there: what was read on both
 * sides of one is read again, and so is what lies between the two (`seen` is what it cannot be less than). */
static struct counts counts_read(const struct meter_set *set, int cell, const struct user_detail *detail,
                                 const struct seen_cell *seen)
{
	struct counts counts;

	for (int try = 0; try < READ_TRIES; try++) {
		__u64 state = state_read(set, cell);
		counts.bytes = detail->carried_bytes + set->bytes[cell];
		counts.passed =
			__atomic_load_n(&detail->carried_packets, __ATOMIC_RELAXED) + (state & STATE_PACKETS_MASK);
		counts.packets = (uint32_t)(counts.passed + detail->spilled_packets + detail->shadow_packets);
		bool carried = ((state_read(set, cell) - state) & STATE_PACKETS_MASK) > CARRIED_MOST;
		bool between = seen->tag == set->tags[cell] && seen->packets - counts.packets - 1 < CARRIED_MOST;
		if (!carried && !between)
			break;
	}
	return counts;
}

static void tell_user(const struct pass *pass, struct service_census *service, const struct observed_user *user,
                      unsigned number)
{
	if (is_among_heaviest(service, user->packets_per_second))
		keep_heaviest(service, user);
	for (size_t i = 0; pass->visited && i < pass->census->visitors_count; i++)
		pass->census->visitors[i].visit(number, user, pass->census->visitors[i].argument);
}

/* What a user of a followed service asks for. */
static void tell_demand(const struct pass *pass, struct service_census *service, const struct user_detail *detail,
                        double rate, double new_rate, bool tenured)
{
	const struct census *census = pass->census;
	double weight = census->weigh ? census->weigh(detail->kind, detail->key, census->weigh_argument) : 1;

	demands_add(service->demands, rate, weight, tenured);
	service->named_next += new_rate;
}

/* A named user that was active, or may have been. */
static void cell_read(const struct pass *pass, struct seen_cell *seen, const struct meter_set *set, int cell,
                      const struct user_detail *detail)
{
	struct counts counts = counts_read(set, cell, detail, seen);
	uint32_t packets = counts.packets - seen->packets, bytes = (uint32_t)counts.bytes - seen->bytes;
	bool known = seen->tag == set->tags[cell] && packets <= INT32_MAX;
	double rate = seen->rate;

	if (!known) { /* another user's cell since then */
		packets = counts.packets;
		bytes = (uint32_t)counts.bytes;
		rate = packets / pass->window_s;
	} else if (bytes > INT32_MAX) {
		bytes = 0; /* caught between its narrow and its wide count */
	}
	if (known)
		rate += pass->weight * (packets / pass->window_s - rate);
	bool lingers = rate > RATE_LEAST && (__s64)(state_read(set, cell) - pass->active_since) >= 0;
	if (isinf(pass->window_s) || (!packets && !lingers))
		rate = 0;
	*seen = (struct seen_cell){set->tags[cell], counts.packets, (uint32_t)counts.bytes, (float)rate};
	if (rate <= 0)
		return;

	unsigned number = detail->service < SERVICES_MAX ? detail->service : SERVICE_OTHER;
	struct service_census *service = &pass->census->services[number];
	double size = packets ? (double)bytes / packets : (double)counts.bytes / (counts.packets + !counts.packets);
	bool tenured = state_read(set, cell) & STATE_TENURED;
	service->active_next++;
	if (service->demands)
		tell_demand(pass, service, detail, service->bytes ? rate * size : rate,
		            (service->bytes ? bytes : packets) / pass->window_s, tenured);
	if (!pass->visited && !is_among_heaviest(service, rate))
		return;
	struct observed_user user = {
		.key = {detail->key[0], detail->key[1]},
		.kind = detail->kind,
		.ipv6 = detail->ipv6,
		.tenured = tenured,
		.packets_per_second = rate,
		.bytes_per_second = rate * size,
		.passed_packets = counts.passed,
		.spilled_packets = detail->spilled_packets,
		.shadow_packets = detail->shadow_packets,
	};
	tell_user(pass, service, &user, number);
}

static void set_read(const struct pass *pass, const struct table_view *table, size_t index)
{
	const struct meter_set *set = &table->sets[index];
	struct census *census = pass->census;
	bool turn = index % TURNS == census->passes % TURNS;

	for (int cell = 0; cell < SET_CELLS; cell++) {
		struct seen_cell *seen = &census->cells[index * SET_CELLS + (size_t)cell];
		__u64 state = state_read(set, cell);
		bool passed = (__s64)(state - pass->since) >= 0;
		if (!set->tags[cell])
			continue;
		census->table.used++;
		if ((state & STATE_PACKETS_MASK) < 2) { /* nobody has introduced it: its details are another's */
			census->table.newcomers += passed;
			*seen = (struct seen_cell){0};
		} else if (passed || seen->rate > 0 || turn || seen->tag != set->tags[cell]) {
			cell_read(pass, seen, set, cell, &table->details[index].users[cell]);
		}
	}
}

/* Asks for the details that will be read so many sets later: they are too far apart for the processor to guess. */
static void set_prefetch(const struct pass *pass, const struct table_view *table, size_t index)
{
	if (index >= table->count)
		return;
	for (int cell = 0; cell < SET_CELLS; cell++)
		if ((__s64)(state_read(&table->sets[index], cell) - pass->since) >= 0)
			__builtin_prefetch(&table->details[index].users[cell]);
}

static int heavier_first(const void *left, const void *right)
{
	double a = ((const struct observed_user *)left)->packets_per_second;
	double b = ((const struct observed_user *)right)->packets_per_second;

	return (a < b) - (a > b);
}

/* A source's strays are metered apart from its other packets, in a cell for each protocol (POLICY_STRAY), and count for
 * the same service: among the heaviest they are one user. */
static void merge_strays(struct service_census *other)
{
	for (size_t i = 0; i < other->heaviest_count; i++) {
		struct observed_user *user = &other->heaviest[i];
		for (size_t j = other->heaviest_count; j-- > i + 1;) {
			const struct observed_user *more = &other->heaviest[j];
			if (!observed_same_user(user, more))
				continue;
			user->packets_per_second += more->packets_per_second;
			user->bytes_per_second += more->bytes_per_second;
			user->passed_packets += more->passed_packets;
			user->spilled_packets += more->spilled_packets;
			user->shadow_packets += more->shadow_packets;
			user->tenured |= more->tenured;
			other->heaviest[j] = other->heaviest[--other->heaviest_count];
			other->active--;
		}
	}
}

static void publish(struct service_census *service, bool has_strays)
{
	struct observed_user *last = service->heaviest;

	service->heaviest = service->next;
	service->heaviest_count = service->next_count;
	service->next = last;
	service->next_count = 0;
	service->active = service->active_next;
	service->active_next = 0;
	service->named_rate = service->named_next;
	service->named_next = 0;
	if (service->demands)
		demands_settle(service->demands);
	if (has_strays)
		merge_strays(service);
	if (service->heaviest_count)
		qsort(service->heaviest, service->heaviest_count, sizeof(*service->heaviest), heavier_first);
}

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void chunk_read(struct pass *pass, const struct table_view *table, size_t first, double *time_s)
{
	double now_s = clock_s();

	pass->window_s = *time_s > 0 ? now_s - *time_s : INFINITY;
	pass->weight = 1 - exp(-pass->window_s / OBSERVER_SMOOTHING_S);
	*time_s = now_s;
	for (size_t set = first; set < table->count && set < first + CHUNK_SETS; set++) {
		set_prefetch(pass, table, set + AHEAD_SETS);
		set_read(pass, table, set);
	}
}

int census_take(struct census *census, bool visited, struct error *err)
{
	struct table_view table = datapath_table(census->dp);
	__u64 clock_ns;

	int failure = datapath_clock(census->dp, &clock_ns, err);
	if (failure)
		return failure;
	struct pass pass = {.census = census,
	                    .visited = visited,
	                    .since = (census->clock_ns - LATE_NS) << STATE_TAT_SHIFT,
	                    .active_since = (clock_ns - OBSERVER_ACTIVE_S * NS_PER_SECOND) << STATE_TAT_SHIFT};
	census->table = (struct census_table){.quiet = true};
	for (size_t set = 0; set < table.count; set += CHUNK_SETS)
		chunk_read(&pass, &table, set, &census->chunk_times_s[set / CHUNK_SETS]);
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		publish(&census->services[i], i == SERVICE_OTHER);
		census->table.quiet &= !census->services[i].active;
	}
	census->clock_ns = clock_ns;
	census->passes++;
	return 0;
}

struct census_service census_service(const struct census *census, unsigned service)
{
	const struct service_census *found = &census->services[service];

	return (struct census_service){found->active, found->heaviest, found->heaviest_count, found->named_rate};
}

struct census_table census_table(const struct census *census)
{
	return census->table;
}
