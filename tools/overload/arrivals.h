/* SPDX-License-Identifier: GPL-2.0-only */
/* When requests are due, and whose they are: a schedule that knows nothing of how earlier ones fared. Pure. */
#pragma once

#include <stdint.h>

struct arrivals {
	double rate;     /* requests a second of all users together, while they send */
	double wave_hz;  /* they send in the first half of each period alone; 0: always */
	uint32_t users;  /* > 0 */
	uint64_t random; /* not 0 */
	double busy_s;   /* the time that has been spent sending, up to the last request */
};

struct arrival {
	double due_s; /* after the start */
	uint32_t user;
};

/* The next request of a Poisson process, from a user drawn at random: what many independent people are together. */
struct arrival arrivals_next(struct arrivals *arrivals);
