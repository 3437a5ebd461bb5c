/* SPDX-License-Identifier: GPL-2.0-only */
/* The service step: from protocol, port and destination to a service's number. One load for the port; where that port
 * belongs to destination prefixes, one compare for what they have in common and one load for each byte in which they
 * differ. The number of services does not enter. Knows no policy. */
#pragma once

#include "abi.h"
#include "compiler.h"
#include "packet.h"
#include "state.h"

static __always_inline __u32 half_byte(__u64 half, __u32 index)
{
	return (half >> (8 * (index & 7))) & 0xff; /* network order in a little-endian word */
}

static __always_inline __u32 address_byte(const __u64 address[2], __u32 index)
{
	return half_byte(index & 8 ? address[1] : address[0], index);
}

/* The service of a row that has destinations, in one of the two classifiers. A function of its own: what calls it has
 * its registers to itself on the way that most packets take. */
__noinline int destination_service(__u32 slot, __u32 row, __u32 ipv6, __u64 high, __u64 low)
{
	const struct classifier_slot *classifier = &state.classifiers[slot & 1];
	const struct destination_root *root = &classifier->roots[row & (ROOTS_MAX - 1)][ipv6 & 1];

	if (((high ^ root->value[0]) & root->mask[0]) | ((low ^ root->value[1]) & root->mask[1]))
		return SERVICE_OTHER;
	if (!root->node)
		return root->leaf;

	__u32 node = root->node;
	for (__u32 byte = root->skip; byte < 16; byte++) {
		__u64 half = high;
		if (byte & 8)
			half = low;
		__u32 leaf = classifier->nodes[node & (NODES_MAX - 1)].leaves[half_byte(half, byte)];
		if (!(leaf & LEAF_IS_NODE))
			return leaf;
		node = leaf;
	}
	return SERVICE_OTHER;
}

/* Returns the number of the service that a placed packet belongs to: below SERVICES_MAX, as user space has written it.
 */
static __always_inline __u32 service_find(__u32 slot, const struct packet *packet)
{
	const struct classifier_slot *classifier = &state.classifiers[slot & 1];
	__u32 port = packet->port;

	/* clang 19 knows that a swapped port has 16 bits and drops the mask; the verifier of 6.1 and 6.12 does not. */
	OPAQUE(port);
	__u32 row = classifier->rows[packet->table & (PORT_TABLES - 1)][port & 0xffff];

	OPAQUE(row); /* else the question for its highest bit becomes two shifts */
	if (unlikely(row >= ROW_HAS_DESTINATIONS))
		row = destination_service(slot, row, packet->ipv6, packet->destination[0], packet->destination[1]);
	return row;
}
