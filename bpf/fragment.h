/* SPDX-License-Identifier: GPL-2.0-only */
/* Later fragments have no ports. This remembers which service a datagram's first fragment went to, so that the later
 * ones go there too: one word a datagram, direct-mapped, overwritten by whoever comes next. What it forgets is a stray.
 */
#pragma once

#include "abi.h"
#include "clock.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FRAGMENTS);
	__type(key, __u32);
	__type(value, __u64);
} fragments SEC(".maps");

#define FRAGMENT_TAG_SHIFT  32
#define FRAGMENT_TIME_SHIFT 16

/* Over source, destination, ID and (IPv4) protocol, as reassembly does (RFC 791, RFC 8200 section 4.5). */
static __always_inline __u64 fragment_hash(const struct live *live, const struct packet *packet)
{
	__u64 hash = packet->fragment_id * live->hash_keys[4];

	for (int half = 0; half < 2; half++) {
		hash = (hash ^ packet->source[half]) * live->hash_keys[0];
		hash ^= hash >> 32;
		hash = (hash ^ packet->destination[half]) * live->hash_keys[1];
		hash ^= hash >> 32;
	}
	return hash * live->hash_keys[2];
}

static __always_inline void fragment_remember(const struct live *live, const struct packet *packet, __u32 service)
{
	__u64 hash = fragment_hash(live, packet);
	__u32 index = hash & (FRAGMENTS - 1);
	__u64 *entry = bpf_map_lookup_elem(&fragments, &index);

	if (entry)
		*(volatile __u64 *)entry = hash >> 32 << FRAGMENT_TAG_SHIFT |
		                           (__u64)(__u16)clock_seconds() << FRAGMENT_TIME_SHIFT | service;
}

/* The service of the datagram's first fragment; SERVICES_MAX where it is not known. */
static __always_inline __u32 fragment_service(const struct live *live, const struct packet *packet)
{
	__u64 hash = fragment_hash(live, packet);
	__u32 index = hash & (FRAGMENTS - 1);
	__u64 *entry = bpf_map_lookup_elem(&fragments, &index);
	if (!entry)
		return SERVICES_MAX;

	__u64 seen = *(volatile __u64 *)entry;
	__u16 age = (__u16)clock_seconds() - (__u16)(seen >> FRAGMENT_TIME_SHIFT);
	if (seen >> FRAGMENT_TAG_SHIFT != hash >> 32 || age > FRAGMENT_LIFETIME)
		return SERVICES_MAX;
	return (__u16)seen;
}
