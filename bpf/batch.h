/* SPDX-License-Identifier: GPL-2.0-only */
/* Charging in batches. With many users a cell lies in a cache line that is in no cache, and to wait for it is most of
 * what a packet costs: nothing overtakes the locked instruction that charges it. So where many users are active
 * (LIVE_BATCHES) a packet whose user is far from its limit passes at once, and its charge waits with others of this
 * CPU. When they are settled, the lines of all are asked for before the first is waited for (group prefetching; Chen,
 * Ailamaki, Gibbons and Mowry, 2004): BATCH_CHARGES packets wait once.
 *
 *  - Verdicts stay what they are. Whoever has less than BATCH_MARGIN packets of its burst left is watched, and judged
 * by its cell as ever, after what this CPU holds of it has been settled.
 *  - Where other CPUs hold some as well, or the burst is smaller than twice the margin (then it is watched from half of
 *    its burst on), more may pass at once than is left: a batch for each CPU at the most. The user owes it.
 *  - A charge waits at the longest until its CPU takes one of a later jiffy, and then counts as of its own time. */
#pragma once

#include "abi.h"
#include "compiler.h"
#include "meter.h"

#define BATCH_CHARGES 16            /* a power of two. 8 make a packet wait twice as long, 32 as long */
#define BATCH_MARGIN  BATCH_CHARGES /* so many packets of a user may wait here */

/* How much beyond its burst a user is believed to owe: what 64 CPUs may hold of it, or a time, so that it stays well
 * below HORIZON_NS. Who may send less than a packet in BATCH_SLOWEST_NS is judged at once. */
#define BATCH_DEBT         (64ULL * BATCH_CHARGES)
#define BATCH_DEBT_MOST_NS (1ULL << 40)
#define BATCH_SLOWEST_NS   (1ULL << 32) /* 4.3 s */

/* What waits on one CPU. */
struct batch {
	__u64 now_ns; /* when it was begun */
	__u64 sets;   /* whose users are in it: a bit for each, which others share */
	__u64 count;
	struct metered charges[BATCH_CHARGES];
} CACHE_ALIGNED;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct batch);
} batches SEC(".maps");

/* Until when the users of a set are watched, and with them those of a few other sets: in units of 2^WATCH_SHIFT ns,
 * modulo 2^32, two years. */
#define WATCHES     65536
#define WATCH_SHIFT 24

struct watch {
	__u32 until[WATCHES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watch);
} watches SEC(".maps");

static __always_inline __u32 *watch_of(__u32 set)
{
	__u32 first = 0;
	struct watch *watch = bpf_map_lookup_elem(&watches, &first);

	return watch ? &watch->until[set & (WATCHES - 1)] : 0;
}

static __always_inline bool watch_is_on(const __u32 *until, __u64 now)
{
	return (__s32)(*(const volatile __u32 *)until - (__u32)(now >> WATCH_SHIFT)) > 0;
}

/* Watches a set until a time at least. Two CPUs at once may lose the later one: the next packet puts that right. */
static __always_inline void watch_until(__u32 set, __u64 time_ns)
{
	__u32 *until = watch_of(set), later = (time_ns >> WATCH_SHIFT) + 1;

	if (until && (__s32)(later - *(volatile __u32 *)until) > 0)
		*(volatile __u32 *)until = later;
}

/* Watches a user until it has its margin again, where it has not. `ahead_ns`: of its time, the charge included. */
static __always_inline void watch_if_near(const struct metered *metered, __u64 ahead_ns)
{
	__u64 margin_ns = BATCH_MARGIN * metered->increment_ns, half_ns = metered->tolerance_ns / 2;

	if (margin_ns > half_ns)
		margin_ns = half_ns;
	if (unlikely(ahead_ns + margin_ns > metered->tolerance_ns))
		watch_until(metered->user.set, metered->now_ns + ahead_ns + margin_ns - metered->tolerance_ns);
}

/* How long a set is watched in which a newcomer found no room. */
#define WATCH_CROWDED_NS IDLE_NS

/* Looks again at a user that is watched, after its packet was judged. */
__noinline int batch_watch(const struct metered *metered)
{
	if (!metered)
		return 0;
	__u32 index = metered->user.set;
	struct meter_set *set = meter_set_at(index);
	if (!set)
		return 0;
	__u64 cell = cell_find(set, metered->user.tag);
	if (cell >= SET_CELLS) {
		watch_until(index, metered->now_ns + WATCH_CROWDED_NS);
		return 0;
	}
	BOUND_CELL(cell);
	watch_if_near(metered, state_ahead(*(volatile __u64 *)&set->states[cell], metered->now_ns));
	return 0;
}

/* Charges a packet that has passed: TAT moves on, as far ahead as a user can owe. Returns the state then. */
static __always_inline __u64 state_move_on(__u64 *state, const struct metered *metered)
{
	__u64 now = metered->now_ns, increment_ns = metered->increment_ns;

	for (int try = 0; try < METER_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)state, ahead = state_ahead(seen, now);

		if (unlikely(ahead > metered->furthest_ns)) /* what seems beyond the horizon has passed hours ago */
			ahead = ahead > HORIZON_NS ? 0 : metered->furthest_ns;
		__u64 next = state_next(seen, ahead, increment_ns, now);
		if (likely(state_swap(state, seen, next)))
			return next;
	}
	return __sync_fetch_and_add(state, state_of(increment_ns) + 1) + state_of(increment_ns) + 1;
}

/* Charges a newcomer to whom its set has no room to give. */
static __always_inline void overflow_settle(const struct metered *metered)
{
	__u32 index = metered->user.set;
	struct set_overflow *overflow = bpf_map_lookup_elem(&meter_overflows, &index);

	watch_until(index, metered->now_ns + WATCH_CROWDED_NS);
	if (!overflow)
		return;
	__sync_fetch_and_add(&overflow->packets, 1);
	state_move_on(&overflow->state, metered);
}

/* Settles one charge. What was left on this CPU when LIVE_BATCHES was last taken back, longer ago than times can be
 * told apart, is forgotten. */
__noinline int charge_settle(const struct metered *metered, __u64 now)
{
	if (!metered || now - metered->now_ns > HORIZON_NS)
		return 0;
	__u32 index = metered->user.set;
	struct meter_set *set = meter_set_at(index);
	if (!set)
		return 0;

	__u64 cell = cell_find(set, metered->user.tag);
	if (unlikely(cell >= SET_CELLS)) {
		if (!FEATURE(FEATURE_GAUGES) &&
		    cell_seat(set, metered->user.tag, metered->now_ns, metered->increment_ns, metered->bytes))
			return 0;
		if (FEATURE(FEATURE_GAUGES)) {
			newcomer_name(set, bpf_map_lookup_elem(&meter_gauges, &index), metered);
			cell = cell_find(set, metered->user.tag);
		}
	}
	if (unlikely(cell >= SET_CELLS)) {
		overflow_settle(metered);
		return 0;
	}
	BOUND_CELL(cell);
	__u64 state = state_move_on(&set->states[cell], metered);
	set->cells[cell].bytes += metered->bytes;
	watch_if_near(metered, state_ahead(state, metered->now_ns));
	if (unlikely(cell_notable(state & STATE_PACKETS_MASK)))
		cell_note(set, cell, metered, state & STATE_PACKETS_MASK);
	return 0;
}

/* Settles what waits. */
__noinline int batch_settle(struct batch *batch, __u64 now)
{
	__u64 touched = 0;

	if (!batch)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH_CHARGES && i < batch->count; i++) {
		__u32 index = batch->charges[i].user.set;
		const struct meter_set *set = meter_set_at(index);
		if (set)
			touched += *(const volatile __u64 *)&set->states[0];
	}
	OPAQUE(touched);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BATCH_CHARGES && i < batch->count; i++)
		charge_settle(&batch->charges[i], now);
	batch->count = batch->sets = 0;
	batch->now_ns = now;
	return 0;
}

/* Whether charges are settled in batches now. Asked anew each time: an answer that is kept is another state of all that
 * follows, for the verifier. */
static __always_inline bool batch_is_on(void)
{
	return *(const volatile __u32 *)&state.live.active & LIVE_BATCHES;
}

/* Takes a packet's charge, unless its user is watched: whether it did, so that the packet passes. */
__noinline int batch_take(const struct metered *metered)
{
	__u32 first = 0;
	struct batch *batch = bpf_map_lookup_elem(&batches, &first);

	if (!batch || !metered)
		return false;
	const __u32 *until = watch_of(metered->user.set);
	__u64 set = 1ULL << (metered->user.set & 63);
	if (unlikely(!until || watch_is_on(until, metered->now_ns))) {
		if (batch->sets & set || batch->now_ns != metered->now_ns)
			batch_settle(batch, metered->now_ns);
		return false;
	}
	batch->sets |= set;
	batch->charges[batch->count++ & (BATCH_CHARGES - 1)] = *metered;
	if (unlikely(batch->count >= BATCH_CHARGES || batch->now_ns != metered->now_ns))
		batch_settle(batch, metered->now_ns);
	return true;
}

static __always_inline __u64 batch_debt_ns(__u64 increment_ns)
{
	__u64 most_ns = BATCH_DEBT_MOST_NS, debt_ns = BATCH_DEBT * increment_ns;

	return debt_ns + most_ns - larger(debt_ns, most_ns); /* the smaller one, without a branch, as everywhere */
}

/* Charges a packet later, where nothing needs to be known of its user now: whether it does. Else what the user may owe
 * is known to whoever judges it. */
static __always_inline bool batch_charge(struct metered *metered, struct capacity_state *capacity, bool gauged,
                                         struct service_tallies *counted)
{
	bool connects = metered->tolerance_ns < metered->furthest_ns; /* under a level */

	if (metered->increment_ns > BATCH_SLOWEST_NS)
		return false;
	metered->furthest_ns += batch_debt_ns(metered->increment_ns);
	if (gauged || connects)
		return false;
	if (capacity && (!counted || !capacity_free(capacity, &metered->capacity, metered->now_ns)))
		return false;
	if (!batch_take(metered))
		return false;
	if (capacity && counted)
		capacity_owe(capacity, &metered->capacity, &counted->owed_ns, metered->now_ns);
	return true;
}
