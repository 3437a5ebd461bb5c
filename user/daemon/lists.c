/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/lists.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/api.h"
#include "daemon/daemon.h"
#include "daemon/telling.h"
#include "datapath/lists.h"

#define PAGE_MOST     1000
#define LOOK_AGAIN_MS 1000 /* whether there is anything to sweep */
#define GO_ON_MS      20   /* between two pieces */

static const char *const list_names[LISTS] = {[LIST_ALLOW] = "allow", [LIST_DENY] = "deny"};

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* In order, and each once. Returns how many are left. */
static size_t prefixes_settle(struct prefix *prefixes, size_t count)
{
	size_t kept = 0;

	qsort(prefixes, count, sizeof(*prefixes), compare_prefixes);
	for (size_t i = 0; i < count; i++)
		if (!kept || prefix_compare(&prefixes[kept - 1], &prefixes[i]) != 0)
			prefixes[kept++] = prefixes[i];
	return kept;
}

static int read_prefixes(const json_t *list, struct prefix **out, size_t *out_count, struct error *err)
{
	size_t count = json_array_size(list);
	if (!count)
		return error_set(err, -EINVAL, "no prefixes: name at least one");

	_cleanup_free_ struct prefix *prefixes = calloc(count, sizeof(*prefixes));
	if (!prefixes)
		return error_set(err, -ENOMEM, "prefixes: no memory");
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (!text)
			return error_set(err, -EINVAL, "prefix %zu is no text", i + 1);
		int failure = prefix_parse(text, &prefixes[i], err);
		if (failure)
			return failure;
	}
	*out_count = prefixes_settle(prefixes, count);
	*out = TAKE_PTR(prefixes);
	return 0;
}

static int read_duration(const json_t *wish, uint64_t *out_ns, struct error *err)
{
	const json_t *value = json_object_get(wish, "for_seconds");
	double seconds = json_number_value(value);

	if (value && !(seconds > 0 && seconds <= API_FOR_S_MOST))
		return error_set(err, -EINVAL, "for_seconds: a time above 0, of 100 years at most, was expected");
	*out_ns = (uint64_t)(seconds * 1e9);
	return 0;
}

json_t *api_lists_change(struct daemon *daemon, enum list list, const json_t *wish, struct error *err)
{
	_cleanup_free_ struct prefix *prefixes = NULL;
	size_t count = 0, added = 0;
	uint64_t for_ns = 0;

	int failure = read_prefixes(json_object_get(wish, "prefixes"), &prefixes, &count, err);
	if (!failure)
		failure = read_duration(wish, &for_ns, err);
	if (failure)
		return NULL;
	size_t before = lists_totals(daemon->datapath).room;
	bool check = json_is_true(json_object_get(wish, "check"));
	if (check) {
		failure = lists_check(daemon->datapath, list, prefixes, count, &added, err);
	} else {
		failure = lists_set(daemon->datapath, list, prefixes, count, for_ns, err);
		size_t after = lists_totals(daemon->datapath).room;
		added = before > after ? before - after : 0;
	}
	if (failure)
		return NULL;
	if (!check)
		tell_lists(daemon, list_names[list], prefixes, count, for_ns);
	return json_pack("{s:I,s:I}", "new", (json_int_t)added, "room",
	                 (json_int_t)lists_totals(daemon->datapath).room);
}

static json_t *listed_document(const struct listed *listed)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(&listed->prefix, text);
	return json_pack("{s:s,s:s,s:o,s:s}", "prefix", text, "list", list_names[listed->list], "left_seconds",
	                 listed->expires ? json_real((double)listed->left_ns / 1e9) : json_null(), "by",
	                 listed->filed ? "file" : "verb");
}

json_t *api_lists(struct daemon *daemon, const char *after, size_t limit, struct error *err)
{
	size_t most = limit && limit < PAGE_MOST ? limit : PAGE_MOST;
	_cleanup_free_ struct listed *page = calloc(most, sizeof(*page));
	struct prefix from, last;
	char next[PREFIX_TEXT_MAX];

	if (!page) {
		error_set(err, -ENOMEM, "lists: no memory");
		return NULL;
	}
	if (after && prefix_parse(after, &from, err) < 0)
		return NULL;
	int count = lists_read(daemon->datapath, after ? &from : NULL, page, most, &last, err);
	if (count < 0)
		return NULL;
	json_t *entries = json_array();
	for (int i = 0; i < count; i++)
		if (page[i].list != LIST_NONE)
			json_array_append_new(entries, listed_document(&page[i]));
	if (count)
		prefix_format(&last, next);
	return json_pack("{s:o,s:o}", "entries", entries, "next", count ? json_string(next) : json_null());
}

json_t *api_lists_totals(const struct daemon *daemon)
{
	struct lists_totals totals = lists_totals(daemon->datapath);

	return json_pack("{s:I,s:I,s:I,s:I,s:f}", "allowed", (json_int_t)totals.allowed, "denied",
	                 (json_int_t)totals.denied, "room", (json_int_t)totals.room, "over_packets",
	                 (json_int_t)totals.over_packets, "allowed_packets_per_second",
	                 daemon->config->lists.allowed_pps);
}

struct lists_keeper {
	struct daemon *daemon;
	struct event *timer;
};

static void keeper_wait(struct lists_keeper *keeper, long milliseconds)
{
	struct timeval wait = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};

	event_add(keeper->timer, &wait);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
	struct lists_keeper *keeper = argument;
	struct error err;
	(void)fd, (void)what;

	int more = lists_keep(keeper->daemon->datapath, &err);
	if (more < 0)
		log_error("%s", err.text);
	keeper_wait(keeper, more > 0 ? GO_ON_MS : LOOK_AGAIN_MS);
}

int lists_keeper_new(struct lists_keeper **out, struct daemon *daemon, struct error *err)
{
	_cleanup_(lists_keeper_freep) struct lists_keeper *keeper = calloc(1, sizeof(*keeper));

	if (keeper)
		keeper->timer = event_new(daemon->loop, -1, 0, on_timer, keeper);
	if (!keeper || !keeper->timer)
		return error_set(err, -ENOMEM, "lists: no memory for their housekeeping");
	keeper->daemon = daemon;
	keeper_wait(keeper, LOOK_AGAIN_MS);
	*out = TAKE_PTR(keeper);
	return 0;
}

void lists_keeper_free(struct lists_keeper *keeper)
{
	if (keeper->timer)
		event_free(keeper->timer);
	free(keeper);
}
