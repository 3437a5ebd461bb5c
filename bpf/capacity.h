/* SPDX-License-Identifier: GPL-2.0-only */
/* The capacity step: is the service as a whole over what it can take? One GCRA a service (ITU-T I.371) over all that it
 * admits. Who goes first is decided by how far each packet may find its theoretical arrival time (TAT) ahead: the
 * lowest rank half a step, each rank above it half a step more. While lower ranks fill the capacity up to theirs, a
 * higher one finds room above it, as long as it does not fill the capacity by itself. Where the capacity moves, a burst
 * that was seen to go well may come on top of that, of any rank.
 *
 * From the highest rank down, a step apart: class, then tenured before newcomers, then packets of established
 * connections before TCP SYNs. Datagrams, which have no connections, are of the lower of those two: what more they may
 * find ahead is a queue. Half a step apart among equals of those: who is within its share goes before who uses all of
 * it, and before who is not known yet; until levels have followed a capacity that fell, it is not for the former to
 * pay.
 */
#pragma once

#include "abi.h"
#include "compiler.h"
#include "features.h"

#define CLOCK_APART_NS (1ULL << 30) /* further apart no two CPUs read the clock */
#define CAPACITY_TRIES 8            /* compare-and-swap */

/* In halves of a step. */
#define RANK_WITHIN          1
#define RANK_ESTABLISHED     2
#define RANK_TENURED         4
#define RANK_OF_CLASS(class) ((class) * 8)
#define RANKS                RANK_OF_CLASS(CLASSES)

/* A service's capacity as one packet meets it. */
struct capacity {
	__u64 cost_ns;  /* of this packet */
	__u64 step_ns;  /* two ranks; 0: there is no capacity */
	__u64 burst_ns; /* what all of them may */
};

/* What a level's word says while somebody stands by it; else what is configured. */
static __always_inline __u64 level_increment(__u64 word, __u32 relax_after, __u64 configured, __u64 now)
{
	__u64 age = ((now >> SECOND_SHIFT) - word) & LEVEL_TIME_MASK, increment = word >> LEVEL_TIME_BITS;

	return increment && age <= relax_after ? increment : configured;
}

/* The step of a capacity in packets as it is configured; CAPACITY_STEP_NONE_NS at least where none is. */
static __always_inline __u64 capacity_step_fixed(const struct policy *policy)
{
	return policy->capacity_tick_ns + CAPACITY_STEP_PACKETS * policy->capacity_increment;
}

/* The capacity of the policy's service, where it has one now: else `*capacity` stays as it is. Its words lie beside the
 * time that is charged: they cost no cache line more. `connects`: the packet is a TCP SYN, which may count for what its
 * connection brings. */
static __always_inline void capacity_now(const struct capacity_state *state, const struct policy *policy,
                                         __u32 relax_after, __u32 bytes, bool connects, __u64 now,
                                         struct capacity *capacity)
{
	__u64 increment = policy->capacity_increment, burst_ns = 0;
	__u32 cost = 0;

	if (FEATURE(FEATURE_LEVELS) && policy->flags & POLICY_MOVES) {
		increment = level_increment(*(const volatile __u64 *)&state->word, relax_after, increment, now);
		burst_ns = *(const volatile __u64 *)&state->burst_ns;
		/* What is configured is the most there may be, of whatever packets. */
		if (increment != policy->capacity_increment)
			cost = *(const volatile __u32 *)&state->costs[connects];
	}
	if (!increment)
		return;
	capacity->burst_ns = burst_ns;
	if (FEATURE(FEATURE_LEVELS) && policy->flags & POLICY_BYTES) {
		capacity->cost_ns = bytes * increment >> BYTE_SHIFT;
		capacity->step_ns = policy->capacity_tick_ns + (CAPACITY_STEP_BYTES * increment >> BYTE_SHIFT);
		return;
	}
	__u64 cost_ns = cost ? increment * cost >> COST_SHIFT : increment;
	capacity->cost_ns = cost_ns;
	/* As many SYNs as others may come at once. */
	capacity->step_ns = policy->capacity_tick_ns + CAPACITY_STEP_PACKETS * (connects ? cost_ns : increment);
}

/* How far ahead a packet of that rank may find the service's time. */
static __always_inline __u64 rank_ahead(__u32 rank, const struct capacity *capacity)
{
	return (rank + 1) * capacity->step_ns / 2 + capacity->burst_ns;
}

/* The part of a user's rank that it has by leaving half of its burst unused; who owes nothing in any case does. */
static __always_inline __u32 rank_within(__u64 ahead_ns, __u64 tolerance_ns, __u64 increment_ns)
{
	return !increment_ns || ahead_ns <= tolerance_ns / 2 ? RANK_WITHIN : 0;
}

/* How far a time runs ahead of now; 0 where it has passed, and where no rank could have brought it there with this
 * capacity: a debt from a smaller one is forgiven, unless it may be the charge of a CPU whose clock is later. */
static __always_inline __u64 capacity_ahead(__u64 tat_ns, const struct capacity *capacity, __u64 now)
{
	__s64 ahead = tat_ns - now;
	__s64 furthest = rank_ahead(RANKS, capacity) + capacity->cost_ns + CLOCK_APART_NS;

	return ahead > 0 && ahead <= furthest ? ahead : 0;
}

/* Whether there is room for any rank: then nobody's needs to be known. */
static __always_inline bool capacity_free(const struct capacity_state *state, const struct capacity *capacity,
                                          __u64 now)
{
	__s64 ahead = *(const volatile __u64 *)&state->tat_ns - now;

	return ahead <= (__s64)rank_ahead(0, capacity);
}

/* Whether a packet of that rank finds no room. Charges nothing. */
static __always_inline bool capacity_over(const struct capacity_state *state, const struct capacity *capacity,
                                          __u32 rank, __u64 now)
{
	__u64 tat_ns = *(const volatile __u64 *)&state->tat_ns;

	return capacity_ahead(tat_ns, capacity, now) > rank_ahead(rank, capacity);
}

/* Whether a newcomer without room is to be known all the same: one a jiffy. Else, where all are newcomers, nobody could
 * tell a crowd that asks again and again from forged sources. Two CPUs may name one each. */
static __always_inline bool capacity_names(struct capacity_state *state, __u64 now)
{
	if (*(const volatile __u64 *)&state->named_ns == now)
		return false;
	*(volatile __u64 *)&state->named_ns = now;
	return true;
}

/* Charges what is admitted. */
static __always_inline void capacity_charge(struct capacity_state *state, const struct capacity *capacity,
                                            __u64 cost_ns, __u64 now)
{
	for (int try = 0; try < CAPACITY_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)&state->tat_ns;
		__u64 next = now + capacity_ahead(seen, capacity, now) + cost_ns;
		if (__sync_val_compare_and_swap(&state->tat_ns, seen, next) == seen)
			return;
	}
	__sync_fetch_and_add(&state->tat_ns, cost_ns); /* contended: it is ahead of now */
}

/* Charges what a CPU owes, by what the capacity is now. A function of its own: it is too rare for its terms to be kept
 * at hand, and its tries are many. */
__noinline int capacity_settle(struct capacity_state *state, const struct policy *policy, __u32 relax_after,
                               __u64 owed_ns, __u64 now)
{
	struct capacity capacity = {};

	if (!state || !policy)
		return 0;
	capacity_now(state, policy, relax_after, 0, false, now, &capacity);
	capacity_charge(state, &capacity, owed_ns, now);
	return 0;
}

/* What one CPU may owe. */
static __always_inline __u64 capacity_may_owe(const struct capacity *capacity)
{
	return capacity->step_ns >> CAPACITY_OWED_SHIFT;
}

/* Charges a packet that is admitted, or has this CPU owe it: a locked instruction on a line that all CPUs want is then
 * for many packets. What is owed is charged with a later packet, and all CPUs together let through no more by it, once,
 * than their parts of a step; a capacity of few packets a second is charged at once. */
static __always_inline void capacity_owe(struct capacity_state *state, const struct capacity *capacity, __u64 *owed_ns,
                                         __u64 now)
{
	__u64 owed = *owed_ns + capacity->cost_ns;
	bool due = owed >= capacity_may_owe(capacity);

	*owed_ns = due ? 0 : owed;
	if (due)
		capacity_charge(state, capacity, owed, now);
}
