/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/classifier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "datapath/image.h"

#define PORTS 65536U

/* One service's destination prefix on one port. */
struct claim {
	const struct prefix *prefix;
	__u16 service;
};

/* What is being built, and how much of its room is used. */
struct builder {
	struct classifier_slot *slot;
	const struct config *config;
	const __u16 *numbers; /* of the configuration's services, in its order */
	unsigned roots, nodes;
};

enum port_table classifier_table(enum config_protocol protocol)
{
	switch (protocol) {
	case CONFIG_TCP:
		return PORTS_TCP;
	case CONFIG_UDP:
		return PORTS_UDP;
	case CONFIG_SCTP:
		return PORTS_SCTP;
	case CONFIG_ICMP:
	case CONFIG_ICMPV6:
		break;
	}
	return PORTS_NONE;
}

static bool service_covers(const struct config_service *service, enum port_table table, unsigned port)
{
	if (classifier_table(service->protocol) != table)
		return false;
	if (table == PORTS_NONE)
		return (unsigned)service->protocol == port;
	for (size_t i = 0; i < service->ports_count; i++)
		if (port >= service->ports[i].first && port <= service->ports[i].last)
			return true;
	return false;
}

/* The number of leading bytes that all claims share whole. */
static unsigned shared_bytes(const struct claim *claims, size_t count)
{
	unsigned shared = claims[0].prefix->length / 8;

	for (size_t i = 1; i < count; i++) {
		unsigned whole = claims[i].prefix->length / 8;
		if (whole < shared)
			shared = whole;
		for (unsigned byte = 0; byte < shared; byte++)
			if (claims[i].prefix->address[byte] != claims[0].prefix->address[byte])
				shared = byte;
	}
	return shared;
}

static int node_new(struct builder *builder, struct error *err)
{
	if (builder->nodes + 1 >= NODES_MAX)
		return error_set(err, -E2BIG,
		                 "destinations: more than %u trie nodes are needed: use fewer or shorter prefixes",
		                 NODES_MAX - 1);
	return (int)++builder->nodes;
}

/* Enters a prefix below `node`, whose step is the address's byte `byte`. Prefixes of one port never overlap. */
static int node_enter(struct builder *builder, unsigned node, unsigned byte, const struct claim *claim,
                      struct error *err)
{
	for (;;) {
		__u16 *leaves = builder->slot->nodes[node].leaves;
		unsigned index = claim->prefix->address[byte];
		unsigned bits = claim->prefix->length - 8U * byte;
		if (bits <= 8) {
			for (unsigned i = index; i < index + (256U >> bits); i++)
				leaves[i] = claim->service;
			return 0;
		}
		if (!leaves[index]) {
			int below = node_new(builder, err);
			if (below < 0)
				return below;
			leaves[index] = (__u16)(LEAF_IS_NODE | (unsigned)below);
		}
		node = leaves[index] & (NODES_MAX - 1);
		byte++;
	}
}

static int root_fill(struct builder *builder, struct destination_root *root, const struct claim *claims, size_t count,
                     struct error *err)
{
	__u8 mask[16] = {0};
	unsigned skip = shared_bytes(claims, count);

	if (count == 1) { /* one compare says it all */
		for (unsigned bit = 0; bit < claims->prefix->length; bit++)
			mask[bit / 8] |= (__u8)(0x80 >> (bit % 8));
		root->leaf = claims->service;
	} else {
		int node = node_new(builder, err);
		if (node < 0)
			return node;
		memset(mask, 0xff, skip);
		root->node = (__u16)node;
		root->skip = skip;
	}
	for (size_t i = 0; count > 1 && i < count; i++) {
		int failure = node_enter(builder, root->node, skip, &claims[i], err);
		if (failure)
			return failure;
	}
	memcpy(root->mask, mask, sizeof(mask));
	memcpy(root->value, claims->prefix->address, sizeof(root->value));
	return 0;
}

/* A row for ports that belong to destinations: `services` are the configuration's that cover them. */
static int row_new(struct builder *builder, const size_t *services, size_t count, __u16 *row, struct error *err)
{
	_cleanup_free_ struct claim *claims = calloc(count * CONFIG_DESTINATIONS_MAX, sizeof(*claims));
	if (!claims)
		return error_set(err, -ENOMEM, "destinations: no memory for %zu prefixes",
		                 count * CONFIG_DESTINATIONS_MAX);
	if (builder->roots >= ROOTS_MAX)
		return error_set(err, -E2BIG, "destinations: more than %u groups of ports have their own: use fewer",
		                 ROOTS_MAX);

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		size_t claimed = 0;
		for (size_t i = 0; i < count; i++) {
			const struct config_service *service = &builder->config->services[services[i]];
			for (size_t j = 0; j < service->destinations_count; j++)
				if (service->destinations[j].ipv4 != ipv6)
					claims[claimed++] = (struct claim){&service->destinations[j],
					                                   builder->numbers[services[i]]};
		}
		if (!claimed)
			continue;
		int failure = root_fill(builder, &builder->slot->roots[builder->roots][ipv6], claims, claimed, err);
		if (failure)
			return failure;
	}
	*row = (__u16)(ROW_HAS_DESTINATIONS | builder->roots++);
	return 0;
}

static int row_compile(struct builder *builder, enum port_table table, unsigned port, __u16 *row, struct error *err)
{
	size_t services[CONFIG_SERVICES_MAX], count = 0;

	*row = SERVICE_OTHER;
	for (size_t i = 0; i < builder->config->services_count; i++)
		if (service_covers(&builder->config->services[i], table, port))
			services[count++] = i;
	if (!count)
		return 0;
	if (!builder->config->services[services[0]].destinations_count) {
		*row = builder->numbers[services[0]];
		return 0;
	}
	return row_new(builder, services, count, row, err);
}

/* Marks the ports at which the services that cover a port change. */
static void boundaries_mark(const struct config *config, enum port_table table, bool marks[PORTS + 1])
{
	memset(marks, 0, PORTS + 1);
	marks[0] = true;
	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		if (classifier_table(service->protocol) != table)
			continue;
		if (table == PORTS_NONE)
			marks[service->protocol] = marks[service->protocol + 1] = true;
		for (size_t j = 0; j < service->ports_count; j++)
			marks[service->ports[j].first] = marks[service->ports[j].last + 1U] = true;
	}
}

int classifier_compile(const struct config *config, const struct catalogue_slot *catalogue,
                       struct classifier_slot *slot, struct error *err)
{
	_cleanup_free_ bool *marks = calloc(PORTS + 1, sizeof(*marks));
	_cleanup_free_ __u16 *numbers = calloc(config->services_count + 1, sizeof(*numbers));
	if (!marks || !numbers)
		return error_set(err, -ENOMEM, "classifier: no memory");

	struct builder builder = {.slot = slot, .config = config, .numbers = numbers};
	for (size_t i = 0; i < config->services_count; i++)
		numbers[i] = (__u16)catalogue_find(catalogue, config->services[i].name);

	for (enum port_table table = 0; table < PORT_TABLES; table++) {
		__u16 row = SERVICE_OTHER;
		boundaries_mark(config, table, marks);
		for (unsigned port = 0; port < PORTS; port++) {
			/* Between two marks every port is covered by the same services, and shares their row. */
			int failure = marks[port] ? row_compile(&builder, table, port, &row, err) : 0;
			if (failure)
				return failure;
			slot->rows[table][port] = row;
		}
	}
	return 0;
}

unsigned classifier_lookup(const struct classifier_slot *slot, enum port_table table, unsigned port, bool ipv6,
                           const __u8 destination[16])
{
	unsigned row = slot->rows[table][port];
	if (!(row & ROW_HAS_DESTINATIONS))
		return row;

	const struct destination_root *root = &slot->roots[row & (ROOTS_MAX - 1)][ipv6];
	__u64 halves[2];
	memcpy(halves, destination, sizeof(halves));
	if (((halves[0] ^ root->value[0]) & root->mask[0]) | ((halves[1] ^ root->value[1]) & root->mask[1]))
		return SERVICE_OTHER;
	unsigned leaf = root->leaf;
	for (unsigned byte = root->skip, node = root->node; node; byte++) {
		leaf = slot->nodes[node].leaves[destination[byte]];
		node = leaf & LEAF_IS_NODE ? leaf & (NODES_MAX - 1) : 0;
	}
	return leaf;
}

static unsigned first_service(const struct classifier_slot *slot, const struct destination_root roots[2])
{
	for (int family = 0; family < 2; family++) {
		if (!roots[family].node && roots[family].leaf)
			return roots[family].leaf;
		for (unsigned byte = 0; roots[family].node && byte < 256; byte++) {
			unsigned leaf = slot->nodes[roots[family].node].leaves[byte];
			if (leaf && !(leaf & LEAF_IS_NODE))
				return leaf;
		}
	}
	return SERVICE_OTHER;
}

unsigned classifier_first(const struct classifier_slot *slot, enum port_table table, unsigned port)
{
	unsigned row = slot->rows[table][port & 0xffff];

	return row & ROW_HAS_DESTINATIONS ? first_service(slot, slot->roots[row & (ROOTS_MAX - 1)]) : row;
}
