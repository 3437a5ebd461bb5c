/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 18 /* decimal digits that any 64-bit word holds */
#define NS_PER_S   UINT64_C(1000000000)

__extension__ typedef unsigned __int128 wide;

struct unit {
	const char *name;
	uint64_t scale;
};

static const struct unit count_units[] = {{"", 1},           {"k", 1000},          {"M", 1000000},
                                          {"G", 1000000000}, {"T", 1000000000000}, {0}};

static const struct unit byte_units[] = {
	{"", 1}, {"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}, {0},
};

static const struct unit duration_units[] = {
	{"d", 86400000000000}, {"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000},
	{"ms", 1000000},       {"us", 1000},         {"ns", 1},          {0},
};

/* A number before its unit: `digits` with the decimal point `places` before their end. */
struct decimal {
	uint64_t digits;
	unsigned places;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads the number at `*text` and moves `*text` behind it. No strtod: the terminal view sets a locale, and the decimal
 * point is none of the locale's business. */
static const char *decimal_read(const char **text, struct decimal *out)
{
	const char *at = *text;
	struct decimal decimal = {0};
	unsigned counted = 0;
	bool fraction = false;

	if (!is_digit(*at))
		return "a number begins with a digit";
	if (*at == '0' && is_digit(at[1]))
		return "a leading zero: write the number without it";
	for (; is_digit(*at) || (*at == '.' && !fraction && is_digit(at[1])); at++) {
		if (*at == '.') {
			fraction = true;
			continue;
		}
		counted += counted > 0 || *at != '0';
		decimal.places += fraction;
		if (counted > DIGITS_MAX || decimal.places > DIGITS_MAX)
			return "too many digits";
		decimal.digits = decimal.digits * 10 + (uint64_t)(*at - '0');
	}
	*text = at;
	*out = decimal;
	return NULL;
}

/* Reads an optional space and a unit's letters at `*text`; NULL where they are none of `units`. */
static const struct unit *unit_read(const char **text, const struct unit *units)
{
	const char *name = *text + (**text == ' ' && (*text)[1]);
	size_t length = 0;

	while ((name[length] | 0x20) >= 'a' && (name[length] | 0x20) <= 'z')
		length++;
	for (; units->name; units++) {
		if (strlen(units->name) != length || strncmp(units->name, name, length) != 0)
			continue;
		*text = name + length;
		return units;
	}
	return NULL;
}

static wide power_of_ten(unsigned exponent)
{
	wide power = 1;
	while (exponent-- > 0)
		power *= 10;
	return power;
}

/* `decimal` times `scale` where that is a whole number of 64 bits. */
static bool decimal_whole(struct decimal decimal, uint64_t scale, uint64_t *out)
{
	wide scaled = (wide)decimal.digits * scale;
	wide divisor = power_of_ten(decimal.places);

	if (scaled % divisor != 0 || scaled / divisor > UINT64_MAX)
		return false;
	*out = (uint64_t)(scaled / divisor);
	return true;
}

int units_parse_count(const char *text, double *out, struct error *err)
{
	const char *at = text;
	struct decimal decimal;
	const char *fault = decimal_read(&at, &decimal);

	if (fault)
		return error_set(err, -EINVAL, "'%.60s' is no number: %s", text, fault);
	const struct unit *unit = unit_read(&at, count_units);
	if (!unit || *at)
		return error_set(err, -EINVAL, "'%.60s' is no number: only k, M, G or T may follow it", text);
	*out = (double)((wide)decimal.digits * unit->scale) / (double)power_of_ten(decimal.places);
	return 0;
}

int units_parse_bytes(const char *text, uint64_t *out_bytes, struct error *err)
{
	const char *at = text;
	struct decimal decimal;
	const char *fault = decimal_read(&at, &decimal);

	if (fault)
		return error_set(err, -EINVAL, "'%.60s' is no number of bytes: %s", text, fault);
	const struct unit *unit = unit_read(&at, byte_units);
	if (!unit || *at)
		return error_set(err, -EINVAL, "'%.60s' is no number of bytes: write B, kB, MB, GB or TB after it",
		                 text);
	uint64_t bytes;
	if (!decimal_whole(decimal, unit->scale, &bytes))
		return error_set(err, -EINVAL, "'%.60s' is no whole number of bytes, or too large", text);
	*out_bytes = bytes;
	return 0;
}

int units_parse_duration(const char *text, uint64_t *out_ns, struct error *err)
{
	const char *at = text;
	uint64_t total_ns = 0, smallest_ns = UINT64_MAX;

	do {
		struct decimal decimal;
		const char *fault = decimal_read(&at, &decimal);
		if (fault)
			return error_set(err, -EINVAL, "'%.60s' is no duration: %s", text, fault);
		const struct unit *unit = unit_read(&at, duration_units);
		if (!unit)
			return error_set(err, -EINVAL,
			                 "'%.60s' is no duration: write ns, us, ms, s, m, h or d after the number",
			                 text);
		if (unit->scale >= smallest_ns)
			return error_set(err, -EINVAL, "'%.60s' is no duration: write the larger unit first", text);
		smallest_ns = unit->scale;
		uint64_t part_ns;
		if (!decimal_whole(decimal, unit->scale, &part_ns) ||
		    __builtin_add_overflow(total_ns, part_ns, &total_ns))
			return error_set(err, -EINVAL, "'%.60s' is no whole number of nanoseconds, or too long", text);
		at += *at == ' ' && at[1];
	} while (*at);
	*out_ns = total_ns;
	return 0;
}

/* At most three digits that count, and no places behind a whole number. */
static void format_digits(double value, const char *unit, char *out, size_t size)
{
	int places = value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;

	if (value == floor(value) || value < 0.0005)
		places = 0;
	snprintf(out, size, "%.*f%s%s", places, value, *unit ? " " : "", unit);
}

static void format_scaled(double value, const char *const *units, char *out, size_t size)
{
	double magnitude = fabs(value);
	char text[UNITS_TEXT_MAX];

	if (!isfinite(value)) {
		snprintf(out, size, "-");
		return;
	}
	for (; magnitude >= 999.5 && units[1]; units++)
		magnitude /= 1000;
	if (magnitude < 1e6)
		format_digits(magnitude, *units, text, sizeof(text));
	else /* beyond the largest unit, where digits would grow without end */
		snprintf(text, sizeof(text), "%.2e %s", magnitude, *units);
	snprintf(out, size, "%s%s", value < 0 ? "-" : "", text);
}

void units_format_count(double value, char *out, size_t size)
{
	static const char *const units[] = {"", "k", "M", "G", "T", NULL};
	format_scaled(value, units, out, size);
}

void units_format_bytes(double bytes, char *out, size_t size)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", NULL};
	format_scaled(bytes, units, out, size);
}

void units_format_duration_ns(uint64_t duration_ns, char *out, size_t size)
{
	static const char *const units[] = {"ns", "us", "ms", "s", NULL};
	const struct unit *unit = duration_units;

	if (duration_ns == 0) {
		snprintf(out, size, "0 s");
		return;
	}
	if (duration_ns < 60 * NS_PER_S) {
		format_scaled((double)duration_ns, units, out, size);
		return;
	}
	while (duration_ns < unit->scale)
		unit++;
	uint64_t rest = duration_ns % unit->scale / unit[1].scale;
	char second[UNITS_TEXT_MAX] = "";
	if (rest > 0)
		snprintf(second, sizeof(second), " %" PRIu64 "%s", rest, unit[1].name);
	snprintf(out, size, "%" PRIu64 "%s%s", duration_ns / unit->scale, unit->name, second);
}
