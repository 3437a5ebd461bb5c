/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes of a frame: Ethernet, IP and transport headers, and their checksums. Must not know sockets or distributions. */
#include "frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

struct protocol {
	const char *name;
	uint8_t number_ipv4;
	uint8_t number_ipv6;
	uint16_t header_bytes;
	uint16_t checksum_at;
};

static const struct protocol protocols[] = {
	[FRAME_UDP] = {"udp", IPPROTO_UDP, IPPROTO_UDP, sizeof(struct udphdr), offsetof(struct udphdr, check)},
	[FRAME_TCP_SYN] = {"tcp-syn", IPPROTO_TCP, IPPROTO_TCP, sizeof(struct tcphdr), offsetof(struct tcphdr, check)},
	[FRAME_ICMP] = {"icmp", IPPROTO_ICMP, IPPROTO_ICMPV6, sizeof(struct icmphdr),
                        offsetof(struct icmphdr, checksum)},
};

int frame_parse_protocol(const char *text, enum frame_protocol *out, struct error *err)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++) {
		if (strcmp(text, protocols[i].name) == 0) {
			*out = (enum frame_protocol)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "protocol '%s': unknown: use udp, tcp-syn or icmp", text);
}

static uint32_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

uint32_t frame_sum(const uint8_t *bytes, size_t length, uint32_t sum)
{
	for (size_t i = 0; i + 1 < length; i += 2) {
		uint16_t word;

		memcpy(&word, bytes + i, sizeof(word));
		sum = fold(sum + word);
	}
	if (length % 2) { /* as though a zero followed (RFC 1071) */
		uint16_t word = 0;

		memcpy(&word, bytes + length - 1, 1);
		sum = fold(sum + word);
	}
	return sum;
}

static uint16_t put_ethernet(uint8_t *bytes, const struct frame_spec *spec)
{
	uint16_t type = htons(spec->ipv4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
	uint16_t tag[2] = {htons(ETHERTYPE_VLAN), htons(spec->vlan)};
	uint16_t length = 12;

	memcpy(bytes, spec->destination_mac, 6);
	memcpy(bytes + 6, spec->source_mac, 6);
	if (spec->vlan) {
		memcpy(bytes + length, tag, sizeof(tag));
		length += sizeof(tag);
	}
	memcpy(bytes + length, &type, sizeof(type));
	return length + sizeof(type);
}

static void put_ip(struct frame *frame, uint16_t at, const struct frame_spec *spec)
{
	const struct protocol *protocol = &protocols[spec->protocol];

	if (spec->ipv4) {
		struct iphdr ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = htons(frame->length - at),
			.frag_off = htons(IP_DF),
			.ttl = 64,
			.protocol = protocol->number_ipv4,
		};

		memcpy(&ip.daddr, spec->destination + 12, sizeof(ip.daddr));
		memcpy(frame->bytes + at, &ip, sizeof(ip));
		frame->source_offset = at + offsetof(struct iphdr, saddr);
		frame->ip_checksum_offset = at + offsetof(struct iphdr, check);
		frame->ip_sum = frame_sum(frame->bytes + at, sizeof(ip), 0);
		return;
	}

	struct ip6_hdr ip = {
		.ip6_flow = htonl(6U << 28),
		.ip6_plen = htons(frame->length - at - sizeof(ip)),
		.ip6_nxt = protocol->number_ipv6,
		.ip6_hlim = 64,
	};

	memcpy(&ip.ip6_dst, spec->destination, sizeof(ip.ip6_dst));
	memcpy(frame->bytes + at, &ip, sizeof(ip));
	frame->source_offset = at + offsetof(struct ip6_hdr, ip6_src);
}

static void put_transport(uint8_t *bytes, uint16_t length, const struct frame_spec *spec)
{
	if (spec->protocol == FRAME_UDP) {
		struct udphdr udp = {
			.source = htons(FRAME_SOURCE_PORT), .dest = htons(spec->port), .len = htons(length)};

		memcpy(bytes, &udp, sizeof(udp));
		return;
	}
	if (spec->protocol == FRAME_TCP_SYN) {
		struct tcphdr tcp = {
			.source = htons(FRAME_SOURCE_PORT),
			.dest = htons(spec->port),
			.seq = htonl(1),
			.doff = sizeof(tcp) / 4,
			.syn = 1,
			.window = htons(65535),
		};

		memcpy(bytes, &tcp, sizeof(tcp));
		return;
	}

	struct icmphdr icmp = {.type = spec->ipv4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST};

	icmp.un.echo.id = htons(FRAME_SOURCE_PORT);
	memcpy(bytes, &icmp, sizeof(icmp));
}

/* The transport checksum covers the addresses (RFC 9293 section 3.1, RFC 8200 section 8.1), but ICMP's of IPv4 does
 * not; UDP's over IPv4 may be left out (RFC 768) and is. */
static void put_checksum(struct frame *frame, uint16_t at, const struct frame_spec *spec)
{
	const struct protocol *protocol = &protocols[spec->protocol];
	uint16_t length = frame->length - at;
	uint32_t sum = frame_sum(frame->bytes + at, length, 0);
	uint16_t checksum_at = at + protocol->checksum_at;
	uint8_t number = spec->ipv4 ? protocol->number_ipv4 : protocol->number_ipv6;

	if (spec->ipv4 && spec->protocol == FRAME_UDP)
		return;
	if (spec->ipv4 && spec->protocol == FRAME_ICMP) {
		uint16_t checksum = (uint16_t)~sum;

		memcpy(frame->bytes + checksum_at, &checksum, sizeof(checksum));
		return;
	}
	sum = spec->ipv4 ? frame_sum(spec->destination + 12, 4, sum) : frame_sum(spec->destination, 16, sum);
	frame->sum = fold(sum + htons(length) + htons(number));
	frame->checksum_offset = checksum_at;
}

int frame_parse_payload(const char *text, struct frame_spec *spec, struct error *err)
{
	size_t digits = strlen(text);

	if (digits % 2 || digits / 2 > FRAME_PAYLOAD_MAX || text[strspn(text, "0123456789abcdefABCDEF")])
		return error_set(err, -EINVAL, "payload '%.40s': give up to %lu bytes as pairs of hexadecimal digits",
		                 text, FRAME_PAYLOAD_MAX);
	for (size_t i = 0; i < digits / 2; i++) {
		const char pair[] = {text[2 * i], text[2 * i + 1], '\0'};
		spec->payload[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	spec->payload_bytes = (uint16_t)(digits / 2);
	return 0;
}

int frame_build(const struct frame_spec *spec, struct frame *out, struct error *err)
{
	struct frame frame = {.ipv4 = spec->ipv4};
	uint16_t ip_at = put_ethernet(frame.bytes, spec);
	uint16_t transport_at = ip_at + (spec->ipv4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr));
	uint16_t shortest;

	frame.header_length = transport_at + protocols[spec->protocol].header_bytes;
	shortest = frame.header_length + spec->payload_bytes;
	if (shortest < FRAME_BYTES_MIN)
		shortest = FRAME_BYTES_MIN;
	frame.length = spec->bytes ? spec->bytes : (shortest > 64 ? shortest : 64);
	if (frame.length < shortest || frame.length > FRAME_BYTES_MAX)
		return error_set(err, -EINVAL, "size %u: outside what these headers allow: give %u to %u", spec->bytes,
		                 shortest, FRAME_BYTES_MAX);

	put_ip(&frame, ip_at, spec);
	put_transport(frame.bytes + transport_at, frame.length - transport_at, spec);
	memcpy(frame.bytes + frame.header_length, spec->payload, spec->payload_bytes);
	put_checksum(&frame, transport_at, spec);
	*out = frame;
	return 0;
}

void frame_set_source(const struct frame *frame, uint8_t *bytes, const uint8_t source[16])
{
	const uint8_t *address = frame->ipv4 ? source + 12 : source;
	size_t length = frame->ipv4 ? 4 : 16;

	memcpy(bytes + frame->source_offset, address, length);
	if (frame->ip_checksum_offset) {
		uint16_t checksum = (uint16_t)~frame_sum(address, length, frame->ip_sum);

		memcpy(bytes + frame->ip_checksum_offset, &checksum, sizeof(checksum));
	}
	if (frame->checksum_offset) {
		uint16_t checksum = (uint16_t)~frame_sum(address, length, frame->sum);

		/* UDP has no checksum 0 (RFC 8200 section 8.1); to TCP and ICMPv6 both zeros are the same number. */
		checksum = checksum ? checksum : 0xffff;
		memcpy(bytes + frame->checksum_offset, &checksum, sizeof(checksum));
	}
}
