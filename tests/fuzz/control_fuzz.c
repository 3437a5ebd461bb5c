/* SPDX-License-Identifier: GPL-2.0-only */
/* What the control socket is asked to change: an input is the last word of the path, a newline, and the document. It is
 * refused in words, or what is in force afterwards is within its bounds. */
#include <math.h>
#include <string.h>

#include "datapath/lists.h"
#include "fuzz/require.h"
#include "fuzz/served.h"

#define PATH_MOST   16
#define LISTED_MOST 1000

static struct daemon *served;

static bool within(bool given, double value)
{
	return !given || (isfinite(value) && value > 0 && value <= 1e11);
}

static void require_sound_overrides(void)
{
	REQUIRE(served->overrides_count <= served->config->services_count);
	for (size_t i = 0; i < served->overrides_count; i++) {
		const struct override *override = &served->overrides[i];
		REQUIRE(daemon_service(served, override->service));
		REQUIRE(override->has_mode || override->has_level || override->has_capacity || override->has_class);
		REQUIRE(within(override->has_level, override->level_pps));
		REQUIRE(within(override->has_capacity, override->capacity_pps));
		REQUIRE(override->until_s == 0 || override->until_s >= served->started_s);
	}
}

/* Takes off the lists what was put there, so that each input meets the same. */
static void forget_listed(void)
{
	static struct listed listed[LISTED_MOST];
	static struct prefix prefixes[LISTED_MOST];
	struct prefix last;
	struct error err;
	size_t count = 0;

	int read = lists_read(served->datapath, NULL, listed, LISTED_MOST, &last, &err);
	REQUIRE(read >= 0);
	for (int i = 0; i < read; i++)
		if (!listed[i].filed && listed[i].list != LIST_NONE)
			prefixes[count++] = listed[i].prefix;
	REQUIRE(!count || lists_set(served->datapath, LIST_NONE, prefixes, count, 0, &err) == 0);
	REQUIRE(lists_file(served->datapath, &served->config->lists, &err) == 0);
}

static void forget(const struct lists_totals *before)
{
	struct lists_totals totals = lists_totals(served->datapath);
	struct error err;

	if (served->overrides_count) {
		served->overrides_count = 0;
		REQUIRE(datapath_apply(served->datapath, served->config, &err) == 0);
	}
	if (totals.allowed != before->allowed || totals.denied != before->denied)
		forget_listed();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static char request[65536];
	const uint8_t *end = size ? memchr(bytes, '\n', size) : NULL;
	size_t path = end ? (size_t)(end - bytes) : 0, body = end ? size - path - 1 : 0;
	bool stopped;

	if (!served)
		served = served_start();
	if (!end || path > PATH_MOST || body > sizeof(request) - 256)
		return 0;
	for (size_t i = 0; i < path; i++)
		if (bytes[i] < 'a' || bytes[i] > 'z')
			return 0;
	struct lists_totals before = lists_totals(served->datapath);
	int head = snprintf(request, sizeof(request),
	                    "POST /api/v1/%.*s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", (int)path,
	                    (const char *)bytes, body);
	memcpy(request + head, end + 1, body);
	int status = served_ask(SERVED_CONTROL, request, (size_t)head + body, &stopped);
	REQUIRE(status == 200 || status == 400 || status == 404 || status == 405);
	REQUIRE(stopped == (status == 200 && path == 4 && memcmp(bytes, "stop", 4) == 0));
	require_sound_overrides();
	forget(&before);
	return 0;
}
