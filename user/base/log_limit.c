/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/log_limit.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

/* FNV-1a. Never 0. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash | 1;
}

static bool take_token(struct log_limit *limit, double now_s)
{
	if (!limit->filled) {
		limit->filled = true;
		limit->tokens = LOG_BURST;
	} else {
		limit->tokens += (now_s - limit->filled_s) * LOG_PER_SECOND;
	}
	limit->filled_s = now_s;
	if (limit->tokens > LOG_BURST)
		limit->tokens = LOG_BURST;
	if (limit->tokens < 1) {
		limit->unsaid++;
		return false;
	}
	limit->tokens--;
	return true;
}

/* The topic's place; else one that is free, or is so the soonest. */
static struct log_topic *place_of(struct log_limit *limit, uint64_t hash)
{
	struct log_topic *best = &limit->topics[0];

	for (size_t i = 0; i < LOG_TOPICS_MAX; i++) {
		struct log_topic *topic = &limit->topics[i];
		if (topic->hash == hash)
			return topic;
		if (best->hash && (!topic->hash || topic->until_s < best->until_s))
			best = topic;
	}
	limit->unsaid += best->hash ? best->held : 0;
	best->hash = 0;
	return best;
}

bool log_limit_admits(struct log_limit *limit, int priority, const char *topic, double every_s, const char *line,
                      double now_s)
{
	uint64_t hash = hash_of(topic ? topic : line);
	struct log_topic *place = place_of(limit, hash);

	if (place->hash && now_s < place->until_s) {
		place->held++;
		place->priority = priority;
		snprintf(place->last, sizeof(place->last), "%s", line);
		return false;
	}
	if (!take_token(limit, now_s))
		return false;
	place->hash = hash;
	place->every_s = topic ? every_s : LOG_REPEAT_S;
	place->until_s = now_s + place->every_s;
	place->held = 0;
	snprintf(place->first, sizeof(place->first), "%s", line);
	return true;
}

static void release(struct log_topic *topic, void (*write)(int priority, const char *line))
{
	char line[LOG_TEXT_MAX + 64];

	if (strcmp(topic->first, topic->last) == 0)
		snprintf(line, sizeof(line), "%s (again, %u time%s in %.0f s)", topic->last, topic->held,
		         topic->held == 1 ? "" : "s", topic->every_s);
	else if (topic->held > 1)
		snprintf(line, sizeof(line), "%s (and %u like it before, in %.0f s)", topic->last, topic->held - 1,
		         topic->every_s);
	else
		snprintf(line, sizeof(line), "%s", topic->last);
	write(topic->priority, line);
}

void log_limit_release(struct log_limit *limit, double now_s, void (*write)(int priority, const char *line))
{
	char line[96];

	for (size_t i = 0; i < LOG_TOPICS_MAX; i++) {
		struct log_topic *topic = &limit->topics[i];
		if (!topic->hash || now_s < topic->until_s)
			continue;
		if (!topic->held) {
			topic->hash = 0;
			continue;
		}
		release(topic, write);
		memcpy(topic->first, topic->last, sizeof(topic->first));
		topic->held = 0;
		topic->until_s = now_s + topic->every_s;
	}
	if (limit->unsaid && limit->filled &&
	    limit->tokens + (now_s - limit->filled_s) * LOG_PER_SECOND >= LOG_PER_SECOND) {
		snprintf(line, sizeof(line), "%llu lines were too many at once, and are not here",
		         (unsigned long long)limit->unsaid);
		limit->unsaid = 0;
		write(LOG_WARNING, line);
	}
}
