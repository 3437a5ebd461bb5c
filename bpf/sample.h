/* SPDX-License-Identifier: GPL-2.0-only */
/* After the verdict: some of the requests that pass are written down with their time, for response.bpf.c to meet their
 * replies. Of a quiet service it is all of them; of a busy one as many on each CPU as a gap allows, taken after a
 * random number of packets, since time is no finer than a jiffy here and users may keep step with it. A packet that is
 * none of them costs two differences, and one branch for both. */
#pragma once

#include "abi.h"
#include "clock.h"
#include "compiler.h"
#include "flow.h"
#include "packet.h"
#include "state.h"

#define SAMPLES_AT_ONCE  64 /* that a quiet service may have taken together */
#define SAMPLE_SKIP_MOST (1ULL << 20)
#define APART_PACKETS    16
#define STANDS_FOR_MOST  0xffffffffULL /* what seems more was counted in another unit, before a reload */

/* What is written down of a request: what the frame says, gathered only when a sample is due. */
struct request {
	struct flow flow;
	__u32 end;
	__u32 had;
	__u32 service;
	__u32 kind;   /* enum sample_kind */
	__u64 passed; /* of the service on this CPU, this request included: packets, or bytes */
};

/* Whether a sample is due: one branch for both reasons. To be asked before the packet is counted. */
static __always_inline bool sample_is_due(const struct service_tallies *counted, __u64 now_ns)
{
	__s64 remains = (counted->sampler.past_packets - counted->outcomes[OUTCOME_PASSED].packets) |
	                (counted->sampler.past_ns - now_ns);

	return remains < 0;
}

/* Of TCP, a SYN, or a segment that ends what its sender had to say (PSH): a service has no reply to the middle of a
 * request. What comes with the connection's end asks for nothing. */
static __always_inline bool request_from_segment(const struct tcphdr *tcp, __u32 bytes, struct request *request)
{
	__u32 header_bytes = tcp->doff * 4U;

	if (tcp->fin || tcp->rst || (tcp->syn && tcp->ack))
		return false;
	request->kind = tcp->syn ? SAMPLE_SYN : SAMPLE_SEGMENT;
	request->end = bpf_ntohl(tcp->seq) + 1;
	request->had = bpf_ntohl(tcp->ack_seq);
	if (tcp->syn)
		return true;
	request->end += bytes - header_bytes - 1;
	return tcp->psh && tcp->ack && bytes > header_bytes;
}

/* Whether a packet asks for a reply, and what that will be known by. */
static __always_inline bool request_read(struct xdp_md *ctx, const struct packet *packet, struct request *request)
{
	const struct udphdr *udp = packet_transport(ctx, packet, sizeof(*udp)); /* TCP has its ports there, too */

	if (!udp)
		return false;
	request->kind = SAMPLE_DATAGRAM;
	if (packet->table == PORTS_TCP) {
		const struct tcphdr *tcp = packet_transport(ctx, packet, sizeof(*tcp));
		if (!tcp || !request_from_segment(tcp, packet->transport_bytes, request))
			return false;
	}
	request->flow = (struct flow){.remote = {packet->source[0], packet->source[1]},
	                              .local = {packet->destination[0], packet->destination[1]},
	                              .remote_port = udp->source,
	                              .local_port = udp->dest,
	                              .table = packet->table};
	return true;
}

/* Says when the next sample is due. While samples have been rarer than the gap, at once; else after about as many
 * packets as come until the gap allows one, at the pace at which they came since the last. */
static __always_inline void sampler_wind(struct sampler *sampler, __u64 packets, __u64 gap_ns, __u64 now_ns)
{
	__u64 elapsed_ns = now_ns - sampler->last_ns, came = packets - sampler->last_packets;
	__u64 ahead_ns = (sampler->tat_ns > now_ns ? sampler->tat_ns - now_ns : 0) + gap_ns;
	__u64 skip = 0;

	sampler->tat_ns = now_ns + ahead_ns;
	sampler->last_ns = now_ns;
	sampler->last_packets = packets;
	if (ahead_ns > SAMPLES_AT_ONCE * gap_ns) {
		ahead_ns -= SAMPLES_AT_ONCE * gap_ns;
		skip = elapsed_ns ? (came < SAMPLE_SKIP_MOST ? came : SAMPLE_SKIP_MOST) * ahead_ns / elapsed_ns : came;
		if (skip > SAMPLE_SKIP_MOST)
			skip = SAMPLE_SKIP_MOST;
		skip = skip / 2 + bpf_get_prandom_u32() % (skip + 1);
		sampler->past_ns = clock_ns() + 2 * (ahead_ns + gap_ns);
	}
	sampler->past_packets = packets - 1 + skip;
}

/* Whether an entry may be taken: nobody waits there, or for so long that nobody will. */
static __always_inline bool sample_is_free(__u64 seen, __u64 at_ns, __u64 now_ns)
{
	__u64 state = seen & SAMPLE_STATE_MASK;

	if (state == SAMPLE_WAITING)
		return now_ns - at_ns > 2 * RESPONSE_OVERDUE_NS && now_ns > at_ns;
	return !seen || state == SAMPLE_OVERDUE;
}

static __always_inline void sample_count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

/* Puts the request where its reply will be looked for. A connection that has one waiting keeps that: the segment may be
 * the same one again, and where requests follow each other without waiting, the first reply is the first one's. */
static __always_inline void sample_put(const struct request *request, struct service_responses *counts,
                                       struct sampler *sampler, __u64 now_ns)
{
	__u64 hash = flow_hash(&state.live, &request->flow), seen = 0;
	struct response_sample *entry = 0;

	for (__u32 way = 0; way < FLOW_WAYS; way++) {
		struct response_sample *candidate = flow_entry(hash, way);
		if (!candidate)
			return;
		__u64 flow = *(volatile __u64 *)&candidate->flow;
		if (flow == hash && !sample_is_free(flow, candidate->at_ns, now_ns))
			return;
		/* The connection's own, where that is overdue; else the first that is free. */
		if (((flow | SAMPLE_STATE_MASK) == (hash | SAMPLE_STATE_MASK) || !entry) &&
		    sample_is_free(flow, candidate->at_ns, now_ns)) {
			entry = candidate;
			seen = flow;
		}
	}
	if (!entry) {
		sample_count(&counts->crowded);
		return;
	}
	__u32 before = entry->service;
	if (__sync_val_compare_and_swap(&entry->flow, seen, SAMPLE_BUSY) != seen)
		return;
	entry->at_ns = now_ns;
	entry->end = request->end;
	entry->had = request->had;
	entry->service = request->service;
	entry->kind = request->kind;
	/* What passes beside requests comes with them. A SYN stands for nothing: it asks the host, not the service. */
	if (request->kind != SAMPLE_SYN) {
		__u64 passed = request->passed - sampler->stood_for + __sync_lock_test_and_set(&counts->apart, 0);
		entry->stands_for = passed <= STANDS_FOR_MOST ? passed : 1;
		sampler->stood_for = request->passed;
	}
	__sync_lock_test_and_set(&entry->flow, hash); /* after the rest */
	sample_count(request->kind == SAMPLE_SYN ? &counts->connects : &counts->requests);
	if ((seen & SAMPLE_STATE_MASK) != SAMPLE_WAITING)
		return;
	struct service_responses *of_before = bpf_map_lookup_elem(&responses, &before);
	if (of_before)
		sample_count(&of_before->unanswered);
}

static __always_inline void sample_take(const struct request *request, struct service_tallies *counted, __u64 gap_ns)
{
	__u32 service = request->service;
	struct service_responses *counts = bpf_map_lookup_elem(&responses, &service);
	__u64 now_ns = bpf_ktime_get_ns();
	if (!counts)
		return;

	sampler_wind(&counted->sampler, counted->outcomes[OUTCOME_PASSED].packets, gap_ns, now_ns);
	sample_put(request, counts, &counted->sampler, now_ns);
}

/* Where a CPU sees no requests, as one that is sent nothing but acknowledgements does, what passes there is left to a
 * request on another: it would stand for seconds of it at once, else. Every so many packets, since others count there.
 */
static __always_inline void sample_leave(__u32 service, __u64 passed, struct sampler *sampler)
{
	struct service_responses *counts = bpf_map_lookup_elem(&responses, &service);

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->apart, passed - sampler->stood_for);
	sampler->stood_for = passed;
}

/* Samples a packet of service `number` that has passed and been counted, where it asks for a reply. By what is active
 * by now, which need not be what judged the packet; and from the frame, since nothing of the packet is kept at hand for
 * what is so rare. A function of its own for the verifier's sake, and the packet path's registers. */
__noinline int sample_passed(struct xdp_md *ctx, struct service_tallies *counted, __u32 number)
{
	const struct policy_slot *slot = &state.policies[LIVE_POLICY_SLOT(*(const volatile __u32 *)&state.live.active)];
	struct packet packet;

	if (!counted || packet_parse(ctx, &packet) != PACKET_PLACED)
		return 0;
	OPAQUE(number); /* its bound is checked in the register that is used */
	if (number >= POLICIES)
		return 0;
	const struct policy *policy = &slot->policies[number];
	const struct tally *tally = &counted->outcomes[OUTCOME_PASSED];
	__u64 passed = policy->flags & POLICY_BYTES ? tally->bytes : tally->packets;
	struct request request = {.service = policy->service, .passed = passed};

	if (request_read(ctx, &packet, &request))
		sample_take(&request, counted, slot->sample_gap_ns);
	else if (tally->packets % APART_PACKETS == 0)
		sample_leave(policy->service, passed, &counted->sampler);
	return 0;
}
