/* SPDX-License-Identifier: GPL-2.0-only */
/* Finds the level as a radix sort finds an order statistic: users fall into buckets by the leading bits of the level at
 * which they would be satisfied, the sums of the buckets say in which of them the level lies, and only that one is
 * divided further. No pivot that a clever set of demands could spoil. */
#include "control/level.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define RATE_MOST   1e18 /* what claims more is limited in any case, and sums stay finite */
#define WORD_BITS   64
#define BUCKET_BITS 11
#define BUCKETS     (1U << BUCKET_BITS)

struct bucket {
	double rate, weight;       /* 0: nobody is in it */
	uint64_t somebody, varied; /* somebody's bits, and those in which others differ */
};

/* What is known: the level lies in the one bucket of levels whose bits above `shift` are `prefix`. */
struct search {
	double satisfied_rate; /* of the users below that bucket */
	double limited_weight; /* of the users above it */
	struct bucket open;    /* the users in it */
	uint64_t prefix;
	unsigned shift;
};

static double demand_rate(const struct demand *user)
{
	return user->rate > RATE_MOST ? RATE_MOST : user->rate > 0 ? user->rate : 0; /* fmin() is a call */
}

static double demand_weight(const struct demand *user)
{
	return user->weight > 0 && user->weight <= FLT_MAX ? (double)user->weight : 1;
}

/* The level from which on a user is satisfied, as bits: positive numbers are in the order of their bits (IEEE 754). */
static uint64_t satisfied_from(double rate, double weight)
{
	double level = rate / weight;
	uint64_t bits;

	memcpy(&bits, &level, sizeof(bits));
	return bits;
}

static double level_of(uint64_t bits)
{
	double level;

	memcpy(&level, &bits, sizeof(level));
	return level;
}

static bool search_covers(const struct search *search, uint64_t bits)
{
	return search->shift == WORD_BITS || bits >> search->shift == search->prefix;
}

static unsigned shift_below(unsigned shift)
{
	return shift > BUCKET_BITS ? shift - BUCKET_BITS : 0;
}

/* Divides the users of the open bucket among the next smaller ones. */
static void buckets_fill(struct bucket *buckets, const struct demand *users, size_t count, const struct search *search)
{
	unsigned shift = shift_below(search->shift);

	memset(buckets, 0, BUCKETS * sizeof(*buckets));
	for (size_t i = 0; i < count; i++) {
		double rate = demand_rate(&users[i]), weight = demand_weight(&users[i]);
		uint64_t bits = satisfied_from(rate, weight);
		if (!search_covers(search, bits))
			continue;
		struct bucket *bucket = &buckets[bits >> shift & (BUCKETS - 1)];
		bucket->somebody = bucket->weight > 0 ? bucket->somebody : bits;
		bucket->varied |= bucket->somebody ^ bits;
		bucket->rate += rate;
		bucket->weight += weight;
	}
}

/* Opens the first bucket at whose upper end more would be taken than the budget. False where there is none. */
static bool search_narrow(struct search *search, struct bucket *buckets, double budget)
{
	unsigned shift = shift_below(search->shift);
	uint64_t first = search->shift == WORD_BITS ? 0 : search->prefix << (search->shift - shift);
	double above[BUCKETS + 1];

	above[BUCKETS] = search->limited_weight;
	for (unsigned i = BUCKETS; i-- > 0;)
		above[i] = above[i + 1] + buckets[i].weight;
	for (unsigned i = 0; i < BUCKETS; i++) {
		if (!(buckets[i].weight > 0))
			continue;
		double taken = search->satisfied_rate + buckets[i].rate;
		if (above[i + 1] > 0)
			taken += above[i + 1] * level_of((first + i + 1) << shift);
		if (taken > budget) {
			search->limited_weight = above[i + 1];
			search->open = buckets[i];
			search->prefix = first + i;
			search->shift = shift;
			return true;
		}
		search->satisfied_rate += buckets[i].rate;
	}
	return false;
}

/* The users in the open bucket are limited, or satisfied, together. */
static double search_level(const struct search *search, double budget)
{
	double limited = (budget - search->satisfied_rate) / (search->limited_weight + search->open.weight);

	if (search->limited_weight + search->open.weight <= 0)
		return INFINITY;
	if (limited * search->open.weight <= search->open.rate || search->limited_weight <= 0)
		return limited;
	return (budget - search->satisfied_rate - search->open.rate) / search->limited_weight;
}

double level_find(const struct demand *users, size_t count, double rest, double capacity)
{
	struct bucket buckets[BUCKETS];
	struct search search = {.shift = WORD_BITS};
	double budget = capacity - (rest > 0 ? rest : 0);

	if (isnan(budget) || budget == INFINITY)
		return INFINITY;
	if (budget <= 0)
		return 0;
	do {
		search.open = (struct bucket){0};
		buckets_fill(buckets, users, count, &search);
		if (!search_narrow(&search, buckets, budget))
			break; /* all that were open are satisfied: beyond the first pass, by rounding alone */
	} while (search.shift > 0 && search.open.varied);
	return search_level(&search, budget);
}

size_t level_above(const struct demand *users, size_t count, double level)
{
	size_t above = 0;

	for (size_t i = 0; i < count; i++)
		if (demand_rate(&users[i]) > demand_weight(&users[i]) * level)
			above += users[i].users ? users[i].users : 1;
	return above;
}
