/* SPDX-License-Identifier: GPL-2.0-only */
/* The packet's way, top to bottom:
 *
 *     parse -> service -> allow/deny -> user -> meter -> capacity -> steer -> verdict (-> sample)
 *
 * Steering has its place between these lines, and costs nothing until it is there. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "abi.h"
#include "batch.h"
#include "clock.h"
#include "features.h"
#include "fragment.h"
#include "lists.h"
#include "meter.h"
#include "packet.h"
#include "sample.h"
#include "service.h"
#include "short.h"
#include "state.h"
#include "user.h"
#include "verdict.h"

/* The packet path never reads it: it lies here to be pinned with the slots that it names. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct catalogue_slot);
} catalogues SEC(".maps");

/* Which policy judges the packet: its service's, or where its ports cannot be known, its first fragment's service's or
 * the strays'. */
static __always_inline __u32 policy_number(__u32 active, const struct packet *packet, enum packet_kind kind)
{
	if (kind == PACKET_STRAY) {
		__u32 known = packet->fragment == FRAGMENT_LATER ? fragment_service(&state.live, packet) : SERVICES_MAX;
		return known < SERVICES_MAX ? known : POLICY_STRAY(packet->table);
	}

	__u32 service = service_find(LIVE_CLASSIFIER_SLOT(active), packet);
	if (packet->fragment == FRAGMENT_FIRST)
		fragment_remember(&state.live, packet, service);
	return service;
}

/* Whose packet it is, and whether that user may send it. Where few users are active most of a service that asks for
 * nothing but a limit in packets are told at once, whoever could not go the short way: tags, tenants, tagged frames. */
static __always_inline __u32 user_judge(struct xdp_md *ctx, __u32 active, __u32 number, const struct packet *packet,
                                        struct service_tallies *counted, __u64 now)
{
	const struct policy_slot *slot = &state.policies[LIVE_POLICY_SLOT(active)];
	const struct policy *policy = &slot->policies[number];
	struct user user;

	user_by_kind(ctx, &state.live, slot, number, packet, &user);
	if (!(policy->flags & POLICY_ASKS_MORE) && !batch_is_on()) {
		struct meter_set *set = meter_set_at(user.set);
		struct place place = {.set = user.set, .tag = user.tag};
		__u64 charge = state_charged(user_cost(user.share, policy->increment_ns));
		if (set && likely(meter_tell(set, &place, charge, policy->least_late, false, packet->bytes, now) ==
		                  METER_PASSED))
			return OUTCOME_PASSED;
	}
	struct metered metered;
	metered_read(ctx, policy, number, packet, &user, now, &metered);
	bool gauged = FEATURE(FEATURE_GAUGES) && policy->flags & POLICY_GAUGED;
	struct capacity_state *capacity = metered_capacity_of(policy, &metered);
	if (batch_is_on() && batch_charge(&metered, capacity, gauged, counted))
		return OUTCOME_PASSED;
	__u32 outcome = meter_charge(policy, &metered, capacity, counted, gauged);
	if (batch_is_on())
		batch_watch(&metered);
	return outcome;
}

/* Loaded with BPF_F_XDP_HAS_FRAGS where the kernel has it: "xdp.frags" would insist. */
SEC("xdp")
int spillway(struct xdp_md *ctx)
{
	struct packet packet;
	int listed = LISTS; /* nobody has asked them */

	__u32 active = *(const volatile __u32 *)&state.live.active;
	if (FEATURE(FEATURE_FLAT)) {
		int verdict = FEATURE(FEATURE_LISTS) ? short_way(ctx, active, true, &listed)
		                                     : short_way(ctx, active, false, &listed);
		if (likely(verdict != SHORT_LEFT))
			return verdict;
	}

	enum packet_kind kind = packet_parse(ctx, &packet);
	const struct policy_slot *judged_by = &state.policies[LIVE_POLICY_SLOT(active)];

	if (kind == PACKET_MALFORMED)
		return verdict_malformed(judged_by, packet.malformation, packet_bytes(ctx, &packet));
	if (kind == PACKET_NOT_IP)
		return verdict_count(SERVICE_OTHER, OUTCOME_PASSED, packet_bytes(ctx, &packet));

	__u32 number = policy_number(active, &packet, kind);
	if (number >= POLICIES)
		number = SERVICE_OTHER;
	const struct policy *policy = &judged_by->policies[number];

	if (FEATURE(FEATURE_LISTS) && listed == LISTS)
		listed = list_judge((const struct address *)packet.source, packet.ipv6, active);
	if (listed == LIST_DENY)
		return verdict_count(
			policy->service,
			outcome_under(OUTCOME_SPILLED + REASON_DENIED, list_denied_flags(judged_by, policy)),
			packet.bytes);
	if (listed == LIST_ALLOW)
		return verdict_count(policy->service, OUTCOME_PASSED, packet.bytes);

	/* Looked up before the meter's locked instruction: nothing overtakes that. */
	__u64 now = clock_ns();
	struct service_tallies *counted = verdict_tallies(policy->service);
	__u32 outcome = user_judge(ctx, active, number, &packet, counted, now);
	if (likely(outcome == OUTCOME_PASSED)) {
		bool due = FEATURE(FEATURE_RESPONSE) && counted && sample_is_due(counted, now);
		verdict_tally(counted, OUTCOME_PASSED, packet.bytes);
		if (unlikely(due) && policy->flags & POLICY_RESPONSE)
			sample_passed(ctx, counted, number);
		return (int)action_passed;
	}
	outcome = outcome_under(outcome, policy->flags);
	verdict_tally(counted, outcome, packet.bytes);
	return verdict_action(outcome);
}

/* Tells user space the time that the meter goes by; called by a test run alone, never attached. */
SEC("xdp")
int clock(struct xdp_md *ctx)
{
	(void)ctx;
	state.live.clock_ns = clock_ns();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
