/* SPDX-License-Identifier: GPL-2.0-only */
/* Which bits of the lists' filter an address has: the one computation that the packet path, which reads them, and user
 * space, which sets them, must do alike. */
#pragma once

#include "abi.h"

#define LIST_HASH_KEY (HASH_KEYS - 1) /* of live.hash_keys; random, so that nobody can aim at bits that are set */

/* The length of a family's anchor, of LIST_ADDRESS_BITS: where prefixes are usually cut. IPv4 has one less. */
static inline __attribute__((always_inline)) __u32 list_anchor_length(int ipv6, __u32 anchor)
{
	if (!ipv6)
		return LIST_IPV4 + 8 * (anchor < 4 ? anchor : 4);
	return anchor < 5 ? 16 * anchor : LIST_ADDRESS_BITS;
}

/* Cuts half an address, in network order in a little-endian word, to so many bits: a whole number of bytes. */
static inline __attribute__((always_inline)) __u64 list_cut(__u64 half, __u32 bits)
{
	return bits >= 64 ? half : half & ((1ULL << bits) - 1);
}

/* The index of the bit of an address at an anchor. */
static inline __attribute__((always_inline)) __u32 list_filter_bit(__u64 key, const __u64 address[2], int ipv6,
                                                                   __u32 anchor)
{
	__u32 length = list_anchor_length(ipv6, anchor);
	__u64 hash = (list_cut(address[0], length) ^ length << 1 ^ ipv6) * key;

	hash ^= hash >> 32;
	hash = (hash ^ (length > 64 ? list_cut(address[1], length - 64) : 0)) * key;
	return hash >> (64 - LIST_FILTER_BITS);
}
