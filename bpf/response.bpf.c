/* SPDX-License-Identifier: GPL-2.0-only */
/* Beside the packet path, on the way out: meets the replies to the requests that sample.h has written down, and counts
 * how long they took. It passes every packet on, changed in nothing. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "abi.h"
#include "compiler.h"
#include "flow.h"
#include "packet.h"
#include "reply.h"
#include "state.h"

#define TC_ACT_UNSPEC (-1) /* whatever comes next on this interface decides */

/* The bucket of a response time: its units, shifted until fewer than two times the steps are left of them. */
static __always_inline __u32 response_bucket(__u64 elapsed_ns)
{
	__u64 units = elapsed_ns >> RESPONSE_UNIT_SHIFT;
	__u32 shift = 0;

	if (units >= 1ULL << RESPONSE_UNITS_BITS)
		return RESPONSE_BUCKETS - 1;
	for (int bits = 16; bits; bits /= 2)
		if (units >= 1ULL << (RESPONSE_STEPS_BITS + bits)) {
			units >>= bits;
			shift += bits;
		}
	return shift * RESPONSE_STEPS + units;
}

static __always_inline bool sequence_reaches(__u32 sequence, __u32 other)
{
	return (__s32)(sequence - other) >= 0;
}

/* Whether this is what the sampled request asked for. A pure acknowledgement is none, nor what the service had said
 * before and says again. */
static __always_inline bool reply_answers(const struct reply *reply, __u32 kind, __u32 end, __u32 had)
{
	if (kind == SAMPLE_SYN)
		return reply->syn && reply->acknowledges && reply->acknowledged == end;
	if (kind == SAMPLE_SEGMENT)
		return reply->payload_bytes && reply->acknowledges && sequence_reaches(reply->acknowledged, end) &&
		       sequence_reaches(reply->sequence + reply->payload_bytes - 1, had);
	return true;
}

static __always_inline void response_count(__u32 service, __u32 kind, __u32 stands_for, __u64 elapsed_ns)
{
	struct service_responses *counts = bpf_map_lookup_elem(&responses, &service);
	if (!counts)
		return;
	if (kind == SAMPLE_SYN) {
		__sync_fetch_and_add(&counts->accepted, 1);
		return;
	}
	__u32 bucket = response_bucket(elapsed_ns);
	OPAQUE(bucket);
	if (bucket >= RESPONSE_BUCKETS)
		return;
	__sync_fetch_and_add(&counts->buckets[bucket], 1);
	__sync_fetch_and_add(&counts->done, stands_for);
	__sync_fetch_and_add(&counts->sum_ns, elapsed_ns);
}

/* Holds a reply against the entry, if that is its connection's. */
static __always_inline void response_match(struct response_sample *entry, __u64 hash, const struct reply *reply)
{
	__u64 seen = *(volatile __u64 *)&entry->flow;
	if (likely((seen | SAMPLE_STATE_MASK) != (hash | SAMPLE_STATE_MASK)))
		return;

	__u64 at_ns = entry->at_ns, now_ns = bpf_ktime_get_ns();
	__u32 service = entry->service, kind = entry->kind, stands_for = entry->stands_for;
	if (!reply_answers(reply, kind, entry->end, entry->had))
		return;
	/* Whoever swaps the word counts. What was read belongs to it, or to this connection's next request. */
	if (__sync_val_compare_and_swap(&entry->flow, seen, 0) == seen && now_ns >= at_ns)
		response_count(service, kind, stands_for, now_ns - at_ns);
}

SEC("tc")
int response(struct __sk_buff *ctx)
{
	struct reply reply;

	if (!reply_parse(ctx, &reply))
		return TC_ACT_UNSPEC;
	__u32 port = bpf_ntohs(reply.flow.local_port), table = reply.flow.table;
	__u32 active = *(const volatile __u32 *)&state.live.active;
	OPAQUE(port); /* as in service.h: a bound that the compiler knows is to be seen by the verifier as well */
	OPAQUE(table);
	if (!state.classifiers[LIVE_CLASSIFIER_SLOT(active)].rows[table & (PORT_TABLES - 1)][port & 0xffff])
		return TC_ACT_UNSPEC; /* no service's port: nobody has asked */

	__u64 hash = flow_hash(&state.live, &reply.flow);
	for (__u32 way = 0; way < FLOW_WAYS; way++) {
		struct response_sample *entry = flow_entry(hash, way);
		if (entry)
			response_match(entry, hash, &reply);
	}
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
