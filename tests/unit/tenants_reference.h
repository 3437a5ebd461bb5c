/* SPDX-License-Identifier: GPL-2.0-only */
/* Tenants at random, and whose an address is by looking at every prefix: slow and obvious. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static inline uint32_t random_below(uint64_t *seed, uint32_t bound)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)((*seed >> 16) % bound);
}

static inline void prefix_cut(struct prefix *prefix, unsigned length)
{
	prefix->length = (uint8_t)length;
	for (unsigned bit = length; bit < 128; bit++)
		prefix->address[bit / 8] &= (uint8_t)~(0x80U >> bit % 8);
}

/* How prefixes are spread: all lengths anywhere; or as operators have them, in blocks of few lengths. */
enum spread { ANYWHERE, IN_BLOCKS };

static inline struct prefix random_prefix(uint64_t *seed, enum spread spread, bool ipv4)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t blocks[2][4] = {{0x20, 0x01, 0x0d, 0xb8}, {0x2a, 0x02, 0x10}};
	struct prefix prefix = {.ipv4 = ipv4};
	unsigned length;

	for (int i = 0; i < 16; i++)
		prefix.address[i] = (uint8_t)random_below(seed, 256);
	if (ipv4) {
		memcpy(prefix.address, mapped, sizeof(mapped));
		if (spread == IN_BLOCKS)
			prefix.address[12] = 10;
		length = spread == IN_BLOCKS ? 96 + 16 + 8 * random_below(seed, 3) : 96 + random_below(seed, 33);
	} else {
		if (spread == IN_BLOCKS)
			memcpy(prefix.address, blocks[random_below(seed, 2)], sizeof(blocks[0]));
		length = spread == IN_BLOCKS ? 32 + 16 * random_below(seed, 3) : random_below(seed, 129);
	}
	prefix_cut(&prefix, length);
	return prefix;
}

static inline int compare_random_prefixes(const void *left, const void *right)
{
	return memcmp(&((const struct config_tenant_prefix *)left)->prefix,
	              &((const struct config_tenant_prefix *)right)->prefix, sizeof(struct prefix));
}

/* Fills the tenants of a configuration with up to `count` prefixes, none twice; half of them within earlier ones. */
static inline void random_tenants(uint64_t *seed, enum spread spread, size_t tenants, size_t count,
                                  struct config *config)
{
	struct config_tenant_prefix *prefixes = calloc(count + 1, sizeof(*prefixes));

	config->tenants = calloc(tenants + 1, sizeof(*config->tenants));
	config->tenants_count = tenants;
	for (size_t i = 0; i < tenants; i++)
		config->tenants[i] = (struct config_tenant){.key = 1000 + i, .weight = 1};
	for (size_t i = 0; i < count; i++) {
		const struct prefix *around = &prefixes[random_below(seed, (uint32_t)i + 1)].prefix;
		prefixes[i].tenant = random_below(seed, (uint32_t)tenants);
		prefixes[i].prefix = random_prefix(seed, spread, random_below(seed, 2));
		if (i && around->length < 128 && random_below(seed, 2)) {
			struct prefix within = random_prefix(seed, spread, around->ipv4);
			for (unsigned bit = 0; bit < around->length; bit++) {
				uint8_t mask = (uint8_t)(0x80U >> bit % 8);
				within.address[bit / 8] = (uint8_t)((within.address[bit / 8] & ~mask) |
				                                    (around->address[bit / 8] & mask));
			}
			if (within.length > around->length)
				prefixes[i].prefix = within;
		}
	}
	qsort(prefixes, count, sizeof(*prefixes), compare_random_prefixes);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || compare_random_prefixes(&prefixes[kept - 1], &prefixes[i]) != 0)
			prefixes[kept++] = prefixes[i];
	config->tenant_prefixes = prefixes;
	config->tenant_prefixes_count = kept;
}

/* An address of the family: anywhere, within a prefix, or beside one. */
static inline void random_address(uint64_t *seed, const struct config *config, bool ipv4, uint8_t address[16])
{
	struct prefix prefix = random_prefix(seed, ANYWHERE, ipv4);
	struct prefix noise = random_prefix(seed, ANYWHERE, ipv4);
	size_t count = config->tenant_prefixes_count;

	for (size_t try = 0; count && try < 20 && random_below(seed, 8); try++) {
		prefix = config->tenant_prefixes[random_below(seed, (uint32_t)count)].prefix;
		if (prefix.ipv4 == ipv4)
			break;
	}
	if (prefix.ipv4 != ipv4)
		prefix = noise;
	memcpy(address, prefix.address, 16);
	for (unsigned bit = prefix.length; bit < 128; bit++)
		if (noise.address[bit / 8] & 0x80U >> bit % 8)
			address[bit / 8] |= (uint8_t)(0x80U >> bit % 8);
	if (random_below(seed, 4) == 0) { /* a bit next to where the prefix ends */
		unsigned bit = (ipv4 ? 96 : 0) + random_below(seed, ipv4 ? 32 : 128);
		address[bit / 8] ^= (uint8_t)(0x80U >> bit % 8);
	}
}

/* The number of the tenant, from 1; 0 for none. */
static inline unsigned slow_lookup(const struct config *config, bool ipv4, const uint8_t address[16])
{
	int longest = -1;
	unsigned found = 0;

	for (size_t i = 0; i < config->tenant_prefixes_count; i++) {
		const struct prefix *prefix = &config->tenant_prefixes[i].prefix;
		struct prefix host = {.length = 128, .ipv4 = ipv4};
		memcpy(host.address, address, 16);
		if (prefix->length > longest && prefix_overlaps(prefix, &host)) {
			longest = prefix->length;
			found = config->tenant_prefixes[i].tenant + 1;
		}
	}
	return found;
}
