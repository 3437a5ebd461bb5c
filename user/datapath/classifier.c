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

/* A port from which on a service's range counts, or no longer does. */
struct edge {
	size_t service; /* index in the configuration */
	__u32 port;
	bool opens;
};

/* The services that cover the port at which a sweep over the edges has arrived. */
struct cover {
	size_t services[CONFIG_SERVICES_MAX], count;
	unsigned ranges[CONFIG_SERVICES_MAX]; /* of each service; where one ends, its next may begin */
};

/* What is being built, and how much of its room is used. */
struct builder {
	struct classifier_slot *slot;
	const struct config *config;
	const __u16 *numbers; /* of the configuration's services, in its order */
	struct cover *cover;
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

static int row_compile(struct builder *builder, __u16 *row, struct error *err)
{
	const struct cover *cover = builder->cover;

	*row = SERVICE_OTHER;
	if (!cover->count)
		return 0;
	if (!builder->config->services[cover->services[0]].destinations_count) {
		*row = builder->numbers[cover->services[0]];
		return 0;
	}
	return row_new(builder, cover->services, cover->count, row, err);
}

static void cover_step(struct cover *cover, const struct edge *edge)
{
	if (edge->opens) {
		if (!cover->ranges[edge->service]++)
			cover->services[cover->count++] = edge->service;
	} else if (!--cover->ranges[edge->service]) {
		size_t at = 0;
		while (cover->services[at] != edge->service)
			at++;
		cover->services[at] = cover->services[--cover->count];
	}
}

static int edge_compare(const void *left, const void *right)
{
	const struct edge *a = left, *b = right;

	return (a->port > b->port) - (a->port < b->port);
}

/* Writes the edges of the services of one table, sorted. Returns their number. */
static size_t edges_collect(const struct config *config, enum port_table table, struct edge *edges)
{
	size_t count = 0;

	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		if (classifier_table(service->protocol) != table)
			continue;
		if (table == PORTS_NONE) {
			edges[count++] = (struct edge){i, (__u32)service->protocol, true};
			edges[count++] = (struct edge){i, (__u32)service->protocol + 1, false};
		}
		for (size_t j = 0; j < service->ports_count; j++) {
			edges[count++] = (struct edge){i, service->ports[j].first, true};
			edges[count++] = (struct edge){i, service->ports[j].last + 1U, false};
		}
	}
	qsort(edges, count, sizeof(*edges), edge_compare);
	return count;
}

/* Between two edges every port is covered by the same services, and shares their row. */
static int table_compile(struct builder *builder, enum port_table table, struct edge *edges, struct error *err)
{
	size_t count = edges_collect(builder->config, table, edges), next = 0;
	__u16 row = SERVICE_OTHER;

	for (unsigned port = 0; port < PORTS; port++) {
		bool changed = false;
		for (; next < count && edges[next].port == port; next++, changed = true)
			cover_step(builder->cover, &edges[next]);
		int failure = changed ? row_compile(builder, &row, err) : 0;
		if (failure)
			return failure;
		builder->slot->rows[table][port] = row;
	}
	/* Ranges that end with the last port. */
	for (; next < count; next++)
		cover_step(builder->cover, &edges[next]);
	return 0;
}

int classifier_compile(const struct config *config, const struct catalogue_slot *catalogue,
                       struct classifier_slot *slot, struct error *err)
{
	size_t edges_max = 2;
	for (size_t i = 0; i < config->services_count; i++)
		edges_max += 2 * (config->services[i].ports_count + 1);

	_cleanup_free_ struct edge *edges = calloc(edges_max, sizeof(*edges));
	_cleanup_free_ struct cover *cover = calloc(1, sizeof(*cover));
	_cleanup_free_ __u16 *numbers = calloc(config->services_count + 1, sizeof(*numbers));
	if (!edges || !cover || !numbers)
		return error_set(err, -ENOMEM, "classifier: no memory");

	struct builder builder = {.slot = slot, .config = config, .numbers = numbers, .cover = cover};
	for (size_t i = 0; i < config->services_count; i++)
		numbers[i] = (__u16)catalogue_find(catalogue, config->services[i].name);

	for (enum port_table table = 0; table < PORT_TABLES; table++) {
		int failure = table_compile(&builder, table, edges, err);
		if (failure)
			return failure;
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
