/* SPDX-License-Identifier: GPL-2.0-only */
/* The water level: max-min fair shares with weights. Pure arithmetic over rates; whether they are packets or bytes a
 * second is the caller's, as long as they are all the same. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What one user asks for. 16 bytes: there are a million of them. */
struct demand {
	double rate;  /* offered a second, what was spilled included; what is no positive number asks for nothing */
	float weight; /* its share relative to others; what is no positive number counts as 1 */
	unsigned tenured : 1; /* has been steady for a while, and outranks newcomers in the kernel: see bpf/abi.h */
	unsigned users : 31;  /* that ask for this together, in equal parts; 0 is one */
};

/* The level L at which
 *
 *     sum over users of min(rate, weight * L) + rest = capacity
 *
 * or INFINITY where everything fits, and 0 where the rest fills the capacity by itself. Users whose rate is within
 * their weight * L lose nothing, all others keep the same L (water-filling; Bertsekas and Gallager, Data
 * Networks, 6.5.2). Exact but for rounding; takes at most six passes over the users, whatever they ask for, and
 * memory for none of them. */
double level_find(const struct demand *users, size_t count, double rest, double capacity);

/* How many users ask for more than their weight * level. */
size_t level_above(const struct demand *users, size_t count, double level);
