/* SPDX-License-Identifier: GPL-2.0-only */
/* Points in time as people write them. Pure but for the machine's time zone (TZ). */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define TIMES_TEXT_MAX 32

/* Reads "now"; "today", "yesterday" (their beginnings here); "-2h", "-1d 12h" (before now); a local date
 * "2026-11-25", or a local date and time "2026-11-25 14:30[:15]" (a 'T' for the space will do); RFC 3339
 * "2026-11-25T14:30:15Z", "...+01:00" (parts of a second are cut); "@1764072000" (seconds since 1970). Returns 0 with
 * seconds since 1970; or -EINVAL with what was expected, `*out` left alone. */
int times_parse(const char *text, int64_t now_s, int64_t *out_s, struct error *err);

/* Writes RFC 3339 in UTC: "2026-11-25T13:30:15Z". */
void times_format_utc(int64_t time_s, char out[TIMES_TEXT_MAX]);

/* Writes the local time as people read it: "2026-11-25 14:30:15". */
void times_format_local(int64_t time_s, char out[TIMES_TEXT_MAX]);
