/* SPDX-License-Identifier: GPL-2.0-only */
/* Which user sends the next packet: the arithmetic that the XDP program and the paced sender share, so that both send
 * the same sequence for the same seed. It knows numbers alone, neither addresses nor frames, and calls nothing. */
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

/* Entries of the inverse Zipf table: picked by 16 random bits. */
#define SPREAD_ZIPF_STEPS 65536

enum spread_distribution {
	SPREAD_UNIFORM,
	SPREAD_ZIPF,
	SPREAD_SEQUENCE,
	SPREAD_UNIQUE,
};

/* One 1/65,536 of the probability: the ranks `first` to `first + span - 1` share it evenly. */
struct spread_step {
	__u32 first;
	__u32 span; /* at least 1 */
};

/* Where a sender is in its sequence. `random` is never zero: xorshift would stay there. */
struct spread_state {
	__u64 random;
	__u64 counter;
};

/* Marsaglia's xorshift64 (13, 7, 17): a nanosecond, where bpf_get_prandom_u32() takes several. */
static inline __u64 spread_random(struct spread_state *state)
{
	__u64 value = state->random;

	value ^= value << 13;
	value ^= value >> 7;
	value ^= value << 17;
	state->random = value;
	return value;
}

/* Below `users`, each as likely as the other, without a division. */
static inline __u64 spread_uniform(struct spread_state *state, __u32 users)
{
	return ((spread_random(state) >> 32) * users) >> 32;
}

/* 0, 1, ... users - 1, and again. */
static inline __u64 spread_sequence(struct spread_state *state, __u32 users)
{
	__u64 user = state->counter;

	state->counter = user + 1 < users ? user + 1 : 0;
	return user;
}

/* The rank within a step of the Zipf table that the low half of `random` chooses. */
static inline __u64 spread_within(struct spread_step step, __u64 random)
{
	return step.first + (((random & 0xffffffff) * step.span) >> 32);
}

/* Counts through every value of `bits` bits in an order that looks random, and repeats none before all were had: a
 * shift-xor by half the width and a product with an odd number are each invertible modulo a power of two. */
static inline __u64 spread_unique(struct spread_state *state, __u32 bits)
{
	__u64 mask = bits >= 64 ? ~0ULL : (1ULL << (bits & 63)) - 1;
	__u32 half = ((bits + 1) / 2) & 63;
	__u64 value = state->counter++ & mask;

	value ^= value >> half;
	value = (value * 0x9e3779b97f4a7c15ULL) & mask;
	value ^= value >> half;
	value = (value * 0xbf58476d1ce4e5b9ULL) & mask;
	return value ^ (value >> half);
}
