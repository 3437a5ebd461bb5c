/* SPDX-License-Identifier: GPL-2.0-only */
/* Services that clash: the same name twice, or a packet that two of them would match. Sets of services are bit sets and
 * both ports and prefixes are swept in order, so that 1,024 services of 64 ranges each cost milliseconds. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/faults.h"
#include "config/services.h"

#define SET_WORDS   (CONFIG_SERVICES_MAX / 64)
#define LEVELS_MAX  130 /* prefixes of 0 to 128 bits, one within the other, below a root */
#define PORT_OF_ALL UINT16_MAX

struct set {
	uint64_t words[SET_WORDS];
};

struct owned_prefix {
	struct prefix prefix;
	size_t service;
};

/* A range of ports begins, or ends after its last port. */
struct port_event {
	enum config_protocol protocol;
	unsigned port;
	bool end;
	size_t service, range;
};

static void set_add(struct set *set, size_t service)
{
	set->words[service / 64] |= UINT64_C(1) << (service % 64);
}

static void set_remove(struct set *set, size_t service)
{
	set->words[service / 64] &= ~(UINT64_C(1) << (service % 64));
}

static void set_unite(struct set *set, const struct set *other)
{
	for (size_t i = 0; i < SET_WORDS; i++)
		set->words[i] |= other->words[i];
}

static int compare_names(const void *a, const void *b)
{
	const struct config_service *const *left = a, *const *right = b;
	int order = strcmp((*left)->name, (*right)->name);
	return order ? order : (*left > *right) - (*left < *right);
}

int services_check_names(struct config_faults *faults, const struct config *config)
{
	_cleanup_free_ const struct config_service **sorted = calloc(config->services_count + 1, sizeof(*sorted));
	const struct config_service *first = NULL;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < config->services_count; i++)
		sorted[i] = &config->services[i];
	qsort(sorted, config->services_count, sizeof(*sorted), compare_names);
	for (size_t i = 0; i < config->services_count; i++) {
		if (!first || strcmp(first->name, sorted[i]->name) != 0)
			first = sorted[i];
		else if (first->name[0])
			faults_add(faults, sorted[i]->mark,
			           "name '%s' is used already at line %u: expected a name of its own", first->name,
			           first->mark.line);
	}
	return 0;
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct prefix *left = &((const struct owned_prefix *)a)->prefix;
	const struct prefix *right = &((const struct owned_prefix *)b)->prefix;

	if (left->ipv4 != right->ipv4)
		return left->ipv4 - right->ipv4;
	int order = memcmp(left->address, right->address, sizeof(left->address));
	return order ? order : left->length - right->length;
}

/* Adds to near[s] every service with a prefix that holds one of s. In sorted order the prefixes that hold the current
 * one are a stack; each level keeps the services of itself and of all below it. */
static void sweep_prefixes(const struct owned_prefix *prefixes, size_t count, struct set *near)
{
	struct set levels[LEVELS_MAX] = {0};
	const struct prefix *held[LEVELS_MAX] = {0};
	size_t depth = 0;

	for (size_t first = 0, next; first < count; first = next) {
		const struct prefix *prefix = &prefixes[first].prefix;
		while (depth > 0 && !prefix_overlaps(held[depth], prefix))
			depth--;
		levels[depth + 1] = levels[depth];
		depth++;
		held[depth] = prefix;
		for (next = first; next < count && compare_prefixes(&prefixes[first], &prefixes[next]) == 0; next++)
			set_add(&levels[depth], prefixes[next].service);
		for (size_t i = first; i < next; i++)
			set_unite(&near[prefixes[i].service], &levels[depth]);
	}
}

/* Fills near[s] with the services whose destinations overlap those of s, in both directions. */
static int find_near(const struct config *config, struct set *near)
{
	_cleanup_free_ struct owned_prefix *prefixes =
		calloc(config->services_count * CONFIG_DESTINATIONS_MAX + 1, sizeof(*prefixes));
	size_t count = 0;

	if (!prefixes)
		return -ENOMEM;
	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		for (size_t j = 0; j < service->destinations_count; j++)
			prefixes[count++] = (struct owned_prefix){service->destinations[j], i};
		if (service->destinations_count == 0)
			memset(&near[i], 0xff, sizeof(near[i]));
	}
	qsort(prefixes, count, sizeof(*prefixes), compare_prefixes);
	sweep_prefixes(prefixes, count, near);

	for (size_t i = 0; i < config->services_count; i++) {
		for (size_t j = 0; j < config->services_count; j++) {
			if (near[i].words[j / 64] >> (j % 64) & 1)
				set_add(&near[j], i);
		}
	}
	return 0;
}

static int compare_events(const void *a, const void *b)
{
	const struct port_event *left = a, *right = b;

	if (left->protocol != right->protocol)
		return left->protocol < right->protocol ? -1 : 1;
	if (left->port != right->port)
		return left->port < right->port ? -1 : 1;
	if (left->end != right->end)
		return left->end - right->end;
	return (left->service > right->service) - (left->service < right->service);
}

static size_t list_events(const struct config *config, const struct service_places *places, struct port_event *events)
{
	static const struct config_ports all = {0, PORT_OF_ALL};
	size_t count = 0;

	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		const struct config_ports *ports = service->ports_count ? service->ports : &all;
		size_t ranges = service->ports_count ? service->ports_count : 1;
		for (size_t j = 0; places[i].comparable && j < ranges; j++) {
			events[count++] = (struct port_event){service->protocol, ports[j].first, false, i, j};
			events[count++] = (struct port_event){service->protocol, ports[j].last, true, i, j};
		}
	}
	return count;
}

static void fault_overlap(struct config_faults *faults, const struct config_service *earlier,
                          const struct config_service *later, const struct config_mark *range, unsigned port)
{
	if (later->ports_count)
		faults_add(faults, *range,
		           "port %u of '%s' belongs to service '%s' at line %u already: give one of them other ports "
		           "or destinations",
		           port, later->name, earlier->name, earlier->mark.line);
	else
		faults_add(faults, later->mark,
		           "'%s' takes the packets of service '%s' at line %u: give one of them other destinations",
		           later->name, earlier->name, earlier->mark.line);
}

/* Reports each service that is active while `event` begins and near its service; each pair once. */
static void report_overlaps(struct config_faults *faults, const struct config *config,
                            const struct service_places *places, const struct port_event *event,
                            const struct set *active, const size_t *active_range, struct set *near)
{
	for (size_t word = 0; word < SET_WORDS; word++) {
		uint64_t shared;
		while ((shared = active->words[word] & near[event->service].words[word]) != 0) {
			size_t other = word * 64 + (size_t)__builtin_ctzll(shared);
			bool other_later = other > event->service;
			size_t later = other_later ? other : event->service;
			size_t range = other_later ? active_range[other] : event->range;
			fault_overlap(faults, &config->services[other_later ? event->service : other],
			              &config->services[later], &places[later].ports[range], event->port);
			set_remove(&near[event->service], other);
			set_remove(&near[other], event->service);
		}
	}
}

int services_check_overlaps(struct config_faults *faults, const struct config *config,
                            const struct service_places *places)
{
	size_t events_max = config->services_count * CONFIG_PORTS_MAX * 2 + 1;
	_cleanup_free_ struct set *near = calloc(CONFIG_SERVICES_MAX, sizeof(*near));
	_cleanup_free_ struct port_event *events = calloc(events_max, sizeof(*events));
	_cleanup_free_ size_t *active_range = calloc(CONFIG_SERVICES_MAX, sizeof(*active_range));
	struct set active = {0};

	if (!near || !events || !active_range || find_near(config, near) < 0)
		return -ENOMEM;
	size_t count = list_events(config, places, events);
	qsort(events, count, sizeof(*events), compare_events);
	for (size_t i = 0; i < count; i++) {
		if (events[i].end) {
			set_remove(&active, events[i].service);
			continue;
		}
		report_overlaps(faults, config, places, &events[i], &active, active_range, near);
		set_add(&active, events[i].service);
		active_range[events[i].service] = events[i].range;
	}
	return 0;
}
