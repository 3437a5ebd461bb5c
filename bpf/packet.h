/* SPDX-License-Identifier: GPL-2.0-only */
/* The parse step: from a frame to the few facts that the other steps need. Knows no map and no policy.
 *
 * Ethernet, up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options (RFC 791), IPv6 with extension headers (RFC 8200)
 * and authentication headers (RFC 4302), fragments, TCP, UDP, SCTP, ICMP, ICMPv6. Work is bounded: two tags,
 * EXTENSIONS_MAX headers, and no byte past the transport header. What the kernel behind us would throw away as nonsense
 * is malformed; what merely hides its ports (a later fragment, a chain beyond the bound) is a stray, and is metered as
 * one. */
#pragma once

#include "abi.h"
#include "compiler.h"

#define VLAN_TAGS_MAX  2
#define EXTENSIONS_MAX 8 /* headers between IPv6 and transport; the kernel's own hosts send two at the most */

#define FRAME_BYTES_ORDINARY 1522 /* with two tags; no driver that is made for more splits what is no longer */

#define CHAIN_OFFSET_MAX 0x3fff /* extension headers are looked for in the first 16 kB: the verifier wants a bound */

#define ETHERTYPE_IPV4   0x0800
#define ETHERTYPE_IPV6   0x86dd
#define ETHERTYPE_8021Q  0x8100
#define ETHERTYPE_8021AD 0x88a8

#define PROTOCOL_HOPOPTS  0
#define PROTOCOL_ICMP     1
#define PROTOCOL_TCP      6
#define PROTOCOL_UDP      17
#define PROTOCOL_ROUTING  43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH       51
#define PROTOCOL_ICMPV6   58
#define PROTOCOL_DSTOPTS  60
#define PROTOCOL_SCTP     132

#define IPV4_MORE_FRAGMENTS  0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_MORE_FRAGMENTS  0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8

enum packet_kind {
	PACKET_PLACED, /* its ports are known */
	PACKET_STRAY,  /* IP, but its ports cannot be known */
	PACKET_NOT_IP,
	PACKET_MALFORMED,
};

enum packet_fragment {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

struct packet {
	__u64 source[2]; /* [high, low], network order, IPv4 as ::ffff:a.b.c.d */
	__u64 destination[2];
	__u32 bytes;        /* of the whole frame */
	__u32 transport_at; /* where the header of a placed TCP or UDP packet begins in the frame, else 0: not a
	                     * pointer, or the verifier would follow each way to one through all that comes after */
	__u32 fragment_id;
	__u16 port;            /* destination port; of a protocol without ports, its number */
	__u8 table;            /* enum port_table, or POLICY_STRAY_UNKNOWN */
	__u8 ipv6;             /* 0 or 1 */
	__u8 fragment;         /* enum packet_fragment */
	__u8 malformation;     /* of a malformed one */
	__u16 transport_bytes; /* that the IP header speaks of, with the transport's header; the lowest 16 bits */
	__u32 reserved;        /* no byte of it is padding: two are compared whole */
};

/* What is left of a frame: the bytes that may be read, and those that the IP header says are there. */
struct cursor {
	void *at;
	void *end;
	__u32 linear_bytes; /* of the frame's first buffer, the only one that is read */
	__u32 declared;     /* bytes from here on that the headers so far speak of */
	bool spans;         /* the IP packet goes on in further buffers */
};

/* The length of a frame in several buffers, from kernel 5.18 on; before, a frame has one. */
static __always_inline __u32 frame_bytes(struct xdp_md *ctx, __u32 linear_bytes)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_xdp_get_buff_len))
		return linear_bytes;
	return bpf_xdp_get_buff_len(ctx);
}

#define CURSOR_HAS(cursor, type) ((void *)((type *)(cursor)->at + 1) <= (cursor)->end)

static __always_inline __u32 cursor_at(const struct cursor *cursor)
{
	return cursor->linear_bytes - (__u32)(cursor->end - cursor->at);
}

static __always_inline enum packet_kind packet_malformed(struct packet *packet, enum malformation why)
{
	packet->malformation = why;
	return PACKET_MALFORMED;
}

/* What is known of a packet without its ports: whose limits it could fall under. */
static __always_inline void packet_no_ports(struct packet *packet, __u8 protocol)
{
	packet->table = PORTS_NONE;
	packet->port = protocol;
	if (protocol == PROTOCOL_UDP)
		packet->table = PORTS_UDP;
	else if (protocol == PROTOCOL_TCP)
		packet->table = PORTS_TCP;
	else if (protocol == PROTOCOL_SCTP)
		packet->table = PORTS_SCTP;
}

/* Ports and the lengths that would make the kernel drop the packet. A first fragment's lengths speak of the datagram
 * that is yet to be put together, so they are not held against the fragment. */
static __always_inline enum packet_kind parse_tcp(struct cursor *cursor, struct packet *packet)
{
	struct tcphdr *tcp = cursor->at;

	if (cursor->declared < sizeof(*tcp) || !CURSOR_HAS(cursor, struct tcphdr))
		return PACKET_MALFORMED;
	__u32 header_bytes = tcp->doff * 4U;
	if (header_bytes < sizeof(*tcp) || (header_bytes > cursor->declared && !packet->fragment))
		return PACKET_MALFORMED;
	packet->table = PORTS_TCP;
	packet->port = bpf_ntohs(tcp->dest);
	packet->transport_at = cursor_at(cursor);
	packet->transport_bytes = cursor->declared;
	return PACKET_PLACED;
}

static __always_inline enum packet_kind parse_udp(struct cursor *cursor, struct packet *packet)
{
	struct udphdr *udp = cursor->at;

	if (cursor->declared < sizeof(*udp) || !CURSOR_HAS(cursor, struct udphdr))
		return PACKET_MALFORMED;
	__u32 length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) && !(length == 0 && cursor->declared > 65535)) /* RFC 2675: 0 in a jumbogram */
		return PACKET_MALFORMED;
	if (length > cursor->declared && !packet->fragment)
		return PACKET_MALFORMED;
	packet->table = PORTS_UDP;
	packet->port = bpf_ntohs(udp->dest);
	packet->transport_at = cursor_at(cursor);
	packet->transport_bytes = cursor->declared;
	return PACKET_PLACED;
}

static __always_inline enum packet_kind parse_sctp(struct cursor *cursor, struct packet *packet)
{
	struct sctphdr *sctp = cursor->at;

	if (cursor->declared < sizeof(*sctp) || !CURSOR_HAS(cursor, struct sctphdr))
		return PACKET_MALFORMED;
	packet->table = PORTS_SCTP;
	packet->port = bpf_ntohs(sctp->dest);
	return PACKET_PLACED;
}

#define ICMP_HEADER_BYTES 8 /* RFC 792, RFC 4443: every message has at least that */

static __always_inline enum packet_kind parse_transport(struct cursor *cursor, __u8 protocol, struct packet *packet)
{
	enum packet_kind kind = PACKET_PLACED;

	packet_no_ports(packet, protocol);
	if (protocol == PROTOCOL_UDP)
		kind = parse_udp(cursor, packet);
	else if (protocol == PROTOCOL_TCP)
		kind = parse_tcp(cursor, packet);
	else if (protocol == PROTOCOL_SCTP)
		kind = parse_sctp(cursor, packet);
	else if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		kind = cursor->declared < ICMP_HEADER_BYTES && !packet->fragment ? PACKET_MALFORMED : PACKET_PLACED;

	if (kind == PACKET_PLACED)
		return kind;
	/* A first fragment too small for its ports (RFC 1858) is told from nonsense only by the host that reassembles
	 * it. */
	if (packet->fragment == FRAGMENT_FIRST)
		return PACKET_STRAY;
	return packet_malformed(packet, MALFORMED_TRANSPORT);
}

/* A later fragment has no ports of its own: what is known is its protocol. */
static __always_inline enum packet_kind parse_later_fragment(__u8 protocol, struct packet *packet)
{
	packet->fragment = FRAGMENT_LATER;
	packet_no_ports(packet, protocol);
	if (packet->table == PORTS_NONE && packet->ipv6 && protocol != PROTOCOL_ICMPV6)
		packet->table =
			POLICY_STRAY_UNKNOWN; /* extension headers may hide the transport in the first fragment */
	return PACKET_STRAY;
}

/* Bytes from here to the end of the frame's last buffer; the packet then knows its full length. */
static __always_inline __u32 frame_rest(const struct cursor *cursor, struct xdp_md *ctx, struct packet *packet)
{
	packet->bytes = frame_bytes(ctx, cursor->linear_bytes);
	return cursor->end - cursor->at + packet->bytes - cursor->linear_bytes;
}

/* Takes the IP header's word for the length, unless it claims more than the frame has in all its buffers. Nobody needs
 * to be asked how long an ordinary frame is. */
static __always_inline bool cursor_declare(struct cursor *cursor, struct xdp_md *ctx, __u32 ip_bytes,
                                           struct packet *packet)
{
	cursor->declared = ip_bytes;
	cursor->spans = ip_bytes > (__u64)(cursor->end - cursor->at);
	if (likely(!cursor->spans && cursor->linear_bytes <= FRAME_BYTES_ORDINARY))
		return true;
	return ip_bytes <= frame_rest(cursor, ctx, packet);
}

static __always_inline bool cursor_skip(struct cursor *cursor, __u32 header_bytes)
{
	if (header_bytes > cursor->declared)
		return false;
	cursor->at += header_bytes;
	cursor->declared -= header_bytes;
	return true;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOPOPTS || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_DSTOPTS ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AH;
}

/* Where a walk over extension headers has come to. */
struct chain {
	__u32 offset;   /* from the start of the frame */
	__u32 declared; /* bytes left that the IP header speaks of */
	__u32 fragment_id;
	__u8 protocol; /* of the header at `offset` */
	__u8 fragment; /* enum packet_fragment */
	__u8 reserved[2];
};

/* The first eight bytes of any extension header: a fragment header is no longer, the others have their length here. */
struct extension_header {
	__u8 next;
	__u8 length;
	__be16 fragment_offset;
	__be32 fragment_id;
};

static __always_inline __u32 extension_bytes(__u8 protocol, __u8 length)
{
	if (protocol == PROTOCOL_FRAGMENT)
		return sizeof(struct frag_hdr);
	return protocol == PROTOCOL_AH ? (length + 2U) * 4 : (length + 1U) * 8;
}

static __always_inline void chain_fragment(struct chain *chain, const struct extension_header *header)
{
	__u16 offset = bpf_ntohs(header->fragment_offset);

	chain->fragment_id = header->fragment_id;
	if (offset & IPV6_FRAGMENT_OFFSET)
		chain->fragment = FRAGMENT_LATER;
	else if (offset & IPV6_MORE_FRAGMENTS) /* else atomic: a whole datagram (RFC 6946) */
		chain->fragment = FRAGMENT_FIRST;
}

/* Walks extension headers up to the transport, a later fragment, or the bound. Returns 0, or -1 where one runs past the
 * end. A function of its own for the verifier's sake: it is verified once, not again for each way into it. */
__noinline int chain_walk(struct xdp_md *ctx, struct chain *chain)
{
	if (!chain)
		return -1;

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		__u8 protocol = chain->protocol;
		if (!is_extension(protocol) || chain->fragment == FRAGMENT_LATER)
			return 0;

		unsigned long start = ctx->data, end = ctx->data_end, offset = chain->offset;
		OPAQUE(start);
		OPAQUE(end);
		if (offset > CHAIN_OFFSET_MAX)
			return -1;
		struct extension_header *header = (void *)start + offset;
		if ((void *)(header + 1) > (void *)end)
			return -1;
		__u32 bytes = extension_bytes(protocol, header->length);
		if (bytes > chain->declared)
			return -1;
		if (protocol == PROTOCOL_FRAGMENT)
			chain_fragment(chain, header);
		chain->protocol = header->next;
		chain->offset += bytes;
		chain->declared -= bytes;
	}
	return 0;
}

/* Goes on behind the extension headers that start at the cursor. PACKET_PLACED means: the cursor is at the transport.
 */
static __always_inline enum packet_kind parse_extensions(struct cursor *cursor, struct xdp_md *ctx, __u8 *protocol,
                                                         struct packet *packet)
{
	struct chain chain = {.offset = cursor_at(cursor), .declared = cursor->declared, .protocol = *protocol};

	if (chain_walk(ctx, &chain) < 0)
		return packet_malformed(packet, MALFORMED_EXTENSION);
	*protocol = chain.protocol;
	packet->fragment = chain.fragment;
	packet->fragment_id = chain.fragment_id;
	if (chain.fragment == FRAGMENT_LATER)
		return parse_later_fragment(chain.protocol, packet);
	if (is_extension(chain.protocol)) {
		packet->table = POLICY_STRAY_UNKNOWN;
		return PACKET_STRAY;
	}
	unsigned long start = ctx->data, end = ctx->data_end, offset = chain.offset;
	OPAQUE(start);
	OPAQUE(end);
	if (offset > CHAIN_OFFSET_MAX)
		return packet_malformed(packet, MALFORMED_EXTENSION);
	cursor->at = (void *)start + offset;
	cursor->end = (void *)end;
	cursor->declared = chain.declared;
	return PACKET_PLACED;
}

/* Two words that need not be aligned: the kernel's machines read them as they are, where a compiler that is not told
 * takes them in four. */
static __always_inline void address_copy(__u64 to[2], const struct in6_addr *from)
{
#ifdef __bpf__
	const __u64 *words = (const void *)from;

	to[0] = words[0];
	to[1] = words[1];
#else
	__builtin_memcpy(to, from, 2 * sizeof(to[0]));
#endif
}

static __always_inline enum packet_kind parse_ipv4(struct cursor *cursor, struct xdp_md *ctx, struct packet *packet)
{
	struct iphdr *ip = cursor->at;

	if (!CURSOR_HAS(cursor, struct iphdr))
		return packet_malformed(packet, MALFORMED_IP);
	__u32 header_bytes = ip->ihl * 4U;
	if (ip->version != 4 || header_bytes < sizeof(*ip) ||
	    !cursor_declare(cursor, ctx, bpf_ntohs(ip->tot_len), packet))
		return packet_malformed(packet, MALFORMED_IP);

	packet->source[1] = IPV4_MAPPED | (__u64)ip->saddr << 32;
	packet->destination[1] = IPV4_MAPPED | (__u64)ip->daddr << 32;
	__u8 protocol = ip->protocol;
	__be16 fragment = ip->frag_off;
	__u32 fragment_id = ip->id | (__u32)protocol << 16;
	if (!cursor_skip(cursor, header_bytes))
		return packet_malformed(packet, MALFORMED_IP);

	if (unlikely(fragment & bpf_htons(IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS))) {
		packet->fragment_id = fragment_id;
		if (fragment & bpf_htons(IPV4_FRAGMENT_OFFSET))
			return parse_later_fragment(protocol, packet);
		packet->fragment = FRAGMENT_FIRST;
	}
	return parse_transport(cursor, protocol, packet);
}

static __always_inline enum packet_kind parse_ipv6(struct cursor *cursor, struct xdp_md *ctx, struct packet *packet)
{
	struct ipv6hdr *ip = cursor->at;

	if (!CURSOR_HAS(cursor, struct ipv6hdr))
		return packet_malformed(packet, MALFORMED_IP);
	__u32 payload_bytes = bpf_ntohs(ip->payload_len);
	__u8 protocol = ip->nexthdr;
	if (payload_bytes == 0 && protocol == PROTOCOL_HOPOPTS) /* a jumbogram (RFC 2675): all that the frame has */
		payload_bytes = frame_rest(cursor, ctx, packet) - sizeof(*ip);
	if (ip->version != 6 || !cursor_declare(cursor, ctx, payload_bytes + sizeof(*ip), packet))
		return packet_malformed(packet, MALFORMED_IP);

	packet->ipv6 = 1;
	address_copy(packet->source, &ip->saddr);
	address_copy(packet->destination, &ip->daddr);
	cursor_skip(cursor, sizeof(*ip));

	if (is_extension(protocol)) {
		enum packet_kind kind = parse_extensions(cursor, ctx, &protocol, packet);
		if (kind != PACKET_PLACED)
			return kind;
	}
	return parse_transport(cursor, protocol, packet);
}

struct vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

static __always_inline bool is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETHERTYPE_8021Q) || ethertype == bpf_htons(ETHERTYPE_8021AD);
}

/* Reads any frame, header by header. */
static __always_inline enum packet_kind packet_walk(struct xdp_md *ctx, struct packet *packet)
{
	unsigned long start = ctx->data, end = ctx->data_end;
	OPAQUE(start);
	OPAQUE(end);
	struct cursor cursor = {.at = (void *)start, .end = (void *)end, .linear_bytes = end - start};
	struct ethhdr *ethernet = cursor.at;

	*packet = (struct packet){.bytes = cursor.linear_bytes};
	if (!CURSOR_HAS(&cursor, struct ethhdr))
		return packet_malformed(packet, MALFORMED_ETHERNET);
	__be16 ethertype = ethernet->h_proto;
	cursor.at = ethernet + 1;

	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(ethertype); i++) {
		struct vlan_tag *tag = cursor.at;
		if (!CURSOR_HAS(&cursor, struct vlan_tag))
			return packet_malformed(packet, MALFORMED_ETHERNET);
		ethertype = tag->ethertype;
		cursor.at = tag + 1;
	}

	enum packet_kind kind = PACKET_NOT_IP;
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		kind = parse_ipv4(&cursor, ctx, packet);
	else if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		kind = parse_ipv6(&cursor, ctx, packet);

	/* A header beyond the first buffer of a jumbo frame is out of our reach, not cut off. */
	if (kind == PACKET_MALFORMED && cursor.spans && packet->malformation > MALFORMED_IP) {
		packet->table = POLICY_STRAY_UNKNOWN;
		return PACKET_STRAY;
	}
	return kind;
}

#define ORDINARY_IPV4 0x45 /* version, and a header of 20 bytes */
#define ORDINARY_IPV6 0x60 /* version, above four bits of the traffic class */

/* UDP or TCP, of whose header as many bytes can be read as TCP's has. */
static __always_inline bool ordinary_transport(const void *transport, __u32 at, __u32 declared, __u8 protocol,
                                               struct packet *packet)
{
	const struct udphdr *udp = transport;
	const struct tcphdr *tcp = transport;
	__u32 table;

	if (protocol == PROTOCOL_UDP) {
		__u32 length = bpf_ntohs(udp->len);
		if (length < sizeof(*udp) || length > declared)
			return false;
		table = PORTS_UDP;
	} else if (protocol == PROTOCOL_TCP) {
		__u32 header_bytes = tcp->doff * 4U;
		if (header_bytes < sizeof(*tcp) || header_bytes > declared)
			return false;
		table = PORTS_TCP;
	} else {
		return false;
	}
	OPAQUE(table); /* else what depends on it is worked out here, and kept */
	packet->table = table;
	packet->port = bpf_ntohs(udp->dest); /* where TCP has its own */
	packet->transport_at = at;
	packet->transport_bytes = declared;
	return true;
}

/* What most frames are: in one buffer, untagged, a whole IP packet of UDP or TCP without options or extension headers.
 * All that is to be read lies where it always does, and a few comparisons say so. Fills `*packet` as packet_walk()
 * does where it is true, else with nothing that may be used. */
static __always_inline bool packet_is_ordinary_ipv4(struct xdp_md *ctx, struct packet *packet)
{
	unsigned long start = ctx->data, end = ctx->data_end;
	OPAQUE(start);
	OPAQUE(end);
	const struct ethhdr *ethernet = (const void *)start;
	const struct iphdr *ip = (const void *)(ethernet + 1);
	const void *transport = ip + 1;
	__u64 bytes = end - start;

	if (transport + sizeof(struct tcphdr) > (const void *)end || bytes > FRAME_BYTES_ORDINARY ||
	    ethernet->h_proto != bpf_htons(ETHERTYPE_IPV4) || *(const __u8 *)ip != ORDINARY_IPV4 ||
	    ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS))
		return false;
	__u32 declared = bpf_ntohs(ip->tot_len);
	if (declared < sizeof(*ip) || sizeof(*ethernet) + declared > bytes)
		return false;
	*packet = (struct packet){.source = {0, IPV4_MAPPED | (__u64)ip->saddr << 32},
	                          .destination = {0, IPV4_MAPPED | (__u64)ip->daddr << 32},
	                          .bytes = bytes};
	return ordinary_transport(transport, sizeof(*ethernet) + sizeof(*ip), declared - sizeof(*ip), ip->protocol,
	                          packet);
}

static __always_inline bool packet_is_ordinary_ipv6(struct xdp_md *ctx, struct packet *packet)
{
	unsigned long start = ctx->data, end = ctx->data_end;
	OPAQUE(start);
	OPAQUE(end);
	const struct ethhdr *ethernet = (const void *)start;
	const struct ipv6hdr *ip = (const void *)(ethernet + 1);
	const void *transport = ip + 1;
	__u64 bytes = end - start;

	if (transport + sizeof(struct tcphdr) > (const void *)end || bytes > FRAME_BYTES_ORDINARY ||
	    ethernet->h_proto != bpf_htons(ETHERTYPE_IPV6) || (*(const __u8 *)ip & 0xf0) != ORDINARY_IPV6)
		return false;
	__u32 declared = bpf_ntohs(ip->payload_len);
	if (sizeof(*ethernet) + sizeof(*ip) + declared > bytes)
		return false;
	*packet = (struct packet){.bytes = bytes, .ipv6 = 1};
	address_copy(packet->source, &ip->saddr);
	address_copy(packet->destination, &ip->daddr);
	return ordinary_transport(transport, sizeof(*ethernet) + sizeof(*ip), declared, ip->nexthdr, packet);
}

/* Fills `*packet` from the frame in `ctx` and says what kind it is. Every field is set but those that the kind or the
 * fragment leaves without meaning. */
static __always_inline enum packet_kind packet_parse(struct xdp_md *ctx, struct packet *packet)
{
	if (packet_is_ordinary_ipv4(ctx, packet) || packet_is_ordinary_ipv6(ctx, packet))
		return PACKET_PLACED;
	return packet_walk(ctx, packet);
}

/* The bytes of a frame that the parser left early, in all its buffers. A step of its own: the call that it takes, made
 * within the parser, would cost every packet 4 ns for registers that it could not use. */
static __always_inline __u32 packet_bytes(struct xdp_md *ctx, const struct packet *packet)
{
	return frame_bytes(ctx, packet->bytes);
}

/* The header of a placed TCP or UDP packet, where so many bytes of it can be read; else NULL. */
static __always_inline const void *packet_transport(struct xdp_md *ctx, const struct packet *packet, __u32 bytes)
{
	unsigned long start = ctx->data, end = ctx->data_end, offset = packet->transport_at & CHAIN_OFFSET_MAX;
	OPAQUE(start);
	OPAQUE(end);
	const void *transport = (const void *)start + offset;

	if (!offset || transport + bytes > (const void *)end)
		return 0;
	OPAQUE(transport); /* else both comparisons become a number, and the verifier forgets this one */
	return transport;
}

/* Whether a packet opens a TCP connection: SYN without ACK (RFC 9293 section 3.5). */
static __always_inline bool packet_connects(struct xdp_md *ctx, const struct packet *packet)
{
	if (packet->table != PORTS_TCP)
		return false;
	const struct tcphdr *tcp = packet_transport(ctx, packet, sizeof(*tcp));
	return tcp && tcp->syn && !tcp->ack;
}
