/* SPDX-License-Identifier: GPL-2.0-only */
/* The user step: whose packet is it, and where in the table is that user. Knows policy, no map. */
#pragma once

#include "abi.h"
#include "packet.h"

struct user {
	__u64 key[2]; /* the source address cut to the service's prefix, network order */
	__u32 set;    /* index of the user's set, before the mask */
	__u32 tag;    /* marks the user's cell there; never 0 */
};

/* One product of NH: the halves of a word, each moved by its half of the key. */
static __always_inline __u64 nh_pair(__u64 word, __u64 key)
{
	__u64 low = (__u32)word + (__u32)key, high = (word >> 32) + (key >> 32);

	return (__u64)(__u32)low * (__u32)high;
}

/* NH over the key's four words (Black, Halevi, Krawczyk, Krovetz and Rogaway: UMAC, 1999): two users meet in 64 bits
 * with a chance of 2^-32, whatever their addresses, as long as nobody knows the keys; then one round of multiplication
 * to spread it. So nobody can aim at a set. The service's part comes with its policy. */
static __always_inline void user_locate(const struct live *live, const struct policy *policy,
                                        const struct packet *packet, struct user *user)
{
	const __u64 *mask = policy->source_mask[packet->ipv6 & 1];
	__u64 high = packet->source[0] & mask[0];
	__u64 low = packet->source[1] & mask[1];

	__u64 hash = policy->seed + nh_pair(low, live->hash_keys[0]) + nh_pair(high, live->hash_keys[1]);
	hash = (hash ^ (hash >> 32)) * live->hash_keys[4];

	user->key[0] = high;
	user->key[1] = low;
	user->set = hash >> 40;
	user->tag = (__u32)(hash >> 8) | 1;
}
