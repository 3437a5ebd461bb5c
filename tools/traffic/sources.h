/* SPDX-License-Identifier: GPL-2.0-only */
/* The senders that traffic pretends to come from: a prefix, a number of users in it, and how often each speaks. Pure:
 * knows addresses and numbers, neither frames nor sockets.
 *
 * User 0 has the prefix's first address, user 1 the next, and so on. In an IPv6 prefix shorter than /64 each user has
 * a /64 of its own and the interface identifier 1, because a /64 is what Spillway counts as one IPv6 user. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/prefix.h"
#include "spread.h"

struct sources {
	enum spread_distribution distribution;
	uint32_t users;
	uint32_t host_bits;       /* bits of the word that users differ in: up to 32 for IPv4, up to 64 for IPv6 */
	uint32_t word_offset;     /* where that word is in the 16 bytes of an address: 0, 8 or 12 */
	uint32_t word_bytes;      /* 4 for IPv4, 8 for IPv6 */
	uint64_t word;            /* the word of user 0, in host order */
	uint8_t address[16];      /* the address of user 0 */
	struct spread_step *zipf; /* SPREAD_ZIPF_STEPS of them where the distribution is Zipf, else NULL; owned */
	struct spread_state state;
};

/* Reads "uniform", "zipf", "sequence" or "unique". Returns 0, or -EINVAL with words. */
int sources_parse_distribution(const char *text, enum spread_distribution *out, struct error *err);

/* Sets up `users` (1 or more; unique takes every address instead) in `prefix`; equal seeds give equal sequences.
 * Returns 0; -EINVAL where the prefix has too few addresses; -ENOMEM. Release with sources_release(). */
int sources_init(const struct prefix *prefix, uint32_t users, enum spread_distribution distribution, uint64_t seed,
                 struct sources *out, struct error *err);

void sources_release(struct sources *sources);

/* Writes the source address of the next packet, 16 bytes in network order (IPv4 as ::ffff:a.b.c.d). */
void sources_next(struct sources *sources, uint8_t address[16]);

/* Fills the inverse of a Zipf distribution (exponent 1) over `users` ranks: rank k is picked 1/k as often as rank 1. */
void sources_fill_zipf(struct spread_step *steps, uint32_t users);
