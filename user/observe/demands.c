/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/demands.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bins are the leading bits of a float: a binary exponent, and DEMANDS_SHARPER bits of the mantissa. */
#define MANTISSA_BITS 23
#define BIN_SHIFT     (MANTISSA_BITS - DEMANDS_SHARPER)
#define RATE_LEAST    0x1p-8
#define RATE_MOST     0x1p40
#define OCTAVES       49 /* from the least to the most */
#define BINS          (OCTAVES << DEMANDS_SHARPER)

/* Users of about the same rate for their weight: asking for the sum with the sum of their weights is the same to the
 * water level as each asking for its own. */
struct bin {
	double rate, weight;
	unsigned users;
};

struct bins {
	struct bin newcomers[BINS], tenured[BINS];
};

struct demands {
	struct demand *settled, *copy; /* of DEMANDS_SINGLE, or as many as there are bins */
	size_t settled_count, room;
	struct demand single[DEMANDS_SINGLE];
	size_t count;
	struct bins *bins; /* made when first needed */
	bool binned;
};

struct demands *demands_new(void)
{
	struct demands *demands = calloc(1, sizeof(*demands));

	if (!demands)
		return NULL;
	demands->room = DEMANDS_SINGLE;
	demands->settled = calloc(demands->room, sizeof(*demands->settled));
	demands->copy = calloc(demands->room, sizeof(*demands->copy));
	if (demands->settled && demands->copy)
		return demands;
	demands_free(demands);
	return NULL;
}

void demands_free(struct demands *demands)
{
	if (!demands)
		return;
	free(demands->settled);
	free(demands->copy);
	free(demands->bins);
	free(demands);
}

static size_t bin_of(double ratio)
{
	float least = (float)RATE_LEAST, value = ratio < RATE_MOST ? (float)ratio : (float)RATE_MOST;
	unsigned bits, first;

	memcpy(&first, &least, sizeof(first));
	if (!(value > least))
		return 0;
	memcpy(&bits, &value, sizeof(bits));
	size_t bin = (bits >> BIN_SHIFT) - (first >> BIN_SHIFT);
	return bin < BINS ? bin : BINS - 1;
}

static void bin_add(struct bins *bins, double rate, double weight, bool tenured)
{
	struct bin *bin = &(tenured ? bins->tenured : bins->newcomers)[bin_of(rate / weight)];

	bin->rate += rate;
	bin->weight += weight;
	bin->users++;
}

/* More than are kept one by one: from here on in bins. False where there is no memory for them. */
static bool bins_begin(struct demands *demands)
{
	size_t room = sizeof(struct bins) / sizeof(struct bin);

	if (!demands->bins) {
		struct demand *settled = realloc(demands->settled, room * sizeof(*settled));
		if (settled)
			demands->settled = settled;
		struct demand *copy = realloc(demands->copy, room * sizeof(*copy));
		if (copy)
			demands->copy = copy;
		demands->bins = settled && copy ? calloc(1, sizeof(*demands->bins)) : NULL;
		if (!demands->bins)
			return false;
		demands->room = room;
	}
	for (size_t i = 0; i < demands->count; i++)
		bin_add(demands->bins, demands->single[i].rate, (double)demands->single[i].weight,
		        demands->single[i].tenured);
	demands->count = 0;
	demands->binned = true;
	return true;
}

void demands_add(struct demands *demands, double rate, double weight, bool tenured)
{
	if (!demands->binned && demands->count == DEMANDS_SINGLE && !bins_begin(demands))
		return; /* it counts among the rest */
	if (demands->binned)
		bin_add(demands->bins, rate, weight, tenured);
	else
		demands->single[demands->count++] =
			(struct demand){.rate = rate, .weight = (float)weight, .tenured = tenured, .users = 1};
}

static void bins_settle(struct demands *demands, struct bin *bins, bool tenured)
{
	for (size_t i = 0; i < BINS; i++) {
		if (!bins[i].users)
			continue;
		demands->settled[demands->settled_count++] = (struct demand){.rate = bins[i].rate,
		                                                             .weight = (float)bins[i].weight,
		                                                             .tenured = tenured,
		                                                             .users = bins[i].users & INT32_MAX};
		bins[i] = (struct bin){0};
	}
}

void demands_settle(struct demands *demands)
{
	demands->settled_count = 0;
	if (demands->binned) {
		bins_settle(demands, demands->bins->tenured, true);
		bins_settle(demands, demands->bins->newcomers, false);
	} else {
		memcpy(demands->settled, demands->single, demands->count * sizeof(*demands->settled));
		demands->settled_count = demands->count;
	}
	demands->count = 0;
	demands->binned = false;
}

struct demand *demands_list(struct demands *demands, size_t *count)
{
	if (demands->settled_count)
		memcpy(demands->copy, demands->settled, demands->settled_count * sizeof(*demands->copy));
	*count = demands->settled_count;
	return demands->copy;
}
