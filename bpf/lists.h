/* SPDX-License-Identifier: GPL-2.0-only */
/* The allow/deny step: is the packet's source on a list? The longest prefix that says anything counts, whichever list
 * it is on. Most packets are on none, and learn so from a load or two in a filter; the others ask the trie, whose
 * answer is remembered.
 *
 * What is allowed passes without a meter, as long as the allow list as a whole is within its limit: its addresses can
 * be forged like any others. Beyond that limit a packet is judged as anybody's. */
#pragma once

#include "abi.h"
#include "clock.h"
#include "list_filter.h"
#include "meter.h"
#include "packet.h"
#include "state.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1); /* the daemon sizes it */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct list_key);
	__type(value, struct list_entry);
} lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct list_filter);
} list_filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << LIST_MEMORY_BITS);
	__type(key, __u32);
	__type(value, struct list_memory);
} list_memories SEC(".maps");

struct address {
	__u64 halves[2]; /* as in struct packet */
};

/* Whether a bit of the filter is set at one of the family's anchors that are in use. */
static __always_inline bool list_filter_hit(const struct live *live, const struct list_filter *filter,
                                            const __u64 address[2], int ipv6)
{
	__u32 anchors = *(const volatile __u32 *)&live->list_anchors[ipv6];
	__u64 key = live->hash_keys[LIST_HASH_KEY], hit = 0;

#pragma unroll
	for (__u32 anchor = 0; anchor < LIST_ANCHORS; anchor++) {
		if (!(anchors & (1U << anchor)))
			continue;
		__u32 bit = list_filter_bit(key, address, ipv6, anchor);
		hit |= filter->words[bit / 64 & (sizeof(filter->words) / 8 - 1)] >> bit % 64 & 1;
	}
	return hit;
}

/* Whether an address may be on a list; where it is not sure it is true. */
static __always_inline bool list_suspects(const __u64 address[2], __u32 ipv6)
{
	__u32 only = 0;
	const struct list_filter *filter = bpf_map_lookup_elem(&list_filters, &only);

	if (!filter)
		return true;
	return ipv6 ? list_filter_hit(&state.live, filter, address, 1)
	            : list_filter_hit(&state.live, filter, address, 0);
}

#define LIST_WORD(until_ns, list) ((until_ns) << LIST_WORD_BITS | (list))
#define LIST_WORD_FOR_GOOD        (LIST_FOR_GOOD >> LIST_WORD_BITS)

/* The list that an address is on, as a word. Families keep apart: an IPv6 prefix around ::ffff:0:0/96 holds no IPv4,
 * and an IPv6 packet that claims such a source is none. */
static __always_inline __u64 list_find(const __u64 address[2], __u32 ipv6, __u64 now)
{
	struct list_key key;
	bool mapped = !address[0] && (__u32)address[1] == IPV4_MAPPED;

	__builtin_memcpy(key.address, address, sizeof(key.address));
	key.length = ipv6 && mapped ? LIST_IPV4 - 1 : LIST_ADDRESS_BITS;
	for (int shorter = 0; shorter <= LIST_ADDRESS_BITS; shorter++) {
		const struct list_entry *entry = bpf_map_lookup_elem(&lists, &key);
		if (!entry || (!ipv6 && entry->length < LIST_IPV4))
			break;
		if (entry->set && now < entry->expires_ns)
			return LIST_WORD(entry->expires_ns == LIST_FOR_GOOD ? LIST_WORD_FOR_GOOD : entry->expires_ns,
			                 entry->set);
		if (entry->filed)
			return LIST_WORD(LIST_WORD_FOR_GOOD, entry->filed);
		if (!entry->length)
			break;
		key.length = entry->length - 1;
	}
	return LIST_WORD(LIST_WORD_FOR_GOOD, LIST_NONE);
}

/* The same, from memory where it is there. The generation is read before the trie: should that change in between, what
 * is written down is of a time that is past. */
static __always_inline enum list list_recall(const __u64 address[2], __u32 ipv6)
{
	__u64 now = clock_ns(), key = state.live.hash_keys[LIST_HASH_KEY];
	__u64 generation = *(const volatile __u32 *)&state.live.list_generation;
	__u64 hash = (address[0] ^ (generation << 1 | ipv6) * key) * key; /* spread, lest it pass for another address */
	hash = (hash ^ hash >> 32 ^ address[1]) * key;
	__u32 index = hash >> (64 - LIST_MEMORY_BITS);
	struct list_memory *memory = bpf_map_lookup_elem(&list_memories, &index);
	if (!memory)
		return LIST_NONE;

	__u64 word = *(volatile __u64 *)&memory->word;
	if ((*(volatile __u64 *)&memory->check ^ word) != hash || now >= word >> LIST_WORD_BITS) {
		word = list_find(address, ipv6, now);
		*(volatile __u64 *)&memory->word = word;
		*(volatile __u64 *)&memory->check = word ^ hash;
	}
	return word & ((1 << LIST_WORD_BITS) - 1);
}

static __always_inline bool list_within_allowance(const struct policy_slot *slot)
{
	if (gauge_charge(&state.allowance.tat_ns, slot->allowed_increment_ns, slot->allowed_increment_ns,
	                 slot->allowed_tolerance_ns, clock_ns()))
		return true;
	__sync_fetch_and_add(&state.allowance.over_packets, 1);
	return false;
}

/* What the lists say about a source: that it is denied, that it passes, or nothing. A global function, as
 * the verifier calls it: checked by itself, where it would else follow each way through here with each through the
 * meter. */
__noinline int list_judge(const struct address *source, __u32 ipv6, __u32 active)
{
	if (!source) /* which the verifier cannot know to be impossible */
		return LIST_NONE;

	if (likely(!list_suspects(source->halves, ipv6)))
		return LIST_NONE;
	enum list list = list_recall(source->halves, ipv6);
	return list == LIST_ALLOW && !list_within_allowance(&state.policies[LIVE_POLICY_SLOT(active)]) ? LIST_NONE
	                                                                                               : list;
}

/* `other` itself never spills, but what is denied is denied everywhere: there the file's own mode counts. */
static __always_inline __u32 list_denied_flags(const struct policy_slot *slot, const struct policy *policy)
{
	return policy->service == SERVICE_OTHER ? slot->other_denied_flags : policy->flags;
}
