/* SPDX-License-Identifier: GPL-2.0-only */
/* The packet parser in user space: bpf/packet.h itself, with what it takes from the kernel replaced. Types come from
 * the kernel's user-space headers instead of vmlinux.h; a context has addresses of full width, since only the verifier
 * makes pointers of the 32 bits in the real one. */
#pragma once

#include <bpf/bpf_endian.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

struct sctphdr {
	__be16 source;
	__be16 dest;
	__be32 vtag;
	__le32 checksum;
};

struct frag_hdr {
	__u8 nexthdr;
	__u8 reserved;
	__be16 frag_off;
	__be32 identification;
};

/* A frame whose first buffer, the only one that is read, may be shorter than the whole. */
struct frame_context {
	unsigned long data;
	unsigned long data_end;
	__u32 frame_bytes;
};

static inline __u32 frame_context_bytes(const struct frame_context *context)
{
	return context->frame_bytes;
}

#define xdp_md                                  frame_context
#define bpf_xdp_get_buff_len                    frame_context_bytes
#define bpf_core_enum_value_exists(type, value) true
#undef __noinline
#define __noinline static __attribute__((noinline)) /* global for the verifier's sake alone */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpointer-arith"
#include "bpf/packet.h"
#pragma GCC diagnostic pop

#undef xdp_md
#undef bpf_xdp_get_buff_len
#undef bpf_core_enum_value_exists
#undef __noinline

static inline struct frame_context frame_context(const unsigned char *buffer, size_t linear_bytes, size_t bytes)
{
	return (struct frame_context){.data = (unsigned long)buffer,
	                              .data_end = (unsigned long)buffer + linear_bytes,
	                              .frame_bytes = (__u32)bytes};
}

/* Parses a frame of `bytes` bytes whose first buffer holds `linear_bytes` of them. */
static inline enum packet_kind parse_frame(const unsigned char *buffer, size_t linear_bytes, size_t bytes,
                                           struct packet *packet)
{
	struct frame_context context = frame_context(buffer, linear_bytes, bytes);

	enum packet_kind kind = packet_parse(&context, packet);
	if (kind == PACKET_MALFORMED || kind == PACKET_NOT_IP)
		packet->bytes = packet_bytes(&context, packet);
	return kind;
}

/* Whether a frame is what the parser tells by comparisons at fixed places; reads it header by header all the same. */
static inline bool walk_ordinary_frame(const unsigned char *buffer, size_t linear_bytes, size_t bytes,
                                       enum packet_kind *kind, struct packet *packet)
{
	struct frame_context context = frame_context(buffer, linear_bytes, bytes);
	bool ordinary = packet_is_ordinary_ipv4(&context, packet) || packet_is_ordinary_ipv6(&context, packet);

	*kind = packet_walk(&context, packet);
	return ordinary;
}
