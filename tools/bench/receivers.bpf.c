/* SPDX-License-Identifier: GPL-2.0-only */
/* What Spillway is measured against: dropping alone, parsing and dropping (the floor), the least that any limiter with
 * state for each user can do, and a limiter as it is usually written. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "abi.h"
#include "packet.h"

#define LINES_BYTES (32U << 20)
#define LINES       (LINES_BYTES / 64)
#define LRU_USERS   1048576
#define LIMIT_PPS   1000000ULL
#define BURST_NS    1000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

struct line {
	__u64 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct lru_key {
	__u64 address[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LRU_USERS);
	__type(key, struct lru_key);
	__type(value, __u64);
} lru SEC(".maps");

static __always_inline int count_and_drop(void)
{
	__u32 first = 0;
	__u64 *packets = bpf_map_lookup_elem(&received, &first);

	if (packets)
		(*packets)++;
	return XDP_DROP;
}

SEC("xdp.frags")
int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

SEC("xdp.frags")
int parse(struct xdp_md *ctx)
{
	struct packet packet;

	return packet_parse(ctx, &packet) == PACKET_PLACED ? count_and_drop() : XDP_DROP;
}

/* Parse, count, and one compare-and-swap on the user's own cache line: nobody who keeps state for each user does less.
 */
SEC("xdp.frags")
int line(struct xdp_md *ctx)
{
	struct packet packet;

	if (packet_parse(ctx, &packet) != PACKET_PLACED)
		return XDP_DROP;
	__u64 hash = (packet.source[0] ^ packet.source[0] >> 32) + (packet.source[1] ^ packet.source[1] >> 32);
	__u32 index = hash * 0x9e3779b97f4a7c15ULL >> 40 & (LINES - 1);
	struct line *line = bpf_map_lookup_elem(&lines, &index);
	if (line) {
		__u64 seen = line->words[0];
		__sync_val_compare_and_swap(&line->words[0], seen, seen + 1);
	}
	return count_and_drop();
}

/* The usual way: an LRU hash keyed by the source, a clock call, GCRA. */
SEC("xdp.frags")
int lru_hash(struct xdp_md *ctx)
{
	struct packet packet;

	if (packet_parse(ctx, &packet) != PACKET_PLACED)
		return XDP_DROP;
	struct lru_key key = {.address = {packet.source[0], packet.source[1]}};
	__u64 now = bpf_ktime_get_ns(), first = now + 1000000000ULL / LIMIT_PPS;
	__u64 *arrival = bpf_map_lookup_elem(&lru, &key);
	if (!arrival)
		bpf_map_update_elem(&lru, &key, &first, 0 /* BPF_ANY */);
	else if (*arrival <= now + BURST_NS)
		*arrival = (*arrival > now ? *arrival : now) + 1000000000ULL / LIMIT_PPS;
	return count_and_drop();
}

char LICENSE[] SEC("license") = "GPL";
