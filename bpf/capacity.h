/* SPDX-License-Identifier: GPL-2.0-only */
/* The capacity step: is the service as a whole over what it can take? One GCRA a service (ITU-T I.371) over all that it
 * admits. Who goes first is decided by how far each packet may find its theoretical arrival time (TAT) ahead: the
 * lowest rank one step, each rank above it one more. While lower ranks fill the capacity up to their step, a higher one
 * finds room above it, as long as it does not fill the capacity by itself.
 *
 * From the highest rank down: class, then tenured before newcomers, then packets of established connections before TCP
 * SYNs (a datagram is established). */
#pragma once

#include "abi.h"
#include "compiler.h"

#define CLOCK_APART_NS       (1ULL << 30) /* further apart no two CPUs read the clock */
#define CAPACITY_TRIES       8            /* compare-and-swap */
#define RANK_ESTABLISHED     1
#define RANK_TENURED         2
#define RANK_OF_CLASS(class) ((class) * 4)
#define RANKS                RANK_OF_CLASS(CLASSES)

/* How far a time runs ahead of now; 0 where it has passed, and where no rank could have brought it there under this
 * policy: a debt from a smaller capacity is forgiven, unless it may be the charge of a CPU whose clock is later. */
static __always_inline __u64 capacity_ahead(__u64 tat_ns, const struct policy *policy, __u64 now)
{
	__s64 ahead = tat_ns - now;
	__s64 furthest = RANKS * policy->capacity_step_ns + policy->capacity_increment_ns + CLOCK_APART_NS;

	return ahead > 0 && ahead <= furthest ? ahead : 0;
}

/* Whether a packet of that rank finds no room. Charges nothing. */
static __always_inline bool capacity_over(const struct capacity_state *capacity, const struct policy *policy,
                                          __u32 rank, __u64 now)
{
	__u64 tat_ns = *(const volatile __u64 *)&capacity->tat_ns;

	return capacity_ahead(tat_ns, policy, now) > (rank + 1) * policy->capacity_step_ns;
}

/* Charges a packet that is admitted. */
static __always_inline void capacity_charge(struct capacity_state *capacity, const struct policy *policy, __u64 now)
{
	for (int try = 0; try < CAPACITY_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)&capacity->tat_ns;
		__u64 next = now + capacity_ahead(seen, policy, now) + policy->capacity_increment_ns;
		if (__sync_val_compare_and_swap(&capacity->tat_ns, seen, next) == seen)
			return;
	}
	__sync_fetch_and_add(&capacity->tat_ns, policy->capacity_increment_ns); /* contended: it is ahead of now */
}
