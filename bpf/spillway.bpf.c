/* SPDX-License-Identifier: GPL-2.0-only */
/* The packet's way, top to bottom:
 *
 *     parse -> service -> allow/deny -> user -> meter -> capacity -> steer -> verdict
 *
 * allow/deny, capacity and steer have their places between these lines and cost nothing until they are there. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "abi.h"
#include "clock.h"
#include "fragment.h"
#include "meter.h"
#include "packet.h"
#include "service.h"
#include "user.h"
#include "verdict.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct live);
} live_words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct policy_slots);
} policies SEC(".maps");

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
static __always_inline __u32 policy_number(const struct live *live, __u32 active, const struct packet *packet,
                                           enum packet_kind kind)
{
	if (kind == PACKET_STRAY) {
		__u32 known = packet->fragment == FRAGMENT_LATER ? fragment_service(live, packet) : SERVICES_MAX;
		return known < SERVICES_MAX ? known : POLICY_STRAY(packet->table);
	}

	__u32 first = 0;
	const struct classifier_slots *classifier = bpf_map_lookup_elem(&classifiers, &first);
	__u32 service =
		classifier ? service_find(&classifier->slots[LIVE_CLASSIFIER_SLOT(active)], packet) : SERVICE_OTHER;
	if (packet->fragment == FRAGMENT_FIRST)
		fragment_remember(live, packet, service);
	return service;
}

SEC("xdp.frags")
int spillway(struct xdp_md *ctx)
{
	struct packet packet;
	struct user user;
	__u32 first = 0;

	enum packet_kind kind = packet_parse(ctx, &packet);

	const struct live *live = bpf_map_lookup_elem(&live_words, &first);
	if (!live)
		return XDP_PASS;
	__u32 active = *(const volatile __u32 *)&live->active;
	const struct policy_slots *both = bpf_map_lookup_elem(&policies, &first);
	if (!both)
		return XDP_PASS;
	const struct policy_slot *judged_by = &both->slots[LIVE_POLICY_SLOT(active)];

	if (kind == PACKET_MALFORMED)
		return verdict_malformed(judged_by, &packet);
	if (kind == PACKET_NOT_IP)
		return verdict_count(SERVICE_OTHER, OUTCOME_PASSED, packet.bytes);

	__u32 number = policy_number(live, active, &packet, kind);
	const struct policy *policy = &judged_by->policies[number < POLICIES ? number : SERVICE_OTHER];

	__u32 outcome = OUTCOME_PASSED;
	user_locate(live, policy, &packet, &user);
	if (meter_over(live, policy, &packet, &user))
		outcome = outcome_of(REASON_USER_LIMIT, policy->flags);

	return verdict_count(policy->service, outcome, packet.bytes);
}

/* Tells user space the time that the meter goes by; called by a test run alone, never attached. */
SEC("xdp")
int clock(struct xdp_md *ctx)
{
	__u32 first = 0;
	struct live *live = bpf_map_lookup_elem(&live_words, &first);

	(void)ctx;
	if (live)
		live->clock_ns = clock_ns();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
