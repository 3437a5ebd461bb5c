/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/times.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"

static int refuse(const char *text, struct error *err)
{
	return error_set(err, -EINVAL,
	                 "time '%.60s': expected -2h (before now), now, today, yesterday, a date as 2026-11-25, with a "
	                 "time as '2026-11-25 14:30', or RFC 3339 as 2026-11-25T14:30:00Z",
	                 text);
}

static int parse_relative(const char *text, int64_t now_s, int64_t *out_s, struct error *err)
{
	uint64_t before_ns;

	if (units_parse_duration(text + 1, &before_ns, NULL) < 0)
		return refuse(text, err);
	*out_s = now_s - (int64_t)(before_ns / 1000000000);
	return 0;
}

/* The beginning of a day here, `days` before today. */
static int64_t day_begin(int64_t now_s, int days)
{
	time_t now = (time_t)now_s;
	struct tm local;

	localtime_r(&now, &local);
	local.tm_hour = local.tm_min = local.tm_sec = 0;
	local.tm_mday -= days;
	local.tm_isdst = -1;
	return mktime(&local);
}

/* Reads exactly `digits` digits. */
static bool read_digits(const char **text, int digits, int *out)
{
	*out = 0;
	for (int i = 0; i < digits; i++, ++*text) {
		if (!isdigit((unsigned char)**text))
			return false;
		*out = *out * 10 + **text - '0';
	}
	return true;
}

static bool read_letter(const char **text, char letter)
{
	if (**text != letter)
		return false;
	++*text;
	return true;
}

/* "14:30", and ":15", and ".25" where they are. */
static bool read_clock(const char **text, struct tm *out)
{
	if (!read_digits(text, 2, &out->tm_hour) || !read_letter(text, ':') || !read_digits(text, 2, &out->tm_min))
		return false;
	if (read_letter(text, ':') && !read_digits(text, 2, &out->tm_sec))
		return false;
	if (read_letter(text, '.')) {
		if (!isdigit((unsigned char)**text))
			return false;
		while (isdigit((unsigned char)**text))
			++*text;
	}
	return out->tm_hour < 24 && out->tm_min < 60 && out->tm_sec <= 60;
}

/* "Z" or "+01:00": how far the clock is ahead of UTC. Nothing: `*given` is false. */
static bool read_zone(const char **text, bool *given, int *ahead_s)
{
	int sign = **text == '-' ? -1 : 1, hours, minutes;

	*ahead_s = 0;
	*given = **text != '\0';
	if (!*given || read_letter(text, 'Z') || read_letter(text, 'z'))
		return true;
	if (!read_letter(text, '+') && !read_letter(text, '-'))
		return false;
	if (!read_digits(text, 2, &hours) || !read_letter(text, ':') || !read_digits(text, 2, &minutes))
		return false;
	*ahead_s = sign * (hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60;
}

static int parse_calendar(const char *text, int64_t *out_s, struct error *err)
{
	const char *rest = text;
	struct tm when = {.tm_isdst = -1};
	bool zone = false;
	int ahead_s = 0;

	if (!read_digits(&rest, 4, &when.tm_year) || !read_letter(&rest, '-') || !read_digits(&rest, 2, &when.tm_mon) ||
	    !read_letter(&rest, '-') || !read_digits(&rest, 2, &when.tm_mday))
		return refuse(text, err);
	when.tm_year -= 1900;
	when.tm_mon -= 1;
	if (*rest) {
		if (!read_letter(&rest, 'T') && !read_letter(&rest, 't') && !read_letter(&rest, ' '))
			return refuse(text, err);
		if (!read_clock(&rest, &when) || !read_zone(&rest, &zone, &ahead_s) || *rest)
			return refuse(text, err);
	}
	struct tm normal = when;
	int64_t time_s = zone ? timegm(&normal) - ahead_s : mktime(&normal);
	if (when.tm_mon < 0 || when.tm_year < 70 || normal.tm_mon != when.tm_mon || normal.tm_mday != when.tm_mday)
		return error_set(err, -EINVAL, "time '%.60s': there is no such day", text);
	*out_s = time_s;
	return 0;
}

int times_parse(const char *text, int64_t now_s, int64_t *out_s, struct error *err)
{
	if (strcmp(text, "now") == 0)
		*out_s = now_s;
	else if (strcmp(text, "today") == 0)
		*out_s = day_begin(now_s, 0);
	else if (strcmp(text, "yesterday") == 0)
		*out_s = day_begin(now_s, 1);
	else if (*text == '-')
		return parse_relative(text, now_s, out_s, err);
	else if (*text == '@' && isdigit((unsigned char)text[1]) && strlen(text) < 13 &&
	         strspn(text + 1, "0123456789") == strlen(text + 1))
		*out_s = strtoll(text + 1, NULL, 10);
	else
		return parse_calendar(text, out_s, err);
	return 0;
}

void times_format_utc(int64_t time_s, char out[TIMES_TEXT_MAX])
{
	time_t when = (time_t)time_s;
	struct tm utc;

	if (!gmtime_r(&when, &utc) || !strftime(out, TIMES_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &utc))
		snprintf(out, TIMES_TEXT_MAX, "-");
}

void times_format_local(int64_t time_s, char out[TIMES_TEXT_MAX])
{
	time_t when = (time_t)time_s;
	struct tm local;

	if (!localtime_r(&when, &local) || !strftime(out, TIMES_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &local))
		snprintf(out, TIMES_TEXT_MAX, "-");
}
