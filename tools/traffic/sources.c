/* SPDX-License-Identifier: GPL-2.0-only */
/* Users of a prefix, and the order in which they send. Must not know frames, sockets or BPF. */
#include "sources.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EULER_GAMMA        0.57721566490153286
#define HARMONIC_ADDED_MAX 32

static const char *const distribution_names[] = {
	[SPREAD_UNIFORM] = "uniform",
	[SPREAD_ZIPF] = "zipf",
	[SPREAD_SEQUENCE] = "sequence",
	[SPREAD_UNIQUE] = "unique",
};

int sources_parse_distribution(const char *text, enum spread_distribution *out, struct error *err)
{
	for (size_t i = 0; i < sizeof(distribution_names) / sizeof(*distribution_names); i++) {
		if (strcmp(text, distribution_names[i]) == 0) {
			*out = (enum spread_distribution)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "distribution '%s': unknown: use uniform, zipf, sequence or unique", text);
}

/* 1 + 1/2 + ... + 1/n, to eight places: adding four thousand million terms would take longer than the traffic. */
static double harmonic(double n)
{
	double sum = 0;

	if (n <= HARMONIC_ADDED_MAX) {
		for (unsigned k = (unsigned)n; k >= 1; k--)
			sum += 1.0 / k;
		return sum;
	}
	return log(n) + EULER_GAMMA + 1 / (2 * n) - 1 / (12 * n * n);
}

/* The first rank (from 0) whose share of the whole, with all before it, exceeds `share`. */
static uint32_t zipf_rank_at(double share, uint32_t users, double total)
{
	uint32_t low = 0, high = users - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (harmonic(middle + 1.0) > share * total)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void sources_fill_zipf(struct spread_step *steps, uint32_t users)
{
	double total = harmonic(users);
	uint32_t first = 0;

	for (uint32_t i = 0; i < SPREAD_ZIPF_STEPS; i++) {
		uint32_t next = zipf_rank_at((i + 1.0) / SPREAD_ZIPF_STEPS, users, total);

		/* The last step reaches to the last rank; a step within one rank still has that rank. */
		if (i + 1 == SPREAD_ZIPF_STEPS)
			next = users;
		steps[i] = (struct spread_step){.first = first, .span = next > first ? next - first : 1};
		first = next;
	}
}

static void sources_place(const struct prefix *prefix, struct sources *sources)
{
	uint32_t free_bits = 128U - prefix->length;

	memcpy(sources->address, prefix->address, sizeof(sources->address));
	if (prefix->ipv4) {
		uint32_t word;

		sources->word_offset = 12;
		sources->word_bytes = 4;
		sources->host_bits = free_bits;
		memcpy(&word, prefix->address + 12, sizeof(word));
		sources->word = ntohl(word);
		return;
	}
	sources->word_bytes = 8;
	sources->word_offset = prefix->length < 64 ? 0 : 8;
	sources->host_bits = prefix->length < 64 ? 64U - prefix->length : free_bits;
	if (prefix->length < 64)
		sources->address[15] = 1;

	uint64_t word;

	memcpy(&word, prefix->address + sources->word_offset, sizeof(word));
	sources->word = be64toh(word);
}

int sources_init(const struct prefix *prefix, uint32_t users, enum spread_distribution distribution, uint64_t seed,
                 struct sources *out, struct error *err)
{
	struct sources sources = {.distribution = distribution, .users = users};
	char text[PREFIX_TEXT_MAX];

	prefix_format(prefix, text);
	if (users == 0)
		return error_set(err, -EINVAL, "users: 0 of them send nothing: give at least 1");
	sources_place(prefix, &sources);
	if (distribution != SPREAD_UNIQUE && sources.host_bits < 32 && users > 1ULL << sources.host_bits)
		return error_set(err, -EINVAL, "sources %s: room for %llu users, not %u: give a shorter prefix", text,
		                 1ULL << sources.host_bits, users);
	if (distribution == SPREAD_ZIPF) {
		sources.zipf = calloc(SPREAD_ZIPF_STEPS, sizeof(*sources.zipf));
		if (!sources.zipf)
			return error_set(err, -ENOMEM, "sources %s: out of memory: free some", text);
		sources_fill_zipf(sources.zipf, users);
	}
	/* An odd product spreads small seeds over the word; the low bit keeps it from zero. */
	sources.state.random = (seed * 0x9e3779b97f4a7c15ULL) | 1;
	for (int i = 0; i < 16; i++)
		spread_random(&sources.state);
	*out = sources;
	return 0;
}

void sources_release(struct sources *sources)
{
	free(sources->zipf);
	sources->zipf = NULL;
}

static uint64_t next_zipf(struct sources *sources)
{
	uint64_t random = spread_random(&sources->state);

	return spread_within(sources->zipf[random >> 48], random);
}

static uint64_t next_user(struct sources *sources)
{
	if (sources->distribution == SPREAD_UNIFORM)
		return spread_uniform(&sources->state, sources->users);
	if (sources->distribution == SPREAD_ZIPF)
		return next_zipf(sources);
	if (sources->distribution == SPREAD_SEQUENCE)
		return spread_sequence(&sources->state, sources->users);
	return spread_unique(&sources->state, sources->host_bits);
}

void sources_next(struct sources *sources, uint8_t address[16])
{
	uint64_t word = sources->word | next_user(sources);

	memcpy(address, sources->address, 16);
	if (sources->word_bytes == 4) {
		uint32_t narrow = htonl((uint32_t)word);

		memcpy(address + sources->word_offset, &narrow, sizeof(narrow));
		return;
	}
	word = htobe64(word);
	memcpy(address + sources->word_offset, &word, sizeof(word));
}
