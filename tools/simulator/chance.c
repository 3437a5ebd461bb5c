/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/chance.h"

#include <math.h>

static uint64_t next(struct chance *chance)
{
	uint64_t x = chance->state ? chance->state : 1;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	chance->state = x;
	return x * UINT64_C(2685821657736338717);
}

double chance_uniform(struct chance *chance)
{
	return (double)(next(chance) >> 11) * 0x1p-53;
}

double chance_exponential(struct chance *chance)
{
	return -log1p(-chance_uniform(chance));
}

double chance_lognormal(struct chance *chance, double sigma)
{
	double radius = sqrt(2 * chance_exponential(chance)); /* Box and Muller */
	double normal = radius * cos(2 * M_PI * chance_uniform(chance));

	return exp(sigma * normal - sigma * sigma / 2);
}

uint32_t chance_below(struct chance *chance, uint32_t count)
{
	return (uint32_t)((next(chance) >> 32) * count >> 32);
}
