/* SPDX-License-Identifier: GPL-2.0-only */
#include "control/hotspot.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define KNOWN_SLOTS    256 /* users of a service whose usual is known; a power of two, at most three quarters in use */
#define KNOWN_MOST     (KNOWN_SLOTS * 3 / 4)
#define KNOWN_PREFIXES 512
#define FORGET_S       60.0 /* a past of which nothing was seen for so long */
#define TIMES_OTHERS   3.0  /* what a user with a great share must also send, above the others' average */
#define WIDTHS         2    /* /24 and /48; /16 and /32 */
#define BUCKET_BITS    13
#define BUCKETS        (1U << BUCKET_BITS)

/* What something usually sends: the mean of its past, the older the less. */
struct past {
	double usual_pps, age_s;
};

struct known_user {
	uint64_t key[2];
	struct past past;
	double seen_s; /* 0: an empty slot */
	bool hot;
};

struct service {
	struct past past;
	double passed_s;
	bool settled;                  /* it has a past by now, so that who has none is new */
	double counted_pps, total_pps; /* of this pass: of users; of all */
	struct known_user *users;      /* KNOWN_SLOTS, by open addressing; made when first needed */
	size_t hot_users;
};

/* A majority vote (MV-Sketch, Tang et al. 2019): whoever sends most of what falls into a bucket is its candidate, and
 * `votes` never exceeds what the candidate has sent. So a light prefix is never taken for a heavy one. */
struct bucket {
	uint64_t prefix;
	float votes;
	uint32_t users; /* of the candidate, about */
};

struct known_prefix {
	uint64_t prefix;
	unsigned width;
	struct past past;
	double seen_s; /* 0: an empty place */
};

struct hotspots {
	struct service services[HOTSPOT_SERVICES_MAX];
	struct bucket buckets[WIDTHS][BUCKETS];
	struct known_prefix prefixes[KNOWN_PREFIXES];
	struct known_user carried[KNOWN_SLOTS]; /* room to build a table anew */
	struct hotspot spots[HOTSPOTS_MAX];
	bool touched[HOTSPOTS_MAX]; /* in this pass */
	size_t spots_count;
	struct hotspot_settings settings;
	double now_s;
	hotspot_change *change;
	void *argument;
};

int hotspots_new(struct hotspots **out, struct error *err)
{
	struct hotspots *hotspots = calloc(1, sizeof(*hotspots));

	if (!hotspots)
		return error_set(err, -ENOMEM, "hot spots: no memory");
	*out = hotspots;
	return 0;
}

void hotspots_free(struct hotspots *hotspots)
{
	if (!hotspots)
		return;
	for (size_t i = 0; i < HOTSPOT_SERVICES_MAX; i++)
		free(hotspots->services[i].users);
	free(hotspots);
}

/* Prefixes ------------------------------------------------------------------------------------------------------- */

/* Service, family and prefix in one word: 11, 1 and 48 bits. */
#define PREFIX_FAMILY_SHIFT  48
#define PREFIX_SERVICE_SHIFT 49

static uint64_t prefix_word(unsigned service, const uint64_t key[2], bool ipv6, unsigned width)
{
	uint64_t address =
		ipv6 ? be64toh(key[0]) >> (width ? 32 : 16) : (be64toh(key[1]) & 0xffffffff) >> (width ? 16 : 8);

	return (uint64_t)service << PREFIX_SERVICE_SHIFT | (uint64_t)ipv6 << PREFIX_FAMILY_SHIFT | address;
}

static unsigned prefix_service(uint64_t prefix)
{
	return (unsigned)(prefix >> PREFIX_SERVICE_SHIFT);
}

static void prefix_vote(struct bucket *buckets, uint64_t prefix, float pps)
{
	struct bucket *bucket = &buckets[prefix * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BUCKET_BITS)];

	if (bucket->prefix == prefix) {
		bucket->votes += pps;
		bucket->users++;
	} else if (bucket->votes >= pps) {
		bucket->votes -= pps;
	} else {
		*bucket = (struct bucket){prefix, pps - bucket->votes, 1};
	}
}

void hotspots_count(struct hotspots *hotspots, unsigned service, const struct hotspot_user *user)
{
	if (service >= HOTSPOT_SERVICES_MAX || !(user->pps > 0))
		return;
	hotspots->services[service].counted_pps += user->pps;
	if (!user->source)
		return;
	for (unsigned width = 0; width < WIDTHS; width++)
		prefix_vote(hotspots->buckets[width], prefix_word(service, user->key, user->ipv6, width),
		            (float)user->pps);
}

/* Rules ---------------------------------------------------------------------------------------------------------- */

static bool past_known(const struct past *past)
{
	return past->age_s >= HOTSPOT_LEARN_S;
}

/* What is hot changes its usual slowly, and gets no older: who began as new stays new. */
static void past_learn(struct past *past, double pps, double elapsed_s, bool hot)
{
	double memory_s = hot ? HOTSPOT_USUAL_HOT_S : HOTSPOT_USUAL_S;

	if (!hot) {
		past->age_s += elapsed_s;
		memory_s = fmin(memory_s, past->age_s); /* the plain mean, until there is enough of it */
	}
	past->usual_pps += (pps - past->usual_pps) * (memory_s > 0 ? fmin(1, elapsed_s / memory_s) : 1);
}

struct words {
	char *text;
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *words, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int written = vsnprintf(words->text + words->length, HOTSPOT_WHY_MAX - words->length, format, arguments);
	va_end(arguments);

	if (written > 0)
		words->length += (size_t)written < HOTSPOT_WHY_MAX - words->length
		                         ? (size_t)written
		                         : HOTSPOT_WHY_MAX - 1 - words->length;
}

/* What one is held against, and by how much it exceeds that. */
static void say_times(struct words *words, double pps, double against_pps, const char *what)
{
	char text[UNITS_TEXT_MAX];

	units_format_count(against_pps, text, sizeof(text));
	if (against_pps >= 0.01)
		say(words, pps < 10 * against_pps ? "%.1f times %s %s" : "%.0f times %s %s", pps / against_pps, what,
		    text);
	else
		say(words, "%s %s", what, text);
}

/* All that the rules look at. */
struct heat {
	double pps, service_pps;
	double limit_pps;   /* what it may send, or the capacity of a service; 0: any */
	double others_pps;  /* the others' average */
	double against_pps; /* its usual, or what stands for that */
	bool past_counts, known;
	const char *newcomer; /* how against_pps is called where it is not its own usual */
};

/* One rule: whether `share` of what it asks for is there, and if `words` is not NULL why. */
typedef bool rule(const struct hotspot_settings *settings, const struct heat *heat, double share, struct words *words);

static bool rule_level(const struct hotspot_settings *settings, const struct heat *heat, double share,
                       struct words *words)
{
	if (!(settings->level > 0 && heat->limit_pps > 0) || heat->pps < share * settings->level * heat->limit_pps)
		return false;
	if (words)
		say_times(words, heat->pps, heat->limit_pps, "its limit of");
	return true;
}

static bool has_share(const struct hotspot_settings *settings, const struct heat *heat, double share)
{
	return heat->pps >= share * settings->least_pps && heat->pps >= share * settings->share * heat->service_pps;
}

static bool rule_share(const struct hotspot_settings *settings, const struct heat *heat, double share,
                       struct words *words)
{
	if (!has_share(settings, heat, share) || !(heat->others_pps > 0) ||
	    heat->pps < share * TIMES_OTHERS * heat->others_pps)
		return false;
	if (words)
		say_times(words, heat->pps, heat->others_pps, "the others' average of");
	return true;
}

static bool rule_past(const struct hotspot_settings *settings, const struct heat *heat, double share,
                      struct words *words)
{
	if (!(settings->past > 0) || !heat->past_counts || heat->pps < share * settings->least_pps ||
	    heat->pps < share * settings->past * heat->against_pps)
		return false;
	if (words)
		say_times(words, heat->pps, heat->against_pps, heat->known ? "its usual" : heat->newcomer);
	return true;
}

static bool rule_prefix(const struct hotspot_settings *settings, const struct heat *heat, double share,
                        struct words *words)
{
	return has_share(settings, heat, share) && rule_past(settings, heat, share, words);
}

static bool rule_capacity(const struct hotspot_settings *settings, const struct heat *heat, double share,
                          struct words *words)
{
	(void)settings;
	if (!(heat->limit_pps > 0) || heat->pps < fmax(share, HOTSPOT_END_CAPACITY) * heat->limit_pps)
		return false;
	if (words)
		say_times(words, heat->pps, heat->limit_pps, "its capacity of");
	return true;
}

#define RULES_MOST 3
static rule *const rules[][RULES_MOST] = {
	[HOTSPOT_USER] = {rule_level, rule_share, rule_past},
	[HOTSPOT_PREFIX] = {rule_prefix},
	[HOTSPOT_SERVICE] = {rule_capacity, rule_past},
};

static bool is_hot(const struct hotspots *hotspots, enum hotspot_kind kind, const struct heat *heat, double share,
                   struct words *words)
{
	for (size_t i = 0; i < RULES_MOST && rules[kind][i]; i++)
		if (rules[kind][i](&hotspots->settings, heat, share, words))
			return true;
	return false;
}

/* Beginning and ending -------------------------------------------------------------------------------------------- */

static struct hotspot *spot_find(struct hotspots *hotspots, const struct hotspot *like)
{
	for (size_t i = 0; i < hotspots->spots_count; i++) {
		struct hotspot *spot = &hotspots->spots[i];
		if (spot->service == like->service && spot->kind == like->kind && spot->length == like->length &&
		    spot->key[0] == like->key[0] && spot->key[1] == like->key[1])
			return spot;
	}
	return NULL;
}

static void spot_measure(struct hotspot *spot, const struct heat *heat)
{
	spot->pps = heat->pps;
	spot->peak_pps = fmax(spot->peak_pps, heat->pps);
	spot->usual_pps = heat->against_pps;
	spot->share = heat->service_pps > 0 ? fmin(1, heat->pps / heat->service_pps) : 0;
}

/* Returns whether it has begun. */
static bool spot_begin(struct hotspots *hotspots, const struct hotspot *what, const struct heat *heat, size_t users)
{
	char rate[UNITS_TEXT_MAX];
	struct hotspot begun = *what;
	struct words words = {begun.why, 0};

	if (hotspots->spots_count == HOTSPOTS_MAX ||
	    (begun.kind == HOTSPOT_USER && hotspots->services[begun.service].hot_users >= HOTSPOTS_USERS_MAX))
		return false;
	spot_measure(&begun, heat);
	units_format_count(heat->pps, rate, sizeof(rate));
	say(&words, "%s packets/s", rate);
	if (begun.kind != HOTSPOT_SERVICE)
		say(&words, ", %.0f %% of the service", begun.share * 100);
	if (begun.kind == HOTSPOT_PREFIX)
		say(&words, ", from %zu users together", users);
	say(&words, ": ");
	if (!is_hot(hotspots, begun.kind, heat, 1, &words))
		return false;
	begun.since_s = hotspots->now_s;
	hotspots->services[begun.service].hot_users += begun.kind == HOTSPOT_USER;
	hotspots->touched[hotspots->spots_count] = true;
	hotspots->spots[hotspots->spots_count++] = begun;
	hotspots->change(&hotspots->spots[hotspots->spots_count - 1], true, hotspots->argument);
	return true;
}

static void spot_drop(struct hotspots *hotspots, size_t i)
{
	struct hotspot *spot = &hotspots->spots[i];

	hotspots->services[spot->service].hot_users -= spot->kind == HOTSPOT_USER;
	hotspots->spots_count--;
	hotspots->spots[i] = hotspots->spots[hotspots->spots_count];
	hotspots->touched[i] = hotspots->touched[hotspots->spots_count];
}

/* Goes on with what is hot, or ends it: after it has been below for long enough. Returns whether it is still hot. */
static bool spot_go_on(struct hotspots *hotspots, struct hotspot *spot, const struct heat *heat)
{
	char now[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX], lasted[UNITS_TEXT_MAX];

	if (!spot) /* it has ended while its service was silent */
		return false;
	hotspots->touched[spot - hotspots->spots] = true;
	if (heat)
		spot_measure(spot, heat);
	else
		spot->pps = spot->share = 0;
	if (heat && is_hot(hotspots, spot->kind, heat, HOTSPOT_END_SHARE, NULL)) {
		spot->below_since_s = 0;
		return true;
	}
	if (!spot->below_since_s)
		spot->below_since_s = hotspots->now_s;
	if (hotspots->now_s - spot->below_since_s < HOTSPOT_HOLD_S)
		return true;
	struct hotspot ended = *spot;
	units_format_count(ended.pps, now, sizeof(now));
	units_format_count(ended.peak_pps, peak, sizeof(peak));
	units_format_duration_ns((uint64_t)fmax(0, round(hotspots->now_s - ended.since_s)) * 1000000000, lasted,
	                         sizeof(lasted));
	snprintf(ended.why, sizeof(ended.why), "after %s: %s packets/s now, %s at the most", lasted, now, peak);
	spot_drop(hotspots, (size_t)(spot - hotspots->spots));
	hotspots->change(&ended, false, hotspots->argument);
	return false;
}

/* Users and services ------------------------------------------------------------------------------------------------
 */

static struct known_user *slot_of(struct known_user *slots, const uint64_t key[2])
{
	uint64_t mixed = (key[0] ^ key[1] * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = mixed >> 56;

	_Static_assert(KNOWN_SLOTS == 256, "eight bits of the hash choose the slot");
	while (slots[i].seen_s && (slots[i].key[0] != key[0] || slots[i].key[1] != key[1]))
		i = (i + 1) % KNOWN_SLOTS;
	return &slots[i];
}

static void judge_user(struct hotspots *hotspots, unsigned number, struct known_user *known,
                       const struct hotspot_user *user, const struct hotspot_service *seen, double elapsed_s)
{
	struct service *service = &hotspots->services[number];
	bool usual = past_known(&known->past);
	double others =
		seen->active_users > 1 ? fmax(0, service->total_pps - user->pps) / (double)(seen->active_users - 1) : 0;
	struct heat heat = {
		.pps = user->pps,
		.service_pps = service->total_pps,
		.limit_pps = user->limit_pps,
		.others_pps = others,
		.known = usual,
		.past_counts = usual || service->settled,
		.newcomer = seen->full ? "the lightest of the heaviest, and it is new:"
	                               : "the others' average, and it is new:",
	};
	heat.against_pps = usual || known->hot ? known->past.usual_pps
	                                       : (seen->full ? seen->heaviest[seen->heaviest_count - 1].pps : others);
	struct hotspot what = {.kind = HOTSPOT_USER,
	                       .service = number,
	                       .key = {user->key[0], user->key[1]},
	                       .user_kind = user->kind,
	                       .source = user->source,
	                       .ipv6 = user->ipv6};

	bool was_hot = known->hot;
	known->hot = was_hot ? spot_go_on(hotspots, spot_find(hotspots, &what), &heat)
	                     : spot_begin(hotspots, &what, &heat, 1);
	if (known->hot && !was_hot)
		known->past.usual_pps = heat.against_pps;
	past_learn(&known->past, user->pps, elapsed_s, known->hot);
	known->seen_s = hotspots->now_s;
}

/* Keeps what is known of a user that is not in the list of this pass. Returns whether it has taken a place. */
static bool carry_user(struct hotspots *hotspots, unsigned number, const struct known_user *before)
{
	struct known_user *slot = slot_of(hotspots->carried, before->key);
	struct hotspot what = {.kind = HOTSPOT_USER, .service = number, .key = {before->key[0], before->key[1]}};

	if (slot->seen_s || (!before->hot && hotspots->now_s - before->seen_s > FORGET_S))
		return false;
	*slot = *before;
	if (slot->hot)
		slot->hot = spot_go_on(hotspots, spot_find(hotspots, &what), NULL);
	return true;
}

/* The table of this pass: of all in the list, and of the others whose past is worth keeping while there is room. */
static void judge_users(struct hotspots *hotspots, unsigned number, const struct hotspot_service *seen,
                        double elapsed_s)
{
	struct service *service = &hotspots->services[number];
	struct known_user *carried = hotspots->carried;
	size_t count = 0;

	if (!service->users)
		service->users = calloc(KNOWN_SLOTS, sizeof(*service->users));
	if (!service->users)
		return;
	memset(carried, 0, sizeof(hotspots->carried));
	for (size_t i = 0; i < seen->heaviest_count && count < KNOWN_MOST; i++, count++) {
		const struct hotspot_user *user = &seen->heaviest[i];
		struct known_user *before = slot_of(service->users, user->key), *slot = slot_of(carried, user->key);
		if (slot->seen_s) /* no user is twice in a list */
			continue;
		*slot = *before;
		memcpy(slot->key, user->key, sizeof(slot->key));
		slot->seen_s = hotspots->now_s;
		judge_user(hotspots, number, slot, user, seen, elapsed_s);
	}
	for (int hot = 1; hot >= 0; hot--) /* who is hot has a place for sure */
		for (size_t i = 0; i < KNOWN_SLOTS && count < KNOWN_MOST; i++)
			if (service->users[i].seen_s && service->users[i].hot == hot)
				count += carry_user(hotspots, number, &service->users[i]);
	memcpy(service->users, carried, sizeof(hotspots->carried));
}

static void judge_service(struct hotspots *hotspots, unsigned number, const struct hotspot_service *seen,
                          double elapsed_s)
{
	struct service *service = &hotspots->services[number];
	struct heat heat = {.pps = service->total_pps,
	                    .service_pps = service->total_pps,
	                    .limit_pps = seen->capacity_pps,
	                    .against_pps = service->past.usual_pps,
	                    .known = true,
	                    .past_counts = service->settled};
	struct hotspot what = {.kind = HOTSPOT_SERVICE, .service = number};
	struct hotspot *spot = spot_find(hotspots, &what);

	bool hot = spot ? spot_go_on(hotspots, spot, &heat) : spot_begin(hotspots, &what, &heat, 0);
	past_learn(&service->past, service->total_pps, elapsed_s, hot);
}

void hotspots_begin(struct hotspots *hotspots, const struct hotspot_settings *settings, double now_s,
                    hotspot_change *change, void *argument)
{
	assert(now_s > 0);
	hotspots->settings = *settings;
	hotspots->now_s = now_s;
	hotspots->change = change;
	hotspots->argument = argument;
	memset(hotspots->touched, 0, sizeof(hotspots->touched));
}

void hotspots_service(struct hotspots *hotspots, unsigned number, const struct hotspot_service *seen)
{
	struct service *service = &hotspots->services[number];
	double elapsed_s = service->passed_s > 0 ? hotspots->now_s - service->passed_s : 0;

	/* Packets of users that have no name yet are in the one, those of this very second in the other. */
	service->settled = past_known(&service->past);
	service->total_pps = fmax(seen->pps, service->counted_pps);
	judge_users(hotspots, number, seen, elapsed_s);
	judge_service(hotspots, number, seen, elapsed_s);
	service->passed_s = hotspots->now_s;
}

/* The end of a pass ----------------------------------------------------------------------------------------------- */

static struct hotspot prefix_spot(uint64_t prefix, unsigned width)
{
	bool ipv6 = prefix >> PREFIX_FAMILY_SHIFT & 1;
	uint64_t address = prefix & ((UINT64_C(1) << PREFIX_FAMILY_SHIFT) - 1);
	struct hotspot spot = {.kind = HOTSPOT_PREFIX,
	                       .service = prefix_service(prefix),
	                       .source = true,
	                       .ipv6 = ipv6,
	                       .length = ipv6 ? (width ? 32 : 48) : (width ? 16 : 24)};

	if (ipv6) {
		spot.key[0] = htobe64(address << (width ? 32 : 16));
	} else {
		spot.key[1] = htobe64(UINT64_C(0xffff00000000) | address << (width ? 16 : 8));
	}
	return spot;
}

/* What hot users, and of a wide prefix hot narrow ones, account for. */
static double named_within(const struct hotspots *hotspots, uint64_t prefix, unsigned width, size_t *users)
{
	double pps = 0;

	*users = 0;
	for (size_t i = 0; i < hotspots->spots_count; i++) {
		const struct hotspot *spot = &hotspots->spots[i];
		bool narrower = spot->kind == HOTSPOT_USER ||
		                (spot->kind == HOTSPOT_PREFIX && width == 1 && spot->length == (spot->ipv6 ? 48 : 24));
		if (!narrower || !spot->source || prefix_word(spot->service, spot->key, spot->ipv6, width) != prefix)
			continue;
		pps += spot->pps;
		*users += spot->kind == HOTSPOT_USER;
	}
	return pps;
}

static struct known_prefix *prefix_known(struct hotspots *hotspots, uint64_t prefix, unsigned width)
{
	struct known_prefix *room = NULL;

	for (size_t i = 0; i < KNOWN_PREFIXES; i++) {
		struct known_prefix *known = &hotspots->prefixes[i];
		if (known->seen_s && known->prefix == prefix && known->width == width)
			return known;
		if (!room && (!known->seen_s || hotspots->now_s - known->seen_s > FORGET_S))
			room = known;
	}
	if (room)
		*room = (struct known_prefix){.prefix = prefix, .width = width, .seen_s = hotspots->now_s};
	return room;
}

static void judge_prefix(struct hotspots *hotspots, const struct bucket *bucket, unsigned width)
{
	struct service *service = &hotspots->services[prefix_service(bucket->prefix)];
	size_t named_users;
	double pps = bucket->votes - named_within(hotspots, bucket->prefix, width, &named_users);
	struct known_prefix *known = prefix_known(hotspots, bucket->prefix, width);
	if (!known)
		return;
	struct hotspot what = prefix_spot(bucket->prefix, width);
	struct hotspot *spot = spot_find(hotspots, &what);
	bool usual = past_known(&known->past), was_hot = spot != NULL;
	struct heat heat = {
		.pps = fmax(0, pps),
		.service_pps = service->total_pps,
		.against_pps = usual || spot ? known->past.usual_pps : 0,
		.known = usual,
		.past_counts = usual || service->settled,
		.newcomer = "it is new, and before sent",
	};
	bool hot = spot ? spot_go_on(hotspots, spot, &heat)
	                : bucket->users >= HOTSPOT_USERS_LEAST + named_users &&
	                           spot_begin(hotspots, &what, &heat, bucket->users - named_users);
	if (hot && !was_hot)
		known->past.usual_pps = heat.against_pps;
	past_learn(&known->past, heat.pps, known->seen_s < hotspots->now_s ? hotspots->now_s - known->seen_s : 0, hot);
	known->seen_s = hotspots->now_s;
}

static void judge_prefixes(struct hotspots *hotspots, unsigned width)
{
	const struct hotspot_settings *settings = &hotspots->settings;

	for (size_t i = 0; i < BUCKETS; i++) {
		const struct bucket *bucket = &hotspots->buckets[width][i];
		if (bucket->votes < HOTSPOT_END_SHARE * settings->least_pps || !bucket->users)
			continue;
		const struct service *service = &hotspots->services[prefix_service(bucket->prefix)];
		if (bucket->votes >= HOTSPOT_END_SHARE * settings->share * service->total_pps)
			judge_prefix(hotspots, bucket, width);
	}
}

void hotspots_end(struct hotspots *hotspots)
{
	for (unsigned width = 0; width < WIDTHS; width++)
		judge_prefixes(hotspots, width);
	for (size_t i = hotspots->spots_count; i-- > 0;)
		if (!hotspots->touched[i])
			spot_go_on(hotspots, &hotspots->spots[i], NULL);
	memset(hotspots->buckets, 0, sizeof(hotspots->buckets));
	for (size_t i = 0; i < HOTSPOT_SERVICES_MAX; i++)
		hotspots->services[i].counted_pps = 0;
}

const struct hotspot *hotspots_now(const struct hotspots *hotspots, size_t *count)
{
	*count = hotspots->spots_count;
	return hotspots->spots;
}

void hotspots_forget(struct hotspots *hotspots, unsigned number)
{
	struct service *service = &hotspots->services[number];

	for (size_t i = hotspots->spots_count; i-- > 0;)
		if (hotspots->spots[i].service == number)
			spot_drop(hotspots, i);
	free(service->users);
	*service = (struct service){0};
	for (size_t i = 0; i < KNOWN_PREFIXES; i++)
		if (prefix_service(hotspots->prefixes[i].prefix) == number)
			hotspots->prefixes[i] = (struct known_prefix){0};
}
