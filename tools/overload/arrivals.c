/* SPDX-License-Identifier: GPL-2.0-only */
#include "overload/arrivals.h"

#include <math.h>

/* xorshift64* (Vigna, 2016): uniform in (0, 1]. */
static double draw(struct arrivals *arrivals)
{
	arrivals->random ^= arrivals->random >> 12;
	arrivals->random ^= arrivals->random << 25;
	arrivals->random ^= arrivals->random >> 27;
	return (double)((arrivals->random * 0x2545f4914f6cdd1dULL >> 11) + 1) / (double)(1ULL << 53);
}

/* From time spent sending to time that has passed. */
static double passed_s(double busy_s, double wave_hz)
{
	double half_s = wave_hz > 0 ? 0.5 / wave_hz : 0;

	return wave_hz > 0 ? floor(busy_s / half_s) * 2 * half_s + fmod(busy_s, half_s) : busy_s;
}

struct arrival arrivals_next(struct arrivals *arrivals)
{
	arrivals->busy_s -= log(draw(arrivals)) / arrivals->rate;
	uint32_t user = (uint32_t)(draw(arrivals) * arrivals->users) % arrivals->users;

	return (struct arrival){.due_s = passed_s(arrivals->busy_s, arrivals->wave_hz), .user = user};
}
