/* SPDX-License-Identifier: GPL-2.0-only */
/* One pass costs what it reads: the sets in a row, what was seen of them beside it, and of the details, a cache line a
 * user, those of users that may have sent something since. That is told from the state alone: whoever passed a packet
 * has a time that is no older than the last pass. Who is only spilled has not; so whoever was active is looked at as
 * well, and everybody now and then.
 *
 * A rate is what was counted between two readings by the time between those two, of the same cell: a pass takes
 * milliseconds, and is stopped in the middle by whatever else the processor has to do. So some sets at a time are read
 * into a buffer between two looks at the clock, once more where they lie far apart, and judged afterwards. */
#include "observe/census.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define CHUNK_SETS    64     /* that are read within some microseconds: they share a time */
#define CHUNK_S       200e-6 /* or are read again */
#define CHUNK_CELLS   (CHUNK_SETS * SET_CELLS)
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
	float lately; /* packets a second, smoothed; 0: not active */
};

/* What a cell had counted at the two passes before, of those that visitors saw. `newer` is 0 where it was not there. */
struct mark {
	uint32_t older, newer;
};

/* When a chunk was read: at the last pass, and for the marks; 0: never. */
struct chunk {
	double read_s, older_s, newer_s;
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
	struct mark *marks; /* one a cell */
	struct chunk *chunks;
	double idle_s; /* nothing came before that */
	struct service_census services[SERVICES_MAX];
	struct visitor visitors[OBSERVER_VISITORS];
	size_t visitors_count;
	observer_weigher *weigh;
	void *weigh_argument;
	struct census_table table;
	struct pass *pass; /* on its way, or the last one */
	unsigned long passes;
	__u64 clock_ns; /* the packet path's, when the last pass began */
};

/* What a cell and its details say at one moment. */
struct counts {
	__u64 passed, bytes;
	uint32_t packets; /* passed and spilled */
};

/* A cell that has a name and was active, or may have been. */
struct reading {
	size_t cell; /* of all in the table */
	__u64 state;
	uint32_t tag;
	struct counts counts;
};

/* A pass on its way, which may take several ticks: what its cells have in common, and what the chunk has that was read
 * last. */
struct pass {
	struct census *census;
	const struct table_view *table; /* while it goes on */
	bool visited;
	size_t next_set;           /* where it goes on */
	struct census_table sum;   /* of what it has seen so far */
	__u64 clock_ns;            /* the packet path's, when it began */
	__u64 since, active_since; /* states: of the last pass, of who may still be active */

	double window_s, weight; /* since the last pass; INFINITY: it was never read */
	double older_s, newer_s; /* since the marks were made */
	struct reading readings[CHUNK_CELLS];
	size_t readings_count;
	struct census_table chunk;
};

int census_new(struct census **out, struct datapath *dp, struct error *err)
{
	size_t sets = datapath_table(dp).count;
	struct census *census = calloc(1, sizeof(*census));

	if (!census)
		return error_set(err, -ENOMEM, "observer: no memory");
	census->dp = dp;
	census->cells = calloc(sets * SET_CELLS, sizeof(*census->cells));
	census->marks = calloc(sets * SET_CELLS, sizeof(*census->marks));
	census->chunks = calloc(sets / CHUNK_SETS + 1, sizeof(*census->chunks));
	census->pass = calloc(1, sizeof(*census->pass));
	if (!census->cells || !census->marks || !census->chunks || !census->pass) {
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
	free(census->chunks);
	free(census->pass);
	free(census->marks);
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
		counts.bytes = detail->carried_bytes + set->cells[cell].bytes;
		counts.passed =
			__atomic_load_n(&detail->carried_packets, __ATOMIC_RELAXED) + (state & STATE_PACKETS_MASK);
		counts.packets = (uint32_t)(counts.passed + detail->spilled_packets + detail->shadow_packets);
		bool carried = ((state_read(set, cell) - state) & STATE_PACKETS_MASK) > CARRIED_MOST;
		bool between = seen->tag == set->cells[cell].tag && seen->packets - counts.packets - 1 < CARRIED_MOST;
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

/* What a user has sent a second since the mark before the last, or since it came. */
static double rate_since_mark(const struct pass *pass, const struct mark *mark, uint32_t packets)
{
	return mark->newer ? (packets - mark->older) / pass->older_s : packets / pass->newer_s;
}

/* Whether a cell is still that of the user who was seen there: it has not been another's, or been left and taken again.
 */
static bool is_same_user(const struct reading *reading, const struct seen_cell *seen)
{
	return seen->tag == reading->tag && reading->counts.packets - seen->packets <= INT32_MAX;
}

/* What has come since the last pass; `same`: the user was seen there. */
static struct counts counts_since(const struct counts *counts, const struct seen_cell *seen, bool same)
{
	struct counts since = {.packets = counts->packets, .bytes = (uint32_t)counts->bytes};

	if (!same)
		return since;
	since.packets -= seen->packets;
	since.bytes = (uint32_t)counts->bytes - seen->bytes;
	if (since.bytes > INT32_MAX)
		since.bytes = 0; /* caught between its narrow and its wide count */
	return since;
}

/* The smoothed rate; 0 where the user is not active. */
static double rate_lately(const struct pass *pass, const struct reading *reading, uint32_t packets, double before)
{
	double rate = before + pass->weight * (packets / pass->window_s - before);
	bool lingers = rate > RATE_LEAST && (__s64)(reading->state - pass->active_since) >= 0;

	return !isinf(pass->window_s) && (packets || lingers) ? rate : 0;
}

static void reading_judge(const struct pass *pass, const struct reading *reading)
{
	struct seen_cell *seen = &pass->census->cells[reading->cell];
	struct mark *mark = &pass->census->marks[reading->cell];
	const struct counts *counts = &reading->counts;
	const struct user_detail *detail =
		&pass->table->details[reading->cell / SET_CELLS].users[reading->cell % SET_CELLS];
	bool same = is_same_user(reading, seen);
	struct counts since = counts_since(counts, seen, same);
	double lately = rate_lately(pass, reading, since.packets, same ? seen->lately : since.packets / pass->window_s);

	*seen = (struct seen_cell){reading->tag, counts->packets, (uint32_t)counts->bytes, (float)lately};
	if (!same)
		*mark = (struct mark){0};
	if (lately <= 0) {
		*mark = (struct mark){counts->packets, counts->packets};
		return;
	}
	double rate = rate_since_mark(pass, mark, counts->packets);
	if (pass->visited)
		*mark = (struct mark){mark->newer, counts->packets};

	unsigned number = detail->service < SERVICES_MAX ? detail->service : SERVICE_OTHER;
	struct service_census *service = &pass->census->services[number];
	double size = since.packets ? (double)since.bytes / since.packets
	                            : (double)counts->bytes / (counts->packets + !counts->packets);
	bool tenured = reading->state & STATE_TENURED;
	service->active_next++;
	if (service->demands)
		tell_demand(pass, service, detail, service->bytes ? lately * size : lately,
		            (service->bytes ? (double)since.bytes : since.packets) / pass->window_s, tenured);
	if (!pass->visited && !is_among_heaviest(service, rate))
		return;
	struct observed_user user = {
		.key = {detail->key[0], detail->key[1]},
		.kind = detail->kind,
		.ipv6 = detail->ipv6,
		.tenured = tenured,
		.packets_per_second = rate,
		.lately_per_second = lately,
		.bytes_per_second = rate * size,
		.passed_packets = counts->passed,
		.spilled_packets = detail->spilled_packets,
		.shadow_packets = detail->shadow_packets,
	};
	tell_user(pass, service, &user, number);
}

static void set_read(struct pass *pass, size_t index)
{
	const struct meter_set *set = &pass->table->sets[index];
	struct census *census = pass->census;
	bool turn = index % TURNS == census->passes % TURNS;

	for (int cell = 0; cell < SET_CELLS; cell++) {
		size_t place = index * SET_CELLS + (size_t)cell;
		struct seen_cell *seen = &census->cells[place];
		__u64 state = state_read(set, cell);
		bool passed = (__s64)(state - pass->since) >= 0;
		if (!set->cells[cell].tag)
			continue;
		pass->chunk.used++;
		bool asked = passed || seen->lately > 0 || turn || seen->tag != set->cells[cell].tag;
		const struct user_detail *detail = &pass->table->details[index].users[cell];
		if ((state & STATE_PACKETS_MASK) < 2 || (asked && detail->tag != set->cells[cell].tag)) {
			/* Nobody has introduced it: its details are another's. */
			pass->chunk.newcomers += passed;
			*seen = (struct seen_cell){0};
		} else if (asked) {
			pass->readings[pass->readings_count++] =
				(struct reading){.cell = place,
			                         .state = state,
			                         .tag = set->cells[cell].tag,
			                         .counts = counts_read(set, cell, detail, seen)};
		}
	}
}

/* Asks for the details that will be read so many sets later: they are too far apart for the processor to guess. */
static void set_prefetch(const struct pass *pass, size_t index)
{
	const struct table_view *table = pass->table;

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
			user->lately_per_second += more->lately_per_second;
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

/* Reads a chunk into the pass's buffer. Returns when that was. */
static double chunk_read(struct pass *pass, size_t first)
{
	double began_s, ended_s;
	int try = 0;

	do {
		began_s = clock_s();
		pass->readings_count = 0;
		pass->chunk = (struct census_table){0};
		for (size_t set = first; set < pass->table->count && set < first + CHUNK_SETS; set++) {
			set_prefetch(pass, set + AHEAD_SETS);
			set_read(pass, set);
		}
		ended_s = clock_s();
	} while (ended_s - began_s > CHUNK_S && ++try < READ_TRIES);
	return (began_s + ended_s) / 2;
}

static void chunk_take(struct pass *pass, size_t first)
{
	struct census *census = pass->census;
	struct chunk *chunk = &census->chunks[first / CHUNK_SETS];
	double read_s = chunk_read(pass, first);

	pass->window_s = chunk->read_s > 0 ? read_s - fmax(chunk->read_s, census->idle_s) : INFINITY;
	pass->weight = 1 - exp(-pass->window_s / OBSERVER_SMOOTHING_S);
	pass->older_s = read_s - fmax(chunk->older_s, census->idle_s);
	pass->newer_s = read_s - fmax(chunk->newer_s, census->idle_s);
	for (size_t i = 0; i < pass->readings_count; i++)
		reading_judge(pass, &pass->readings[i]);
	pass->sum.used += pass->chunk.used;
	pass->sum.newcomers += pass->chunk.newcomers;
	chunk->read_s = read_s;
	if (pass->visited) {
		chunk->older_s = chunk->newer_s > 0 ? chunk->newer_s : read_s;
		chunk->newer_s = read_s;
	}
}

int census_begin(struct census *census, bool visited, struct error *err)
{
	__u64 clock_ns;

	int failure = datapath_clock(census->dp, &clock_ns, err);
	if (failure)
		return failure;
	*census->pass =
		(struct pass){.census = census,
	                      .visited = visited,
	                      .clock_ns = clock_ns,
	                      .since = (census->clock_ns - LATE_NS) << STATE_TAT_SHIFT,
	                      .active_since = (clock_ns - OBSERVER_ACTIVE_S * NS_PER_SECOND) << STATE_TAT_SHIFT};
	return 0;
}

static void pass_end(struct pass *pass)
{
	struct census *census = pass->census;

	for (size_t i = 0; i < SERVICES_MAX; i++) {
		publish(&census->services[i], i == SERVICE_OTHER);
		pass->sum.active += census->services[i].active;
	}
	census->table = pass->sum;
	census->clock_ns = pass->clock_ns;
	census->passes++;
}

bool census_go_on(struct census *census, double seconds)
{
	struct table_view table = datapath_table(census->dp);
	struct pass *pass = census->pass;
	double until_s = clock_s() + seconds;

	pass->table = &table;
	for (; pass->next_set < table.count; pass->next_set += CHUNK_SETS) {
		if (clock_s() > until_s)
			return false;
		chunk_take(pass, pass->next_set);
	}
	pass_end(pass);
	return true;
}

void census_idle(struct census *census, double until_s)
{
	census->idle_s = until_s;
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
