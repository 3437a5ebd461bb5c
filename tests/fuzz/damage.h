/* SPDX-License-Identifier: GPL-2.0-only */
/* An input that says what to damage in something larger, so that a fuzzer need not learn the larger thing's format: a
 * piece after the other, each an area (1 byte), how many bytes (1), where (4, little endian), and the bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DAMAGE_HEADER_BYTES 6

struct damage {
	unsigned area; /* the fuzzer says of what */
	uint32_t at;
	const uint8_t *bytes;
	size_t size;
};

/* Takes the next piece from the input; false at its end. */
static inline bool damage_next(const uint8_t **next, size_t *left, struct damage *out)
{
	const uint8_t *bytes = *next;

	if (*left < DAMAGE_HEADER_BYTES)
		return false;
	*left -= DAMAGE_HEADER_BYTES;
	*out = (struct damage){.area = bytes[0],
	                       .at = bytes[2] | (uint32_t)bytes[3] << 8 | (uint32_t)bytes[4] << 16 |
	                             (uint32_t)bytes[5] << 24,
	                       .bytes = bytes + DAMAGE_HEADER_BYTES,
	                       .size = bytes[1] < *left ? bytes[1] : *left};
	*left -= out->size;
	*next = out->bytes + out->size;
	return true;
}
