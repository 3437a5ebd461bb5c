/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers that are the same on each run: xorshift64* (Vigna, 2016). */
#pragma once

#include <stdint.h>

struct chance {
	uint64_t state;
};

/* 0 up to, but not, 1. */
double chance_uniform(struct chance *chance);

/* With a mean of 1. */
double chance_exponential(struct chance *chance);

/* With a mean of 1 and the standard deviation of its logarithm: 1 is about as spread as an exponential one, with a
 * longer tail. */
double chance_lognormal(struct chance *chance, double sigma);

/* 0 up to count - 1. */
uint32_t chance_below(struct chance *chance, uint32_t count);
