/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of requests that wait for their replies, shared by the program that samples them (sample.h) and the one
 * that sees the replies (response.bpf.c): what names a connection, and where its entry lies. */
#pragma once

#include "abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RESPONSE_SAMPLES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct response_sample);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_responses);
} responses SEC(".maps");

#define FLOW_WAYS 2 /* entries that a connection may take */

/* A connection by its remote and local end; ports in network order. */
struct flow {
	__u64 remote[2];
	__u64 local[2];
	__u16 remote_port;
	__u16 local_port;
	__u32 table; /* PORTS_TCP or PORTS_UDP */
};

/* Keyed, so that nobody can aim at an entry. Never SAMPLE_BUSY, and the state bits are those of SAMPLE_WAITING. */
static __always_inline __u64 flow_hash(const struct live *live, const struct flow *flow)
{
	__u64 hash =
		((__u64)flow->remote_port << 32 | (__u64)flow->local_port << 16 | flow->table) * live->hash_keys[4];

	for (int half = 0; half < 2; half++) {
		hash = (hash ^ (hash >> 32) ^ flow->remote[half]) * live->hash_keys[0];
		hash = (hash ^ (hash >> 32) ^ flow->local[half]) * live->hash_keys[1];
	}
	hash = (hash ^ (hash >> 32)) * live->hash_keys[2];
	return (hash & ~SAMPLE_STATE_MASK) | SAMPLE_WAITING;
}

/* The entry that a connection may take as its first or second. */
static __always_inline struct response_sample *flow_entry(__u64 hash, __u32 way)
{
	__u32 index = (hash >> 40 & (RESPONSE_SAMPLES - FLOW_WAYS)) + way;

	return bpf_map_lookup_elem(&samples, &index);
}
