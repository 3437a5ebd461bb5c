/* SPDX-License-Identifier: GPL-2.0-only */
/* The meter step: is this user over its limit? A set-associative table of GCRA cells (ITU-T I.371 Annex A: virtual
 * scheduling), one cache line and one locked instruction for a user within its limit.
 *
 *  - A user's state is one word, its theoretical arrival time (TAT) above its packet count, changed by compare-and-swap
 *    alone: two CPUs on one user stay exact.
 *  - A cell whose TAT has passed says nothing that an empty one does not. So a newcomer takes the cell whose TAT passed
 *    longest ago, and no verdict on anybody changes by that. Users that have been there for some packets keep theirs
 *    through a pause.
 *  - Where all cells of a set are running, newcomers share the set's overflow state: metered all the same.
 *  - Limits in bytes and connections are gauges beside the cell: only services that have them pay for them.
 *
 * Searching a set takes no branch on what is in it: with many users any such branch is a coin toss, and a lost toss
 * costs as much as the whole search. Where few are active nearly each is in the cell that its tag says, and
 * meter_tell() asks for that first. */
#pragma once

#include "abi.h"
#include "capacity.h"
#include "clock.h"
#include "compiler.h"
#include "features.h"
#include "state.h"
#include "user.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the daemon sizes it */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct meter_set)); /* or of all of them: no type's */
} meter_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the same */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct set_details);
} meter_details SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the same */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct set_overflow);
} meter_overflows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the same */
	__type(key, __u32);
	__type(value, struct set_gauges);
} meter_gauges SEC(".maps");

/* A set of a table that is one value: the map stands for its address then (user space sees to that), and is no call.
 * `index` is from set_index(). */
static __always_inline struct meter_set *meter_set_flat(__u64 index)
{
	struct meter_set *table = (struct meter_set *)&meter_sets;

	OPAQUE(table);
	return table + index;
}

/* A set of any table: before kernel 5.19 it is an entry that is looked up. NULL: there is none, which cannot be. */
static __always_inline struct meter_set *meter_set_at(__u32 index)
{
	if (!FEATURE(FEATURE_FLAT))
		return bpf_map_lookup_elem(&meter_sets, &index);
	return meter_set_flat(set_index(index));
}

#define METER_TRIES      16           /* compare-and-swap; two CPUs used up 8 once in a million times */
#define METER_CLAIMS     3            /* searches for a cell, when others take what was found */
#define HORIZON_NS       (1ULL << 41) /* TATs lie at most so far ahead: 36 minutes; what seems further is long past */
#define IDLE_NS          (1ULL << 27) /* 134 ms */
#define CELL_NONE        SET_CELLS
#define CARRY_AT         ((STATE_PACKETS_MASK + 1) / 2) /* packets in a cell, and two: then CARRIED leave it */
#define CARRIED          (CARRY_AT / 2)
#define SETTLED_PACKETS  16           /* and two: then also a user of a crowded set is written down */
#define CROWDED_NS       (1ULL << 31) /* 2 s; see set_is_crowded() */
#define CELL_INDEX_MASK  (SET_CELLS - 1ULL)
#define CELL_FIRST_SHIFT 30 /* of a tag: what is left says a cell */

/* Bursts under a level, in packets: a level that fits fewer in the policy's time passes so many at once all the same.
 * Users who are served three requests a second ask for them at random, and whoever has one more every third of a second
 * would be served two. A SYN finds less room than the packets of connections that have begun, so that those end: where
 * any packet of any connection may be dropped nothing gets done. */
#define LEVEL_PACKETS            8ULL
#define LEVEL_PACKETS_CONNECTING 16ULL
#define LEVEL_PACKETS_CONNECTED  48ULL
#define LEVEL_BURST_MOST_NS      (1ULL << 36) /* 69 s: well below HORIZON_NS */

#define FRAME_BYTES_MOST 65536 /* of a frame in several buffers */

/* Bounds a cell's number, which is one, where the verifier sees it: an `if` alone bounds the one copy that it looks at,
 * and kernel 6.1 forgets that of the others. */
#define BOUND_CELL(cell)                   \
	({                                 \
		OPAQUE(cell);              \
		(cell) &= CELL_INDEX_MASK; \
	})

#define JUDGED_LOST (-1) /* the cell is no longer the user's */
/* Else a judgement is an outcome: OUTCOME_PASSED, or OUTCOME_SPILLED + reason. */

static __always_inline __u64 state_of(__u64 tat_ns)
{
	return tat_ns << STATE_TAT_SHIFT;
}

/* 1 where the tags are the same, else 0. */
static __always_inline __u64 tag_matches(__u32 tag, __u32 other)
{
	__u64 difference = tag ^ other;
	OPAQUE(difference);
	return (difference - 1) >> 63;
}

/* The cell that a newcomer takes where it is nobody's, by its tag: where few users are active, the one that has its
 * user. */
static __always_inline __u64 cell_first(__u32 tag)
{
	return tag >> CELL_FIRST_SHIFT;
}

/* The first of the cells that match: a nibble for each way that the four of them can, as a number of four bits. Where
 * none does it is CELL_NONE. */
#define FIRST_MATCH 0x0102010301020104ULL

/* The cell that bears the user's tag, or CELL_NONE. Should two bear it, having been claimed at once on two CPUs, it is
 * the one that the tag says, where meter_tell() looks, else the one of the lower number: the other falls idle. */
static __always_inline __u64 cell_find(const struct meter_set *set, __u32 tag)
{
	__u64 m0 = tag_matches(set->cells[0].tag, tag);
	__u64 m1 = tag_matches(set->cells[1].tag, tag);
	__u64 m2 = tag_matches(set->cells[2].tag, tag);
	__u64 m3 = tag_matches(set->cells[3].tag, tag);

	__u64 matches = m0 | m1 << 1 | m2 << 2 | m3 << 3, first = cell_first(tag);
	__u64 lowest = FIRST_MATCH >> 4 * matches & 7;
	__u64 cell = lowest ^ ((lowest ^ first) & -(matches >> first & 1));
	OPAQUE(cell); /* the bound that a caller checks is then on the register that it uses */
	return cell;
}

/* The same, by a look at the cell that the tag says first: for where few users are active. */
static __always_inline __u64 cell_of(const struct meter_set *set, __u32 tag)
{
	__u64 first = cell_first(tag);

	return likely(set->cells[first].tag == tag) ? first : cell_find(set, tag);
}

#define STATE_TENURED_BIT 19
#define TENURE_KEPT_SHIFT (TENURE_KEPT_BITS + STATE_TAT_SHIFT - STATE_TENURED_BIT)
#define KEPT_SHIFT        (KEPT_BITS + STATE_TAT_SHIFT - STATE_TENURED_BIT)

/* How long ago a cell became free, plus the horizon, in the upper bits; the cell's number in the two lowest, so that
 * the oldest of several names itself. A cell is free when all its times have passed, and the pause that a user outlasts
 * who was there before, or the silence that tenure does: one bit each, moved to where a state has that time. Else a
 * flood that keeps all cells running would take the cell of a user within its limit between two of its packets, and
 * leave it to the overflow that the flood uses up. */
static __always_inline __u64 cell_age(const struct meter_set *set, const struct set_gauges *gauges, __u64 cell,
                                      __u64 now)
{
	__u64 state = set->states[cell];
	__u64 age = (state_of(now + HORIZON_NS) | STATE_TENURED | STATE_PACKETS_MASK) - state; /* borrows no time */
	__u64 kept = ((state & STATE_PACKETS_MASK) + STATE_TENURED - KEPT_PACKETS) & STATE_TENURED;

	age -= kept << KEPT_SHIFT;
	if (FEATURE(FEATURE_CAPACITY))
		age -= (state & STATE_TENURED) << TENURE_KEPT_SHIFT;
	if (FEATURE(FEATURE_GAUGES) && gauges) {
		__u64 bytes = gauges->bytes_tat_ns[cell], connections = gauges->connections_tat_ns[cell];
		__u64 later = bytes > connections ? bytes : connections;
		if (later > now && state_of(now + HORIZON_NS - later) < age)
			age = state_of(now + HORIZON_NS - later);
	}
	return (age >> 2 & ~CELL_INDEX_MASK) | cell;
}

/* Of two numbers that are less than 2^63 apart; no branch, as everywhere here. */
static __always_inline __u64 larger(__u64 a, __u64 b)
{
	__u64 sign = (__s64)(a - b) >> 63;
	OPAQUE(sign);
	return a - ((a - b) & sign);
}

/* The cell that a newcomer may take: free, and longest so. CELL_NONE where all are running. */
static __always_inline __u64 cell_victim(const struct meter_set *set, const struct set_gauges *gauges, __u64 now)
{
	__u64 oldest = larger(larger(cell_age(set, gauges, 0, now), cell_age(set, gauges, 1, now)),
	                      larger(cell_age(set, gauges, 2, now), cell_age(set, gauges, 3, now)));

	return oldest >= state_of(HORIZON_NS) >> 2 ? oldest & CELL_INDEX_MASK : CELL_NONE;
}

/* How far a state's TAT runs ahead of now; 0 where it has passed. Times are compared modulo 2^44 ns, five hours. */
static __always_inline __u64 state_ahead(__u64 state, __u64 now)
{
	__s64 ahead = (__s64)(state - state_of(now)) >> STATE_TAT_SHIFT;
	__s64 passed = ahead >> 63;

	OPAQUE(passed);
	return ahead & ~passed;
}

/* The state after one more packet; tenure stays. */
static __always_inline __u64 state_next(__u64 state, __u64 ahead, __u64 increment_ns, __u64 now)
{
	return state_of(now + ahead + increment_ns) | ((state + 1) & (STATE_TENURED | STATE_PACKETS_MASK));
}

/* The same in fewer instructions, for who is within its limit. One subtraction in the state's own units says how late
 * its TAT is, which is less than nothing where it runs ahead. */
static __always_inline __s64 state_late(__u64 state, __u64 now)
{
	return state_of(now) - (state & STATE_TAT_MASK);
}

static __always_inline __s64 least_late(__u64 tolerance_ns)
{
	return -(__s64)state_of(tolerance_ns);
}

/* What a packet adds to a state whose TAT is not late: its increment, and one to the count below. */
static __always_inline __u64 state_charged(__u64 increment_ns)
{
	return state_of(increment_ns) + 1;
}

/* A TAT that is late catches up; in any case it moves on together with the count, which lies below it in the word. */
static __always_inline __u64 state_catch_up(__u64 state, __s64 late, __u64 charge)
{
	__s64 ahead = late >> 63;

	OPAQUE(ahead);
	return state + (late & ~ahead) + charge;
}

static __always_inline bool state_swap(__u64 *state, __u64 seen, __u64 next)
{
	return __sync_val_compare_and_swap(state, seen, next) == seen;
}

/* Makes a cell the user's, charged with its first packet, or with none. False where somebody else was faster. A packet
 * of the cell's old user that is charged on another CPU at this very moment is forgotten: one, and by a user that was
 * idle. */
static __always_inline bool cell_claim(struct meter_set *set, __u64 cell, __u32 tag, __u64 tat_ns, __u64 packets,
                                       __u32 bytes)
{
	__u32 before = set->cells[cell].tag;

	if (__sync_val_compare_and_swap(&set->cells[cell].tag, before, tag) != before)
		return false;
	*(volatile __u64 *)&set->states[cell] = state_of(tat_ns) | packets;
	set->cells[cell].bytes = bytes;
	return true;
}

/* The same, or the newcomer's first one where that was never anybody's. */
static __always_inline __u64 cell_vacant(const struct meter_set *set, const struct set_gauges *gauges, __u32 tag,
                                         __u64 now)
{
	__u64 first = cell_first(tag);

	return set->cells[first].tag ? cell_victim(set, gauges, now) : first;
}

/* Whether nobody has used a cell for so long that a newcomer may have it though another may be idle for longer. */
static __always_inline bool cell_idle(const struct meter_set *set, __u64 cell, __u64 now)
{
	return cell_age(set, 0, cell, now) >= state_of(HORIZON_NS + IDLE_NS) >> 2;
}

/* Whether users crowd a set: all its cells have been used lately, as where more users than it has cells take them from
 * each other. */
static __always_inline bool set_is_crowded(const struct meter_set *set, __u64 now)
{
#pragma clang loop unroll(disable)
	for (__u32 cell = 0; cell < SET_CELLS; cell++)
		if (!set->cells[cell].tag ||
		    state_of(now + HORIZON_NS) - set->states[cell] >= state_of(HORIZON_NS + CROWDED_NS))
			return false;
	return true;
}

static __always_inline bool set_has_room(const struct meter_set *set)
{
	return !set->cells[0].tag | !set->cells[1].tag | !set->cells[2].tag | !set->cells[3].tag;
}

/* Seats a newcomer about whom nothing else is to be asked, which in a flood of forged sources is every packet: where
 * its first cell is idle, in that, since comparing all four costs as much as the rest of the step. False where all
 * cells are running, or another CPU was faster. */
static __always_inline bool cell_seat(struct meter_set *set, __u32 tag, __u64 now, __u64 increment_ns, __u32 bytes)
{
	__u64 cell = cell_first(tag);
	if (set_has_room(set) || !cell_idle(set, cell, now))
		cell = cell_vacant(set, 0, tag, now);
	if (cell >= SET_CELLS)
		return false;
	BOUND_CELL(cell);
	return cell_claim(set, cell, tag, now + increment_ns, 1, bytes);
}

/* The same as a function of its own, for where it is one of many ways. */
__noinline int meter_seat(struct meter_set *set, __u32 tag, __u64 now, __u64 increment_ns, __u32 bytes)
{
	return set && cell_seat(set, tag, now, increment_ns, bytes);
}

/* A packet as the meter meets it. */
struct metered {
	struct user user;
	__u64 now_ns;
	__u64 increment_ns; /* of this user, at the level that counts now */
	__u64 tolerance_ns; /* of this packet: less for a SYN under a level */
	__u64 furthest_ns;  /* of any packet of the user's now */
	__u64 byte_increment;
	struct capacity capacity;
	__u32 bytes;
	__u16 service; /* whose tallies count it */
	__u8 rank;     /* as a newcomer */
	__u8 connects;
};

/* GCRA on one word: over where TAT runs further ahead of now than the tolerance, else TAT moves on by the increment and
 * the packet is counted. `*next` is the state then. `tag` is looked at again only where somebody else has changed the
 * word. */
static __always_inline int state_charge(__u64 *state, const __u32 *tag, __u32 expected, const struct metered *metered,
                                        __u64 *next)
{
	__u64 now = metered->now_ns;

	for (int try = 0; try < METER_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)state, ahead = state_ahead(seen, now);

		if (ahead > metered->tolerance_ns) {
			if (ahead <= metered->furthest_ns + metered->increment_ns)
				return OUTCOME_SPILLED + REASON_USER_LIMIT;
			/* Not to be reached under this policy by now. Has the clock moved on since it was read, another
			 * CPU may have charged at a later time. */
			__u64 later = clock_ns();
			if (later != now) {
				now = later;
				continue;
			}
			/* A debt from a tighter policy. It is forgiven down to the burst. What seems further ahead than
			 * any policy reaches has passed hours ago. */
			ahead = ahead > HORIZON_NS ? 0 : metered->furthest_ns;
		}
		*next = state_next(seen, ahead, metered->increment_ns, now);
		if (state_swap(state, seen, *next))
			return OUTCOME_PASSED;
		if (*(const volatile __u32 *)tag != expected)
			return JUDGED_LOST;
	}
	/* So many CPUs charge this user within nanoseconds that its TAT is fresh: moving it on unseen is as good. */
	*next = __sync_fetch_and_add(state, state_of(metered->increment_ns) + 1) + 1;
	return OUTCOME_PASSED;
}

static __always_inline struct set_details *meter_details_of(__u32 set_index)
{
	return bpf_map_lookup_elem(&meter_details, &set_index);
}

/* A step towards tenure, or none: see TENURE_STREAK in abi.h. */
static __always_inline void cell_steady(struct meter_set *set, __u64 cell, struct user_detail *user, __u64 now)
{
	__u16 epoch = now >> TENURE_EPOCH_SHIFT;

	if (user->epoch == epoch)
		return;
	user->streak = (__u16)(user->epoch + 1) == epoch ? user->streak + 1 : 1;
	user->epoch = epoch;
	if (user->streak >= TENURE_STREAK)
		__sync_fetch_and_or(&set->states[cell], STATE_TENURED);
}

/* Writes down who a cell's user is. What lay there was an earlier user's. */
static __always_inline void user_introduce(struct user_detail *user, const struct metered *metered)
{
	*user = (struct user_detail){
		.key = {metered->user.key[0], metered->user.key[1]},
		.first_seen = metered->now_ns >> SECOND_SHIFT,
		.service = metered->service,
		.kind = metered->user.kind,
		.ipv6 = metered->user.ipv6,
		.tag = metered->user.tag,
	};
}

/* Takes note of a packet that cell_notable() names. On the second one it writes down who the cell's user is; in a
 * crowded set only where it stays, since most are gone before, and the line that they are written to is in no cache.
 * Where tenure counts, each 16th may be a step towards it; and before the cell's narrow counts overflow, half of what
 * they hold is moved over to the wide ones. */
__noinline int cell_note(struct meter_set *set, __u64 cell, const struct metered *metered, __u64 packets)
{
	if (!set || !metered)
		return 0;
	if (packets == 2 && set_is_crowded(set, metered->now_ns))
		return 0;
	struct set_details *details = meter_details_of(metered->user.set);
	if (!details)
		return 0;
	BOUND_CELL(cell);

	struct user_detail *user = &details->users[cell];
	if (packets == 2 || user->tag != metered->user.tag)
		user_introduce(user, metered);
	if (packets == 2)
		return 0;
	if (FEATURE(FEATURE_CAPACITY))
		cell_steady(set, cell, user, metered->now_ns);
	if (packets < CARRY_AT)
		return 0;
	__sync_fetch_and_sub(&set->states[cell], CARRIED);
	__sync_fetch_and_add(&user->carried_packets, CARRIED);
	__u32 bytes = __sync_lock_test_and_set(&set->cells[cell].bytes, 0);
	__sync_fetch_and_add(&user->carried_bytes, bytes);
	return 0;
}

/* Whether a packet that was counted as a cell's `packets`-th is one to take note at: the second, and the second past
 * SETTLED_PACKETS and past the carry. */
static __always_inline bool cell_countable(__u64 packets)
{
	return (packets & (CARRY_AT - 1) & ~SETTLED_PACKETS) == 2;
}

/* The same where tenure counts: the second past each TENURE_PACKETS, too. */
static __always_inline bool cell_notable(__u64 packets)
{
	if (FEATURE(FEATURE_CAPACITY)) {
		OPAQUE(packets); /* else both ways become one, with a register for the mask */
		return (packets & (TENURE_PACKETS - 1)) == 2;
	}
	return cell_countable(packets);
}

/* Takes note of a packet that is nothing but one of each sixteenth where tenure counts, of a user that has been written
 * down: of such a one nothing needs to be known but its tag. False where there is more to do; then nothing has
 * happened. */
__noinline int cell_note_steady(struct meter_set *set, __u32 set_index, __u32 tag, __u64 packets, __u64 now)
{
	struct set_details *details = meter_details_of(set_index);

	if (!FEATURE(FEATURE_CAPACITY) || !set || !details || packets == 2 || packets >= CARRY_AT)
		return false;
	__u64 cell = cell_find(set, tag);
	if (cell >= SET_CELLS)
		return false;
	BOUND_CELL(cell);
	struct user_detail *user = &details->users[cell];
	if (user->tag != tag)
		return false;
	cell_steady(set, cell, user, now);
	return true;
}

/* Adds a packet that was over to what is written of its user. `flags`: the policy's. */
static __always_inline void user_count_over(struct user_detail *user, __u32 bytes, bool breaks_streak, __u32 flags)
{
	user->carried_bytes += bytes; /* not atomic, as the cell's own are not */
	if (breaks_streak)
		user->streak = 0;
	if (flags & POLICY_OBSERVE)
		__sync_fetch_and_add(&user->shadow_packets, 1);
	else
		__sync_fetch_and_add(&user->spilled_packets, 1);
}

/* Counts a packet that was over. A user that is spilled before its second packet passes is introduced here: its cell
 * then counts two more than have passed, so that nobody introduces it again, and what was carried two less. */
static __always_inline void cell_count_over(struct meter_set *set, __u64 cell, const struct policy *policy,
                                            const struct metered *metered, bool breaks_streak)
{
	struct set_details *details = meter_details_of(metered->user.set);
	if (!details)
		return;

	struct user_detail *user = &details->users[cell];
	__u64 state = *(volatile __u64 *)&set->states[cell];
	bool first = (state & STATE_PACKETS_MASK) <= 1 && state_swap(&set->states[cell], state, state + 2);
	if (first || user->tag != metered->user.tag)
		user_introduce(user, metered);
	if (first)
		user->carried_packets = -2ULL;
	user_count_over(user, metered->bytes, breaks_streak, policy->flags);
}

/* The same of a user that has been introduced, and is over its limit in packets: of such a one nothing needs to be
 * known but its tag. False of another; then nothing has happened. */
__noinline int cell_count_known(struct meter_set *set, __u32 set_index, __u32 tag, __u32 bytes, __u32 flags)
{
	struct set_details *details = meter_details_of(set_index);

	if (!set || !details)
		return false;
	__u64 cell = cell_find(set, tag);
	if (cell >= SET_CELLS)
		return false;
	BOUND_CELL(cell);
	struct user_detail *user = &details->users[cell];
	if ((set->states[cell] & STATE_PACKETS_MASK) <= 1 || user->tag != tag)
		return false;
	user_count_over(user, bytes, true, flags);
	return true;
}

/* How far a gauge's time runs ahead of now. */
static __always_inline __u64 gauge_ahead(__u64 tat_ns, __u64 now)
{
	return tat_ns > now ? tat_ns - now : 0;
}

/* GCRA on a gauge, by compare-and-swap as above; `most_ns` is the most that one packet is charged. Whether it took the
 * charge. */
static __always_inline bool gauge_charge(__u64 *tat_ns, __u64 increment_ns, __u64 most_ns, __u64 tolerance_ns,
                                         __u64 now)
{
	for (int try = 0; try < METER_TRIES; try++) {
		__u64 seen = *(volatile __u64 *)tat_ns, start = seen > now ? seen : now;
		if (start - now > tolerance_ns) {
			if (start - now <= tolerance_ns + most_ns)
				return false;
			__u64 later = clock_ns(); /* as in state_charge() */
			if (later != now) {
				now = later;
				continue;
			}
			start = now + tolerance_ns;
		}
		if (__sync_val_compare_and_swap(tat_ns, seen, start + increment_ns) == seen)
			return true;
	}
	__sync_fetch_and_add(tat_ns, increment_ns);
	return true;
}

static __always_inline __u64 byte_cost(const struct metered *metered, __u64 bytes)
{
	return user_cost(metered->user.share, bytes * metered->byte_increment >> BYTE_SHIFT);
}

static __always_inline __u64 connection_cost(const struct policy *policy, const struct metered *metered)
{
	return user_cost(metered->user.share, policy->connection_increment_ns);
}

/* Charges bytes, and a connection where the packet opens one: both, or what is over and nothing. */
static __always_inline int gauges_charge(struct set_gauges *gauges, __u64 cell, const struct policy *policy,
                                         const struct metered *metered)
{
	__u64 connection_ns = connection_cost(policy, metered);

	if (metered->connects && !gauge_charge(&gauges->connections_tat_ns[cell], connection_ns, connection_ns,
	                                       policy->connection_tolerance_ns, metered->now_ns))
		return OUTCOME_SPILLED + REASON_USER_CONNECTIONS;
	if (gauge_charge(&gauges->bytes_tat_ns[cell], byte_cost(metered, metered->bytes),
	                 byte_cost(metered, FRAME_BYTES_MOST), policy->byte_tolerance_ns, metered->now_ns))
		return OUTCOME_PASSED;
	if (metered->connects)
		__sync_fetch_and_sub(&gauges->connections_tat_ns[cell], connection_ns);
	return OUTCOME_SPILLED + REASON_USER_BYTES;
}

static __always_inline void gauges_refund(struct set_gauges *gauges, __u64 cell, const struct policy *policy,
                                          const struct metered *metered)
{
	__sync_fetch_and_sub(&gauges->bytes_tat_ns[cell], byte_cost(metered, metered->bytes));
	if (metered->connects)
		__sync_fetch_and_sub(&gauges->connections_tat_ns[cell], connection_cost(policy, metered));
}

/* A newcomer's gauges: nothing of the cell's old user is left. */
static __always_inline void gauges_open(struct set_gauges *gauges, __u64 cell, const struct policy *policy,
                                        const struct metered *metered)
{
	gauges->bytes_tat_ns[cell] = metered->now_ns + byte_cost(metered, metered->bytes);
	gauges->connections_tat_ns[cell] =
		metered->connects ? metered->now_ns + connection_cost(policy, metered) : metered->now_ns;
}

/* The gauges of a set where the service has such limits, else NULL. */
static __always_inline struct set_gauges *meter_gauges_of(__u32 set_index, const struct policy *policy)
{
	if (!FEATURE(FEATURE_GAUGES) || !(policy->flags & POLICY_GAUGED))
		return 0;
	return bpf_map_lookup_elem(&meter_gauges, &set_index);
}

/* How far the policy's service has used its capacity, NULL where it can have none. */
static __always_inline struct capacity_state *meter_capacity_of(const struct policy *policy)
{
	if (!FEATURE(FEATURE_CAPACITY) || !(policy->flags & POLICY_CAPACITY) || policy->service >= SERVICES_MAX)
		return 0;
	return &state.capacities[policy->service];
}

/* The same of a packet off the fast path, NULL where there is no capacity now. */
static __always_inline struct capacity_state *metered_capacity_of(const struct policy *policy,
                                                                  const struct metered *metered)
{
	return metered->capacity.step_ns ? meter_capacity_of(policy) : 0;
}

/* What a user's state adds to the rank of its packet: whether it is tenured, and whether it is within its share, as far
 * as its time or that of its bytes says. Of who is named just now nothing is known. */
static __always_inline __u32 user_rank(__u64 state, __u64 ahead_ns, __u64 tolerance_ns, __u64 increment_ns)
{
	__u32 within = state & STATE_PACKETS_MASK ? rank_within(ahead_ns, tolerance_ns, increment_ns) : 0;

	return (state & STATE_TENURED ? RANK_TENURED : 0) + within;
}

/* Judges a packet of a user that has a cell: by the service's capacity, the gauges, the limit in packets; charges all,
 * or nothing. */
static __always_inline int cell_judge(struct meter_set *set, __u64 cell, const struct policy *policy,
                                      const struct metered *metered)
{
	struct set_gauges *gauges = meter_gauges_of(metered->user.set, policy);
	struct capacity_state *capacity = metered_capacity_of(policy, metered);
	__u64 seen = *(volatile __u64 *)&set->states[cell], ahead = state_ahead(seen, metered->now_ns), next = 0;
	bool by_bytes = gauges && policy->flags & POLICY_BYTES;
	__u32 rank = metered->rank +
	             user_rank(seen, by_bytes ? gauge_ahead(gauges->bytes_tat_ns[cell], metered->now_ns) : ahead,
	                       by_bytes ? policy->byte_tolerance_ns : metered->tolerance_ns,
	                       by_bytes ? metered->byte_increment : metered->increment_ns);

	if (ahead > metered->tolerance_ns && ahead <= metered->furthest_ns + metered->increment_ns)
		return OUTCOME_SPILLED + REASON_USER_LIMIT;
	if (capacity && capacity_over(capacity, &metered->capacity, rank, metered->now_ns))
		return OUTCOME_SPILLED + REASON_CAPACITY;
	int gauged = gauges ? gauges_charge(gauges, cell, policy, metered) : OUTCOME_PASSED;
	if (gauged != OUTCOME_PASSED)
		return gauged;
	int judged = state_charge(&set->states[cell], &set->cells[cell].tag, metered->user.tag, metered, &next);
	if (judged != OUTCOME_PASSED) {
		if (gauges)
			gauges_refund(gauges, cell, policy, metered);
		return judged;
	}
	if (capacity)
		capacity_charge(capacity, &metered->capacity, metered->capacity.cost_ns, metered->now_ns);
	set->cells[cell].bytes += metered->bytes;
	if (cell_notable(next & STATE_PACKETS_MASK))
		cell_note(set, cell, metered, next & STATE_PACKETS_MASK);
	return OUTCOME_PASSED;
}

/* Judges a newcomer for whom its set has no room. */
static __always_inline int overflow_judge(const struct metered *metered)
{
	static const __u32 nobody;
	__u32 index = metered->user.set;
	struct set_overflow *overflow = bpf_map_lookup_elem(&meter_overflows, &index);
	__u64 next;
	if (!overflow)
		return OUTCOME_PASSED;

	__sync_fetch_and_add(&overflow->packets, 1);
	return state_charge(&overflow->state, &nobody, 0, metered, &next);
}

/* Gives a newcomer for whom the capacity has no room a cell that owes nothing, where the set has one. It is judged by
 * that. */
static __always_inline int newcomer_name(struct meter_set *set, struct set_gauges *gauges,
                                         const struct metered *metered)
{
	__u64 cell = cell_vacant(set, gauges, metered->user.tag, metered->now_ns);

	if (cell >= SET_CELLS)
		return OUTCOME_SPILLED + REASON_CAPACITY;
	if (cell_claim(set, cell, metered->user.tag, metered->now_ns, 0, 0) && FEATURE(FEATURE_GAUGES) && gauges)
		gauges->bytes_tat_ns[cell] = gauges->connections_tat_ns[cell] = metered->now_ns;
	return JUDGED_LOST;
}

/* Judges a user that has no cell yet: it gets one where the capacity has room for it, and the set. */
static __always_inline int newcomer_judge(struct meter_set *set, const struct policy *policy,
                                          const struct metered *metered)
{
	struct capacity_state *capacity = metered_capacity_of(policy, metered);
	struct set_gauges *gauges = 0;
	__u32 index = metered->user.set;
	int judged = OUTCOME_PASSED;

	bool over = capacity && capacity_over(capacity, &metered->capacity, metered->rank, metered->now_ns);
	if (over && !capacity_names(capacity, metered->now_ns))
		return OUTCOME_SPILLED + REASON_CAPACITY;
	if (FEATURE(FEATURE_GAUGES))
		gauges = bpf_map_lookup_elem(&meter_gauges, &index);
	if (over)
		return newcomer_name(set, gauges, metered);
	__u64 cell = cell_vacant(set, gauges, metered->user.tag, metered->now_ns);
	if (cell < SET_CELLS &&
	    !cell_claim(set, cell, metered->user.tag, metered->now_ns + metered->increment_ns, 1, metered->bytes))
		return JUDGED_LOST;
	if (cell >= SET_CELLS)
		judged = overflow_judge(metered);
	else if (FEATURE(FEATURE_GAUGES) && gauges)
		gauges_open(gauges, cell, policy, metered);
	if (capacity && judged == OUTCOME_PASSED)
		capacity_charge(capacity, &metered->capacity, metered->capacity.cost_ns, metered->now_ns);
	return judged;
}

/* The same as meter_charge() for whoever is not simply within its limit: newcomers, users over it or with gauges, and
 * those whose word another CPU changed at the same time.
 * A global function, as is cell_note(): the verifier goes through it once, and not again for each way into it. */
__noinline int meter_judge_slowly(struct meter_set *set, const struct policy *policy, const struct metered *metered)
{
	if (!set || !policy || !metered)
		return OUTCOME_PASSED;
	for (int claim = 0; claim < METER_CLAIMS; claim++) {
		__u64 cell = cell_find(set, metered->user.tag);
		bool seated = cell < SET_CELLS;
		BOUND_CELL(cell);
		int judged = seated ? cell_judge(set, cell, policy, metered) : newcomer_judge(set, policy, metered);
		if (judged > OUTCOME_PASSED && seated)
			cell_count_over(set, cell, policy, metered, judged != OUTCOME_SPILLED + REASON_CAPACITY);
		if (judged != JUDGED_LOST)
			return judged;
	}
	return overflow_judge(metered);
}

/* What a packet of a user of weight 1 costs now, or a byte of it where POLICY_BYTES is among the flags: by the level,
 * while the controller stands by it, else by the limit. */
static __always_inline __u64 meter_increment(const struct live *live, const struct policy *policy, __u32 number,
                                             __u32 flags, __u64 limit, __u64 now)
{
	OPAQUE(number); /* its bound is checked in the register that is used */
	if (!FEATURE(FEATURE_LEVELS) || (policy->flags & (POLICY_LEVEL | POLICY_BYTES)) != flags || number >= POLICIES)
		return limit;
	return level_increment(*(const volatile __u64 *)&state.levels[number], live->relax_after, limit, now);
}

/* How far ahead of now a user's time may run under a level: so many packets, or the policy's time. The limits of a file
 * are what they say. Without a branch: the verifier would go on twice from each. */
static __always_inline __u64 level_burst_ns(__u64 tolerance_ns, __u64 increment_ns, __u64 packets)
{
	__u64 most_ns = LEVEL_BURST_MOST_NS;

	/* Two numbers less their larger one are the smaller one. */
	return larger(tolerance_ns, most_ns - larger(most_ns, packets * increment_ns) + packets * increment_ns);
}

/* The terms on which a packet is charged. */
static __always_inline void metered_read(struct xdp_md *ctx, const struct policy *policy, __u32 number,
                                         const struct packet *packet, const struct user *user, __u64 now,
                                         struct metered *metered)
{
	const struct live *live = &state.live;
	struct capacity_state *capacity = meter_capacity_of(policy);
	bool tcp = packet->table == PORTS_TCP;
	bool connects = FEATURE(FEATURE_GAUGES | FEATURE_CAPACITY) && packet_connects(ctx, packet);

	__u64 increment_ns =
		user_cost(user->share, meter_increment(live, policy, number, POLICY_LEVEL, policy->increment_ns, now));
	*metered = (struct metered){.user = *user,
	                            .now_ns = now,
	                            .increment_ns = increment_ns,
	                            .tolerance_ns = policy->tolerance_ns,
	                            .furthest_ns = policy->tolerance_ns,
	                            .bytes = packet->bytes,
	                            .service = policy->service,
	                            .connects = connects};
	if (FEATURE(FEATURE_LEVELS) && policy->flags & POLICY_LEVEL) {
		metered->furthest_ns = level_burst_ns(policy->tolerance_ns, increment_ns,
		                                      tcp ? LEVEL_PACKETS_CONNECTED : LEVEL_PACKETS);
		metered->tolerance_ns =
			connects ? level_burst_ns(policy->tolerance_ns / 2, increment_ns, LEVEL_PACKETS_CONNECTING)
				 : metered->furthest_ns;
	}
	if (FEATURE(FEATURE_GAUGES))
		metered->byte_increment =
			meter_increment(live, policy, number, POLICY_LEVEL | POLICY_BYTES, policy->byte_increment, now);
	if (FEATURE(FEATURE_CAPACITY))
		metered->rank = RANK_OF_CLASS(user->class) + (tcp && !connects ? RANK_ESTABLISHED : 0);
	if (capacity)
		capacity_now(capacity, policy, live->relax_after, packet->bytes, connects, now, &metered->capacity);
	if (capacity && connects)
		*(volatile __u64 *)&capacity->connects += 1;
}

/* What lies below a state in its set. */
static __always_inline struct meter_cell *state_cell(__u64 *state)
{
	return (struct meter_cell *)(state + SET_CELLS);
}

enum meter_told {
	METER_ASK,  /* nothing: nothing has happened that may not happen again */
	METER_OVER, /* the user is over its limit; not yet counted */
	METER_PASSED,
};

/* The common cases by themselves, in as few instructions as they take: a packet of a user that has a cell, and is
 * within its limit and not to be written down, or over it. `charge` and `least_late` as in `struct policy`; `tenure`:
 * it counts, as it does where there can be a capacity. */
static __always_inline enum meter_told meter_tell(struct meter_set *set, const struct place *place, __u64 charge,
                                                  __s64 least_late, bool tenure, __u32 bytes, __u64 now)
{
	__u32 tag = place->tag;
	__u64 *state = &set->states[cell_first(tag)];

	if (unlikely(state_cell(state)->tag != tag)) {
		__u64 found = cell_find(set, tag);
		if (found >= SET_CELLS)
			return METER_ASK;
		BOUND_CELL(found);
		state = &set->states[found];
	}
	__u64 seen = *(volatile __u64 *)state;
	__s64 late = state_late(seen, now);
	/* What is further ahead than a packet can bring it is a debt from a tighter policy. */
	if (unlikely(late < least_late))
		return late + (__s64)(charge & STATE_TAT_MASK) < least_late ? METER_ASK : METER_OVER;
	__u64 next = state_catch_up(seen, late, charge);
	__u64 packets = next & STATE_PACKETS_MASK;
	if (!tenure && unlikely(cell_countable(packets)))
		return METER_ASK;
	if (tenure && unlikely(cell_notable(packets)) && !cell_note_steady(set, place->set, tag, packets, now))
		return METER_ASK;
	__u64 found = __sync_val_compare_and_swap(state, seen, next);
	OPAQUE(found); /* else its comparison becomes a number, which is compared again */
	if (unlikely(found != seen))
		return METER_ASK;
	/* Not atomic: two CPUs on one user may lose some, and verdicts do not hang on it. */
	state_cell(state)->bytes += bytes;
	return METER_PASSED;
}

/* Charges one packet to its user, and to its service where that has a capacity, or to what this CPU owes that. Returns
 * its outcome. */
static __always_inline __u32 meter_charge(const struct policy *policy, const struct metered *known,
                                          struct capacity_state *capacity, struct service_tallies *counted, bool gauged)
{
	__u32 index = known->user.set;
	struct meter_set *set = meter_set_at(index);
	if (!set)
		return OUTCOME_PASSED;

	__u64 now = known->now_ns, cell = cell_of(set, known->user.tag), noted = 0;
	if (likely(cell < SET_CELLS) && !gauged) {
		BOUND_CELL(cell);
		__u64 seen = *(volatile __u64 *)&set->states[cell];
		__s64 late = state_late(seen, now);
		__u64 next = state_catch_up(seen, late, state_charged(known->increment_ns));
		bool over = capacity && unlikely(!capacity_free(capacity, &known->capacity, now)) &&
		            capacity_over(capacity, &known->capacity,
		                          known->rank + user_rank(seen, state_ahead(seen, now), known->tolerance_ns,
		                                                  known->increment_ns),
		                          now);
		if (likely(late >= least_late(known->tolerance_ns) && !over &&
		           state_swap(&set->states[cell], seen, next))) {
			/* Not atomic: two CPUs on one user may lose some, and verdicts do not hang on it. */
			set->cells[cell].bytes += known->bytes;
			if (capacity && counted)
				capacity_owe(capacity, &known->capacity, &counted->owed_ns, now);
			noted = next & STATE_PACKETS_MASK;
			if (likely(!cell_notable(noted)))
				return OUTCOME_PASSED;
		}
	}
	if (cell >= SET_CELLS && !FEATURE(FEATURE_GAUGES) && !capacity &&
	    meter_seat(set, known->user.tag, now, known->increment_ns, known->bytes))
		return OUTCOME_PASSED;

	if (!noted)
		return meter_judge_slowly(set, policy, known);
	cell_note(set, cell, known, noted);
	return OUTCOME_PASSED;
}
