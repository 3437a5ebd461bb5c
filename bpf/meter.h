/* SPDX-License-Identifier: GPL-2.0-only */
/* The meter step: is this user over its limit? A set-associative table of GCRA cells (ITU-T I.371 Annex A: virtual
 * scheduling), one cache line and one locked instruction for a user within its limit.
 *
 *  - A user's state is one word, its theoretical arrival time (TAT) above its packet count, changed by compare-and-swap
 *    alone: two CPUs on one user stay exact.
 *  - A cell whose TAT has passed says nothing that an empty one does not. So a newcomer takes the cell whose TAT passed
 *    longest ago, and no verdict on anybody changes by that.
 *  - Where all cells of a set are running, newcomers share the set's overflow state: metered all the same.
 *
 * Searching a set takes no branch on what is in it: with many users any such branch is a coin toss, and a lost toss
 * costs as much as the whole search. */
#pragma once

#include "abi.h"
#include "clock.h"
#include "compiler.h"
#include "user.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the daemon sizes it */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct meter_set);
} meter_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the same */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct set_details);
} meter_details SEC(".maps");

#define METER_TRIES     8            /* compare-and-swap; two CPUs need two */
#define METER_CLAIMS    3            /* searches for a cell, when others take what was found */
#define HORIZON_NS      (1ULL << 40) /* TATs lie at most so far ahead: 18 minutes; what seems further is long past */
#define CELL_NONE       SET_CELLS
#define CARRY_AT        (1ULL << (STATE_PACKETS_BITS - 1)) /* packets in a cell, and two: then CARRIED leave it */
#define CARRIED         (CARRY_AT / 2)
#define CELL_INDEX_MASK (SET_CELLS - 1ULL)

static __always_inline __u64 state_of(__u64 tat_ns)
{
	return tat_ns << STATE_PACKETS_BITS;
}

/* 1 where the tags are the same, else 0. */
static __always_inline __u64 tag_matches(__u32 tag, __u32 other)
{
	__u64 difference = tag ^ other;
	OPAQUE(difference);
	return (difference - 1) >> 63;
}

/* The cell that bears the user's tag, or CELL_NONE. */
static __always_inline __u32 cell_find(const struct meter_set *set, __u32 tag)
{
	__u64 m0 = tag_matches(set->tags[0], tag);
	__u64 m1 = tag_matches(set->tags[1], tag);
	__u64 m2 = tag_matches(set->tags[2], tag);
	__u64 m3 = tag_matches(set->tags[3], tag);

	/* Should two bear it (they were claimed at once), the sum still names a cell of the set. */
	__u64 none = (m0 | m1 | m2 | m3) ^ 1;
	return (none << 2) | ((m1 + 2 * m2 + 3 * m3) & CELL_INDEX_MASK);
}

/* How long ago a cell's TAT passed, plus the horizon, in the upper bits; the cell's number in the two lowest, so that
 * the oldest of several names itself. */
static __always_inline __u64 cell_age(const struct meter_set *set, __u32 cell, __u64 now)
{
	return ((state_of(now + HORIZON_NS) - set->states[cell]) >> 2 & ~CELL_INDEX_MASK) | cell;
}

static __always_inline __u64 older(__u64 a, __u64 b)
{
	__u64 sign = (__s64)(a - b) >> 63;
	OPAQUE(sign);
	return a - ((a - b) & sign);
}

/* The cell that a newcomer may take: its TAT passed, longest ago. CELL_NONE where all are running. */
static __always_inline __u32 cell_victim(const struct meter_set *set, __u64 now)
{
	__u64 oldest = older(older(cell_age(set, 0, now), cell_age(set, 1, now)),
	                     older(cell_age(set, 2, now), cell_age(set, 3, now)));

	return oldest >= state_of(HORIZON_NS) >> 2 ? oldest & CELL_INDEX_MASK : CELL_NONE;
}

/* How far a state's TAT runs ahead of now; 0 where it has passed. Times are compared modulo 2^44 ns, five hours. */
static __always_inline __u64 state_ahead(__u64 state, __u64 now)
{
	__s64 ahead = (__s64)(state - state_of(now)) >> STATE_PACKETS_BITS;
	__s64 passed = ahead >> 63;

	OPAQUE(passed);
	return ahead & ~passed;
}

/* The state after one more packet. */
static __always_inline __u64 state_next(__u64 state, __u64 ahead, const struct policy *policy, __u64 now)
{
	return state_of(now + ahead + policy->increment_ns) | ((state + 1) & STATE_PACKETS_MASK);
}

static __always_inline bool state_swap(__u64 *state, __u64 seen, __u64 next)
{
	return __sync_val_compare_and_swap(state, seen, next) == seen;
}

enum charge {
	CHARGE_PASSED,
	CHARGE_OVER,
	CHARGE_LOST, /* the cell is no longer the user's */
};

/* GCRA on one word: over where TAT runs further ahead of now than the tolerance, else TAT moves on by the increment and
 * the packet is counted. `*next` is the state then. `tag` is looked at again only where somebody else has changed the
 * word. */
static __always_inline enum charge state_charge(__u64 *state, const __u32 *tag, __u32 expected,
                                                const struct policy *policy, __u64 now, __u64 *next)
{
	for (int try = 0; try < METER_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)state, ahead = state_ahead(seen, now);

		if (ahead > policy->tolerance_ns) {
			if (ahead <= policy->tolerance_ns + policy->increment_ns)
				return CHARGE_OVER;
			/* Not to be reached under this policy: a debt from a tighter one. It is forgiven down to the
			 * burst. */
			ahead = policy->tolerance_ns;
		}
		*next = state_next(seen, ahead, policy, now);
		if (state_swap(state, seen, *next))
			return CHARGE_PASSED;
		if (*(const volatile __u32 *)tag != expected)
			return CHARGE_LOST;
	}
	/* So many CPUs charge this user within nanoseconds that its TAT is fresh: moving it on unseen is as good. */
	*next = __sync_fetch_and_add(state, state_of(policy->increment_ns) + 1) + 1;
	return CHARGE_PASSED;
}

static __always_inline struct set_details *meter_details_of(__u32 set_index)
{
	return bpf_map_lookup_elem(&meter_details, &set_index);
}

/* What the functions beside the fast path need to know of a packet; gathered only for them. */
struct metered {
	__u64 key[2];
	__u64 now_ns;
	__u32 set_index;
	__u32 tag;
	__u32 bytes;
	__u32 ipv6;
};

#define METERED(packet, user, index, now)         \
	{.key = {(user)->key[0], (user)->key[1]}, \
	 .now_ns = now,                           \
	 .set_index = index,                      \
	 .tag = (user)->tag,                      \
	 .bytes = (packet)->bytes,                \
	 .ipv6 = (packet)->ipv6}

/* Writes down who a cell's user is, on its second packet; later moves half of what the cell's narrow counts hold over
 * to the wide ones, before they overflow. */
static __noinline int cell_note(struct meter_set *set, __u32 cell, const struct policy *policy,
                                const struct metered *metered, __u64 packets)
{
	struct set_details *details = meter_details_of(metered->set_index);
	if (!details || cell >= SET_CELLS)
		return 0;

	struct user_detail *user = &details->users[cell];
	if (packets < CARRY_AT) {
		*user = (struct user_detail){
			.key = {metered->key[0], metered->key[1]},
			.first_seen = metered->now_ns >> SECOND_SHIFT,
			.service = policy->service,
			.flags = metered->ipv6 ? DETAIL_IPV6 : 0,
		};
		return 0;
	}
	__sync_fetch_and_sub(&set->states[cell], CARRIED);
	__sync_fetch_and_add(&user->carried_packets, CARRIED);
	__u32 bytes = __sync_lock_test_and_set(&set->bytes[cell], 0);
	__sync_fetch_and_add(&user->carried_bytes, bytes);
	return 0;
}

/* Whether a packet that was counted as a cell's `packets`-th is one to take note at: the second, and the second past
 * the carry. */
static __always_inline bool cell_notable(__u64 packets)
{
	return (packets & (CARRY_AT - 1)) == 2;
}

static __always_inline void cell_count_over(__u32 set_index, __u32 cell, const struct policy *policy)
{
	struct set_details *details = meter_details_of(set_index);
	if (!details)
		return;

	if (policy->flags & POLICY_OBSERVE)
		__sync_fetch_and_add(&details->users[cell].shadow_packets, 1);
	else
		__sync_fetch_and_add(&details->users[cell].spilled_packets, 1);
}

/* Makes a cell the user's, charged with its first packet. False where somebody else was faster. A packet of the cell's
 * old user that is charged on another CPU at this very moment is forgotten: one, and by a user that was idle. */
static __always_inline bool cell_claim(struct meter_set *set, __u32 cell, const struct policy *policy,
                                       const struct metered *metered)
{
	__u32 before = set->tags[cell];

	if (__sync_val_compare_and_swap(&set->tags[cell], before, metered->tag) != before)
		return false;
	*(volatile __u64 *)&set->states[cell] = state_of(metered->now_ns + policy->increment_ns) | 1;
	set->bytes[cell] = metered->bytes;
	return true;
}

static __always_inline enum charge cell_charge(struct meter_set *set, __u32 cell, const struct policy *policy,
                                               const struct metered *metered)
{
	__u64 next = 0;
	enum charge charge =
		state_charge(&set->states[cell], &set->tags[cell], metered->tag, policy, metered->now_ns, &next);

	if (charge == CHARGE_OVER)
		cell_count_over(metered->set_index, cell, policy);
	if (charge != CHARGE_PASSED)
		return charge;
	set->bytes[cell] += metered->bytes;
	if (cell_notable(next & STATE_PACKETS_MASK))
		cell_note(set, cell, policy, metered, next & STATE_PACKETS_MASK);
	return charge;
}

static __always_inline bool overflow_over(const struct policy *policy, const struct metered *metered)
{
	static const __u32 nobody;
	struct set_details *details = meter_details_of(metered->set_index);
	__u64 next;
	if (!details)
		return false;

	__sync_fetch_and_add(&details->overflow_packets, 1);
	return state_charge(&details->overflow_state, &nobody, 0, policy, metered->now_ns, &next) == CHARGE_OVER;
}

/* The same as meter_over() for whoever is not simply within its limit: newcomers, users over it, and those whose word
 * another CPU changed at the same time. */
static __noinline int meter_over_slowly(struct meter_set *set, const struct policy *policy,
                                        const struct metered *metered)
{
	for (int claim = 0; claim < METER_CLAIMS; claim++) {
		__u32 cell = cell_find(set, metered->tag);
		if (cell < SET_CELLS) {
			enum charge charge = cell_charge(set, cell, policy, metered);
			if (charge != CHARGE_LOST)
				return charge == CHARGE_OVER;
			continue;
		}
		cell = cell_victim(set, metered->now_ns);
		if (cell >= SET_CELLS)
			break;
		if (cell_claim(set, cell, policy, metered))
			return false;
	}
	return overflow_over(policy, metered);
}

/* Charges one packet to its user. Returns whether the user is over its limit. */
static __always_inline bool meter_over(const struct live *live, const struct policy *policy,
                                       const struct packet *packet, const struct user *user)
{
	__u32 index = user->set & live->sets_mask;
	struct meter_set *set = bpf_map_lookup_elem(&meter_sets, &index);
	if (!set)
		return false;

	__u64 now = clock_ns();
	__u32 cell = cell_find(set, user->tag);
	if (likely(cell < SET_CELLS)) {
		__u64 seen = *(volatile __u64 *)&set->states[cell], ahead = state_ahead(seen, now);
		__u64 next = state_next(seen, ahead, policy, now);
		if (likely(ahead <= policy->tolerance_ns && state_swap(&set->states[cell], seen, next))) {
			/* Not atomic: two CPUs on one user may lose some, and verdicts do not hang on it. */
			set->bytes[cell] += packet->bytes;
			if (unlikely(cell_notable(next & STATE_PACKETS_MASK))) {
				struct metered metered = METERED(packet, user, index, now);
				cell_note(set, cell, policy, &metered, next & STATE_PACKETS_MASK);
			}
			return false;
		}
	}
	struct metered metered = METERED(packet, user, index, now);
	return meter_over_slowly(set, policy, &metered);
}
