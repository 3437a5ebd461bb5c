/* SPDX-License-Identifier: GPL-2.0-only */
/* The traffic generator's pure parts: frames have the checksums that receivers compute, users the spread they claim. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "traffic/frame.h"
#include "traffic/sources.h"

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix, NULL), 0);
	return prefix;
}

static struct sources sources_of(const char *prefix_text, uint32_t users, enum spread_distribution distribution)
{
	struct prefix prefix = prefix_of(prefix_text);
	struct sources sources;

	assert_int_equal(sources_init(&prefix, users, distribution, 1, &sources, NULL), 0);
	return sources;
}

static void assert_next_is(struct sources *sources, const char *text)
{
	uint8_t address[16];
	struct prefix expected = prefix_of(text);

	sources_next(sources, address);
	assert_memory_equal(address, expected.address, 16);
}

/* The sum that a receiver makes over pseudo-header and segment: all ones where the checksum is right. */
static uint32_t received_sum(const struct frame *frame, const uint8_t *bytes, uint16_t transport_at, uint8_t protocol)
{
	uint16_t length = frame->length - transport_at;
	size_t addresses_bytes = frame->ipv4 ? 8 : 32;
	uint8_t pseudo[4] = {0, protocol, (uint8_t)(length >> 8), (uint8_t)length};
	uint32_t sum = frame_sum(bytes + frame->source_offset, addresses_bytes, 0);

	return frame_sum(bytes + transport_at, length, frame_sum(pseudo, sizeof(pseudo), sum));
}

static void test_transport_checksums_are_right(void **state)
{
	static const struct {
		enum frame_protocol protocol;
		const char *destination, *source;
		uint16_t vlan, bytes, header_bytes;
		uint8_t number;
	} cases[] = {
		{FRAME_TCP_SYN, "10.0.0.1", "10.1.2.3", 0, 60, 20, 6},
		{FRAME_TCP_SYN, "10.0.0.1", "255.255.255.255", 7, 1499, 20, 6},
		{FRAME_UDP, "2001:db8::1", "2001:db8:1:2:3:4:5:6", 0, 62, 8, 17},
		{FRAME_UDP, "2001:db8::1", "ffff:ffff::ffff", 4094, 1001, 8, 17},
		{FRAME_TCP_SYN, "2001:db8::1", "fe80::1", 0, 1500, 20, 6},
		{FRAME_ICMP, "2001:db8::1", "fe80::1", 3, 100, 8, 58},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct prefix destination = prefix_of(cases[i].destination), source = prefix_of(cases[i].source);
		struct frame_spec spec = {.vlan = cases[i].vlan,
		                          .ipv4 = destination.ipv4,
		                          .port = 53,
		                          .protocol = cases[i].protocol,
		                          .bytes = cases[i].bytes};
		struct frame frame;
		uint8_t bytes[FRAME_BYTES_MAX];

		memcpy(spec.destination, destination.address, 16);
		assert_int_equal(frame_build(&spec, &frame, NULL), 0);
		assert_int_equal(frame.length, cases[i].bytes);
		memcpy(bytes, frame.bytes, frame.length);
		frame_set_source(&frame, bytes, source.address);
		assert_int_equal(
			received_sum(&frame, bytes, frame.header_length - cases[i].header_bytes, cases[i].number),
			0xffff);
	}
}

static void test_ipv4_header_checksum_is_right_and_udp_has_none(void **state)
{
	struct prefix destination = prefix_of("192.0.2.1"), source = prefix_of("198.51.100.77");
	struct frame_spec spec = {.ipv4 = true, .port = 53, .protocol = FRAME_UDP};
	struct frame frame;

	(void)state;
	memcpy(spec.destination, destination.address, 16);
	assert_int_equal(frame_build(&spec, &frame, NULL), 0);
	assert_int_equal(frame.length, 64);
	frame_set_source(&frame, frame.bytes, source.address);
	assert_int_equal(frame_sum(frame.bytes + 14, 20, 0), 0xffff);
	assert_memory_equal(frame.bytes + 26, "\xc6\x33\x64\x4d\xc0\x00\x02\x01", 8);
	assert_memory_equal(frame.bytes + 40, "\0\0", 2);
}

static void test_ipv4_echo_checksum_does_not_cover_addresses(void **state)
{
	struct frame_spec spec = {.ipv4 = true, .protocol = FRAME_ICMP, .bytes = 98};
	struct frame frame;

	(void)state;
	assert_int_equal(frame_build(&spec, &frame, NULL), 0);
	assert_int_equal(frame.checksum_offset, 0);
	assert_int_equal(frame_sum(frame.bytes + 34, 64, 0), 0xffff);
}

static void test_sizes_that_cannot_be_are_refused(void **state)
{
	struct frame_spec spec = {.protocol = FRAME_TCP_SYN, .bytes = 73};
	struct frame frame;
	struct error err;

	(void)state;
	assert_int_equal(frame_build(&spec, &frame, &err), -EINVAL);
	assert_string_equal(err.text, "size 73: outside what these headers allow: give 74 to 1500");
	spec.bytes = 1501;
	assert_int_equal(frame_build(&spec, &frame, &err), -EINVAL);
	spec.bytes = 0;
	assert_int_equal(frame_build(&spec, &frame, &err), 0);
	assert_int_equal(frame.length, 74);
}

static void test_payload_lies_behind_the_headers(void **state)
{
	struct frame_spec spec = {.ipv4 = true, .port = 53, .protocol = FRAME_UDP};
	struct frame frame;
	struct error err;
	char text[2 * FRAME_PAYLOAD_MAX + 3];

	(void)state;
	assert_int_equal(frame_parse_payload("00ffAb", &spec, &err), 0);
	assert_int_equal(frame_build(&spec, &frame, &err), 0);
	assert_int_equal(frame.length, 64);
	assert_memory_equal(frame.bytes + 42, "\x00\xff\xab\x00", 4);
	memset(text, 'a', sizeof(text));
	text[2 * FRAME_PAYLOAD_MAX] = '\0';
	assert_int_equal(frame_parse_payload(text, &spec, &err), 0);
	assert_int_equal(frame_build(&spec, &frame, &err), 0);
	assert_int_equal(frame.length, 42 + FRAME_PAYLOAD_MAX);
	spec.bytes = 64;
	assert_int_equal(frame_build(&spec, &frame, &err), -EINVAL);
	assert_int_equal(frame_parse_payload("abc", &spec, &err), -EINVAL);
	assert_int_equal(frame_parse_payload("0x", &spec, &err), -EINVAL);
	text[2 * FRAME_PAYLOAD_MAX] = 'a';
	text[2 * FRAME_PAYLOAD_MAX + 2] = '\0';
	assert_int_equal(frame_parse_payload(text, &spec, &err), -EINVAL);
}

static void test_sequence_goes_round(void **state)
{
	struct sources sources = sources_of("10.1.0.0/16", 3, SPREAD_SEQUENCE);

	(void)state;
	assert_next_is(&sources, "10.1.0.0");
	assert_next_is(&sources, "10.1.0.1");
	assert_next_is(&sources, "10.1.0.2");
	assert_next_is(&sources, "10.1.0.0");
}

static void test_ipv6_users_have_a_network_each_where_there_is_room(void **state)
{
	struct sources networks = sources_of("2001:db8::/32", 300, SPREAD_SEQUENCE);
	struct sources hosts = sources_of("2001:db8:0:7::/64", 300, SPREAD_SEQUENCE);

	(void)state;
	assert_next_is(&networks, "2001:db8:0:0::1");
	assert_next_is(&networks, "2001:db8:0:1::1");
	assert_next_is(&hosts, "2001:db8:0:7::0");
	assert_next_is(&hosts, "2001:db8:0:7::1");
}

static void test_more_users_than_addresses_are_refused(void **state)
{
	struct prefix prefix = prefix_of("192.0.2.0/30");
	struct sources sources;
	struct error err;

	(void)state;
	assert_int_equal(sources_init(&prefix, 4, SPREAD_UNIFORM, 1, &sources, &err), 0);
	assert_int_equal(sources_init(&prefix, 5, SPREAD_UNIFORM, 1, &sources, &err), -EINVAL);
	assert_string_equal(err.text, "sources 192.0.2.0/30: room for 4 users, not 5: give a shorter prefix");
}

static void test_unique_repeats_only_after_all(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits <= 17; bits++) {
		_cleanup_free_ uint8_t *seen = calloc(1, 1U << bits);
		struct spread_state spread = {.random = 1};

		assert_non_null(seen);
		for (uint32_t i = 0; i < 1U << bits; i++) {
			uint64_t value = spread_unique(&spread, bits);

			assert_true(value < 1U << bits);
			assert_int_equal(seen[value]++, 0);
		}
	}
}

static void test_uniform_gives_each_user_its_share(void **state)
{
	struct spread_state spread = {.random = 88172645463325252ULL};
	uint32_t counts[10] = {0};

	(void)state;
	for (int i = 0; i < 1000000; i++)
		counts[spread_uniform(&spread, 10)]++;
	for (int i = 0; i < 10; i++)
		assert_in_range(counts[i], 98500, 101500);
}

static void test_zipf_rank_has_its_share_and_the_last_is_reached(void **state)
{
	struct sources sources = sources_of("10.0.0.0/8", 1000, SPREAD_ZIPF);
	uint32_t counts[1000] = {0};

	(void)state;
	for (int i = 0; i < 2000000; i++) {
		uint8_t address[16];

		sources_next(&sources, address);
		counts[address[14] * 256 + address[15]]++;
	}
	/* 1/7.485, the harmonic number of 1,000, and a tenth and a thousandth of it. */
	assert_in_range(counts[0], 265000, 269500);
	assert_in_range(counts[9], 26000, 27500);
	assert_in_range(counts[999], 170, 370);
	sources_release(&sources);
}

static void test_zipf_steps_cover_every_rank_once(void **state)
{
	static const uint32_t users[] = {1, 2, 65536, 1000000, 4294967295U};
	_cleanup_free_ struct spread_step *steps = calloc(SPREAD_ZIPF_STEPS, sizeof(*steps));

	(void)state;
	assert_non_null(steps);
	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++) {
		sources_fill_zipf(steps, users[i]);
		assert_int_equal(steps[0].first, 0);
		for (uint32_t k = 0; k + 1 < SPREAD_ZIPF_STEPS; k++)
			assert_true(steps[k + 1].first <= steps[k].first + steps[k].span);
		assert_int_equal(steps[SPREAD_ZIPF_STEPS - 1].first + steps[SPREAD_ZIPF_STEPS - 1].span, users[i]);
	}
}

static void test_equal_seeds_give_equal_sequences(void **state)
{
	struct sources one = sources_of("10.0.0.0/8", 100000, SPREAD_UNIFORM);
	struct sources other = sources_of("10.0.0.0/8", 100000, SPREAD_UNIFORM);
	uint8_t a[16], b[16];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		sources_next(&one, a);
		sources_next(&other, b);
		assert_memory_equal(a, b, 16);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transport_checksums_are_right),
		cmocka_unit_test(test_ipv4_header_checksum_is_right_and_udp_has_none),
		cmocka_unit_test(test_ipv4_echo_checksum_does_not_cover_addresses),
		cmocka_unit_test(test_sizes_that_cannot_be_are_refused),
		cmocka_unit_test(test_payload_lies_behind_the_headers),
		cmocka_unit_test(test_sequence_goes_round),
		cmocka_unit_test(test_ipv6_users_have_a_network_each_where_there_is_room),
		cmocka_unit_test(test_more_users_than_addresses_are_refused),
		cmocka_unit_test(test_unique_repeats_only_after_all),
		cmocka_unit_test(test_uniform_gives_each_user_its_share),
		cmocka_unit_test(test_zipf_rank_has_its_share_and_the_last_is_reached),
		cmocka_unit_test(test_zipf_steps_cover_every_rank_once),
		cmocka_unit_test(test_equal_seeds_give_equal_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
