/* SPDX-License-Identifier: GPL-2.0-only */
/* A text that grows at its end, for documents of megabytes: an addition is a comparison and a copy. Where memory ends,
 * what is added is dropped and text_take() says so. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct text {
	char *bytes;
	size_t length, room;
	int failure; /* 0 or -ENOMEM */
};

/* Starts with room for `room` bytes. */
void text_begin(struct text *text, size_t room);
void text_free(struct text *text);

/* Gives the bytes away, with no NUL behind them: `*out` is for free(). Returns 0, or -ENOMEM with nothing given. */
int text_take(struct text *text, char **out, size_t *out_length);

void text_add_bytes(struct text *text, const char *bytes, size_t count);
void text_add(struct text *text, const char *string);
void text_add_whole(struct text *text, uint64_t number);

/* Ten digits at most, as printf(3) does %.10g. */
void text_add_number(struct text *text, double number);
