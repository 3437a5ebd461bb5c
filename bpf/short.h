/* SPDX-License-Identifier: GPL-2.0-only */
/* The short way, which most packets take where few users are active: an ordinary frame, of a user that is known by its
 * source or its payload, on no list, and either over its limit in packets, or its level, or within it, to a service
 * with room in its capacity. The steps are those of every packet's way; but what is known of this one stays in
 * registers, where on the whole way it is written down for the steps that may come. Whoever is turned back goes that,
 * from its beginning: nothing has happened. */
#pragma once

#include "abi.h"
#include "capacity.h"
#include "clock.h"
#include "compiler.h"
#include "features.h"
#include "lists.h"
#include "meter.h"
#include "packet.h"
#include "sample.h"
#include "service.h"
#include "state.h"
#include "user.h"
#include "verdict.h"

/* Of a service's number, which is below SERVICES_MAX as user space has written it: a bound for the verifier, whatever
 * register the number is in. What lies between is other parts of the state. */
#define POLICY_INDEX_MASK 2047
_Static_assert(SERVICES_MAX <= POLICY_INDEX_MASK + 1, "a service's number would be cut");

#define SHORT_LEFT (-1) /* for the whole way; else a verdict */

/* On what terms a packet is charged. */
struct short_terms {
	__u64 charge;
	__s64 least_late;
	__u64 cost_ns;    /* of the service's capacity, where it has one */
	__u64 may_owe_ns; /* to that, before it is charged */
	struct place place;
};

/* Where the user is: whose the packet is by its payload or its source. Others take more to find. */
static __always_inline bool short_place(struct xdp_md *ctx, const struct policy_slot *slot, __u32 number,
                                        const struct packet *packet, struct place *place)
{
	const struct policy *policy = &slot->policies[number];
	struct user user;

	if (FEATURE(FEATURE_PAYLOAD) && policy->kind == USER_PAYLOAD &&
	    user_from_payload(ctx, packet, policy, slot->payload_spans[number], &user)) {
		*place = user_place(&state.live, user_hash_whole(&state.live, user.key, USER_PAYLOAD), number);
		return true;
	}
	if (FEATURE(FEATURES_OF_KINDS) && policy->kind != USER_SOURCE && policy->kind != USER_PAYLOAD)
		return false;
	*place = user_place_of_source(&state.live, policy, number, packet);
	return true;
}

/* The terms of the service's capacity, and whether there is room for any rank. A capacity that is fixed, or of
 * nobody's, is taken as it is configured: a step that nobody fills is that of none. */
static __always_inline bool short_capacity(const struct policy *policy, __u32 number, const struct packet *packet,
                                           __u64 now, struct short_terms *terms)
{
	const struct capacity_state *shared = &state.capacities[number];
	struct capacity capacity = {.cost_ns = policy->capacity_increment, .step_ns = capacity_step_fixed(policy)};

	if (FEATURE(FEATURE_LEVELS) && policy->flags & POLICY_MOVES) {
		capacity = (struct capacity){.step_ns = CAPACITY_STEP_NONE_NS};
		capacity_now(shared, policy, state.live.relax_after, packet->bytes, false, now, &capacity);
	}
	terms->cost_ns = capacity.cost_ns;
	terms->may_owe_ns = capacity_may_owe(&capacity);
	return capacity_free(shared, &capacity, now);
}

/* The terms of a service that asks for more than a limit in packets for each source: of a packet that is of no gauge,
 * opens no connection, and finds room for any rank in its service's capacity. */
static __always_inline bool short_terms(struct xdp_md *ctx, const struct policy_slot *slot, __u32 number,
                                        const struct packet *packet, __u64 now, struct short_terms *terms)
{
	const struct policy *policy = &slot->policies[number];
	const struct live *live = &state.live;
	bool tcp = packet->table == PORTS_TCP;

	if (policy->flags & (POLICY_GAUGED | POLICY_BYTES) || packet_connects(ctx, packet) ||
	    !short_place(ctx, slot, number, packet, &terms->place))
		return false;
	terms->charge = policy->charge;
	terms->least_late = policy->least_late;
	if (FEATURE(FEATURE_LEVELS) && policy->flags & POLICY_LEVEL) {
		__u64 increment_ns = meter_increment(live, policy, number, POLICY_LEVEL, policy->increment_ns, now);
		terms->charge = state_charged(increment_ns);
		terms->least_late = least_late(level_burst_ns(policy->tolerance_ns, increment_ns,
		                                              tcp ? LEVEL_PACKETS_CONNECTED : LEVEL_PACKETS));
	}
	return !FEATURE(FEATURE_CAPACITY) || short_capacity(policy, number, packet, now, terms);
}

/* Counts a packet that passes, and charges the service's capacity where it can have one. */
static __always_inline int short_passed(struct xdp_md *ctx, const struct policy *policy, __u32 number,
                                        const struct short_terms *terms, bool shares, struct service_tallies *counted,
                                        __u32 bytes, __u64 now)
{
	if (FEATURE(FEATURE_CAPACITY) && shares) {
		__u64 owed = counted->owed_ns + terms->cost_ns;
		if (unlikely(owed >= terms->may_owe_ns)) {
			capacity_settle(&state.capacities[number], policy, state.live.relax_after, owed, now);
			owed = 0;
		}
		counted->owed_ns = owed;
	}
	bool due = sample_is_due(counted, now);
	verdict_tally(counted, OUTCOME_PASSED, bytes);
	if (unlikely(due) && policy->flags & POLICY_RESPONSE)
		sample_passed(ctx, counted, number);
	return (int)action_passed;
}

/* Charges the packet, to its service's capacity too where that can have one (`shares`), and counts it; or counts it as
 * over its user's limit. */
static __always_inline int short_meter(struct xdp_md *ctx, const struct policy *policy, __u32 number,
                                       const struct short_terms *terms, bool shares, struct service_tallies *counted,
                                       __u32 bytes, __u64 now)
{
	struct meter_set *set = meter_set_flat(terms->place.set);
	enum meter_told told = meter_tell(set, &terms->place, terms->charge, terms->least_late, shares, bytes, now);
	if (likely(told == METER_PASSED))
		return short_passed(ctx, policy, number, terms, shares, counted, bytes, now);
	if (told == METER_ASK || !cell_count_known(set, terms->place.set, terms->place.tag, bytes, policy->flags))
		return SHORT_LEFT;
	__u32 outcome = outcome_under(OUTCOME_SPILLED + REASON_USER_LIMIT, policy->flags);
	verdict_tally(counted, outcome, bytes);
	return verdict_action(outcome);
}

/* For each family by itself, and for who asks for nothing more: the compiler leaves out what others need. Of a service
 * the number is its policy's. */
static __always_inline int short_judge(struct xdp_md *ctx, __u32 active, const struct packet *packet, bool lists,
                                       int *listed)
{
	if (lists) {
		struct address source = {{packet->source[0], packet->source[1]}};
		*listed = list_judge(&source, packet->ipv6, active);
		if (*listed != LIST_NONE)
			return SHORT_LEFT;
	}
	__u32 number = service_find(LIVE_CLASSIFIER_SLOT(active), packet);
	number &= POLICY_INDEX_MASK;
	const struct policy_slot *slot = &state.policies[LIVE_POLICY_SLOT(active)];
	const struct policy *policy = &slot->policies[number];
	/* Looked up before the meter's locked instruction: nothing overtakes that. */
	struct service_tallies *counted = verdict_tallies(number);
	struct short_terms terms;
	__u64 now = clock_ns();

	if (!counted)
		return SHORT_LEFT;
	if (!FEATURE(FEATURES_OF_POLICIES) || likely(policy->flags & POLICY_PLAIN)) {
		terms.place = user_place_of_source(&state.live, policy, number, packet);
		terms.charge = policy->charge;
		terms.least_late = policy->least_late;
		return short_meter(ctx, policy, number, &terms, false, counted, packet->bytes, now);
	}
	if (!short_terms(ctx, slot, number, packet, now, &terms))
		return SHORT_LEFT;
	return short_meter(ctx, policy, number, &terms, true, counted, packet->bytes, now);
}

/* The packet's verdict, once it has been counted: on this way all is done. Or SHORT_LEFT; then, where `lists` are to be
 * asked and have been, `*listed` is what they say of its source. */
static __always_inline int short_way(struct xdp_md *ctx, __u32 active, bool lists, int *listed)
{
	struct packet packet;

	if (unlikely(active & LIVE_BATCHES))
		return SHORT_LEFT;
	if (packet_is_ordinary_ipv4(ctx, &packet))
		return short_judge(ctx, active, &packet, lists, listed);
	return packet_is_ordinary_ipv6(ctx, &packet) ? short_judge(ctx, active, &packet, lists, listed) : SHORT_LEFT;
}
