/* SPDX-License-Identifier: GPL-2.0-only */
/* Sends frames from within the kernel: writes the headers with the next user's address and redirects the frame out.
 * `pass` is the program that a veth peer needs to take them. Neither knows time bounds or counts: live.c splits calls.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "spread.h"

#define HEADER_WORDS 10
#define BATCH        64
#define SPINS_MAX    20000 /* some 31 ns each: a batch at 200,000 packets a second takes 320 us */

/* Set before load, so that the verifier drops what this run does not use. */
const volatile __u64 header[HEADER_WORDS] = {}; /* the headers, but the word that varies and the checksums over it */
const volatile __u32 header_length = 42;
const volatile __u32 word_offset = 26;
const volatile __u32 word_bytes = 4;
const volatile __u64 word = 0;
const volatile __u32 ip_checksum_offset = 0;
const volatile __u32 checksum_offset = 0;
const volatile __u32 ip_sum = 0;
const volatile __u32 sum = 0;
const volatile __u32 distribution = SPREAD_UNIFORM;
const volatile __u32 users = 1;
const volatile __u32 host_bits = 0;
const volatile __u32 ifindex = 0;
const volatile __u64 rate_pps = 0; /* 0: flat out */

/* One call runs at a time, and on one CPU: plain variables do. */
struct spread_state state = {.random = 1};
__u64 sent = 0;
__u64 start_ns = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPREAD_ZIPF_STEPS);
	__type(key, __u32);
	__type(value, struct spread_step);
} zipf SEC(".maps");

static __always_inline __u64 next_zipf(void)
{
	__u64 random = spread_random(&state);
	__u32 key = random >> 48;
	struct spread_step *step = bpf_map_lookup_elem(&zipf, &key);

	return step ? spread_within(*step, random) : 0;
}

static __always_inline __u64 next_user(void)
{
	if (distribution == SPREAD_UNIFORM)
		return spread_uniform(&state, users);
	if (distribution == SPREAD_ZIPF)
		return next_zipf();
	if (distribution == SPREAD_SEQUENCE)
		return spread_sequence(&state, users);
	return spread_unique(&state, host_bits);
}

static long spin(__u32 turn, void *until_ns)
{
	(void)turn;
	return bpf_ktime_get_ns() >= *(__u64 *)until_ns;
}

/* Waits in the kernel before each batch: a pace that calls, 24 ms apart, could not keep. */
static __always_inline void wait_for_turn(void)
{
	__u64 until_ns = start_ns + sent * 1000 / rate_pps * 1000000;

	until_ns += sent * 1000 % rate_pps * 1000000 / rate_pps;
	bpf_loop(SPINS_MAX, spin, &until_ns, 0);
}

static __always_inline __u16 checksum_of(__u64 total)
{
	total = (total & 0xffffffff) + (total >> 32);
	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	return ~total;
}

/* The page pool gives frames back as their last receiver left them, with a shorter time to live or other addresses:
 * every header byte is written each time, eight at once (3 ns). */
static __always_inline void put_header(__u8 *frame)
{
#pragma unroll
	for (__u32 i = 0; i < HEADER_WORDS; i++) {
		if (i * 8 + 8 <= header_length)
			*(__u64 *)(frame + i * 8) = header[i];
	}
#pragma unroll
	for (__u32 i = 0; i < HEADER_WORDS * 4; i++) {
		if (i * 2 < header_length && i * 2 >= (header_length & ~7u))
			*(__u16 *)(frame + i * 2) = ((const volatile __u16 *)header)[i];
	}
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if ((void *)(frame + header_length) > end)
		return XDP_ABORTED;
	if (rate_pps && sent % BATCH == 0)
		wait_for_turn();
	put_header(frame);

	__u64 address = word | next_user();
	__u64 varying;

	if (word_bytes == 4) {
		__u32 narrow = bpf_htonl(address);

		*(__u32 *)(frame + word_offset) = narrow;
		varying = narrow;
	} else {
		address = bpf_cpu_to_be64(address);
		*(__u64 *)(frame + word_offset) = address;
		varying = (address & 0xffffffff) + (address >> 32);
	}
	if (ip_checksum_offset)
		*(__u16 *)(frame + ip_checksum_offset) = checksum_of(varying + ip_sum);
	if (checksum_offset) {
		__u16 checksum = checksum_of(varying + sum);

		*(__u16 *)(frame + checksum_offset) = checksum ? checksum : 0xffff;
	}
	sent++;
	return bpf_redirect(ifindex, 0);
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
