/* SPDX-License-Identifier: GPL-2.0-only */
/* Ethernet frames to send: built once, then given one source address after another with right checksums. Pure: knows
 * bytes, neither who sends them nor how they leave. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FRAME_BYTES_MIN    60
#define FRAME_BYTES_MAX    1500
#define FRAME_SOURCE_PORT  40000
#define FRAME_PAYLOAD_MAX  512UL
#define FRAME_HEADER_BYTES 80 /* room for the longest headers: Ethernet, VLAN, IPv6, TCP are 78 */

enum frame_protocol {
	FRAME_UDP,
	FRAME_TCP_SYN,
	FRAME_ICMP, /* an echo request, of ICMPv6 over IPv6 */
};

struct frame_spec {
	uint8_t source_mac[6];
	uint8_t destination_mac[6];
	uint16_t vlan; /* 1..4094, or 0: untagged */
	bool ipv4;
	uint8_t destination[16]; /* network order, IPv4 as ::ffff:a.b.c.d */
	uint16_t port;           /* destination port; no part of ICMP */
	enum frame_protocol protocol;
	uint16_t bytes; /* whole frame without its FCS; 0: the shortest of 64 bytes or more */
	uint16_t payload_bytes;
	uint8_t payload[FRAME_PAYLOAD_MAX]; /* behind the transport header, zeros after it */
};

/* A frame without a source address, and where things are in it. Sums are one's complement sums (RFC 1071) of what a
 * checksum covers but the source address, in the machine's order: the sum is the same in either. */
struct frame {
	uint8_t bytes[FRAME_BYTES_MAX];
	uint16_t length;
	uint16_t header_length;      /* Ethernet up to and with the transport header; even */
	uint16_t source_offset;      /* of the source address: 4 bytes for IPv4, 16 for IPv6 */
	uint16_t ip_checksum_offset; /* 0: IPv6 has none */
	uint16_t checksum_offset;    /* of the transport checksum; 0: it does not cover the source, and is in place */
	uint32_t ip_sum;
	uint32_t sum;
	bool ipv4;
};

/* Reads "udp", "tcp-syn" or "icmp". Returns 0, or -EINVAL with words. */
int frame_parse_protocol(const char *text, enum frame_protocol *out, struct error *err);

/* Reads bytes as pairs of hexadecimal digits into the payload. Returns 0, or -EINVAL with words. */
int frame_parse_payload(const char *text, struct frame_spec *spec, struct error *err);

/* Builds the frame. Returns 0, or -EINVAL where `bytes` cannot hold the headers or is out of range. */
int frame_build(const struct frame_spec *spec, struct frame *out, struct error *err);

/* Puts a source address (16 bytes, IPv4 as ::ffff:a.b.c.d) and its checksums into `bytes`, a copy of `frame->bytes`. */
void frame_set_source(const struct frame *frame, uint8_t *bytes, const uint8_t source[16]);

/* The one's complement sum of `length` bytes (even) added to `sum`, folded to 16 bits. */
uint32_t frame_sum(const uint8_t *bytes, size_t length, uint32_t sum);
