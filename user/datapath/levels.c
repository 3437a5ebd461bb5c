/* SPDX-License-Identifier: GPL-2.0-only */
/* What moves without an apply: levels and capacities, each in a word that ends by itself (abi.h: LEVEL_WORD). */
#include <math.h>

#include "datapath/image.h"
#include "datapath/internal.h"

#define NS_PER_SECOND 1e9
#define BURST_MOST_S  10.0
#define COST_MOST     4096.0 /* packets */

static __u64 word_of(const struct policy *policy, double per_second, __u64 now_ns)
{
	__u64 increment = 0;

	if (isfinite(per_second) && per_second > 0)
		increment =
			policy->flags & POLICY_BYTES ? policy_byte_increment(per_second) : policy_increment(per_second);
	return LEVEL_WORD(increment, now_ns >> SECOND_SHIFT);
}

/* The increment that counts now, as level_increment() in bpf/capacity.h has it. */
static __u64 increment_now(const struct datapath *dp, __u64 word, __u64 configured, __u64 now_ns)
{
	__u64 age = ((now_ns >> SECOND_SHIFT) - word) & LEVEL_TIME_MASK, increment = word >> LEVEL_TIME_BITS;

	return increment && age <= dp->state->live.relax_after ? increment : configured;
}

int datapath_set_level(struct datapath *dp, unsigned service, double per_second, struct error *err)
{
	__u64 now_ns = 0;

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	__atomic_store_n(&dp->state->levels[service],
	                 word_of(&datapath_policies(dp)->policies[service], per_second, now_ns), __ATOMIC_RELAXED);
	return 0;
}

/* What is owed stays as many packets: at a larger capacity they take less time. If it were forgiven instead, a capacity
 * that rises a little each tick would let in a burst each time. */
static void debt_rescale(__u64 *tat_ns, __u64 now_ns, double times)
{
	__u64 seen = __atomic_load_n(tat_ns, __ATOMIC_RELAXED);

	if (seen > now_ns)
		__sync_val_compare_and_swap(tat_ns, seen, now_ns + (__u64)((double)(seen - now_ns) * times));
}

/* The time that a burst takes at that pace; bounded, so that at a crawl it is no licence for minutes. */
static __u64 burst_of(double burst, double per_second)
{
	double seconds = isfinite(per_second) && per_second > 0 ? burst / per_second : 0;

	return (__u64)(fmin(seconds, BURST_MOST_S) * NS_PER_SECOND);
}

static __u32 cost_of(double packets)
{
	return (__u32)lround(fmin(packets, COST_MOST) * (1 << COST_SHIFT));
}

int datapath_set_capacity(struct datapath *dp, unsigned service, const struct datapath_capacity *capacity,
                          struct error *err)
{
	const struct policy *policy = &datapath_policies(dp)->policies[service];
	struct capacity_state *state = &dp->state->capacities[service];
	__u64 now_ns = 0;

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	__u64 word = word_of(policy, capacity->per_second, now_ns), increment = word >> LEVEL_TIME_BITS;
	__u64 before = state->word >> LEVEL_TIME_BITS;
	__atomic_store_n(&state->word, word, __ATOMIC_RELAXED);
	__atomic_store_n(&state->burst_ns, burst_of(capacity->burst, capacity->per_second), __ATOMIC_RELAXED);
	__atomic_store_n(&state->costs[false], cost_of(capacity->packet_cost), __ATOMIC_RELAXED);
	__atomic_store_n(&state->costs[true], cost_of(capacity->connect_cost), __ATOMIC_RELAXED);
	if (increment < before)
		debt_rescale(&state->tat_ns, now_ns, (double)increment / (double)before);
	return 0;
}

uint64_t datapath_connects(const struct datapath *dp, unsigned service)
{
	return __atomic_load_n(&dp->state->capacities[service].connects, __ATOMIC_RELAXED);
}

static double packets_of(__u64 increment)
{
	return increment ? NS_PER_SECOND / (double)increment : 0;
}

static double bytes_of(__u64 increment)
{
	return increment ? NS_PER_SECOND * (1 << BYTE_SHIFT) / (double)increment : 0;
}

int datapath_paces(struct datapath *dp, unsigned service, struct datapath_paces *out, struct error *err)
{
	const struct policy *policy = &datapath_policies(dp)->policies[service];
	bool bytes = policy->flags & POLICY_BYTES;
	__u64 packet = policy->increment_ns, byte = policy->byte_increment, capacity = policy->capacity_increment;
	__u64 *level = bytes ? &byte : &packet, now_ns = 0;

	int failure = policy->flags & (POLICY_LEVEL | POLICY_MOVES) ? datapath_clock(dp, &now_ns, err) : 0;
	if (failure)
		return failure;
	if (policy->flags & POLICY_LEVEL)
		*level = increment_now(dp, dp->state->levels[service], *level, now_ns);
	if (policy->flags & POLICY_MOVES)
		capacity = increment_now(dp, dp->state->capacities[service].word, capacity, now_ns);
	*out = (struct datapath_paces){.level_packets = packets_of(packet),
	                               .level_bytes = bytes_of(byte),
	                               .capacity_packets = bytes ? 0 : packets_of(capacity),
	                               .capacity_bytes = bytes ? bytes_of(capacity) : 0};
	return 0;
}
