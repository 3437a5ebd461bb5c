/* SPDX-License-Identifier: GPL-2.0-only */
/* The allow and deny lists through the real program: which entry counts, until when, and what it does to a packet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "datapath/internal.h"
#include "datapath/lists.h"
#include "packet/frame.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define SERVICES "services:\n  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 0.1, burst: 1}}\n"
#define ENFORCE  "mode: enforce\n" SERVICES
#define NS       1000000000ULL

static struct world world;

static unsigned run(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	return world_run(&world, frame, length, repeat);
}

static __u64 outcome(const char *service, unsigned number)
{
	return world_tallies(&world, service).outcomes[number].packets;
}

static __u64 denied(const char *service)
{
	return outcome(service, OUTCOME_SPILLED + REASON_DENIED);
}

static void begin(const char *yaml)
{
	world_apply(&world, yaml);
	world_reset(&world);
}

static int change(enum list list, const char *text, uint64_t for_ns)
{
	struct prefix prefix;
	struct error err;

	assert_int_equal(prefix_parse(text, &prefix, &err), 0);
	return lists_set(world.datapath, list, &prefix, 1, for_ns, &err);
}

static void allow(const char *prefix)
{
	assert_int_equal(change(LIST_ALLOW, prefix, 0), 0);
}

static void deny(const char *prefix)
{
	assert_int_equal(change(LIST_DENY, prefix, 0), 0);
}

static void forget(const char *prefix)
{
	assert_int_equal(change(LIST_NONE, prefix, 0), 0);
}

/* All of the housekeeping that is due: passes, until there is none to begin. */
static void keep_all(void)
{
	struct error err;
	int more;

	for (bool began = true; began;) {
		began = false;
		while ((more = lists_keep(world.datapath, &err)) > 0)
			began = true;
		assert_int_equal(more, 0);
	}
}

/* Everything that is on the lists goes, and with it the feature. */
static int clear(void **state)
{
	static struct listed page[64];
	struct prefix last;
	struct error err;
	(void)state;

	world_apply(&world, ENFORCE);
	keep_all();
	for (int read; (read = lists_read(world.datapath, NULL, page, 64, &last, &err)) != 0;)
		for (int i = 0; i < read; i++)
			assert_int_equal(lists_set(world.datapath, LIST_NONE, &page[i].prefix, 1, 0, &err), 0);
	assert_false(world.datapath->features & FEATURE_LISTS);
	world_reset(&world);
	return 0;
}

/* What becomes of packets from a source: 'a' allowed, 'd' denied, 'm' metered. One a run: the kernel takes milliseconds
 * to prepare a run of several. */
static char fate(const char *source)
{
	const unsigned packets = 20;
	char words[80];
	__u64 denied_before = denied("dns"), passed_before = outcome("dns", OUTCOME_PASSED);

	snprintf(words, sizeof(words), "%c:src=%s udp:53", strchr(source, ':') ? '6' : '4', source);
	world_forget(&world);
	for (unsigned i = 0; i < packets; i++)
		run(words, 1);
	if (denied("dns") - denied_before == packets)
		return 'd';
	if (outcome("dns", OUTCOME_PASSED) - passed_before == packets)
		return 'a';
	assert_int_equal(denied("dns"), denied_before);
	assert_in_range(outcome("dns", OUTCOME_PASSED) - passed_before, 1, packets - 1);
	return 'm';
}

static void test_the_longest_prefix_counts(void **state)
{
	(void)state;
	begin(ENFORCE);
	deny("0.0.0.0/0");
	allow("10.0.0.0/8");
	deny("10.1.0.0/16");
	allow("10.1.2.0/23");
	deny("10.1.2.3");
	deny("2001:db8::/29");
	allow("2001:db8::/32");
	deny("2001:db8:0:1::/64");
	allow("2001:db8:0:1::7");
	assert_int_equal(fate("192.0.2.1"), 'd');
	assert_int_equal(fate("10.2.0.1"), 'a');
	assert_int_equal(fate("10.1.0.1"), 'd');
	assert_int_equal(fate("10.1.2.4"), 'a');
	assert_int_equal(fate("10.1.3.255"), 'a');
	assert_int_equal(fate("10.1.4.0"), 'd');
	assert_int_equal(fate("10.1.2.3"), 'd');
	assert_int_equal(fate("2001:dbf::1"), 'd');
	assert_int_equal(fate("2001:db8:7::1"), 'a');
	assert_int_equal(fate("2001:db8:0:1::8"), 'd');
	assert_int_equal(fate("2001:db8:0:1::7"), 'a');
	assert_int_equal(fate("2001:dc0::1"), 'm');
}

/* Every length of either family, alone: what is in it and what is just beside it. */
static void test_every_length(void **state)
{
	(void)state;
	begin(ENFORCE "allow: [192.0.2.0/24]\n"); /* so that the program is not swapped each time */
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		for (unsigned length = 0; length <= (ipv6 ? 128 : 32); length++) {
			struct prefix prefix = {.ipv4 = !ipv6, .length = (uint8_t)(ipv6 ? length : 96 + length)};
			char inside[PREFIX_TEXT_MAX], beside[PREFIX_TEXT_MAX];
			struct error err;
			if (!ipv6)
				prefix.address[10] = prefix.address[11] = 0xff;
			for (unsigned bit = ipv6 ? 0 : 96; bit < prefix.length; bit += 3)
				prefix.address[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
			assert_int_equal(lists_set(world.datapath, LIST_DENY, &prefix, 1, 0, &err), 0);
			struct prefix address = prefix;
			address.length = 128;
			prefix_format(&address, inside);
			assert_int_equal(fate(inside), 'd');
			if (length) {
				address.address[(prefix.length - 1) / 8] ^= (uint8_t)(0x80 >> (prefix.length - 1) % 8);
				prefix_format(&address, beside);
				assert_int_equal(fate(beside), 'm');
			}
			assert_int_equal(lists_set(world.datapath, LIST_NONE, &prefix, 1, 0, &err), 0);
		}
	}
}

static void test_families_keep_apart(void **state)
{
	(void)state;
	begin(ENFORCE);
	deny("::/0");
	assert_int_equal(fate("192.0.2.1"), 'm');
	assert_int_equal(fate("2001:db8::1"), 'd');
	forget("::/0");
	deny("::fffe:0:0/95");
	assert_int_equal(fate("192.0.2.1"), 'm');
	allow("192.0.2.1");
	assert_int_equal(fate("192.0.2.1"), 'a');
	assert_int_equal(fate("192.0.2.2"), 'm');
	/* A forged IPv6 source that looks like an allowed IPv4 one. */
	world_reset(&world);
	assert_int_equal(run("6:src=::ffff:192.0.2.1 udp:53", 1), XDP_DROP);
	forget("::fffe:0:0/95");
	deny("0.0.0.0/0");
	assert_int_equal(fate("2001:db8::1"), 'm');
}

/* Whoever comes later is right, for one prefix. */
static void test_the_later_word_replaces(void **state)
{
	(void)state;
	begin(ENFORCE);
	deny("10.0.0.0/8");
	allow("10.0.0.0/8");
	assert_int_equal(fate("10.0.0.1"), 'a');
	deny("10.0.0.0/8");
	assert_int_equal(fate("10.0.0.1"), 'd');
	assert_int_equal(lists_totals(world.datapath).denied, 1);
	assert_int_equal(lists_totals(world.datapath).allowed, 0);
	forget("10.0.0.0/8");
	assert_int_equal(fate("10.0.0.1"), 'm');
	assert_int_equal(change(LIST_NONE, "10.0.0.0/8", 0), -ENOENT);
}

static void test_denied_is_denied_everywhere(void **state)
{
	(void)state;
	begin(ENFORCE);
	deny("198.51.100.0/24");
	static const char *const frames[] = {
		"4 udp:53",                       /* a service */
		"4 tcp:22",                       /* none: `other` never spills of itself */
		"4 none:47 raw:20",               /* no ports */
		"4:off=1480,protocol=17 raw:100", /* a later fragment */
		"4:mf,protocol=17 raw:4",         /* a first one that hides its ports */
	};
	for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++)
		assert_int_equal(run(frames[i], 1), XDP_DROP);
	assert_int_equal(denied("dns"), 1);
	assert_int_equal(denied("other"), 4);
	/* What cannot be parsed has no source, and what is not IP has none either. */
	assert_int_equal(run("4 udp:53 cut:33", 1), XDP_DROP);
	assert_int_equal(outcome("other", OUTCOME_SPILLED + REASON_MALFORMED), 1);
	assert_int_equal(run("type:0x0806 raw:28", 1), XDP_PASS);
}

static void test_strays_of_the_allowed_pass(void **state)
{
	(void)state;
	begin(ENFORCE);
	/* A stray is held to the tightest limit that it could have fallen under. */
	run("4:off=1480,protocol=17 raw:100", 100);
	assert_in_range(outcome("other", OUTCOME_SPILLED + REASON_USER_LIMIT), 10, 99);
	allow("198.51.100.7");
	world_reset(&world);
	run("4:off=1480,protocol=17 raw:100", 100);
	assert_int_equal(outcome("other", OUTCOME_PASSED), 100);
}

static void test_observe_makes_shadows(void **state)
{
	(void)state;
	begin("mode: observe\n" SERVICES);
	deny("198.51.100.7");
	assert_int_equal(run("4 udp:53", 10), XDP_PASS);
	assert_int_equal(run("4 tcp:22", 10), XDP_PASS);
	assert_int_equal(outcome("dns", OUTCOME_SHADOW + REASON_DENIED), 10);
	assert_int_equal(outcome("other", OUTCOME_SHADOW + REASON_DENIED), 10);
}

/* F27: what comes from allowed sources beyond the list\'s own limit is judged as anybody\'s, whoever of them sends it.
 */
static void test_the_allow_list_has_a_limit(void **state)
{
	(void)state;
	begin(ENFORCE "lists: {allowed_packets_per_second: 100}\n");
	allow("10.0.0.0/8");
	__u64 before = lists_totals(world.datapath).over_packets;
	for (int user = 0; user < 5; user++) {
		char words[80];
		snprintf(words, sizeof(words), "4:src=10.%d.0.1 udp:53", user);
		run(words, 100);
	}
	__u64 passed = outcome("dns", OUTCOME_PASSED), over = lists_totals(world.datapath).over_packets - before;
	/* A tenth of a second\'s burst of 10, one packet of each user by its own limit; more only as time goes by. */
	assert_in_range(passed, 10, 250);
	assert_int_equal(outcome("dns", OUTCOME_SPILLED + REASON_USER_LIMIT) + passed, 500);
	assert_in_range(over, 250, 490);
	/* Others are not touched by that, and the allowed find room again. */
	assert_int_equal(run("4:src=192.0.2.1 udp:53", 1), XDP_PASS);
	usleep(50000);
	assert_int_equal(run("4:src=10.0.0.1 udp:53", 1), XDP_PASS);
}

static void test_expiry(void **state)
{
	(void)state;
	begin(ENFORCE);
	allow("10.0.0.0/8");
	assert_int_equal(change(LIST_DENY, "10.0.0.0/16", 2 * NS), 0);
	assert_int_equal(change(LIST_DENY, "10.0.0.0/24", 2 * NS), 0);
	assert_int_equal(change(LIST_DENY, "10.0.0.1", 3600 * NS), 0);
	assert_int_equal(fate("10.0.0.2"), 'd');
	usleep(2500000);
	/* Two expired entries lie on the way to the one that counts: nobody has swept them yet. */
	assert_int_equal(lists_totals(world.datapath).denied, 3);
	assert_int_equal(fate("10.0.0.2"), 'a');
	assert_int_equal(fate("10.0.0.1"), 'd');
	assert_int_equal(change(LIST_NONE, "10.0.0.0/16", 0), -ENOENT);

	keep_all();
	assert_int_equal(lists_totals(world.datapath).denied, 1);
	assert_int_equal(fate("10.0.0.2"), 'a');
	assert_int_equal(fate("10.0.0.1"), 'd');
}

/* A verb\'s word over the file\'s: the file\'s counts again, to the tick, when the verb\'s time is over. */
static void test_the_file_is_below_the_verbs(void **state)
{
	(void)state;
	begin(ENFORCE "deny: [10.0.0.0/8, 10.1.0.0/16]\nallow: [\"2001:db8::/32\"]\n");
	assert_int_equal(fate("10.0.0.1"), 'd');
	assert_int_equal(fate("2001:db8::1"), 'a');
	assert_int_equal(change(LIST_ALLOW, "10.0.0.0/8", 2 * NS), 0);
	deny("2001:db8::/32");
	assert_int_equal(fate("10.0.0.1"), 'a');
	usleep(2500000);
	assert_int_equal(fate("10.0.0.1"), 'd');
	/* What has left the file leaves the list; what a verb has set stays. */
	begin(ENFORCE "deny: [10.1.0.0/16]\n");
	assert_int_equal(fate("10.0.0.1"), 'm');
	assert_int_equal(fate("10.1.0.1"), 'd');
	assert_int_equal(fate("2001:db8::1"), 'd');
	/* An entry that changes sides in the file. */
	begin(ENFORCE "allow: [10.1.0.0/16]\n");
	assert_int_equal(fate("10.1.0.1"), 'a');
	/* What is forgotten is back when the file is applied again. */
	forget("10.1.0.0/16");
	assert_int_equal(fate("10.1.0.1"), 'm');
	begin(ENFORCE "allow: [10.1.0.0/16]\n");
	assert_int_equal(fate("10.1.0.1"), 'a');
}

static void test_the_program_looks_only_while_there_is_something(void **state)
{
	(void)state;
	begin(ENFORCE);
	assert_false(world.datapath->features & FEATURE_LISTS);
	deny("10.0.0.0/8");
	assert_true(world.datapath->features & FEATURE_LISTS);
	begin(ENFORCE);
	assert_true(world.datapath->features & FEATURE_LISTS);
	forget("10.0.0.0/8");
	assert_false(world.datapath->features & FEATURE_LISTS);
	assert_int_equal(world.datapath->state->live.features & FEATURE_LISTS, 0);
	begin(ENFORCE "allow: [10.0.0.0/8]\n");
	assert_true(world.datapath->features & FEATURE_LISTS);
	begin(ENFORCE);
	assert_false(world.datapath->features & FEATURE_LISTS);
	/* The last one goes by its time. */
	assert_int_equal(change(LIST_DENY, "10.0.0.0/8", NS / 10), 0);
	usleep(500000);
	keep_all();
	assert_false(world.datapath->features & FEATURE_LISTS);
}

/* Another data path on the same pins finds all of it. */
static void test_adoption(void **state)
{
	struct datapath_options options = {.pins = world.pins};
	struct error err;
	(void)state;

	begin(ENFORCE "allow: [10.1.0.0/16, 10.2.0.0/16]\n");
	deny("192.0.2.0/24");
	assert_int_equal(change(LIST_DENY, "198.51.100.7", 4 * NS), 0);
	datapath_close(world.datapath);
	assert_int_equal(datapath_open(&world.datapath, &options, &err), 0);
	assert_int_equal(lists_totals(world.datapath).allowed, 2);
	assert_int_equal(lists_totals(world.datapath).denied, 2);
	assert_int_equal(fate("192.0.2.1"), 'd');
	assert_int_equal(fate("10.1.0.1"), 'a');
	assert_int_equal(fate("198.51.100.7"), 'd');
	begin(ENFORCE "allow: [10.1.0.0/16]\n");
	assert_int_equal(fate("10.1.0.1"), 'a');
	assert_int_equal(fate("10.2.0.1"), 'm');
	usleep(4500000);
	assert_int_equal(fate("198.51.100.7"), 'm');
	keep_all();
	assert_int_equal(lists_totals(world.datapath).denied, 1);
}

static void test_all_or_nothing(void **state)
{
	struct prefix prefixes[2];
	struct error err;
	(void)state;

	begin(ENFORCE);
	deny("10.0.0.0/8");
	prefix_parse("10.0.0.0/8", &prefixes[0], NULL);
	prefix_parse("11.0.0.0/8", &prefixes[1], NULL);
	assert_int_equal(lists_set(world.datapath, LIST_NONE, prefixes, 2, 0, &err), -ENOENT);
	assert_non_null(strstr(err.text, "11.0.0.0/8: is on no list"));
	assert_int_equal(fate("10.0.0.1"), 'd');
	size_t most = world.datapath->lists.entries_max;
	world.datapath->lists.entries_max = 1;
	assert_int_equal(lists_set(world.datapath, LIST_ALLOW, prefixes, 2, 0, &err), -ENOSPC);
	assert_int_equal(fate("10.0.0.1"), 'd');
	assert_int_equal(lists_set(world.datapath, LIST_ALLOW, prefixes, 1, 0, &err), 0);
	world.datapath->lists.entries_max = most;
	assert_int_equal(fate("10.0.0.1"), 'a');
}

#define MANY     (world_emulated() ? 5000U : 50000U)
#define TOGETHER 1000

/* The number's prefix: all of them are different, /30 to /32, and spread over 64.0.0.0/2. */
static struct prefix prefix_number(unsigned number)
{
	static const uint8_t lengths[] = {128, 128, 127, 126};
	uint32_t address = htonl(0x40000000U | (number * 10737U << 2 & 0x3fffffff));
	struct prefix prefix = {.ipv4 = true, .length = lengths[number % sizeof(lengths)]};

	prefix.address[10] = prefix.address[11] = 0xff;
	memcpy(prefix.address + 12, &address, sizeof(address));
	for (unsigned bit = prefix.length; bit < 128; bit++)
		prefix.address[bit / 8] &= (uint8_t)~(0x80U >> bit % 8);
	return prefix;
}

/* Puts all of them on a list, in portions, with a piece of the housekeeping after each. */
static void change_many(enum list list, uint64_t for_ns)
{
	static struct prefix some[TOGETHER];
	struct error err;

	for (unsigned first = 0; first < MANY; first += TOGETHER) {
		for (unsigned i = 0; i < TOGETHER; i++)
			some[i] = prefix_number(first + i);
		assert_int_equal(lists_set(world.datapath, list, some, TOGETHER, for_ns, &err), 0);
		assert_true(lists_keep(world.datapath, &err) >= 0);
	}
}

/* F34: what many entries do that come, lapse and go around it changes no verdict of anybody else, on any CPU. */
static void test_many_come_and_go_under_traffic(void **state)
{
	static struct shot shots[3];
	struct hammer hammers[HAMMERS_MAX];
	(void)state;

	begin("mode: enforce\nlists: {allowed_packets_per_second: 100M}\n"
	      "services:\n"
	      "  - {name: dns, protocol: udp, ports: [53]}\n"
	      "  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 0.1, burst: 1}}\n"
	      "  - {name: free, protocol: udp, ports: [1]}\n");
	deny("10.0.0.0/8");
	allow("10.0.0.1");
	shot_load(&shots[0], "4:src=10.0.0.2 udp:53", 1);
	shot_load(&shots[1], "4:src=10.0.0.1 tcp:80", 1);
	shot_load(&shots[2], "4:src=172.16.0.1 udp:1", 1);
	hammers_start(hammers, HAMMERS_MAX, &world, shots, 3, 0);
	change_many(LIST_DENY, 0);
	change_many(LIST_ALLOW, NS / 10);
	for (int waits = 0; waits < 100 && lists_totals(world.datapath).allowed > 1; waits++) {
		usleep(100000); /* jiffies may lag on a busy machine */
		keep_all();
	}
	assert_int_equal(lists_totals(world.datapath).denied, 1);
	assert_int_equal(lists_totals(world.datapath).allowed, 1);
	change_many(LIST_DENY, 0);
	change_many(LIST_NONE, 0);
	keep_all();
	hammers_end(hammers, HAMMERS_MAX);
	__u64 sent = hammers[0].packets + hammers[1].packets;
	print_message("%llu packets while %u entries came and went twice\n", sent, MANY);
	assert_in_range(denied("dns"), sent / 3 - 2, sent / 3 + 2);
	assert_int_equal(outcome("dns", OUTCOME_PASSED), 0);
	assert_in_range(outcome("web", OUTCOME_PASSED), sent / 3 - 2, sent / 3 + 2);
	assert_int_equal(denied("dns") + outcome("web", OUTCOME_PASSED) + outcome("free", OUTCOME_PASSED), sent);
	assert_int_equal(lists_totals(world.datapath).denied, 1);
	assert_int_equal(lists_totals(world.datapath).allowed, 1);
	/* The filter has forgotten them too, but for what is not worth a pass. */
	struct list_filter *filter = world.datapath->lists.filter;
	unsigned bits = 0;
	for (size_t i = 0; i < sizeof(filter->words) / sizeof(*filter->words); i++)
		bits += (unsigned)__builtin_popcountll(filter->words[i]);
	assert_in_range(bits, 2, MANY / 4);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, ENFORCE);
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

#define CASE(test) cmocka_unit_test_setup(test, clear)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_the_longest_prefix_counts),
		CASE(test_every_length),
		CASE(test_families_keep_apart),
		CASE(test_the_later_word_replaces),
		CASE(test_denied_is_denied_everywhere),
		CASE(test_strays_of_the_allowed_pass),
		CASE(test_observe_makes_shadows),
		CASE(test_the_allow_list_has_a_limit),
		CASE(test_expiry),
		CASE(test_the_file_is_below_the_verbs),
		CASE(test_the_program_looks_only_while_there_is_something),
		CASE(test_adoption),
		CASE(test_all_or_nothing),
		CASE(test_many_come_and_go_under_traffic),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
