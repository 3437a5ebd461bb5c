/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers as people write them, with decimal SI units, read and written. Pure: no locale, no clock, no state. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Room for any text that a formatter writes, with its terminating zero. */
#define UNITS_TEXT_MAX 32

/* Reads a count: "1000", "0.5", "10k", "1.25 M" (k, M, G, T). A number is digits, at most 18 that count, with at most
 * one point among them; signs, exponents and leading zeros (octal to YAML 1.1) are refused. Returns 0, or -EINVAL with
 * the words in `err` and `*out` left alone. So do the next two. */
int units_parse_count(const char *text, double *out, struct error *err);

/* Reads a size or a rate in bytes: "512", "512 B", "1.5kB" (B, kB, MB, GB, TB). A part of a byte is refused. */
int units_parse_bytes(const char *text, uint64_t *out_bytes, struct error *err);

/* Reads a duration: "10m", "1.5 s", "1h 30m" (ns, us, ms, s, m, h, d, the larger unit first). A bare number is refused,
 * as are parts of a nanosecond and whatever 64 bits of nanoseconds (584 years) cannot hold. */
int units_parse_duration(const char *text, uint64_t *out_ns, struct error *err);

/* Writes at most three digits that count and a unit: "0", "0.25", "999", "1.25 k", "12 M"; up to three places below
 * one;
 * "-" for what is no finite number. */
void units_format_count(double value, char *out, size_t size);

/* The same in bytes: "512 B", "1.25 MB". */
void units_format_bytes(double bytes, char *out, size_t size);

/* Writes "0 s", "850 ns", "12.5 ms", "1.25 s"; from a minute up the two largest units, cut and not rounded: "1m 30s",
 * "3d 4h". */
void units_format_duration_ns(uint64_t duration_ns, char *out, size_t size);
