/* SPDX-License-Identifier: GPL-2.0-only */
/* Limits through the real program: bursts, observing, strays, fragments, full sets, adoption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/world.h"

#define SERVICES(mode)                                                                              \
	"mode: " mode "\nservices:\n"                                                               \
	"  - {name: slow, protocol: udp, ports: [53], limit: {packets_per_second: 1, burst: 50}}\n" \
	"  - {name: open, protocol: udp, ports: [54]}\n"                                            \
	"  - {name: tcp, protocol: tcp, ports: [80], limit: {packets_per_second: 10, burst: 20}}\n"

static struct world world;

static size_t run(const char *words, unsigned repeat, unsigned *verdict)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	*verdict = world_run(&world, frame, length, repeat);
	return length;
}

static struct tally outcome(const char *service, unsigned number)
{
	return world_tallies(&world, service).outcomes[number];
}

static void test_burst_then_spill(void **state)
{
	unsigned verdict;
	(void)state;

	world_apply(&world, SERVICES("enforce"));
	world_reset(&world);
	size_t length = run("4 udp:53", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	/* One a second beside the burst of 50; the run takes far less than that. */
	assert_in_range(outcome("slow", OUTCOME_PASSED).packets, 50, 51);
	assert_int_equal(outcome("slow", OUTCOME_PASSED).packets +
	                         outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets,
	                 1000);
	assert_int_equal(outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).bytes,
	                 outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets * length);
}

static void test_users_are_apart(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 1000, &verdict);
	for (int user = 1; user < 200; user++) {
		char words[64];
		snprintf(words, sizeof(words), "4:src=203.0.113.%d udp:53", user);
		run(words, 1, &verdict);
		assert_int_equal(verdict, XDP_PASS);
	}
	run("4 udp:54", 1, &verdict);
	assert_int_equal(verdict, XDP_PASS); /* another service is another limit */
}

/* Forged sources of the form ::ffff:a.b.c.d are no burden to a.b.c.d. */
static void test_mapped_sources_are_other_users(void **state)
{
	unsigned verdict;
	(void)state;

	world_apply(&world, "mode: enforce\nservices:\n"
	                    "  - {name: slow, protocol: udp, ports: [53], user: {kind: source, ipv4: 32, ipv6: 128},\n"
	                    "     limit: {packets_per_second: 1, burst: 50}}\n");
	world_reset(&world);
	run("6:src=::ffff:198.51.100.7 udp:53", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	run("4:src=198.51.100.7 udp:53", 1, &verdict);
	assert_int_equal(verdict, XDP_PASS);
	world_apply(&world, SERVICES("enforce"));
}

static void test_shadow_equals_spill(void **state)
{
	unsigned verdict;
	(void)state;

	world_apply(&world, SERVICES("observe"));
	world_reset(&world);
	run("4 udp:53", 1000, &verdict);
	assert_int_equal(verdict, XDP_PASS);
	assert_in_range(outcome("slow", OUTCOME_SHADOW + REASON_USER_LIMIT).packets, 949, 950);
	assert_int_equal(outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets, 0);
	run("4:version=5 udp:53", 1, &verdict);
	assert_int_equal(verdict, XDP_PASS);
	assert_int_equal(outcome("other", OUTCOME_SHADOW + REASON_MALFORMED).packets, 1);
	world_apply(&world, SERVICES("enforce"));
}

static void test_reload_keeps_users(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 1000, &verdict);
	__u64 spilled = outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets;
	world_apply(&world, SERVICES("enforce") "  - {name: new, protocol: udp, ports: [99]}\n");
	run("4 udp:53", 1, &verdict);
	assert_int_equal(verdict, XDP_DROP); /* no second burst */
	assert_int_equal(outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets, spilled + 1);
	world_apply(&world, SERVICES("enforce"));
}

static void test_raised_limit_is_felt_at_once(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 1000, &verdict); /* in debt for 50 s */
	world_apply(&world,
	            "mode: enforce\nservices:\n"
	            "  - {name: slow, protocol: udp, ports: [53], limit: {packets_per_second: 100k, burst: 10}}\n");
	run("4 udp:53", 1, &verdict);
	assert_int_equal(verdict, XDP_PASS);
	world_apply(&world, SERVICES("enforce"));
}

static void test_stray_fragments_meet_the_tightest_limit(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4:off=1480,protocol=17 raw:100", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	assert_in_range(outcome("other", OUTCOME_PASSED).packets, 50, 51);
	run("6 dst dst dst dst dst dst dst dst dst udp:53", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	run("4:off=1480,protocol=6 raw:100", 25, &verdict); /* TCP's own tightest, beside UDP's */
	assert_int_equal(verdict, XDP_DROP);
}

/* A first fragment that is too small for its ports is one of TCP's or UDP's all the same. */
static void test_tiny_first_fragments_meet_the_tightest_limit(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4:mf,protocol=17 raw:4", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	assert_in_range(outcome("other", OUTCOME_PASSED).packets, 50, 51);
	run("4:mf,protocol=6 raw:8", 25, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	run("6 frag:mf none:6 raw:8", 25, &verdict);
	assert_int_equal(verdict, XDP_DROP);
}

static void test_later_fragments_follow_the_first(void **state)
{
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4:mf,id=77 udp:53,len=2000 raw:1472", 1, &verdict);
	run("4:off=1480,id=77,protocol=17 raw:520", 1, &verdict);
	assert_int_equal(outcome("slow", OUTCOME_PASSED).packets, 2);
	run("4:off=1480,id=78,protocol=17 raw:520", 1, &verdict); /* another datagram */
	assert_int_equal(outcome("slow", OUTCOME_PASSED).packets, 2);
	assert_int_equal(outcome("other", OUTCOME_PASSED).packets, 1);
	run("6 frag:mf,id=5 udp:53,len=2000 raw:1448", 1, &verdict);
	run("6 frag:off=1456,id=5 none:17 raw:500", 1, &verdict);
	assert_int_equal(outcome("slow", OUTCOME_PASSED).packets, 4);
	run("4:mf,id=79 udp:53,len=2000 raw:1472", 1, &verdict);
	run("4:off=1480,id=79,protocol=17 raw:520", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP); /* and under the same limit */
}

/* A user that is held to its first packet is known by name, with all that it lost. */
static void test_spills_of_a_user_of_one_packet(void **state)
{
	unsigned verdict;
	__u64 packets = 0, bytes = 0;
	(void)state;

	world_apply(&world, "mode: enforce\nservices:\n"
	                    "  - {name: slow, protocol: udp, ports: [53], limit: {packets_per_second: 0.1}}\n");
	world_reset(&world);
	size_t length = run("4 udp:53", 1000, &verdict);
	const struct user_detail *user = world_only_user(&world, &packets, &bytes);
	assert_non_null(user);
	assert_int_equal(packets, 1);
	assert_int_equal(user->spilled_packets, 999);
	assert_int_equal(bytes, 1000 * length);
	world_apply(&world, SERVICES("enforce"));
}

/* Times wrap after five hours: a user that was idle for three is not taken for one in debt. */
static void test_hours_of_silence_leave_the_burst(void **state)
{
	const __u64 idle_ns = 3ULL * 3600 * 1000000000;
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 2, &verdict);
	struct meter_set *table = world.datapath->table;
	for (size_t set = 0; set < world.datapath->sets; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			table[set].states[cell] -= idle_ns << STATE_TAT_SHIFT;
	run("4 udp:53", 50, &verdict);
	assert_int_equal(outcome("slow", OUTCOME_PASSED).packets, 52);
}

static void test_counts_are_carried(void **state)
{
	unsigned verdict;
	__u64 packets = 0, bytes = 0;
	enum { MANY = 3000000 };
	(void)state;

	world_reset(&world);
	size_t length = run("4 udp:54", MANY, &verdict);
	assert_non_null(world_only_user(&world, &packets, &bytes));
	assert_int_equal(packets, MANY);
	assert_int_equal(bytes, (__u64)MANY * length);
}

/* Every user is still running (for ten seconds), so that full sets may evict nobody: newcomers share, and are counted.
 */
static void test_full_table_evicts_nobody(void **state)
{
	enum { USERS = 4000 };
	unsigned verdict;
	char words[64];
	(void)state;

	world_apply(
		&world,
		SERVICES("enforce") "  - {name: rare, protocol: udp, ports: [55], limit: {packets_per_second: 0.1}}\n");
	world_reset(&world);
	for (int user = 0; user < USERS; user++) {
		snprintf(words, sizeof(words), "4:src=10.1.%d.%d udp:55", user / 256, user % 256);
		run(words, 1, &verdict);
	}
	struct table_view table = datapath_table(world.datapath);
	__u64 overflowed = 0;
	for (size_t set = 0; set < table.count; set++)
		overflowed += table.overflows[set].packets;
	size_t cells = table.count * SET_CELLS, seated = 0;
	for (size_t set = 0; set < table.count; set++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			seated += table.sets[set].cells[cell].tag != 0;
	assert_int_equal(seated + overflowed, USERS);
	assert_true(seated > cells * 9 / 10);
	__u64 passed = outcome("rare", OUTCOME_PASSED).packets;
	assert_int_equal(passed + outcome("rare", OUTCOME_SPILLED + REASON_USER_LIMIT).packets, USERS);
	world_apply(&world, SERVICES("enforce"));
}

/* Two CPUs that meet a new user at once may each seat it, in cells of their own. Its packets go to one of the two then,
 * never to a neighbour's. */
/* Of a set in which somebody else has all other cells: a user's details are another's until it stays. */
static void test_who_stays_in_a_crowded_set_is_written_down(void **state)
{
	struct datapath *dp = world.datapath;
	size_t number = 0;
	int cell = 0;
	unsigned verdict;
	__u64 now_ns;
	struct error err;
	(void)state;

	world_reset(&world);
	run("4 udp:54", 1, &verdict);
	while (!dp->table[number / SET_CELLS].cells[number % SET_CELLS].tag)
		number++;
	struct meter_set *set = &dp->table[number / SET_CELLS];
	cell = (int)(number % SET_CELLS);
	const struct user_detail *detail = &dp->details[number / SET_CELLS].users[cell];
	assert_int_equal(datapath_clock(dp, &now_ns, &err), 0);
	for (int other = 0; other < SET_CELLS; other++) {
		if (other == cell)
			continue;
		set->cells[other].tag = set->cells[cell].tag ^ 2U << other;
		set->states[other] = now_ns << STATE_TAT_SHIFT | 1;
	}
	run("4 udp:54", 16, &verdict);
	assert_int_equal(set->states[cell] & STATE_PACKETS_MASK, 17);
	assert_int_not_equal(detail->tag, set->cells[cell].tag);
	run("4 udp:54", 1, &verdict);
	assert_int_equal(detail->tag, set->cells[cell].tag);
	assert_int_not_equal(detail->key[1], 0);

	/* With a cell that nobody has used for long it is no crowd. */
	world_reset(&world);
	run("4 udp:54", 2, &verdict);
	const struct user_detail *alone = NULL;
	for (number = 0; !alone; number++)
		if (dp->table[number / SET_CELLS].cells[number % SET_CELLS].tag)
			alone = &dp->details[number / SET_CELLS].users[number % SET_CELLS];
	assert_int_not_equal(alone->tag, 0);
}

static void test_user_seated_twice_charges_no_neighbour(void **state)
{
	struct meter_set *sets = world.datapath->table, *set = sets;
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:54", 1, &verdict);
	for (size_t i = 0; i < world.datapath->sets; i++)
		for (int cell = 0; cell < SET_CELLS; cell++)
			if (sets[i].cells[cell].tag)
				set = &sets[i];
	__u32 tag = set->cells[0].tag | set->cells[1].tag | set->cells[2].tag | set->cells[3].tag;

	for (int first = 0; first < SET_CELLS; first++) {
		for (int second = first + 1; second < SET_CELLS; second++) {
			__u64 before[SET_CELLS];
			for (int cell = 0; cell < SET_CELLS; cell++)
				set->cells[cell].tag = cell == first || cell == second ? tag : tag ^ 2;
			memcpy(before, set->states, sizeof(before));
			run("4 udp:54", 10, &verdict);
			assert_true(set->states[first] != before[first] || set->states[second] != before[second]);
			for (int cell = 0; cell < SET_CELLS; cell++)
				if (cell != first && cell != second)
					assert_int_equal(set->states[cell], before[cell]);
		}
	}
}

/* Of two cells one is charged, whoever looks for it: the packet that simply passes, and the one that is judged. */
static void test_user_seated_twice_has_one_burst(void **state)
{
	struct meter_set *sets = world.datapath->table, *set = NULL;
	unsigned verdict, its = 0;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 1, &verdict);
	for (size_t i = 0; !set; i++)
		for (unsigned cell = 0; cell < SET_CELLS; cell++)
			if (sets[i].cells[cell].tag) {
				set = &sets[i];
				its = cell;
			}
	__u32 tag = set->cells[its].tag;
	__u64 idle = set->states[(its + 1) % SET_CELLS];

	for (int cells = 1; cells < 1 << SET_CELLS; cells++) {
		for (int cell = 0; cell < SET_CELLS; cell++) {
			set->cells[cell].tag = cells & 1 << cell ? tag : 0;
			set->states[cell] = idle;
		}
		__u64 before = outcome("slow", OUTCOME_PASSED).packets;
		run("4 udp:53", 1000, &verdict);
		assert_in_range(outcome("slow", OUTCOME_PASSED).packets - before, 50, 51);
		int charged = 0;
		for (int cell = 0; cell < SET_CELLS; cell++)
			charged += set->states[cell] != idle;
		assert_int_equal(charged, 1);
	}
}

/* Who has its set for itself sits where it is looked for first; whoever does not is judged all the same. */
static void test_users_sit_where_they_are_looked_for(void **state)
{
	enum { USERS = 250 };
	const struct datapath *dp = world.datapath;
	size_t sat_elsewhere = 0;
	unsigned verdict;
	(void)state;

	world_reset(&world);
	for (int user = 1; user <= USERS; user++) {
		char words[64];
		snprintf(words, sizeof(words), "4:src=203.0.113.%d udp:53", user);
		__u64 before = outcome("slow", OUTCOME_PASSED).packets;
		run(words, 60, &verdict);
		assert_in_range(outcome("slow", OUTCOME_PASSED).packets - before, 50, 51);
	}
	for (size_t i = 0; i < dp->sets; i++) {
		size_t seated = 0, elsewhere = 0;
		for (__u32 cell = 0; cell < SET_CELLS; cell++) {
			seated += dp->table[i].cells[cell].tag != 0;
			elsewhere += dp->table[i].cells[cell].tag && dp->table[i].cells[cell].tag >> 30 != cell;
		}
		assert_true(seated > 1 || !elsewhere);
		sat_elsewhere += elsewhere;
	}
	assert_int_not_equal(sat_elsewhere, 0);
}

static void test_adoption_keeps_everything(void **state)
{
	struct datapath_options options = {.pins = world.pins, .table_users = 5000};
	struct error err;
	unsigned verdict;
	(void)state;

	world_reset(&world);
	run("4 udp:53", 1000, &verdict);
	struct tally before = outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT);
	__u64 passed = outcome("slow", OUTCOME_PASSED).packets;
	datapath_close(world.datapath);
	assert_int_equal(datapath_open(&world.datapath, &options, &err), 0);
	assert_true(datapath_adopted(world.datapath));
	assert_int_equal(outcome("slow", OUTCOME_SPILLED + REASON_USER_LIMIT).packets, before.packets);
	run("4 udp:53", 1000, &verdict);
	assert_int_equal(verdict, XDP_DROP);
	/* No second burst; one a second for as long as a slow machine took to load the program. */
	assert_in_range(outcome("slow", OUTCOME_PASSED).packets - passed, 0, 45);
}

static void test_second_opener_is_refused(void **state)
{
	struct datapath_options options = {.pins = world.pins, .table_users = 1000};
	struct datapath *second = NULL;
	struct error err;
	(void)state;

	assert_int_equal(datapath_open(&second, &options, &err), -16); /* EBUSY */
	assert_non_null(strstr(err.text, "another spillway daemon"));
	assert_null(second);
}

static void test_not_bpffs_is_refused(void **state)
{
	struct datapath_options options = {.pins = "/tmp/spillway-no-bpffs", .table_users = 1000};
	struct datapath *none = NULL;
	struct error err;
	(void)state;

	assert_int_equal(datapath_open(&none, &options, &err), -22); /* EINVAL */
	assert_non_null(strstr(err.text, "BPF file system"));
}

static int make(void **state)
{
	(void)state;
	world_make(&world, SERVICES("enforce"));
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
		cmocka_unit_test(test_burst_then_spill),
		cmocka_unit_test(test_users_are_apart),
		cmocka_unit_test(test_mapped_sources_are_other_users),
		cmocka_unit_test(test_shadow_equals_spill),
		cmocka_unit_test(test_reload_keeps_users),
		cmocka_unit_test(test_raised_limit_is_felt_at_once),
		cmocka_unit_test(test_stray_fragments_meet_the_tightest_limit),
		cmocka_unit_test(test_tiny_first_fragments_meet_the_tightest_limit),
		cmocka_unit_test(test_later_fragments_follow_the_first),
		cmocka_unit_test(test_spills_of_a_user_of_one_packet),
		cmocka_unit_test(test_hours_of_silence_leave_the_burst),
		cmocka_unit_test(test_counts_are_carried),
		cmocka_unit_test(test_full_table_evicts_nobody),
		cmocka_unit_test(test_who_stays_in_a_crowded_set_is_written_down),
		cmocka_unit_test(test_user_seated_twice_charges_no_neighbour),
		cmocka_unit_test(test_user_seated_twice_has_one_burst),
		cmocka_unit_test(test_users_sit_where_they_are_looked_for),
		cmocka_unit_test(test_adoption_keeps_everything),
		cmocka_unit_test(test_second_opener_is_refused),
		cmocka_unit_test(test_not_bpffs_is_refused),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
