/* SPDX-License-Identifier: GPL-2.0-only */
/* Pinned state with damaged bytes, as a daemon would meet that adopts it: whatever lies in the maps, it is read, shown,
 * and applied anew without a fault. Areas of damage (fuzz/damage.h) are the maps below; what is beyond them is an entry
 * of the lists, whose value the bytes are. */
#include <bpf/bpf.h>
#include <jansson.h>
#include <string.h>

#include "daemon/adaptive.h"
#include "daemon/api.h"
#include "daemon/hotspots.h"
#include "daemon/lists.h"
#include "daemon/metrics.h"
#include "daemon/silences.h"
#include "datapath/internal.h"
#include "datapath/lists.h"
#include "fuzz/damage.h"
#include "fuzz/require.h"
#include "fuzz/served.h"

#define AREAS       7
#define UNDONE_MOST 256

static struct daemon *served;

static struct area {
	uint8_t *bytes;
	size_t size;
} areas[AREAS];

/* What was where damage has been done, to be put back in the opposite order. */
static struct {
	uint8_t *at;
	size_t size;
	uint8_t bytes[UINT8_MAX];
} undone[UNDONE_MOST];

static void damage_area(const struct area *area, const struct damage *damage, size_t *count)
{
	size_t at = damage->at % area->size;
	size_t size = damage->size < area->size - at ? damage->size : area->size - at;

	if (*count == UNDONE_MOST)
		return;
	undone[*count].at = area->bytes + at;
	undone[*count].size = size;
	memcpy(undone[*count].bytes, area->bytes + at, size);
	memcpy(area->bytes + at, damage->bytes, size);
	++*count;
}

static int lists_fd(void)
{
	return bpf_map__fd(served->datapath->keeper->skeleton->maps.lists);
}

/* One of 256 addresses; the value may say what it likes. */
static void damage_list(const struct damage *damage, struct list_key *key)
{
	struct list_entry entry = {0};

	*key = (struct list_key){.length = 1 + damage->at % 128};
	memset(key->address, (int)(damage->at >> 8 & 0xff), sizeof(key->address));
	memcpy(&entry, damage->bytes, damage->size < sizeof(entry) ? damage->size : sizeof(entry));
	bpf_map_update_elem(lists_fd(), key, &entry, BPF_ANY);
}

static void show(json_t *document, const struct error *err)
{
	char *text = document ? json_dumps(document, 0) : NULL;

	REQUIRE(document || err->text[0]);
	free(text);
	json_decref(document);
}

static void look(void)
{
	static double now_s = 1000;
	struct error err = {0};
	char *text = NULL;
	size_t size;

	for (int tick = 0; tick < 2; tick++) {
		now_s += 1; /* a pass over the table each time */
		observer_tick(served->observer, now_s, &err);
		heat_tick(served->heat);
		signals_tick(served->signals, now_s);
		adaptive_tick(served->adaptive, now_s);
		silences_tick(served->silences, now_s);
	}
	show(api_status(served, &err), &err);
	show(api_services(served, &err), &err);
	show(api_users(served, NULL, 1000, &err), &err);
	show(api_lists(served, NULL, 0, &err), &err);
	REQUIRE(metrics_text(served, true, &text, &size, &err) == 0 || err.text[0]);
	free(text);
}

static void prepare(void)
{
	served = served_start();
	struct datapath *dp = served->datapath;
	areas[0] = (struct area){(uint8_t *)&dp->state->live, sizeof(dp->state->live)};
	areas[1] = (struct area){(uint8_t *)dp->state, sizeof(*dp->state)};
	areas[2] = (struct area){(uint8_t *)dp->catalogues, 2 * sizeof(*dp->catalogues)};
	areas[3] = (struct area){(uint8_t *)dp->table, dp->sets * sizeof(*dp->table)};
	areas[4] = (struct area){(uint8_t *)dp->details, dp->sets * sizeof(*dp->details)};
	areas[5] = (struct area){(uint8_t *)dp->overflows, dp->sets * sizeof(*dp->overflows)};
	areas[6] = (struct area){(uint8_t *)dp->responses, SERVICES_MAX * sizeof(*dp->responses)};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct list_key keys[UNDONE_MOST];
	size_t count = 0, listed = 0;
	struct damage damage;
	struct error err;

	if (!served)
		prepare();
	while (damage_next(&bytes, &size, &damage)) {
		if (damage.area < AREAS)
			damage_area(&areas[damage.area], &damage, &count);
		else if (listed < UNDONE_MOST)
			damage_list(&damage, &keys[listed++]);
	}
	if (listed) {
		lists_release(served->datapath);
		served->datapath->lists = (struct lists){.filter = served->datapath->lists.filter,
		                                         .entries_max = served->datapath->lists.entries_max};
		REQUIRE(lists_adopt(served->datapath, &err) == 0 || err.text[0]);
		lists_keep(served->datapath, &err);
	}
	look();
	for (size_t i = 0; i < listed; i++)
		bpf_map_delete_elem(lists_fd(), &keys[i]);
	while (count--)
		memcpy(undone[count].at, undone[count].bytes, undone[count].size);
	return 0;
}
