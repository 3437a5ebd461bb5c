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

/* One product of NH (Black, Halevi, Krawczyk, Krovetz and Rogaway: UMAC, 1999): the halves of a word, each moved by its
 * half of the key. Two users meet in 64 bits with a chance of 2^-32, whatever their addresses, as long as nobody knows
 * the keys. Of an IPv4 source the upper word is zero and left out: that is user_hash(), and user_hash_more() what
 * another's adds. */
static __always_inline __u64 nh_pair(__u32 low, __u32 high, const __u64 *key)
{
	const __u32 *halves = (const __u32 *)key;

	low += halves[0];
	high += halves[1];
	return (__u64)low * high;
}

static __always_inline __u64 user_hash(const struct live *live, __u32 low, __u32 high)
{
	return nh_pair(low, high, &live->hash_keys[0]);
}

static __always_inline __u64 user_hash_more(const struct live *live, __u64 word, __u32 kind)
{
	return nh_pair(word, word >> 32, &live->hash_keys[1]) + (kind + 1) * KIND_SEED;
}

/* A user's own, of any kind. */
static __always_inline __u64 user_hash_whole(const struct live *live, const __u64 key[2], __u32 kind)
{
	return user_hash(live, key[1], key[1] >> 32) + user_hash_more(live, key[0], kind);
}

/* Where a user is: one round of multiplication spreads its hash, so that nobody can aim at a set. */
struct place {
	__u64 set;
	__u32 tag;
};

/* A user of two services is two: under other tags, in other sets. The service is known last, when the packet's port has
 * been looked up, so it comes last: nothing waits for it before that. */
static __always_inline struct place user_place(const struct live *live, __u64 hash, __u32 number)
{
	hash = (hash ^ (hash >> 32)) * live->hash_keys[4];
	return (struct place){.set = set_index(hash >> 40 ^ number), .tag = ((__u32)(hash >> 8) ^ number << 1) | 1};
}

static __always_inline void user_locate(const struct live *live, __u32 number, struct user *user)
{
	bool ipv4 = user->kind == USER_SOURCE && !user->ipv6;
	__u64 hash =
		ipv4 ? user_hash(live, user->key[1], user->key[1] >> 32) : user_hash_whole(live, user->key, user->kind);
	struct place place = user_place(live, hash, number);
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
	__u64 ipv4_mask = (__u64)policy->ipv4_mask << 32 | 0xffffffff;

	*user = (struct user){.key = {packet->source[0] & policy->ipv6_mask[0],
	                              packet->source[1] & (packet->ipv6 ? policy->ipv6_mask[1] : ipv4_mask)},
	                      .kind = USER_SOURCE,
	                      .share = SHARE_ONE,
	                      .class = policy->class,
	                      .ipv6 = packet->ipv6};
}

/* Cuts a part of an address to its prefix. Nearly always that is the whole part: a branch, which is foreseen, where a
 * mask would be waited for. */
static __always_inline __u64 address_cut(__u64 part, __u64 mask, __u64 whole)
{
	if (unlikely(mask != whole)) {
		part &= mask;
		OPAQUE(part); /* else it is a mask all the same */
	}
	return part;
}

/* Where the packet's user is, by its source: what user_locate() says of user_from_source(). */
static __always_inline struct place user_place_of_source(const struct live *live, const struct policy *policy,
                                                         __u32 number, const struct packet *packet)
{
	if (!packet->ipv6) {
		__u32 address = packet->source[1] >> 32;
		return user_place(
			live, user_hash(live, packet->source[1], address_cut(address, policy->ipv4_mask, ~0U)), number);
	}
	__u64 high = address_cut(packet->source[0], policy->ipv6_mask[0], ~0ULL),
	      low = packet->source[1] & policy->ipv6_mask[1];
	return user_place(live, user_hash(live, low, low >> 32) + user_hash_more(live, high, USER_SOURCE), number);
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
	user_locate(live, number, user);
}
