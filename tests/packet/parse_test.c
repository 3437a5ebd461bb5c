/* SPDX-License-Identifier: GPL-2.0-only */
/* Crafted packets through the real program, each on an empty table: its verdict, service, user, and every counter. The
 * cases are in cases.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/prefix.h"
#include "packet/cases.h"
#include "packet/frame.h"
#include "packet/world.h"

static struct world world;

static void assert_counters(const struct packet_case *packet, size_t length)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(world.datapath);
	unsigned expected = packet->malformed == NOT_MALFORMED ? OUTCOME_PASSED : OUTCOME_SPILLED + REASON_MALFORMED;
	struct tally malformed[MALFORMATIONS];
	struct error err;

	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		struct service_tallies tallies;
		if (!catalogue->names[number][0])
			continue;
		tallies = world_tallies(&world, catalogue->names[number]);
		bool mine = strcmp(catalogue->names[number], packet->service) == 0;
		for (unsigned outcome = 0; outcome < OUTCOMES; outcome++) {
			bool counted = mine && outcome == expected;
			assert_int_equal(tallies.outcomes[outcome].packets, counted);
			assert_int_equal(tallies.outcomes[outcome].bytes, counted ? length : 0);
		}
	}
	assert_int_equal(datapath_read_malformations(world.datapath, malformed, &err), 0);
	for (unsigned why = 0; why < MALFORMATIONS; why++)
		assert_int_equal(malformed[why].packets, why == packet->malformed);
}

static void assert_user(const struct packet_case *packet, size_t length)
{
	struct prefix expected;
	__u64 packets = 0, bytes = 0;
	const struct user_detail *user = world_only_user(&world, &packets, &bytes);

	if (!packet->user) {
		assert_null(user);
		return;
	}
	assert_non_null(user);
	assert_int_equal(prefix_parse(packet->user, &expected, NULL), 0);
	assert_memory_equal(user->key, expected.address, sizeof(expected.address));
	assert_int_equal(packets, 2);
	assert_int_equal(bytes, 2 * length);
}

static void test_packet(void **state)
{
	const struct packet_case *packet = *state;
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write(packet->frame, frame);

	world_reset(&world);
	unsigned verdict = world_run(&world, frame, length, 1);
	assert_int_equal(verdict, packet->malformed == NOT_MALFORMED ? XDP_PASS : XDP_DROP);
	assert_counters(packet, length);
	world_run(&world, frame, length, 1); /* a user is introduced by its second packet */
	assert_user(packet, length);
}

/* No cut of any packet is judged but passed or dropped, and each is counted once. */
static void test_truncations(void **state)
{
	(void)state;
	world_reset(&world);
	__u64 sent = 0, counted = 0;
	for (size_t i = 0; i < packet_cases_count; i++) {
		unsigned char frame[FRAME_MAX];
		size_t whole = frame_write(packet_cases[i].frame, frame);
		for (size_t length = 14; length < whole && length < 200; length++, sent++) {
			unsigned verdict = world_run(&world, frame, length, 1);
			assert_true(verdict == XDP_PASS || verdict == XDP_DROP);
		}
	}
	const struct catalogue_slot *catalogue = datapath_catalogue(world.datapath);
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (!catalogue->names[number][0])
			continue;
		struct service_tallies tallies = world_tallies(&world, catalogue->names[number]);
		for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
			counted += tallies.outcomes[outcome].packets;
	}
	assert_int_equal(counted, sent);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, packet_cases_services);
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
	_cleanup_free_ struct CMUnitTest *tests = calloc(packet_cases_count + 1, sizeof(*tests));

	for (size_t i = 0; i < packet_cases_count; i++)
		tests[i] = (struct CMUnitTest){.name = packet_cases[i].frame,
		                               .test_func = test_packet,
		                               .initial_state = (void *)(uintptr_t)&packet_cases[i]};
	tests[packet_cases_count] = (struct CMUnitTest)cmocka_unit_test(test_truncations);
	return _cmocka_run_group_tests("packets", tests, packet_cases_count + 1, make, remove_world);
}
