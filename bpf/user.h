/* SPDX-License-Identifier: GPL-2.0-only */
/* The user step: whose packet is it, and where in the table is that user. */
#pragma once

#include "abi.h"
#include "compiler.h"
#include "features.h"
#include "packet.h"
#include "tagged.h"
#include "tenant.h"

struct user {
	__u64 key[2]; /* what names the user: for its source, the address cut to the service's prefix, network order */
	__u32 set;    /* index of the user's set */
	__u32 tag;    /* marks the user's cell there; never 0 */
	__u32 share;  /* of what a packet costs, in SHARE_ONEths */
	__u8 kind;    /* enum user_kind */
	__u8 class;   /* enum service_class */
	__u8 ipv6;    /* the packet is, from which it comes */
};

/* Keeps users of several kinds in one service apart, and A.b.c.d from a forged ::ffff:a.b.c.d. */
#define KIND_SEED 0x9e3779b97f4a7c15ULL

/* One product of NH: the halves of a word, each moved by its half of the key. */
static __always_inline __u64 nh_pair(__u64 word, __u64 key)
{
	__u64 low = (__u32)word + (__u32)key, high = (word >> 32) + (key >> 32);

	return (__u64)(__u32)low * (__u32)high;
}

/* NH over the key's four words (Black, Halevi, Krawczyk, Krovetz and Rogaway: UMAC, 1999): two users meet in 64 bits
 * with a chance of 2^-32, whatever their addresses, as long as nobody knows the keys. The service's part comes with its
 * policy. Of an IPv4 source the upper words are zero and left out: that is this, and the other what the rest adds. */
static __always_inline __u64 user_hash(const struct live *live, const struct policy *policy, __u64 low)
{
	return policy->seed + nh_pair(low, live->hash_keys[0]);
}

static __always_inline __u64 user_hash_more(const struct live *live, __u64 high, __u32 kind)
{
	return nh_pair(high, live->hash_keys[1]) + (kind + 1) * KIND_SEED;
}

/* Where a user is: one round of multiplication spreads its hash, so that nobody can aim at a set. */
struct place {
	__u32 set;
	__u32 tag;
};

static __always_inline struct place user_place(const struct live *live, __u64 hash)
{
	hash = (hash ^ (hash >> 32)) * live->hash_keys[4];
	return (struct place){.set = hash >> 40 & live->sets_mask, .tag = (__u32)(hash >> 8) | 1};
}

static __always_inline void user_locate(const struct live *live, const struct policy *policy, struct user *user)
{
	__u64 hash = user_hash(live, policy, user->key[1]);

	if (user->kind != USER_SOURCE || user->ipv6)
		hash += user_hash_more(live, user->key[0], user->kind);
	struct place place = user_place(live, hash);
	user->set = place.set;
	user->tag = place.tag;
}

/* Takes the bytes of the datagram that name the user: a session ID, a QUIC destination connection ID (RFC 9000 section
 * 5.1). False where the datagram ends before them. */
static __always_inline bool user_from_payload(struct xdp_md *ctx, const struct packet *packet,
                                              const struct policy *policy, __u32 span, struct user *user)
{
	const void *end = (const void *)(long)ctx->data_end;
	const struct udphdr *udp = packet_transport(ctx, packet, sizeof(*udp));
	__u32 offset = PAYLOAD_OFFSET(span), bytes = PAYLOAD_BYTES(span);
	__u64 key[2] = {0};

	if (!udp || packet->table != PORTS_UDP || bpf_ntohs(udp->len) < sizeof(*udp) + offset + bytes)
		return false;
	const __u8 *at = (const __u8 *)(udp + 1) + offset;
	if ((const void *)(at + sizeof(key)) <= end) {
		key[0] = *(const __u64 *)at & policy->payload_mask[0];
		key[1] = *(const __u64 *)(at + 8) & policy->payload_mask[1];
	} else {
		for (__u32 i = 0; i < PAYLOAD_BYTES_MAX && i < bytes; i++) {
			if ((const void *)(at + i + 1) > end)
				return false;
			((__u8 *)key)[i] = at[i];
		}
	}
	user->key[0] = key[0];
	user->key[1] = key[1];
	user->kind = USER_PAYLOAD;
	return true;
}

/* Takes the user that an application has named for the packet's connection; where none has, the source stays. */
static __always_inline void user_from_tag(struct xdp_md *ctx, const struct packet *packet, struct user *user)
{
	__u64 named;

	if (!tag_find(ctx, packet, &named))
		return;
	user->key[0] = 0;
	user->key[1] = named;
	user->kind = USER_TAG;
}

static __always_inline void user_from_tenant(const struct policy_slot *slot, const struct packet *packet,
                                             struct user *user)
{
	struct tenant_search search = {.address = {packet->source[0], packet->source[1]},
	                               .lines = slot->tenants,
	                               .leaf = slot->tenant_roots[packet->ipv6 & 1],
	                               .byte = packet->ipv6 ? 0 : IPV4_BYTE};

	if (!tenant_walk(&search))
		return;
	user->key[0] = search.found.key;
	user->key[1] = 0;
	user->kind = USER_TENANT;
	user->share = search.found.share;
	if (search.found.class < CLASSES)
		user->class = search.found.class;
}

/* What something costs this user that costs one of weight 1 so many nanoseconds. It fits: the configuration allows no
 * packet to cost anybody more than 2^40 ns. */
static __always_inline __u64 user_cost(__u32 share, __u64 nanoseconds)
{
	return FEATURE(FEATURE_TENANTS) ? (nanoseconds * share + SHARE_ONE / 2) >> SHARE_SHIFT : nanoseconds;
}

static __always_inline void user_from_source(const struct policy *policy, const struct packet *packet,
                                             struct user *user)
{
	const __u64 *mask = policy->user_mask[packet->ipv6 & 1];

	*user = (struct user){.key = {packet->source[0] & mask[0], packet->source[1] & mask[1]},
	                      .kind = USER_SOURCE,
	                      .share = SHARE_ONE,
	                      .class = policy->class,
	                      .ipv6 = packet->ipv6};
}

/* Where the packet's user is, by its source. */
static __always_inline struct place user_place_of_source(const struct live *live, const struct policy *policy,
                                                         const struct packet *packet)
{
	if (!packet->ipv6)
		return user_place(live, user_hash(live, policy, packet->source[1] & policy->user_mask[0][1]));
	return user_place(live, user_hash(live, policy, packet->source[1] & policy->user_mask[1][1]) +
	                                user_hash_more(live, packet->source[0] & policy->user_mask[1][0], USER_SOURCE));
}

/* Says whose the packet is: by the service's kind of user, else by its source. */
static __always_inline void user_by_kind(struct xdp_md *ctx, const struct live *live, const struct policy_slot *slot,
                                         __u32 number, const struct packet *packet, struct user *user)
{
	const struct policy *policy = &slot->policies[number];

	user_from_source(policy, packet, user);
	if (FEATURE(FEATURE_PAYLOAD) && policy->kind == USER_PAYLOAD)
		user_from_payload(ctx, packet, policy, slot->payload_spans[number], user);
	if (FEATURE(FEATURE_TAGS) && policy->kind == USER_TAG)
		user_from_tag(ctx, packet, user);
	if (FEATURE(FEATURE_TENANTS) && policy->kind == USER_TENANT)
		user_from_tenant(slot, packet, user);
	user_locate(live, policy, user);
}
