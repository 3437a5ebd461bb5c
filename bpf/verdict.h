/* SPDX-License-Identifier: GPL-2.0-only */
/* The last step: every packet is counted here, once, and goes its way. Counters are per CPU, and the packet path is not
 * interrupted by itself, so that plain additions are exact. */
#pragma once

#include "abi.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__type(key, __u32);
	__type(value, struct service_tallies);
} tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MALFORMATIONS);
	__type(key, __u32);
	__type(value, struct tally);
} malformations SEC(".maps");

/* What a passed packet's verdict is. A benchmark sets XDP_DROP, to weigh the program without the stack behind it. */
const volatile __u32 action_passed = XDP_PASS;

/* What becomes of an outcome under a policy that only observes: a shadow. */
static __always_inline __u32 outcome_under(__u32 outcome, __u32 flags)
{
	return outcome >= OUTCOME_SPILLED && flags & POLICY_OBSERVE ? outcome - OUTCOME_SPILLED + OUTCOME_SHADOW
	                                                            : outcome;
}

/* A service's counters on this CPU. */
static __always_inline struct service_tallies *verdict_tallies(__u32 service)
{
	return bpf_map_lookup_elem(&tallies, &service);
}

static __always_inline void verdict_tally(struct service_tallies *counted, __u32 outcome, __u32 bytes)
{
	if (counted && outcome < OUTCOMES) {
		counted->outcomes[outcome].packets++;
		counted->outcomes[outcome].bytes += bytes;
	}
}

static __always_inline int verdict_action(__u32 outcome)
{
	return outcome >= OUTCOME_SPILLED && outcome < OUTCOME_SHADOW ? XDP_DROP : (int)action_passed;
}

static __always_inline int verdict_count(__u32 service, __u32 outcome, __u32 bytes)
{
	verdict_tally(verdict_tallies(service), outcome, bytes);
	return verdict_action(outcome);
}

/* A packet that cannot be parsed has no user and no service: it counts for `other`, and by what is wrong with it. */
static __always_inline int verdict_malformed(const struct policy_slot *slot, __u32 why, __u32 bytes)
{
	struct tally *counted = bpf_map_lookup_elem(&malformations, &why);

	if (counted) {
		counted->packets++;
		counted->bytes += bytes;
	}
	__u32 outcome = slot->malformed_flags & MALFORMED_PASSES
	                        ? OUTCOME_PASSED
	                        : outcome_under(OUTCOME_SPILLED + REASON_MALFORMED, slot->malformed_flags);
	return verdict_count(SERVICE_OTHER, outcome, bytes);
}
