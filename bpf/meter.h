/* SPDX-License-Identifier: GPL-2.0-only */
/* The meter step: is this user over its limit? A set-associative table of GCRA cells (ITU-T I.371 Annex A: virtual
 * scheduling), one cache line and two locked instructions for a user within its limit.
 *
 *  - A user's state is one word, its theoretical arrival time (TAT) under 16 bits of its hash, changed by
 * compare-and-swap alone: two CPUs on one user stay exact.
 *  - A cell whose TAT has passed says nothing that an empty one does not. So a newcomer takes the cell whose TAT passed
 *    longest ago, and no verdict on anybody changes by that.
 *  - Where all cells of a set are running, newcomers share the set's overflow time: metered all the same.
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

#define METER_TRIES  8            /* compare-and-swap; two CPUs need two */
#define METER_CLAIMS 3            /* searches for a cell, when others take what was found */
#define HORIZON_NS   (1ULL << 40) /* TATs lie at most so far ahead: 18 minutes; what seems further is long past */
#define CELL_NONE    SET_CELLS
#define COUNT_CARRY  (1ULL << (COUNT_PACKETS_BITS - 1) | 1ULL << (COUNT_BYTES_SHIFT + COUNT_BYTES_BITS - 1))

/* 1 where the cell bears the tag, else 0. */
static __always_inline __u64 tag_matches(__u64 cell, __u64 tag)
{
	__u64 difference = (cell ^ tag) >> TIME_BITS;
	OPAQUE(difference);
	return (difference - 1) >> 63;
}

/* The cell that bears the user's tag in `times`, or CELL_NONE. Where two do, the result may be either or a third: the
 * caller looks at `counts` before it believes. */
static __always_inline __u32 cell_guess(const struct meter_set *set, __u64 tag)
{
	__u64 m0 = tag_matches(set->times[0], tag);
	__u64 m1 = tag_matches(set->times[1], tag);
	__u64 m2 = tag_matches(set->times[2], tag);
	__u64 m3 = tag_matches(set->times[3], tag);

	__u64 none = 1 - (m0 | m1 | m2 | m3);
	return (m1 | m2 << 1 | m3 * 3 | none << 2) & 7;
}

static __always_inline bool cell_is_users(const struct meter_set *set, __u32 cell, const struct user *user)
{
	return (set->times[cell] ^ user->tag) >> TIME_BITS == 0 &&
	       (set->counts[cell] ^ user->count_tag) >> COUNT_TAG_SHIFT == 0;
}

static __always_inline __u32 cell_find(const struct meter_set *set, const struct user *user)
{
	__u32 guess = cell_guess(set, user->tag);

	if (guess == CELL_NONE)
		return CELL_NONE;
	if (guess < SET_CELLS && (set->counts[guess] ^ user->count_tag) >> COUNT_TAG_SHIFT == 0)
		return guess;
	for (__u32 cell = 0; cell < SET_CELLS; cell++) /* one packet in thousands */
		if (cell_is_users(set, cell, user))
			return cell;
	return CELL_NONE;
}

/* How long ago a cell's TAT passed, plus the horizon: at least HORIZON_NS where it has. The cell's number is in the two
 * lowest bits, so that the oldest of several names itself. */
static __always_inline __u64 cell_age(const struct meter_set *set, __u32 cell, __u64 now)
{
	return ((now + HORIZON_NS - set->times[cell]) << (64 - TIME_BITS) >> 3) | cell;
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

	return oldest >= HORIZON_NS << (64 - TIME_BITS) >> 3 ? oldest & (SET_CELLS - 1) : CELL_NONE;
}

enum charge {
	CHARGE_PASSED,
	CHARGE_OVER,
	CHARGE_LOST, /* the cell is no longer the user's */
};

/* GCRA on one word: over where TAT runs further ahead of now than the tolerance, else TAT moves on by the increment.
 * Times are compared modulo 2^48 ns, three days. */
static __always_inline enum charge cell_charge(__u64 *cell, __u64 tag, const struct policy *policy, __u64 now)
{
	__u64 seen = *(volatile __u64 *)cell;

	for (int try = 0; try < METER_TRIES; try++) {
		if ((seen ^ tag) >> TIME_BITS)
			return CHARGE_LOST;

		__s64 ahead = (__s64)((seen - now) << (64 - TIME_BITS)) >> (64 - TIME_BITS);
		ahead &= ~(ahead >> 63);
		if (ahead > (__s64)policy->tolerance_ns) {
			if (ahead <= (__s64)(policy->tolerance_ns + policy->increment_ns))
				return CHARGE_OVER;
			/* Not to be reached under this policy: a debt from a tighter one. It is forgiven down to the
			 * burst. */
			ahead = policy->tolerance_ns;
		}

		__u64 next = tag | ((now + ahead + policy->increment_ns) & TIME_MASK);
		__u64 found = __sync_val_compare_and_swap(cell, seen, next);
		if (found == seen)
			return CHARGE_PASSED;
		seen = found;
	}
	/* So many CPUs charge this user within nanoseconds that its TAT is fresh: moving it on unseen is as good. */
	__sync_fetch_and_add(cell, policy->increment_ns);
	return CHARGE_PASSED;
}

static __always_inline struct set_details *meter_details_of(__u32 set_index)
{
	return bpf_map_lookup_elem(&meter_details, &set_index);
}

/* Moves what the cell's narrow counts hold over to the wide ones, before they overflow: once in half a million packets.
 */
static __noinline int cell_carry(struct meter_set *set, __u32 set_index, __u32 cell)
{
	struct set_details *details = meter_details_of(set_index);
	if (!details || !set || cell >= SET_CELLS)
		return 0;

	__u64 counts = *(volatile __u64 *)&set->counts[cell];
	__u64 emptied = counts >> COUNT_TAG_SHIFT << COUNT_TAG_SHIFT;
	if (__sync_val_compare_and_swap(&set->counts[cell], counts, emptied) != counts)
		return 0; /* somebody counts: the next packet tries again, there is as much room again */
	__sync_fetch_and_add(&details->users[cell].carried_packets, counts & COUNT_PACKETS_MASK);
	__sync_fetch_and_add(&details->users[cell].carried_bytes, counts >> COUNT_BYTES_SHIFT & COUNT_BYTES_MASK);
	return 0;
}

static __always_inline void cell_count(struct meter_set *set, __u32 set_index, __u32 cell, __u32 bytes)
{
	__u64 one = 1 | (__u64)bytes << COUNT_BYTES_SHIFT;

	if ((__sync_fetch_and_add(&set->counts[cell], one) + one) & COUNT_CARRY)
		cell_carry(set, set_index, cell);
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

/* Makes a cell the user's, charged with its first packet. False where somebody else was faster. */
static __always_inline bool cell_claim(struct meter_set *set, __u32 set_index, __u32 cell, const struct policy *policy,
                                       const struct packet *packet, const struct user *user, __u64 now)
{
	__u64 seen = set->times[cell];
	__u64 next = user->tag | ((now + policy->increment_ns) & TIME_MASK);

	if (__sync_val_compare_and_swap(&set->times[cell], seen, next) != seen)
		return false;
	set->counts[cell] = user->count_tag | (__u64)packet->bytes << COUNT_BYTES_SHIFT | 1;

	struct set_details *details = meter_details_of(set_index);
	if (details)
		details->users[cell] = (struct user_detail){
			.key = {user->key[0], user->key[1]},
			.first_seen_s = clock_s(),
			.service = policy->service,
			.flags = packet->ipv6 ? DETAIL_IPV6 : 0,
		};
	return true;
}

static __always_inline enum charge overflow_charge(__u32 set_index, const struct policy *policy, __u64 now)
{
	struct set_details *details = meter_details_of(set_index);
	if (!details)
		return CHARGE_PASSED;

	__sync_fetch_and_add(&details->overflow_packets, 1);
	return cell_charge(&details->overflow_time, details->overflow_time & ~TIME_MASK, policy, now);
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
	for (int claim = 0; claim < METER_CLAIMS; claim++) {
		__u32 cell = cell_find(set, user);
		if (cell < SET_CELLS) {
			enum charge charge = cell_charge(&set->times[cell], user->tag, policy, now);
			if (charge == CHARGE_PASSED)
				cell_count(set, index, cell, packet->bytes);
			else if (charge == CHARGE_OVER)
				cell_count_over(index, cell, policy);
			if (charge != CHARGE_LOST)
				return charge == CHARGE_OVER;
			continue;
		}
		cell = cell_victim(set, now);
		if (cell >= SET_CELLS)
			break;
		if (cell_claim(set, index, cell, policy, packet, user, now))
			return false;
	}
	return overflow_charge(index, policy, now) == CHARGE_OVER;
}
