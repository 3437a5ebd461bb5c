/* SPDX-License-Identifier: GPL-2.0-only */
/* Random schedules of packets, silences and policy changes through the real program, each verdict held against a slow
 * and obvious meter: a row of times for every user of every service, no table. The program's own table has room for a
 * part of the users only, so that cells change hands, and sets overflow.
 *
 * Time: the packet path reads jiffies. A silence is made by moving all stored times back, which is the same as the
 * clock going on. A run of packets falls into one jiffy: where the tick came in between, it is taken back and run
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define SEED      0x5b111a7e5eedULL
#define SCHEDULES 24
#define STEPS     400 /* runs of packets, silences and policy changes, in one schedule */
#define RUN_MAX   24
#define TRIES_MAX 1000 /* of a run of packets until it falls into one jiffy */

#define TABLE_USERS  8 /* in sets of four cells with as much room again */
#define SETS_MAX     16
#define USERS        30
#define SERVICES     4
#define FIRST_PORT   100
#define PADDING_MAX  1400
#define NS_PER_S     1000000000ULL
#define HOUR_NS      (3600 * NS_PER_S)
#define NS_PER_MS    1000000ULL
#define FRAME_CHARGE 65536 /* bytes: a user may be in debt for so long a frame */

static struct world world;
static uint64_t chance;

static uint64_t random_next(void) /* xorshift64* */
{
	chance ^= chance >> 12;
	chance ^= chance << 25;
	chance ^= chance >> 27;
	return chance * 0x2545f4914f6cdd1dULL;
}

static unsigned random_below(unsigned limit)
{
	return (unsigned)((random_next() >> 33) % limit);
}

#define PICK(list) ((list)[random_below(sizeof(list) / sizeof(*(list)))])

/* Policies -------------------------------------------------------------------------------------------------------- */

/* A pace, in numbers that divide a second: the reference then knows no rounding. 0: no limit. */
struct pace {
	unsigned per_second, burst;
};

struct terms {
	struct pace packets, bytes, connections;
	unsigned capacity;
	unsigned class;
	bool observes, tcp;
};

/* What the policies use of the packet path. A program of other features must be loaded anew, which takes the verifier
 * longer than a whole schedule, so that it changes rarely. */
static struct {
	bool gauges, capacity;
} used;

/* The first services always use what is used at all. */
static struct terms random_terms(unsigned service)
{
	static const unsigned packets[] = {1, 2, 5, 10, 50, 100, 1000, 100000}, bursts[] = {1, 2, 3, 10, 40};
	static const unsigned bytes[] = {1000, 10000, 50000, 1000000}, byte_bursts[] = {2000, 5000, 20000};
	static const unsigned connections[] = {1, 5, 20}, connection_bursts[] = {1, 3, 8};
	static const unsigned capacities[] = {50, 500, 2000}; /* more, and what a CPU owes would be part of the story */
	struct terms terms = {.tcp = service % 2, .class = random_below(CLASSES), .observes = random_below(4) == 0};

	if (random_below(6))
		terms.packets = (struct pace){PICK(packets), PICK(bursts)};
	if (used.gauges && (service == 0 || random_below(3) == 0))
		terms.bytes = (struct pace){PICK(bytes), PICK(byte_bursts)};
	if (used.gauges && terms.tcp && random_below(2))
		terms.connections = (struct pace){PICK(connections), PICK(connection_bursts)};
	if (used.capacity && (service == 1 || random_below(5) == 0))
		terms.capacity = PICK(capacities);
	return terms;
}

static void write_pace(FILE *yaml, const char **separator, const char *per_second, const char *burst,
                       const struct pace *pace)
{
	if (!pace->per_second)
		return;
	fprintf(yaml, "%s%s: %u, %s: %u", *separator, per_second, pace->per_second, burst, pace->burst);
	*separator = ", ";
}

static char *terms_yaml(const struct terms terms[SERVICES])
{
	static const char *const classes[CLASSES] = {"sheddable", "normal", "critical"};
	char *text = NULL;
	size_t size;
	FILE *yaml = open_memstream(&text, &size);

	fputs("mode: enforce\nservices:\n", yaml);
	for (unsigned i = 0; i < SERVICES; i++) {
		const struct terms *of = &terms[i];
		const char *separator = "";
		fprintf(yaml, "  - {name: s%u, protocol: %s, ports: [%u], mode: %s, class: %s", i,
		        of->tcp ? "tcp" : "udp", FIRST_PORT + i, of->observes ? "observe" : "enforce",
		        classes[of->class]);
		fputs(", user: {kind: source, ipv4: 32, ipv6: 128}", yaml);
		if (of->capacity)
			fprintf(yaml, ", capacity: %u", of->capacity);
		if (of->packets.per_second || of->bytes.per_second || of->connections.per_second) {
			fputs(", limit: {", yaml);
			write_pace(yaml, &separator, "packets_per_second", "burst", &of->packets);
			write_pace(yaml, &separator, "bytes_per_second", "burst_bytes", &of->bytes);
			write_pace(yaml, &separator, "connections_per_second", "burst_connections", &of->connections);
			fputs("}", yaml);
		}
		fputs("}\n", yaml);
	}
	fclose(yaml);
	return text;
}

/* The obvious meter ----------------------------------------------------------------------------------------------- */

struct times {
	uint64_t packets, bytes, connections; /* when what was passed is worked off, in the schedule's nanoseconds */
};

static struct obvious {
	struct terms terms[SERVICES];
	struct times users[SERVICES][USERS];
	uint64_t overflows[SETS_MAX];
	uint64_t capacities[SERVICES];
	uint64_t passed[SERVICES][USERS], since[SERVICES][USERS]; /* in a cell of its own, under these terms */
} obvious;

struct packet_sent {
	size_t length;
	unsigned service, user, padding;
	unsigned outcome; /* of the program: a reason is REASON + 1, 0: passed */
	int overflow;     /* the set whose overflow judged it, or -1 */
	bool opens;       /* a TCP SYN */
	bool set_full;
};

static uint64_t ahead_of(uint64_t time, uint64_t now)
{
	return time > now ? time - now : 0;
}

static uint64_t tolerance(const struct pace *pace, unsigned first)
{
	uint64_t least = 2 * world.datapath->jiffy_ns, burst = pace->burst > first ? pace->burst - first : 0;
	uint64_t time = pace->per_second ? burst * NS_PER_S / pace->per_second : 1ULL << 60;

	return time < least ? least : time;
}

/* Whether the time is further ahead than the burst; a debt that was made under other terms counts as far as the burst
 * does. */
static bool over(uint64_t *time, uint64_t now, uint64_t burst_ns, uint64_t most_ns)
{
	if (ahead_of(*time, now) > burst_ns + most_ns)
		*time = now + burst_ns;
	return ahead_of(*time, now) > burst_ns;
}

static void charge(uint64_t *time, uint64_t now, uint64_t cost_ns)
{
	*time = now + ahead_of(*time, now) + cost_ns;
}

static uint64_t cost(const struct pace *pace, uint64_t units)
{
	return pace->per_second ? units * NS_PER_S / pace->per_second : 0;
}

/* Who owes something and has half of a burst left is within its share. Who owes nothing is, too, if it has a cell from
 * earlier; whether it still has is chance, so that what the program made of it is believed. */
static bool is_within(const struct packet_sent *packet, uint64_t user_ahead)
{
	const struct pace *pace = &obvious.terms[packet->service].packets;

	if (packet->overflow >= 0)
		return false;
	return user_ahead ? user_ahead <= tolerance(pace, 1) / 2 : packet->outcome != 1 + REASON_CAPACITY;
}

static bool capacity_is_over(const struct packet_sent *packet, uint64_t user_ahead, uint64_t now)
{
	const struct terms *terms = &obvious.terms[packet->service];
	uint64_t increment = NS_PER_S / (terms->capacity ? terms->capacity : 1), jiffy = world.datapath->jiffy_ns;
	uint64_t step = 2 * jiffy + 8 * increment;
	unsigned steps = 1 + terms->class * 4 + (terms->tcp && !packet->opens);
	uint64_t *time = &obvious.capacities[packet->service];

	if (!terms->capacity)
		return false;
	if (ahead_of(*time, now) > 4ULL * CLASSES * step + step / 2 + increment + (1ULL << 30))
		*time = now;
	return ahead_of(*time, now) > steps * step - (is_within(packet, user_ahead) ? 0 : step / 2);
}

/* The reason for which the packet goes, plus one; 0 where it passes. */
static unsigned obvious_judge(const struct packet_sent *packet, uint64_t now)
{
	const struct terms *terms = &obvious.terms[packet->service];
	struct times *user = &obvious.users[packet->service][packet->user];
	uint64_t *time = packet->overflow < 0 ? &user->packets : &obvious.overflows[packet->overflow];
	bool own = packet->overflow < 0;
	uint64_t one = cost(&terms->packets, 1), connection = cost(&terms->connections, 1);

	if (own && over(time, now, tolerance(&terms->packets, 1), one))
		return 1 + REASON_USER_LIMIT;
	if (capacity_is_over(packet, ahead_of(user->packets, now), now))
		return 1 + REASON_CAPACITY;
	if (!own && over(time, now, tolerance(&terms->packets, 1), one))
		return 1 + REASON_USER_LIMIT;
	if (own && packet->opens && over(&user->connections, now, tolerance(&terms->connections, 1), connection))
		return 1 + REASON_USER_CONNECTIONS;
	if (own && over(&user->bytes, now, tolerance(&terms->bytes, 0), cost(&terms->bytes, FRAME_CHARGE)))
		return 1 + REASON_USER_BYTES;
	charge(time, now, one);
	if (own) {
		charge(&user->bytes, now, cost(&terms->bytes, packet->length));
		charge(&user->connections, now, packet->opens ? connection : 0);
	}
	if (terms->capacity)
		charge(&obvious.capacities[packet->service], now, NS_PER_S / terms->capacity);
	return 0;
}

/* The program's side ---------------------------------------------------------------------------------------------- */

static uint64_t skipped_ns; /* by silences: the schedule's time is the clock's and that */
static struct service_tallies tallies[SERVICES];
static unsigned service_numbers[SERVICES];

/* All that the meter has stored, to be put back. */
struct stored {
	struct meter_set sets[SETS_MAX];
	struct set_details details[SETS_MAX];
	struct set_overflow overflows[SETS_MAX];
	struct set_gauges gauges[SETS_MAX];
	struct capacity_state capacities[SERVICES_MAX];
};

static void stored_read(struct stored *stored)
{
	const struct datapath *dp = world.datapath;

	memcpy(stored->sets, dp->table, dp->sets * sizeof(*dp->table));
	memcpy(stored->details, dp->details, dp->sets * sizeof(*dp->details));
	memcpy(stored->overflows, dp->overflows, dp->sets * sizeof(*dp->overflows));
	memcpy(stored->capacities, dp->state->capacities, sizeof(stored->capacities));
	for (__u32 set = 0; set < dp->sets; set++)
		assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(dp->keeper->skeleton->maps.meter_gauges), &set,
		                                     &stored->gauges[set]),
		                 0);
}

static void stored_write(const struct stored *stored)
{
	struct datapath *dp = world.datapath;

	memcpy(dp->table, stored->sets, dp->sets * sizeof(*dp->table));
	memcpy(dp->details, stored->details, dp->sets * sizeof(*dp->details));
	memcpy(dp->overflows, stored->overflows, dp->sets * sizeof(*dp->overflows));
	memcpy(dp->state->capacities, stored->capacities, sizeof(stored->capacities));
	for (__u32 set = 0; set < dp->sets; set++)
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(dp->keeper->skeleton->maps.meter_gauges), &set,
		                                     &stored->gauges[set], BPF_ANY),
		                 0);
}

static uint64_t clock_now(void)
{
	struct error err;
	__u64 now_ns;

	if (datapath_clock(world.datapath, &now_ns, &err) < 0)
		fail_msg("%s", err.text);
	return now_ns;
}

/* Whole words do not wrap: what is long past stays so. */
static uint64_t earlier(uint64_t time, uint64_t by)
{
	return time > by ? time - by : 0;
}

static void move_times_back(uint64_t by_ns)
{
	static struct stored stored;

	stored_read(&stored);
	for (unsigned set = 0; set < world.datapath->sets; set++) {
		for (unsigned cell = 0; cell < SET_CELLS; cell++) {
			stored.sets[set].states[cell] -= by_ns << STATE_TAT_SHIFT;
			stored.gauges[set].bytes_tat_ns[cell] = earlier(stored.gauges[set].bytes_tat_ns[cell], by_ns);
			stored.gauges[set].connections_tat_ns[cell] =
				earlier(stored.gauges[set].connections_tat_ns[cell], by_ns);
		}
		stored.overflows[set].state -= by_ns << STATE_TAT_SHIFT;
	}
	for (unsigned service = 0; service < SERVICES_MAX; service++)
		stored.capacities[service].tat_ns = earlier(stored.capacities[service].tat_ns, by_ns);
	stored_write(&stored);
	skipped_ns += by_ns;
}

/* A silence in which the daemon does its rounds, as it would. */
static void be_silent(uint64_t for_ns)
{
	const uint64_t round_ns = DATAPATH_AGE_S * NS_PER_S;
	struct error err;

	for (; for_ns > round_ns; for_ns -= round_ns) {
		move_times_back(round_ns);
		assert_int_equal(datapath_age(world.datapath, &err), 0);
	}
	move_times_back(for_ns);
}

static size_t packet_write(const struct packet_sent *packet, unsigned char frame[FRAME_MAX])
{
	bool tcp = obvious.terms[packet->service].tcp;
	char source[32], words[128];

	snprintf(source, sizeof(source), packet->user % 3 ? "4:src=10.0.0.%u" : "6:src=2001:db8::%x", packet->user);
	if (tcp)
		snprintf(words, sizeof(words), "%s tcp:%u,flags=%u pad:%u", source, FIRST_PORT + packet->service,
		         packet->opens ? 2U : 16U, packet->padding);
	else
		snprintf(words, sizeof(words), "%s udp:%u pad:%u", source, FIRST_PORT + packet->service,
		         packet->padding);
	return frame_write_padded(words, frame);
}

/* The counter that went up: one, by one packet and its bytes, and no other. */
static unsigned counted_outcome(const struct packet_sent *packet)
{
	struct service_tallies before = tallies[packet->service], *after = &tallies[packet->service];
	unsigned counted = OUTCOMES;
	struct error err;

	assert_int_equal(datapath_read_tallies(world.datapath, service_numbers[packet->service], after, &err), 0);
	for (unsigned outcome = 0; outcome < OUTCOMES; outcome++) {
		if (after->outcomes[outcome].packets == before.outcomes[outcome].packets)
			continue;
		assert_int_equal(counted, OUTCOMES);
		assert_int_equal(after->outcomes[outcome].packets - before.outcomes[outcome].packets, 1);
		assert_int_equal(after->outcomes[outcome].bytes - before.outcomes[outcome].bytes, packet->length);
		counted = outcome;
	}
	assert_int_not_equal(counted, OUTCOMES);
	return counted;
}

static bool set_is_full(unsigned number, uint64_t now)
{
	const struct meter_set *set = &world.datapath->table[number];
	struct set_gauges gauges = {0};
	unsigned running = 0;

	bpf_map_lookup_elem(bpf_map__fd(world.datapath->keeper->skeleton->maps.meter_gauges), &number, &gauges);
	for (unsigned cell = 0; cell < SET_CELLS; cell++) {
		__s64 ahead = (__s64)(set->states[cell] - (now << STATE_TAT_SHIFT)) >> STATE_TAT_SHIFT;
		__s64 kept = (set->states[cell] & STATE_PACKETS_MASK) >= KEPT_PACKETS ? (__s64)KEPT_NS : 0;
		running += ahead + kept > 0 || gauges.bytes_tat_ns[cell] > now || gauges.connections_tat_ns[cell] > now;
	}
	return running == SET_CELLS;
}

static void send_one(struct packet_sent *packet, uint64_t clock_ns)
{
	bool observes = obvious.terms[packet->service].observes;
	__u64 before[SETS_MAX] = {0};
	unsigned char frame[FRAME_MAX];

	for (unsigned set = 0; set < world.datapath->sets; set++)
		before[set] = world.datapath->overflows[set].packets;
	packet->length = packet_write(packet, frame);
	unsigned verdict = world_run(&world, frame, packet->length, 1);
	unsigned outcome = counted_outcome(packet);
	assert_int_equal(verdict, outcome == OUTCOME_PASSED || observes ? XDP_PASS : XDP_DROP);
	packet->outcome = outcome >= OUTCOME_SHADOW ? outcome - OUTCOME_SHADOW + OUTCOME_SPILLED : outcome;
	assert_true(outcome == OUTCOME_PASSED || (outcome >= OUTCOME_SHADOW) == observes);
	packet->overflow = -1;
	for (unsigned set = 0; set < world.datapath->sets; set++)
		if (world.datapath->overflows[set].packets != before[set])
			packet->overflow = (int)set;
	packet->set_full = packet->overflow < 0 || set_is_full((unsigned)packet->overflow, clock_ns);
}

/* Sends a run of packets within one jiffy. Returns the clock's time then. */
static uint64_t send_run(struct packet_sent *packets, unsigned count)
{
	static struct stored stored;

	stored_read(&stored);
	for (int try = 0; try < TRIES_MAX; try++) {
		uint64_t began_ns = clock_now();
		for (unsigned i = 0; i < count; i++)
			send_one(&packets[i], began_ns);
		if (clock_now() == began_ns)
			return began_ns;
		stored_write(&stored);
	}
	fail_msg("%u packets never fell into one jiffy: this machine is too slow", count);
	return 0;
}

/* Schedules ------------------------------------------------------------------------------------------------------- */

static struct {
	FILE *steps; /* those of the schedule so far, in words: what is printed where it fails */
	char *text;
	size_t size;
	uint64_t seed;
	size_t packets, overflowed, spilled, changes;
} story;

#define TELL(...) fprintf(story.steps, __VA_ARGS__)

static void fail_schedule(const struct packet_sent *packet, const char *why)
{
	fclose(story.steps);
	fprintf(stderr, "seed %#llx, its schedule up to the packet that fails:\n%s", (unsigned long long)story.seed,
	        story.text);
	fail_msg("s%u, user %u: %s", packet->service, packet->user, why);
}

/* What passed in a cell of one's own is at most the burst, and the pace since the first packet. */
static void assert_within_limit(const struct packet_sent *packet, uint64_t now)
{
	const struct pace *pace = &obvious.terms[packet->service].packets;
	uint64_t *passed = &obvious.passed[packet->service][packet->user];
	uint64_t *since = &obvious.since[packet->service][packet->user];

	if (packet->overflow >= 0 || packet->outcome || !pace->per_second)
		return;
	if (!(*passed)++)
		*since = now;
	if ((*passed - 1) * cost(pace, 1) > tolerance(pace, 1) + cost(pace, 1) + now - *since)
		fail_schedule(packet, "more passed than its limit allows");
}

static void compare(const struct packet_sent *packet, uint64_t now)
{
	unsigned expected = obvious_judge(packet, now);
	char why[128];

	TELL("  %llu.%09llu s%u user %u%s, %zu bytes: %u", (unsigned long long)(now / NS_PER_S),
	     (unsigned long long)(now % NS_PER_S), packet->service, packet->user, packet->opens ? " SYN" : "",
	     packet->length, packet->outcome);
	if (packet->overflow >= 0)
		TELL(", by the overflow of set %d", packet->overflow);
	TELL("\n");
	snprintf(why, sizeof(why), "outcome %u, expected %u", packet->outcome, expected);
	if (packet->outcome != expected)
		fail_schedule(packet, why);
	if (!packet->set_full)
		fail_schedule(packet, "met the overflow, and its set had room");
	assert_within_limit(packet, now);
	story.packets++;
	story.overflowed += packet->overflow >= 0;
	story.spilled += packet->outcome != 0;
}

static void step_packets(unsigned users)
{
	struct packet_sent packets[RUN_MAX];
	unsigned count = 1 + random_below(RUN_MAX), favourite = random_below(users), service = random_below(SERVICES);
	bool one_user = random_below(3) == 0;

	for (unsigned i = 0; i < count; i++) {
		packets[i] = (struct packet_sent){.service = one_user ? service : random_below(SERVICES),
		                                  .user = one_user ? favourite : random_below(users),
		                                  .padding = random_below(PADDING_MAX)};
		packets[i].opens = obvious.terms[packets[i].service].tcp && random_below(2);
	}
	uint64_t now = send_run(packets, count) + skipped_ns;
	for (unsigned i = 0; i < count; i++)
		compare(&packets[i], now);
}

static void step_silence(void)
{
	static const uint64_t reaches_ns[] = {20 * NS_PER_MS,  20 * NS_PER_MS, NS_PER_S,     NS_PER_S, 10 * NS_PER_S,
	                                      1000 * NS_PER_S, 4 * HOUR_NS,    24 * HOUR_NS, NS_PER_S, 72 * HOUR_NS};
	uint64_t for_ns = random_next() % PICK(reaches_ns);

	TELL("silence of %llu.%09llu s\n", (unsigned long long)(for_ns / NS_PER_S),
	     (unsigned long long)(for_ns % NS_PER_S));
	be_silent(for_ns);
}

static void step_policy(void)
{
	for (unsigned service = 0; service < SERVICES; service++)
		obvious.terms[service] = random_terms(service);
	_cleanup_free_ char *yaml = terms_yaml(obvious.terms);
	TELL("%s", yaml);
	world_apply(&world, yaml);
	memset(obvious.passed, 0, sizeof(obvious.passed));
	for (unsigned service = 0; service < SERVICES; service++) {
		char name[8];
		snprintf(name, sizeof(name), "s%u", service);
		service_numbers[service] = (unsigned)catalogue_find(datapath_catalogue(world.datapath), name);
	}
	story.changes++;
}

static void run_schedule(uint64_t seed, unsigned number)
{
	used.gauges = number & 1;
	used.capacity = number & 2;
	story.seed = chance = seed;
	story.steps = open_memstream(&story.text, &story.size);
	world_reset(&world);
	obvious = (struct obvious){0};
	memset(tallies, 0, sizeof(tallies));
	skipped_ns = 0;
	step_policy();
	unsigned users = 1 + random_below(USERS);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned kind = random_below(100);
		if (kind < 1)
			step_policy();
		else if (kind < 40)
			step_silence();
		else
			step_packets(users);
	}
	fclose(story.steps);
	free(story.text);
}

static void test_verdicts_are_the_obvious_ones(void **state)
{
	(void)state;
	assert_in_range(world.datapath->sets, 2, SETS_MAX);
	for (unsigned i = 0; i < SCHEDULES; i++)
		run_schedule(SEED + i, 4 * i / SCHEDULES);
	printf("seeds from %#llx: %zu packets, %zu spilled, %zu in overflows, %zu policies\n", SEED, story.packets,
	       story.spilled, story.overflowed, story.changes);
	assert_true(story.spilled > story.packets / 20 && story.overflowed > story.packets / 100);
}

/* Two CPUs ----------------------------------------------------------------------------------------------------------
 */

/* Whatever the limit, two CPUs on one user pass no more than it allows, and a packet each. */
static void test_two_cpus_stay_within_any_limit(void **state)
{
	static const unsigned paces[] = {10, 1000, 50000, 1000000}, bursts[] = {1, 20, 3000};

	(void)state;
	chance = SEED;
	for (int round = 0; round < 8; round++) {
		struct terms terms[SERVICES] = {{.packets = {PICK(paces), PICK(bursts)}, .class = CLASS_NORMAL}};
		_cleanup_free_ char *yaml = terms_yaml(terms);
		struct hammer hammers[HAMMERS_MAX];
		struct shot shot;

		world_apply(&world, yaml);
		world_reset(&world);
		shot_load(&shot, "4 udp:100", 200000);
		uint64_t began_ns = clock_now();
		hammers_start(hammers, HAMMERS_MAX, &world, &shot, 1, 2);
		hammers_end(hammers, HAMMERS_MAX);
		uint64_t time_ns = clock_now() - began_ns;
		uint64_t passed = world_tallies(&world, "s0").outcomes[OUTCOME_PASSED].packets;
		const struct pace *pace = &terms[0].packets;
		if ((passed - HAMMERS_MAX) * cost(pace, 1) > tolerance(pace, 1) + cost(pace, 1) + time_ns)
			fail_msg("seed %#llx, round %d: %llu passed in %llu ns at %u a second, burst %u", SEED, round,
			         (unsigned long long)passed, (unsigned long long)time_ns, pace->per_second,
			         pace->burst);
		assert_int_equal(passed + world_tallies(&world, "s0").outcomes[OUTCOME_SPILLED].packets,
		                 hammers[0].packets + hammers[1].packets);
	}
}

static int make(void **state)
{
	(void)state;
	world.table_users = TABLE_USERS;
	world_make(&world, "mode: enforce\nservices: []\n");
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts_are_the_obvious_ones),
		cmocka_unit_test(test_two_cpus_stay_within_any_limit),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
