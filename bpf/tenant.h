/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose the source address is, of the tenants: the longest prefix says it. A trie of one cache line a step rather than
 * BPF_MAP_TYPE_LPM_TRIE, which takes a step for each bit that prefixes branch at: with 100,000 of them 165 ns where all
 * are cached and 530 ns where they are not. */
#pragma once

#include "abi.h"
#include "compiler.h"
#include "packet.h"
#include "service.h"

/* Made for a configuration, and never changed. Always of the same size, so that a lookup is inlined: as a call it is
 * half of what a step costs. */
struct tenant_lines {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TENANT_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32)); /* of types within a map in a map, clang leaves only the names */
	__uint(value_size, sizeof(union tenant_line));
};

/* One for each policy slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct tenant_lines);
} tenants SEC(".maps");

#define IPV4_BYTE 12 /* where the address begins in its mapped form */

#define BYTE_LOWS  0x0101010101010101ULL
#define BYTE_HIGHS 0x8080808080808080ULL
#define HALF_LOWS  0x0001000100010001ULL
#define HALF_HIGHS 0x8000800080008000ULL

/* The high bit of each lane: whether it is below the same lane of the other word. */
static __always_inline __u64 lanes_below(__u64 lanes, __u64 other, __u64 highs)
{
	__u64 not_below = (lanes & ~other) | (~(lanes ^ other) & ((lanes | highs) - (other & ~highs)));

	return ~not_below & highs;
}

/* The number of the run that holds the value: how many end below it. Counted in all lanes at once: a branch on what is
 * in a node would be a coin toss. */
static __always_inline __u32 sparse_run(const union tenant_line *line, __u32 value)
{
	__u64 values = value * BYTE_LOWS;
	__u64 below = (lanes_below(line->sparse.ends[0], values, BYTE_HIGHS) >> 7) +
	              (lanes_below(line->sparse.ends[1], values, BYTE_HIGHS) >> 7);

	return below * BYTE_LOWS >> 56;
}

static __always_inline __u32 pair_run(const union tenant_line *line, __u32 value)
{
	__u64 values = value * HALF_LOWS;
	__u64 below = (lanes_below(line->pair.ends[0], values, HALF_HIGHS) >> 15) +
	              (lanes_below(line->pair.ends[1], values, HALF_HIGHS) >> 15) +
	              (lanes_below(line->pair.ends[2], values, HALF_HIGHS) >> 15);

	return below * HALF_LOWS >> 48;
}

static __always_inline bool compare_same(const union tenant_line *line, const __u64 address[2])
{
	return !(((address[0] ^ line->compare.value[0]) & line->compare.mask[0]) |
	         ((address[1] ^ line->compare.value[1]) & line->compare.mask[1]));
}

struct tenant_search {
	__u64 address[2];
	__u32 lines; /* entry of `tenants` */
	__u32 leaf;
	__u32 byte;
	struct tenant found;
};

/* Finds whose the address is. Returns 1 with the tenant in `found`, or 0. A function of its own for the verifier's
 * sake, as chain_walk() is. */
__noinline int tenant_walk(struct tenant_search *search)
{
	if (!search)
		return 0;
	__u32 which = search->lines, leaf = search->leaf, byte = search->byte;
	void *lines = bpf_map_lookup_elem(&tenants, &which);
	if (!lines)
		return 0;

	for (int step = 0; step < TENANT_STEPS_MAX && LEAF_KIND(leaf) != LEAF_TENANT; step++) {
		__u32 value = address_byte(search->address, byte & 15), at = LEAF_AT(leaf), run;
		if (LEAF_KIND(leaf) == LEAF_DENSE)
			at += value / DENSE_LEAVES;
		const union tenant_line *line = bpf_map_lookup_elem(lines, &at);
		if (!line)
			return 0;
		byte++;
		switch (LEAF_KIND(leaf)) {
		case LEAF_DENSE:
			leaf = line->dense[value % DENSE_LEAVES];
			break;
		case LEAF_SPARSE:
			run = sparse_run(line, value);
			OPAQUE(run); /* else its shift is merged with the index's, beyond the verifier */
			if (run >= SPARSE_LEAVES)
				return 0;
			leaf = line->sparse.leaves[run];
			break;
		case LEAF_PAIR:
			run = pair_run(line, value << 8 | address_byte(search->address, byte++ & 15));
			OPAQUE(run);
			if (run >= PAIR_LEAVES)
				return 0;
			leaf = line->pair.leaves[run];
			break;
		default:
			leaf = compare_same(line, search->address) ? line->compare.same : line->compare.other;
			byte = line->compare.byte;
		}
	}
	__u32 at = leaf / TENANTS_IN_LINE;
	const union tenant_line *line = leaf ? bpf_map_lookup_elem(lines, &at) : 0;
	if (!line)
		return 0;
	search->found = line->tenants[leaf % TENANTS_IN_LINE];
	return 1;
}
