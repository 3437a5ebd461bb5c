/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* By the first byte: the bytes that follow, and the least that a character of such a length may be. */
static const struct form {
	unsigned char mask, first;
	unsigned more;
	uint32_t least;
} forms[] = {
	{0x80, 0x00, 0, 0},
	{0xe0, 0xc0, 1, 0x80},
	{0xf0, 0xe0, 2, 0x800},
	{0xf8, 0xf0, 3, 0x10000},
};

/* How many bytes the character takes that `bytes` begin with; 0 where they begin with none. */
static size_t character_bytes(const unsigned char *bytes)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		const struct form *form = &forms[i];
		uint32_t character = bytes[0] & (unsigned char)~form->mask;
		if ((bytes[0] & form->mask) != form->first)
			continue;
		for (unsigned j = 1; j <= form->more; j++) {
			if ((bytes[j] & 0xc0) != 0x80) /* the end of the text as well */
				return 0;
			character = character << 6 | (bytes[j] & 0x3f);
		}
		if (character < form->least || character > 0x10ffff || character >> 11 == 0xd800 >> 11)
			return 0;
		return form->more + 1;
	}
	return 0;
}

/* C0 but for the two, DEL, and C1 (U+0080 to U+009F), by which terminals are steered (ECMA-48). */
static bool is_control(const unsigned char *character)
{
	if (character[0] == 0xc2)
		return character[1] < 0xa0;
	return (character[0] < 0x20 && character[0] != '\t' && character[0] != '\n') || character[0] == 0x7f;
}

void utf8_mend(char *text)
{
	while (*text) {
		size_t bytes = character_bytes((const unsigned char *)text);
		if (!bytes || is_control((const unsigned char *)text))
			memset(text, '?', bytes ? bytes : 1);
		text += bytes ? bytes : 1;
	}
}
