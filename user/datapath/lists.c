/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/lists.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "bpf/list_filter.h"
#include "datapath/internal.h"

#define BATCH       2048 /* entries that are read at once: one or two milliseconds */
#define STALE_LEAST 4096 /* bits of entries that are gone are not worth a pass before */
#define ENOMEM_TRIES \
	100 /* the kernel's allocator refills from an interrupt, and may fall behind one who only inserts */
#define ENOMEM_PAUSE_NS 100000

/* A pass over the trie, a piece at a time. It makes the filter anew from what it meets and from what is put on a list
 * meanwhile. */
struct lists_pass {
	struct list_filter filter;
	__u32 anchors[2];
	__u64 expires_ns; /* the earliest that was met */
	struct list_key cursor;
	bool begun;
	bool cursor_expired; /* it stays until the next piece has been read: its place in the trie is the pass's */
};

struct batch {
	struct list_key keys[BATCH];
	struct list_entry entries[BATCH];
};

static int trie(const struct datapath *dp)
{
	return dp->fds[OBJECT_LISTS];
}

static struct list_key key_of(const struct prefix *prefix)
{
	struct list_key key = {.length = prefix->length};

	memcpy(key.address, prefix->address, sizeof(key.address));
	return key;
}

static struct prefix prefix_of(const struct list_key *key)
{
	static const uint8_t mapped[LIST_IPV4 / 8] = {[10] = 0xff, [11] = 0xff};
	struct prefix prefix = {.length = (uint8_t)key->length};

	memcpy(prefix.address, key->address, sizeof(prefix.address));
	prefix.ipv4 = key->length >= LIST_IPV4 && memcmp(key->address, mapped, sizeof(mapped)) == 0;
	return prefix;
}

/* An entry as it was read: what names no list, as nothing of ours does, says nothing. */
static void entry_take(struct list_entry *entry)
{
	if (entry->set >= LISTS)
		entry->set = LIST_NONE;
	if (entry->filed >= LISTS)
		entry->filed = LIST_NONE;
}

/* What an entry says: until its time is over, and afterwards. */
static enum list entry_list(const struct list_entry *entry)
{
	return (enum list)(entry->set ? entry->set : entry->filed);
}

static enum list entry_list_at(const struct list_entry *entry, __u64 now_ns)
{
	return (enum list)(entry->set && now_ns < entry->expires_ns ? entry->set : entry->filed);
}

/* The filter ------------------------------------------------------------------------------------------------------ */

static void filter_add(struct list_filter *filter, __u32 anchors[2], __u64 hash_key, const struct list_key *key)
{
	struct prefix prefix = prefix_of(key);
	__u32 anchor = prefix.ipv4 ? LIST_ANCHORS - 2 : LIST_ANCHORS - 1;
	__u64 address[2];

	memcpy(address, key->address, sizeof(address));
	while (list_anchor_length(!prefix.ipv4, anchor) > key->length)
		anchor--;
	__u32 bit = list_filter_bit(hash_key, address, !prefix.ipv4, anchor);
	/* Nobody else writes, and the system call that brings the entry itself comes after. */
	filter->words[bit / 64] |= 1ULL << (bit % 64);
	anchors[!prefix.ipv4] |= 1U << anchor;
}

/* Puts a filter in the place of the one that is at work. Bits that both have are never away in between. */
static void filter_publish(struct datapath *dp, const struct list_filter *filter, const __u32 anchors[2])
{
	for (size_t i = 0; i < sizeof(filter->words) / sizeof(*filter->words); i++)
		__atomic_store_n(&dp->lists.filter->words[i], filter->words[i], __ATOMIC_RELAXED);
	for (int family = 0; family < 2; family++)
		__atomic_store_n(&dp->state->live.list_anchors[family], anchors[family], __ATOMIC_RELEASE);
}

static void filter_note(struct datapath *dp, const struct list_key *key)
{
	__u64 hash_key = dp->state->live.hash_keys[LIST_HASH_KEY];

	filter_add(dp->lists.filter, dp->state->live.list_anchors, hash_key, key);
	if (dp->lists.pass)
		filter_add(&dp->lists.pass->filter, dp->lists.pass->anchors, hash_key, key);
}

/* What the packet path remembers of the trie is no longer true. */
static void memory_void(struct datapath *dp)
{
	__atomic_fetch_add(&dp->state->live.list_generation, 1, __ATOMIC_RELEASE);
}

/* Entries --------------------------------------------------------------------------------------------------------- */

static size_t entries_count(const struct datapath *dp)
{
	return dp->lists.counts[LIST_ALLOW] + dp->lists.counts[LIST_DENY];
}

/* The entry of exactly this prefix; one without a word where there is none. */
static struct list_entry entry_get(const struct datapath *dp, const struct list_key *key)
{
	struct list_entry entry;

	if (bpf_map_lookup_elem(trie(dp), key, &entry) < 0 || entry.length != key->length)
		entry = (struct list_entry){.length = (__u8)key->length};
	entry_take(&entry);
	return entry;
}

static int entry_update(const struct datapath *dp, const struct list_key *key, const struct list_entry *entry)
{
	for (int try = 0; bpf_map_update_elem(trie(dp), key, entry, BPF_ANY) < 0; try++) {
		if (errno != ENOMEM || try == ENOMEM_TRIES)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = ENOMEM_PAUSE_NS}, NULL);
	}
	return 0;
}

/* Puts `after` in the place of `before`, the same prefix's; where it says nothing the entry goes. The bits come before
 * the entry and outlast it, so that the filter never hides one. */
static int entry_replace(struct datapath *dp, const struct list_key *key, const struct list_entry *before,
                         const struct list_entry *after)
{
	struct lists *lists = &dp->lists;
	enum list was = entry_list(before), is = entry_list(after);
	int failure = 0;

	if (is) {
		filter_note(dp, key);
		failure = entry_update(dp, key, after);
	} else if (was) {
		failure = bpf_map_delete_elem(trie(dp), key) < 0 && errno != ENOENT ? -errno : 0;
		lists->stale += !failure;
	}
	if (failure)
		return failure;
	if (was)
		lists->counts[was]--;
	if (is)
		lists->counts[is]++;
	if (after->set && after->expires_ns < lists->expires_ns)
		lists->expires_ns = after->expires_ns;
	return 0;
}

/* The feature ----------------------------------------------------------------------------------------------------- */

static void pass_end(struct datapath *dp)
{
	free(dp->lists.pass);
	dp->lists.pass = NULL;
}

/* The packet path looks at lists from before the first entry is there. */
static int switch_on(struct datapath *dp, struct error *err)
{
	if (!(dp->features & FEATURE_LISTS)) {
		int failure = datapath_load(dp, dp->features | FEATURE_LISTS, err);
		if (failure)
			return failure;
	}
	dp->state->live.features |= FEATURE_LISTS;
	return 0;
}

static void switch_off_when_empty(struct datapath *dp)
{
	static const struct list_filter nothing;
	static const __u32 no_anchors[2];
	struct error err;

	if (entries_count(dp) || !(dp->features & FEATURE_LISTS))
		return;
	pass_end(dp);
	dp->lists.expires_ns = LIST_FOR_GOOD;
	dp->state->live.features &= ~FEATURE_LISTS;
	if (datapath_load(dp, dp->features & ~FEATURE_LISTS, &err) < 0)
		log_warning("%s: the program goes on looking at empty lists", err.text);
	filter_publish(dp, &nothing, no_anchors);
	dp->lists.stale = 0;
}

/* Changing -------------------------------------------------------------------------------------------------------- */

static int error_room(struct error *err, size_t added, size_t room)
{
	return error_set(err, -ENOSPC,
	                 "the lists have room for %zu entries more, and %zu are new: take others off, or raise "
	                 "'lists: {entries: N}' (for which 'spillway unload' and a new start are needed)",
	                 room, added);
}

/* Reads what is there of each prefix into `before`, and says whether the change can be made and how many entries it
 * would add. */
static int change_prepare(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count,
                          struct list_entry *before, __u64 now_ns, size_t *added, struct error *err)
{
	size_t newcomers = 0, room = lists_totals(dp).room;

	for (size_t i = 0; i < count; i++) {
		struct list_key key = key_of(&prefixes[i]);
		before[i] = entry_get(dp, &key);
		if (list == LIST_NONE && entry_list_at(&before[i], now_ns) == LIST_NONE) {
			char text[PREFIX_TEXT_MAX];
			prefix_format(&prefixes[i], text);
			return error_set(err, -ENOENT,
			                 "%s: is on no list: 'spillway allow' and 'spillway deny' show them", text);
		}
		newcomers += list != LIST_NONE && entry_list(&before[i]) == LIST_NONE;
	}
	*added = newcomers;
	return newcomers > room ? error_room(err, newcomers, room) : 0;
}

/* The same with the time and room for what is read, which is then the caller's. */
static int change_begin(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count,
                        struct list_entry **before, __u64 *now_ns, size_t *added, struct error *err)
{
	int failure = datapath_clock(dp, now_ns, err);
	if (failure)
		return failure;
	*before = calloc(count + 1, sizeof(**before));
	if (!*before)
		return error_set(err, -ENOMEM, "lists: no memory");
	return change_prepare(dp, list, prefixes, count, *before, *now_ns, added, err);
}

int lists_check(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count, size_t *added,
                struct error *err)
{
	_cleanup_free_ struct list_entry *before = NULL;
	__u64 now_ns = 0;

	return change_begin(dp, list, prefixes, count, &before, &now_ns, added, err);
}

static int change_apply(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count,
                        const struct list_entry *before, __u64 expires_ns, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct list_key key = key_of(&prefixes[i]);
		struct list_entry after = {.length = before[i].length};
		if (list != LIST_NONE)
			after = (struct list_entry){.length = before[i].length,
			                            .filed = before[i].filed,
			                            .set = (__u8)list,
			                            .expires_ns = expires_ns};
		int failure = entry_replace(dp, &key, &before[i], &after);
		if (failure) {
			char text[PREFIX_TEXT_MAX];
			prefix_format(&prefixes[i], text);
			return error_set(err, failure,
			                 "%s: the kernel refuses it: %s; the %zu prefixes before it are done", text,
			                 strerror(-failure), i);
		}
	}
	return 0;
}

int lists_set(struct datapath *dp, enum list list, const struct prefix *prefixes, size_t count, uint64_t for_ns,
              struct error *err)
{
	_cleanup_free_ struct list_entry *before = NULL;
	__u64 now_ns = 0;
	size_t added;

	int failure = change_begin(dp, list, prefixes, count, &before, &now_ns, &added, err);
	if (!failure && list != LIST_NONE && count)
		failure = switch_on(dp, err);
	if (!failure)
		failure = datapath_clock(dp, &now_ns, err); /* again: switching on takes its time */
	if (failure)
		return failure;
	failure = change_apply(dp, list, prefixes, count, before, for_ns ? now_ns + for_ns : LIST_FOR_GOOD, err);
	memory_void(dp);
	switch_off_when_empty(dp);
	return failure;
}

/* Whether a prefix is among entries in the order of prefixes. */
static bool files(const struct config_listed *entries, size_t count, const struct prefix *prefix)
{
	for (size_t low = 0, high = count; low < high;) {
		size_t middle = low + (high - low) / 2;
		int order = prefix_compare(prefix, &entries[middle].prefix);
		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* Says about a prefix in the file's name. */
static int file_one(struct datapath *dp, const struct prefix *prefix, enum list list)
{
	struct list_key key = key_of(prefix);
	struct list_entry before = entry_get(dp, &key), after = before;

	after.filed = (__u8)list;
	return before.filed == after.filed ? 0 : entry_replace(dp, &key, &before, &after);
}

static enum list filed_list(const struct config_listed *entry)
{
	return entry->denied ? LIST_DENY : LIST_ALLOW;
}

/* From what the file said to what it says: first what may fail. */
static int refile(struct datapath *dp, const struct config_listed *from, size_t from_count,
                  const struct config_listed *to, size_t to_count)
{
	for (size_t i = 0; i < to_count; i++) {
		int failure = file_one(dp, &to[i].prefix, filed_list(&to[i]));
		if (failure)
			return failure;
	}
	for (size_t i = 0; i < from_count; i++) {
		if (files(to, to_count, &from[i].prefix))
			continue;
		int failure = file_one(dp, &from[i].prefix, LIST_NONE);
		if (failure)
			return failure;
	}
	return 0;
}

int lists_file(struct datapath *dp, const struct config_lists *config, struct error *err)
{
	struct lists *lists = &dp->lists;
	struct config_listed *filed = calloc(config->count + 1, sizeof(*filed));
	if (!filed)
		return error_set(err, -ENOMEM, "lists: no memory");

	if (config->count)
		memcpy(filed, config->entries, config->count * sizeof(*filed));
	int failure = config->count ? switch_on(dp, err) : 0;
	if (failure) {
		free(filed);
		return failure;
	}
	failure = refile(dp, lists->filed, lists->filed_count, config->entries, config->count);
	if (failure)
		refile(dp, config->entries, config->count, lists->filed, lists->filed_count);
	memory_void(dp);
	if (failure) {
		switch_off_when_empty(dp);
		free(filed);
		return error_set(err, failure,
		                 failure == -ENOSPC
		                         ? "lists: the file's entries find no room beside those set by verb: "
		                           "take some off, or raise 'lists: {entries: N}': %s"
		                         : "lists: the kernel refuses the file's entries: %s",
		                 strerror(-failure));
	}
	free(lists->filed);
	lists->filed = filed;
	lists->filed_count = config->count;
	switch_off_when_empty(dp);
	return 0;
}

/* Reading --------------------------------------------------------------------------------------------------------- */

/* Reads entries after `cursor` (NULL: from the start) and moves it on. Returns how many, 0 at the end, or -errno. */
static int batch_read(const struct datapath *dp, bool begun, struct list_key *cursor, struct batch *batch, __u32 most)
{
	struct list_key next;
	__u32 count = most;

	int failure =
		bpf_map_lookup_batch(trie(dp), begun ? cursor : NULL, &next, batch->keys, batch->entries, &count, NULL);
	if (failure < 0 && errno != ENOENT)
		return -errno;
	for (__u32 i = 0; i < count; i++)
		entry_take(&batch->entries[i]);
	if (count)
		*cursor = batch->keys[count - 1];
	return (int)count;
}

int lists_read(struct datapath *dp, const struct prefix *after, struct listed *out, size_t count, struct prefix *last,
               struct error *err)
{
	_cleanup_free_ struct batch *batch = calloc(1, sizeof(*batch));
	struct list_key cursor = {0};
	__u64 now_ns;
	if (!batch)
		return error_set(err, -ENOMEM, "lists: no memory");

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	if (after) {
		cursor = key_of(after);
		struct list_entry there = entry_get(dp, &cursor);
		if (entry_list(&there) == LIST_NONE)
			return error_set(err, -ESTALE, "the lists changed while they were read: ask again");
	}
	int read = batch_read(dp, after != NULL, &cursor, batch, (__u32)(count < BATCH ? count : BATCH));
	if (read < 0)
		return error_set(err, read, "lists: cannot read: %s", strerror(-read));
	for (int i = 0; i < read; i++) {
		const struct list_entry *entry = &batch->entries[i];
		bool set = entry->set && now_ns < entry->expires_ns;
		out[i] = (struct listed){.prefix = prefix_of(&batch->keys[i]),
		                         .list = entry_list_at(entry, now_ns),
		                         .filed = !set,
		                         .expires = set && entry->expires_ns != LIST_FOR_GOOD,
		                         .left_ns = set ? entry->expires_ns - now_ns : 0};
	}
	if (read)
		*last = out[read - 1].prefix;
	return read;
}

struct lists_totals lists_totals(const struct datapath *dp)
{
	size_t count = entries_count(dp);

	return (struct lists_totals){
		.allowed = dp->lists.counts[LIST_ALLOW],
		.denied = dp->lists.counts[LIST_DENY],
		.room = dp->lists.entries_max > count ? dp->lists.entries_max - count : 0,
		.over_packets = __atomic_load_n(&dp->state->allowance.over_packets, __ATOMIC_RELAXED),
	};
}

/* Housekeeping ---------------------------------------------------------------------------------------------------- */

static int pass_begin(struct datapath *dp, struct error *err)
{
	dp->lists.pass = calloc(1, sizeof(*dp->lists.pass));
	if (!dp->lists.pass)
		return error_set(err, -ENOMEM, "lists: no memory for a pass over them");
	dp->lists.pass->expires_ns = LIST_FOR_GOOD;
	dp->lists.stale = 0; /* from here on, those that go during the pass, and may have been met by it */
	dp->lists.expires_ns = LIST_FOR_GOOD; /* from here on, the earliest of those that are set during the pass */
	return 0;
}

/* Takes the verb's word off an entry whose time is over, if nobody has said anything new since. */
static void expire(struct datapath *dp, const struct list_key *key, __u64 now_ns)
{
	struct list_entry before = entry_get(dp, key), after = before;

	after.set = LIST_NONE;
	if (before.set && now_ns >= before.expires_ns && entry_replace(dp, key, &before, &after) < 0)
		dp->lists.expires_ns = 0; /* again, in the next pass */
}

static void pass_visit(struct datapath *dp, const struct list_key *key, const struct list_entry *entry, bool is_last,
                       __u64 now_ns)
{
	struct lists_pass *pass = dp->lists.pass;

	if (entry->set && now_ns >= entry->expires_ns) {
		pass->cursor_expired = is_last;
		if (!is_last)
			expire(dp, key, now_ns);
		if (!is_last && !entry->filed)
			return;
	} else if (entry->set && entry->expires_ns < pass->expires_ns) {
		pass->expires_ns = entry->expires_ns;
	}
	filter_add(&pass->filter, pass->anchors, dp->state->live.hash_keys[LIST_HASH_KEY], key);
}

/* Returns how many entries it has met, 0 at the end. */
static int pass_piece(struct datapath *dp, struct batch *batch, __u64 now_ns, struct error *err)
{
	struct lists_pass *pass = dp->lists.pass;
	struct list_key old = pass->cursor;
	bool old_expired = pass->cursor_expired;

	int read = batch_read(dp, pass->begun, &pass->cursor, batch, BATCH);
	if (read < 0)
		return error_set(err, read, "lists: cannot read: %s", strerror(-read));
	pass->begun = true;
	pass->cursor_expired = false;
	if (old_expired)
		expire(dp, &old, now_ns);
	for (int i = 0; i < read; i++)
		pass_visit(dp, &batch->keys[i], &batch->entries[i], i + 1 == read, now_ns);
	return read;
}

int lists_keep(struct datapath *dp, struct error *err)
{
	struct lists *lists = &dp->lists;
	__u64 now_ns;

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	if (!lists->pass) {
		if (now_ns < lists->expires_ns && lists->stale < STALE_LEAST + entries_count(dp))
			return 0;
		failure = pass_begin(dp, err);
		if (failure)
			return failure;
	}
	_cleanup_free_ struct batch *batch = calloc(1, sizeof(*batch));
	int read = batch ? pass_piece(dp, batch, now_ns, err) : error_set(err, -ENOMEM, "lists: no memory");
	if (read < 0) {
		pass_end(dp);
		return read;
	}
	if (read > 0)
		return 1;
	filter_publish(dp, &lists->pass->filter, lists->pass->anchors);
	if (lists->pass->expires_ns < lists->expires_ns)
		lists->expires_ns = lists->pass->expires_ns;
	pass_end(dp);
	switch_off_when_empty(dp);
	return 0;
}

/* Adopting -------------------------------------------------------------------------------------------------------- */

static int adopt_filed(struct lists *lists, const struct list_key *key, const struct list_entry *entry)
{
	/* Grown at each power of two. */
	if ((lists->filed_count & (lists->filed_count - 1)) == 0) {
		size_t room = lists->filed_count ? 2 * lists->filed_count : 1;
		struct config_listed *grown = reallocarray(lists->filed, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		lists->filed = grown;
	}
	lists->filed[lists->filed_count++] =
		(struct config_listed){.prefix = prefix_of(key), .denied = entry->filed == LIST_DENY};
	return 0;
}

int lists_adopt(struct datapath *dp, struct error *err)
{
	struct lists *lists = &dp->lists;
	_cleanup_free_ struct batch *batch = calloc(1, sizeof(*batch));
	if (!batch)
		return error_set(err, -ENOMEM, "lists: no memory");
	int failure = pass_begin(dp, err);
	if (failure)
		return failure;

	struct lists_pass *pass = lists->pass;
	for (int read; (read = batch_read(dp, pass->begun, &pass->cursor, batch, BATCH)) != 0; pass->begun = true) {
		if (read < 0)
			failure = error_set(err, read, "lists: cannot read: %s", strerror(-read));
		for (int i = 0; i < read && !failure; i++) {
			lists->counts[entry_list(&batch->entries[i])]++;
			if (batch->entries[i].filed)
				failure = adopt_filed(lists, &batch->keys[i], &batch->entries[i]);
			if (batch->entries[i].set && batch->entries[i].expires_ns < lists->expires_ns)
				lists->expires_ns = batch->entries[i].expires_ns;
			filter_add(&pass->filter, pass->anchors, dp->state->live.hash_keys[LIST_HASH_KEY],
			           &batch->keys[i]);
		}
		if (failure)
			return failure;
	}
	filter_publish(dp, &pass->filter, pass->anchors);
	pass_end(dp);
	return entries_count(dp) ? switch_on(dp, err) : 0;
}

void lists_release(struct datapath *dp)
{
	pass_end(dp);
	free(dp->lists.filed);
}
