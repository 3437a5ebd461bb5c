/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/recent.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct series {
	char name[SERVICE_NAME_MAX];
	struct sums last;
	size_t last_second; /* to which `last` belongs */
	struct recent_sample samples[RECENT_SECONDS];
};

struct recent {
	size_t seconds; /* begun, the present one included */
	double at_s[RECENT_SECONDS];
	struct series *series[SERVICES_MAX]; /* made when first needed */
};

static const struct recent_sample nothing = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};

int recent_new(struct recent **out, struct error *err)
{
	struct recent *recent = calloc(1, sizeof(*recent));

	if (!recent)
		return error_set(err, -ENOMEM, "the last minutes: no memory");
	*out = recent;
	return 0;
}

void recent_free(struct recent *recent)
{
	for (size_t i = 0; i < SERVICES_MAX; i++)
		free(recent->series[i]);
	free(recent);
}

static size_t place(size_t second)
{
	return second % RECENT_SECONDS;
}

void recent_begin(struct recent *recent, double now_s)
{
	size_t second = recent->seconds++;

	recent->at_s[place(second)] = now_s;
	for (size_t i = 0; i < SERVICES_MAX; i++)
		if (recent->series[i])
			recent->series[i]->samples[place(second)] = nothing;
}

static struct series *series_of(struct recent *recent, unsigned number, const char *name)
{
	struct series *series = recent->series[number];

	if (series && strcmp(series->name, name) == 0)
		return series;
	if (!series)
		series = recent->series[number] = calloc(1, sizeof(*series));
	if (!series)
		return NULL; /* there is nothing of it to be seen, nothing else */
	*series = (struct series){.last_second = (size_t)-1};
	strncpy(series->name, name, sizeof(series->name) - 1);
	for (size_t i = 0; i < RECENT_SECONDS; i++)
		series->samples[i] = nothing;
	return series;
}

/* NAN where the counter went back, as after the state was made anew. */
static float rate(const struct tally *before, const struct tally *after, double elapsed_s)
{
	return after->packets < before->packets ? NAN : (float)((double)(after->packets - before->packets) / elapsed_s);
}

void recent_add(struct recent *recent, unsigned number, const char *name, const struct sums *sums,
                const struct recent_sample *sample)
{
	size_t second = recent->seconds - 1;
	struct series *series = series_of(recent, number, name);
	if (!series)
		return;
	struct recent_sample kept = *sample;
	double elapsed_s = second ? recent->at_s[place(second)] - recent->at_s[place(second - 1)] : 0;

	kept.received = kept.passed = kept.spilled = kept.shadow = NAN;
	if (second && series->last_second == second - 1 && elapsed_s > 0) {
		kept.received = rate(&series->last.received, &sums->received, elapsed_s);
		kept.passed = rate(&series->last.passed, &sums->passed, elapsed_s);
		kept.spilled = rate(&series->last.spilled, &sums->spilled, elapsed_s);
		kept.shadow = rate(&series->last.shadow, &sums->shadow, elapsed_s);
	}
	series->samples[place(second)] = kept;
	series->last = *sums;
	series->last_second = second;
}

size_t recent_read(const struct recent *recent, unsigned number, struct recent_row out[RECENT_SECONDS])
{
	const struct series *series = recent->series[number];
	size_t count = recent->seconds < RECENT_SECONDS ? recent->seconds : RECENT_SECONDS;

	if (!series)
		return 0;
	for (size_t i = 0; i < count; i++) {
		size_t at = place(recent->seconds - count + i);
		out[i] = (struct recent_row){recent->at_s[at], series->samples[at]};
	}
	return count;
}
