/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_LEAST 256

void text_begin(struct text *text, size_t room)
{
	*text = (struct text){.bytes = malloc(room), .room = room};
	if (!text->bytes)
		*text = (struct text){.failure = -ENOMEM};
}

void text_free(struct text *text)
{
	free(text->bytes);
	*text = (struct text){0};
}

int text_take(struct text *text, char **out, size_t *out_length)
{
	int failure = text->failure;

	if (failure) {
		text_free(text);
		return failure;
	}
	*out = text->bytes;
	*out_length = text->length;
	*text = (struct text){0};
	return 0;
}

static int text_grow(struct text *text, size_t count)
{
	size_t room = text->room > ROOM_LEAST ? text->room : ROOM_LEAST;

	while (room - text->length < count)
		room *= 2;
	char *bytes = text->failure ? NULL : realloc(text->bytes, room);
	if (!bytes)
		return text->failure = -ENOMEM;
	text->bytes = bytes;
	text->room = room;
	return 0;
}

void text_add_bytes(struct text *text, const char *bytes, size_t count)
{
	if (text->room - text->length < count && text_grow(text, count) < 0)
		return;
	memcpy(text->bytes + text->length, bytes, count);
	text->length += count;
}

void text_add(struct text *text, const char *string)
{
	text_add_bytes(text, string, strlen(string));
}

void text_add_whole(struct text *text, uint64_t number)
{
	char digits[20];
	char *first = digits + sizeof(digits);

	do
		*--first = (char)('0' + number % 10);
	while (number /= 10);
	text_add_bytes(text, first, (size_t)(digits + sizeof(digits) - first));
}

void text_add_number(struct text *text, double number)
{
	char digits[32];

	if (number >= 0 && number < 1e9 && number == floor(number)) {
		text_add_whole(text, (uint64_t)number);
		return;
	}
	int count = snprintf(digits, sizeof(digits), "%.10g", number);
	text_add_bytes(text, digits, (size_t)count);
}
