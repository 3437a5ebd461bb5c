/* SPDX-License-Identifier: GPL-2.0-only */
#include "packet/corpus.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet/cases.h"

#define SEED           0x5b111a7e5eedULL
#define CHANGES_MAX    4
#define HEADER_BYTES   96 /* most changes are made there: payload is not read */
#define ONE_IN_PAYLOAD 8

static uint64_t random_next(uint64_t *state) /* xorshift64* */
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static size_t random_below(uint64_t *state, size_t limit)
{
	return limit ? (size_t)(random_next(state) >> 33) % limit : 0;
}

static void corpus_add(struct corpus *corpus, const unsigned char *bytes, size_t length, const char *words)
{
	struct corpus_frame *frame = &corpus->frames[corpus->count++];

	*frame = (struct corpus_frame){.bytes = malloc(length), .length = length, .words = words};
	if (!frame->bytes) {
		fputs("corpus: no memory\n", stderr);
		exit(2);
	}
	memcpy(frame->bytes, bytes, length);
}

/* Values that lengths, offsets, protocols and EtherTypes are made of. */
static const unsigned char telling_bytes[] = {0,  1,  4,  5,  6,  7,    8,    15,   17,   20,   40,   43,   44,  51,
                                              58, 59, 60, 64, 96, 0x45, 0x46, 0x4f, 0x60, 0x81, 0x86, 0xdd, 132, 255};

static size_t mutate(unsigned char frame[FRAME_MAX], size_t length, uint64_t *random)
{
	size_t reach = length > HEADER_BYTES && random_below(random, ONE_IN_PAYLOAD) ? HEADER_BYTES : length;
	size_t at = 12 + random_below(random, reach - 12);
	size_t bytes = 1 + random_below(random, 16);

	switch (random_below(random, 6)) {
	case 0:
		frame[at] ^= (unsigned char)(1 << random_below(random, 8));
		return length;
	case 1:
		frame[at] = (unsigned char)random_next(random);
		return length;
	case 2:
		frame[at] = telling_bytes[random_below(random, sizeof(telling_bytes))];
		return length;
	case 3: /* cut */
		return CORPUS_FRAME_MIN + random_below(random, length - CORPUS_FRAME_MIN + 1);
	case 4: /* a piece twice: a header on itself */
		if (at + bytes > length || length + bytes > FRAME_MAX)
			return length;
		memmove(frame + at + bytes, frame + at, length - at);
		return length + bytes;
	default: /* a piece missing */
		if (at + bytes > length || length - bytes < CORPUS_FRAME_MIN)
			return length;
		memmove(frame + at, frame + at + bytes, length - at - bytes);
		return length - bytes;
	}
}

struct corpus corpus_make(void)
{
	struct corpus corpus = {0};
	unsigned char frame[FRAME_MAX];
	size_t room = CORPUS_MUTATIONS;
	uint64_t random = SEED;

	for (size_t i = 0; i < packet_cases_count; i++)
		room += frame_write(packet_cases[i].frame, frame) + 1;
	corpus.frames = calloc(room, sizeof(*corpus.frames));
	for (size_t i = 0; corpus.frames && i < packet_cases_count; i++) {
		size_t whole = frame_write(packet_cases[i].frame, frame);
		for (size_t length = CORPUS_FRAME_MIN; length <= whole; length++)
			corpus_add(&corpus, frame, length, packet_cases[i].frame);
	}
	for (size_t i = 0; corpus.frames && i < CORPUS_MUTATIONS; i++) {
		const char *words = packet_cases[random_below(&random, packet_cases_count)].frame;
		size_t length = frame_write(words, frame);
		for (size_t changes = 1 + random_below(&random, CHANGES_MAX); changes > 0; changes--)
			length = mutate(frame, length, &random);
		corpus_add(&corpus, frame, length, words);
	}
	if (!corpus.count) {
		fputs("corpus: no memory\n", stderr);
		exit(2);
	}
	return corpus;
}

void corpus_free(struct corpus *corpus)
{
	for (size_t i = 0; i < corpus->count; i++)
		free(corpus->frames[i].bytes);
	free(corpus->frames);
	*corpus = (struct corpus){0};
}

void corpus_print(const struct corpus_frame *frame)
{
	printf("%zu bytes, from '%s':", frame->length, frame->words);
	for (size_t i = 0; i < frame->length && i < 160; i++)
		printf("%s%02x", i % 16 ? " " : "\n  ", frame->bytes[i]);
	printf("\n");
}
