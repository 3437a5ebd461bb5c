/* SPDX-License-Identifier: GPL-2.0-only */
/* libFuzzer on the packet parser, with the address and undefined-behaviour sanitizers. An input is a frame. It lies at
 * the very end of a heap block, so that a read of one byte beyond is caught; what must hold of every frame that there
 * is, is asserted. */
#include "fuzz/parser.h"

#include <stdint.h>
#include <string.h>

#include "fuzz/require.h"

#define PADDING_BYTES 24

struct outcome {
	enum packet_kind kind;
	struct packet packet;
};

/* What is told by comparisons at fixed places is what a walk over the headers finds. */
static void require_same_by_walking(const uint8_t *frame, size_t linear_bytes, size_t bytes,
                                    const struct outcome *outcome)
{
	struct outcome walked;

	memset(&walked, 0, sizeof(walked));
	if (!walk_ordinary_frame(frame, linear_bytes, bytes, &walked.kind, &walked.packet))
		return;
	REQUIRE(walked.kind == PACKET_PLACED && outcome->kind == PACKET_PLACED);
	REQUIRE(memcmp(&walked.packet, &outcome->packet, sizeof(walked.packet)) == 0);
}

/* Parses a copy of the frame that ends where its heap block ends. `leftover` fills the packet beforehand: nothing of it
 * may shine through. */
static struct outcome parse(const uint8_t *frame, size_t linear_bytes, size_t bytes, int leftover)
{
	struct outcome outcome;
	uint8_t *block = malloc(linear_bytes);

	REQUIRE(block || !linear_bytes);
	memset(&outcome, leftover, sizeof(outcome));
	if (linear_bytes)
		memcpy(block, frame, linear_bytes);
	outcome.kind = parse_frame(block, linear_bytes, bytes, &outcome.packet);
	require_same_by_walking(block, linear_bytes, bytes, &outcome);
	REQUIRE(!outcome.packet.transport_at || outcome.packet.transport_at < linear_bytes);
	free(block);
	return outcome;
}

/* The same but for the length of the frame. */
static bool same_facts(const struct outcome *a, const struct outcome *b)
{
	struct outcome as_long = *b;

	as_long.packet.bytes = a->packet.bytes;
	return a->kind == b->kind && memcmp(&a->packet, &as_long.packet, sizeof(a->packet)) == 0;
}

static void require_valid(const struct outcome *outcome)
{
	const struct packet *packet = &outcome->packet;

	REQUIRE(outcome->kind >= PACKET_PLACED && outcome->kind <= PACKET_MALFORMED);
	REQUIRE(packet->fragment <= FRAGMENT_LATER);
	REQUIRE(packet->ipv6 <= 1);
	switch (outcome->kind) {
	case PACKET_PLACED:
		REQUIRE(packet->table < PORT_TABLES);
		REQUIRE(packet->fragment != FRAGMENT_LATER);
		break;
	case PACKET_STRAY:
		REQUIRE(packet->table <= POLICY_STRAY_UNKNOWN);
		break;
	case PACKET_NOT_IP:
		REQUIRE(!(packet->source[0] | packet->source[1] | packet->destination[0] | packet->destination[1]));
		return;
	case PACKET_MALFORMED:
		REQUIRE(packet->malformation < MALFORMATIONS);
		return;
	}
	REQUIRE(packet->table != PORTS_NONE || packet->port <= UINT8_MAX);
	if (!packet->ipv6) {
		REQUIRE(packet->source[0] == 0 && (uint32_t)packet->source[1] == IPV4_MAPPED);
		REQUIRE(packet->destination[0] == 0 && (uint32_t)packet->destination[1] == IPV4_MAPPED);
	}
}

/* Whether this is an IPv6 header that leaves its length to the frame (RFC 2675): what is behind it is no padding then.
 */
static bool gives_no_length(const uint8_t *frame, size_t bytes)
{
	size_t type = 2UL * ETH_ALEN;

	for (int tag = 0; tag < 2 && type + 6 <= bytes; tag++) {
		uint16_t ethertype = (uint16_t)(frame[type] << 8 | frame[type + 1]);
		if (ethertype != ETH_P_8021Q && ethertype != ETH_P_8021AD)
			break;
		type += 4;
	}
	return type + 8 <= bytes && frame[type] << 8 == (ETH_P_IPV6 & 0xff00) &&
	       frame[type + 1] == (ETH_P_IPV6 & 0xff) && !frame[type + 6] && !frame[type + 7];
}

/* Padding behind a frame may come from any switch on the way: it changes no fact. */
static void require_blind_to_padding(const uint8_t *frame, size_t bytes, const struct outcome *whole)
{
	uint8_t *padded = calloc(1, bytes + PADDING_BYTES);

	REQUIRE(padded);
	memcpy(padded, frame, bytes);
	struct outcome outcome = parse(padded, bytes + PADDING_BYTES, bytes + PADDING_BYTES, 0);
	free(padded);
	REQUIRE(outcome.packet.bytes == bytes + PADDING_BYTES);
	/* A malformed one may have missed just those bytes. */
	if (whole->kind != PACKET_MALFORMED && !gives_no_length(frame, bytes))
		REQUIRE(same_facts(&outcome, whole));
}

/* A frame whose first buffer ends early tells less, but nothing else: the same facts, or that they are out of reach. */
static void require_honest_when_split(const uint8_t *frame, size_t linear_bytes, size_t bytes,
                                      const struct outcome *whole)
{
	struct outcome outcome = parse(frame, linear_bytes, bytes, 0);

	require_valid(&outcome);
	if (linear_bytes > FRAME_BYTES_ORDINARY)
		REQUIRE(outcome.packet.bytes == bytes);
	if (outcome.kind == PACKET_MALFORMED && outcome.packet.malformation <= MALFORMED_IP)
		return;
	if (outcome.kind == PACKET_STRAY && whole->kind != PACKET_NOT_IP) {
		REQUIRE(outcome.packet.source[0] == whole->packet.source[0]);
		REQUIRE(outcome.packet.source[1] == whole->packet.source[1]);
		if (outcome.packet.table == POLICY_STRAY_UNKNOWN || outcome.packet.fragment == FRAGMENT_FIRST)
			return;
	}
	REQUIRE(same_facts(&outcome, whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *frame, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *frame, size_t bytes)
{
	struct outcome whole = parse(frame, bytes, bytes, 0x00);
	struct outcome again = parse(frame, bytes, bytes, 0xff);

	require_valid(&whole);
	REQUIRE(whole.packet.bytes == bytes);
	REQUIRE(again.packet.bytes == bytes);
	REQUIRE(same_facts(&whole, &again));
	require_blind_to_padding(frame, bytes, &whole);
	if (bytes) /* the input's last byte says where its first buffer ends */
		require_honest_when_split(frame, frame[bytes - 1] * (bytes / 256 + 1) % bytes, bytes, &whole);
	return 0;
}
