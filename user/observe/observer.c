/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/observer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* What was seen of a cell at the last pass, folded to keep a million users in few megabytes. */
struct seen_cell {
	uint32_t state;   /* to notice a change without reading the details */
	uint32_t packets; /* modulo 2^32, spilled ones included */
	uint32_t bytes;
};

struct seen_service {
	__u64 received;
	double packets_per_second;
	size_t active, active_next;
	struct observed_user *heaviest, *next; /* OBSERVER_HEAVIEST each, made when first needed */
	size_t heaviest_count, next_count;
};

struct observer {
	struct datapath *dp;
	struct seen_cell *cells;
	struct seen_service services[SERVICES_MAX];
	size_t used;
	bool quiet; /* the last pass saw nobody */
	double ticked_s, passed_s;
	uint32_t passed_clock; /* the packet path's >> SECOND_SHIFT */
	size_t newcomers;
	__u64 received_at_pass;
};

int observer_new(struct observer **out, struct datapath *dp, struct error *err)
{
	struct observer *observer = calloc(1, sizeof(*observer));
	if (!observer)
		return error_set(err, -ENOMEM, "observer: no memory");
	observer->dp = dp;
	observer->cells = calloc(datapath_table(dp).count * SET_CELLS, sizeof(*observer->cells));
	if (!observer->cells) {
		observer_free(observer);
		return error_set(err, -ENOMEM, "observer: no memory for %zu users",
		                 datapath_table(dp).count * SET_CELLS);
	}
	*out = observer;
	return 0;
}

void observer_free(struct observer *observer)
{
	if (!observer)
		return;
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		free(observer->services[i].heaviest);
		free(observer->services[i].next);
	}
	free(observer->cells);
	free(observer);
}

static __u64 tallies_packets(const struct service_tallies *tallies)
{
	__u64 packets = 0;

	for (int outcome = 0; outcome < OUTCOMES; outcome++)
		packets += tallies->outcomes[outcome].packets;
	return packets;
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

static void keep_heaviest(struct seen_service *service, const struct observed_user *user)
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
	if (user->packets_per_second > service->next[0].packets_per_second) {
		service->next[0] = *user;
		heap_sink(service->next, OBSERVER_HEAVIEST, 0);
	}
}

/* A cell that counted since the last pass: its user was active. */
static void read_cell(struct observer *observer, struct seen_cell *seen, const struct meter_set *set, int cell,
                      const struct user_detail *detail, double window_s)
{
	__u64 passed = detail->carried_packets + (set->states[cell] & STATE_PACKETS_MASK);
	__u64 bytes = detail->carried_bytes + set->bytes[cell];
	__u64 all = passed + detail->spilled_packets + detail->shadow_packets;
	uint32_t new_packets = (uint32_t)all - seen->packets, new_bytes = (uint32_t)bytes - seen->bytes;

	/* Another user's cell since then, or one that was caught between its narrow and its wide counts. */
	if (detail->first_seen > observer->passed_clock || new_packets > UINT32_MAX / 2) {
		new_packets = (uint32_t)all;
		new_bytes = (uint32_t)bytes;
	}
	seen->packets = (uint32_t)all;
	seen->bytes = (uint32_t)bytes;

	struct seen_service *service = &observer->services[detail->service < SERVICES_MAX ? detail->service : 0];
	struct observed_user user = {
		.key = {detail->key[0], detail->key[1]},
		.kind = detail->kind,
		.ipv6 = detail->ipv6,
		.tenured = set->states[cell] & STATE_TENURED,
		.packets_per_second = new_packets / window_s,
		.bytes_per_second = new_bytes / window_s,
		.passed_packets = passed,
		.spilled_packets = detail->spilled_packets,
		.shadow_packets = detail->shadow_packets,
	};
	service->active_next++;
	keep_heaviest(service, &user);
}

static int heavier_first(const void *left, const void *right)
{
	double a = ((const struct observed_user *)left)->packets_per_second;
	double b = ((const struct observed_user *)right)->packets_per_second;

	return (a < b) - (a > b);
}

static void publish(struct seen_service *service)
{
	struct observed_user *last = service->heaviest;

	service->heaviest = service->next;
	service->heaviest_count = service->next_count;
	service->next = last;
	service->next_count = 0;
	service->active = service->active_next;
	service->active_next = 0;
	if (service->heaviest_count)
		qsort(service->heaviest, service->heaviest_count, sizeof(*service->heaviest), heavier_first);
}

static void pass_over_table(struct observer *observer, double window_s, uint32_t clock)
{
	struct table_view table = datapath_table(observer->dp);

	observer->used = 0;
	observer->newcomers = 0;
	for (size_t set = 0; set < table.count; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++) {
			__u64 state = __atomic_load_n(&table.sets[set].states[cell], __ATOMIC_RELAXED);
			struct seen_cell *seen = &observer->cells[set * SET_CELLS + (size_t)cell];
			uint32_t folded = (uint32_t)(state ^ state >> 32);
			if (!table.sets[set].tags[cell])
				continue;
			observer->used++;
			if (folded == seen->state)
				continue;
			seen->state = folded;
			if ((state & STATE_PACKETS_MASK) < 2) /* nobody has introduced it: its details are another's */
				observer->newcomers++;
			else
				read_cell(observer, seen, &table.sets[set], cell, &table.details[set].users[cell],
				          window_s);
		}
	}
	observer->quiet = true;
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		publish(&observer->services[i]);
		observer->quiet &= !observer->services[i].active;
	}
	observer->passed_clock = clock;
}

/* Overflow counts lie among the details, a page apart: they are read only when somebody asks. */
static __u64 read_overflow(const struct observer *observer)
{
	struct table_view table = datapath_table(observer->dp);
	__u64 packets = 0;

	for (size_t set = 0; set < table.count; set++)
		packets += table.overflows[set].packets;
	return packets;
}

static int read_rates(struct observer *observer, double elapsed_s, __u64 *received, struct error *err)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(observer->dp);

	*received = 0;
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct seen_service *service = &observer->services[number];
		struct service_tallies tallies;
		if (!catalogue->names[number][0])
			continue;
		int failure = datapath_read_tallies(observer->dp, number, &tallies, err);
		if (failure)
			return failure;
		__u64 packets = tallies_packets(&tallies);
		if (observer->ticked_s > 0 && packets >= service->received && elapsed_s > 0)
			service->packets_per_second = (double)(packets - service->received) / elapsed_s;
		service->received = packets;
		*received += packets;
	}
	return 0;
}

int observer_tick(struct observer *observer, double now_s, struct error *err)
{
	__u64 received, clock_ns;

	int failure = read_rates(observer, now_s - observer->ticked_s, &received, err);
	if (failure)
		return failure;
	observer->ticked_s = now_s;
	double window_s = now_s - observer->passed_s;
	if (observer->passed_s > 0 && window_s < OBSERVER_PASS_S - 0.01)
		return 0;
	failure = datapath_clock(observer->dp, &clock_ns, err);
	if (failure)
		return failure;
	/* Two passes without a packet between them see the same: the idle table is left alone. */
	if (received != observer->received_at_pass || !observer->quiet)
		pass_over_table(observer, observer->passed_s > 0 ? window_s : INFINITY,
		                (uint32_t)(clock_ns >> SECOND_SHIFT));
	observer->received_at_pass = received;
	observer->passed_s = now_s;
	return 0;
}

int observer_service(struct observer *observer, unsigned number, struct observed_service *out, struct error *err)
{
	const struct seen_service *service = &observer->services[number];
	struct observed_service observed = {.packets_per_second = service->packets_per_second,
	                                    .active_users = service->active,
	                                    .heaviest = service->heaviest,
	                                    .heaviest_count = service->heaviest_count};

	int failure = datapath_read_tallies(observer->dp, number, &observed.tallies, err);
	if (failure)
		return failure;
	*out = observed;
	return 0;
}

struct observed_table observer_table(const struct observer *observer)
{
	struct table_view table = datapath_table(observer->dp);

	return (struct observed_table){.cells = table.count * SET_CELLS,
	                               .used = observer->used,
	                               .newcomers = observer->newcomers,
	                               .overflowed = read_overflow(observer),
	                               .bytes = table.bytes};
}
