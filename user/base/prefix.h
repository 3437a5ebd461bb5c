/* SPDX-License-Identifier: GPL-2.0-only */
/* Address prefixes of both families in one form: 128 bits, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), the same
 * form that the packet path keys users by. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Room for any text that prefix_format() writes, with its terminating zero. */
#define PREFIX_TEXT_MAX 50

struct prefix {
	uint8_t address[16]; /* network order; bits beyond `length` are zero */
	uint8_t length;      /* leading bits that count, of 128: an IPv4 /24 has 120 */
	bool ipv4;
};

/* Reads "203.0.113.0/24", "2001:db8::/32" or a bare address. Returns 0; or -EINVAL where it is no prefix or has bits
 * set beyond its length (the words then suggest the prefix that was meant), and leaves `*out` alone. */
int prefix_parse(const char *text, struct prefix *out, struct error *err);

/* Writes a prefix as people write it: an address alone where the prefix is the whole of it. */
void prefix_format(const struct prefix *prefix, char out[PREFIX_TEXT_MAX]);

/* Whether some address lies in both. Prefixes of different families never overlap. */
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);

/* An order of prefixes: negative, 0 or positive as strcmp(3). A prefix comes before those within it. */
int prefix_compare(const struct prefix *a, const struct prefix *b);
