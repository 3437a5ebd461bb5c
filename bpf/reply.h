/* SPDX-License-Identifier: GPL-2.0-only */
/* A frame on its way out, as far as it may be a reply: Ethernet, up to two VLAN tags, IPv4 or IPv6, TCP or UDP. What is
 * more exotic than our own host sends is no reply. */
#pragma once

#include "abi.h"
#include "flow.h"
#include "packet.h"

#define REPLY_EXTENSIONS_MAX 2 /* of IPv6: the kernel puts one before TCP in frames beyond 64 kB (RFC 2675) */

struct reply {
	struct flow flow;
	__u32 payload_bytes;
	__u32 sequence;
	__u32 acknowledged;
	bool syn;
	bool acknowledges;
};

/* What is left of the frame. */
struct rest {
	void *at;
	void *end;   /* of the bytes that may be read: the headers are among them in whatever the host itself sends */
	__u32 bytes; /* from `at` on, those beyond `end` included */
	__u8 protocol;
};

static __always_inline bool rest_skip(struct rest *rest, __u32 bytes)
{
	if (bytes > rest->bytes)
		return false;
	rest->at += bytes;
	rest->bytes -= bytes;
	return true;
}

/* The IP header's word for the length, unless it has none: frames beyond 64 kB say 0. */
static __always_inline void rest_declare(struct rest *rest, __u32 bytes)
{
	if (bytes && bytes < rest->bytes)
		rest->bytes = bytes;
}

static __always_inline bool reply_ipv4(struct rest *rest, struct flow *flow)
{
	struct iphdr *ip = rest->at;

	if (!CURSOR_HAS(rest, struct iphdr) || ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return false;
	flow->local[1] = IPV4_MAPPED | (__u64)ip->saddr << 32;
	flow->remote[1] = IPV4_MAPPED | (__u64)ip->daddr << 32;
	rest->protocol = ip->protocol;
	rest_declare(rest, bpf_ntohs(ip->tot_len));
	return rest_skip(rest, ip->ihl * 4U);
}

static __always_inline bool reply_ipv6(struct rest *rest, struct flow *flow)
{
	struct ipv6hdr *ip = rest->at;

	if (!CURSOR_HAS(rest, struct ipv6hdr))
		return false;
	__builtin_memcpy(flow->local, &ip->saddr, sizeof(flow->local));
	__builtin_memcpy(flow->remote, &ip->daddr, sizeof(flow->remote));
	rest->protocol = ip->nexthdr;
	__u32 payload_bytes = bpf_ntohs(ip->payload_len);
	if (!rest_skip(rest, sizeof(*ip)))
		return false;
	rest_declare(rest, payload_bytes);

	for (int i = 0; i < REPLY_EXTENSIONS_MAX && is_extension(rest->protocol); i++) {
		const struct extension_header *header = rest->at;
		if (!CURSOR_HAS(rest, struct extension_header))
			return false;
		if (rest->protocol == PROTOCOL_FRAGMENT && header->fragment_offset & bpf_htons(IPV6_FRAGMENT_OFFSET))
			return false;
		__u32 bytes = extension_bytes(rest->protocol, header->length);
		rest->protocol = header->next;
		if (!rest_skip(rest, bytes))
			return false;
	}
	return true;
}

static __always_inline bool reply_tcp(const struct rest *rest, struct reply *reply)
{
	const struct tcphdr *tcp = rest->at;

	if (!CURSOR_HAS(rest, struct tcphdr))
		return false;
	__u32 header_bytes = tcp->doff * 4U;
	reply->payload_bytes = rest->bytes > header_bytes ? rest->bytes - header_bytes : 0;
	reply->sequence = bpf_ntohl(tcp->seq);
	reply->acknowledged = bpf_ntohl(tcp->ack_seq);
	reply->syn = tcp->syn;
	reply->acknowledges = tcp->ack;
	reply->flow.local_port = tcp->source;
	reply->flow.remote_port = tcp->dest;
	reply->flow.table = PORTS_TCP;
	return true;
}

static __always_inline bool reply_udp(const struct rest *rest, struct reply *reply)
{
	const struct udphdr *udp = rest->at;

	if (!CURSOR_HAS(rest, struct udphdr))
		return false;
	reply->flow.local_port = udp->source;
	reply->flow.remote_port = udp->dest;
	reply->flow.table = PORTS_UDP;
	return true;
}

/* Fills `*reply` from the frame in `ctx`. False where it is none. */
static __always_inline bool reply_parse(struct __sk_buff *ctx, struct reply *reply)
{
	unsigned long start = ctx->data, end = ctx->data_end;
	OPAQUE(start);
	OPAQUE(end);
	struct rest rest = {.at = (void *)start, .end = (void *)end, .bytes = ctx->len};
	const struct ethhdr *ethernet = rest.at;

	*reply = (struct reply){0};
	if (!CURSOR_HAS(&rest, struct ethhdr))
		return false;
	__be16 ethertype = ethernet->h_proto;
	rest_skip(&rest, sizeof(*ethernet));
	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(ethertype); i++) { /* the outermost may be beside the frame */
		const struct vlan_tag *tag = rest.at;
		if (!CURSOR_HAS(&rest, struct vlan_tag))
			return false;
		ethertype = tag->ethertype;
		rest_skip(&rest, sizeof(*tag));
	}

	bool parsed = false;
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		parsed = reply_ipv4(&rest, &reply->flow);
	else if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		parsed = reply_ipv6(&rest, &reply->flow);
	if (!parsed)
		return false;
	if (rest.protocol == PROTOCOL_TCP)
		return reply_tcp(&rest, reply);
	return rest.protocol == PROTOCOL_UDP && reply_udp(&rest, reply);
}
