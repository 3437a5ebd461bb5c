/* SPDX-License-Identifier: GPL-2.0-only */
/* One service at a time: its keys, their readers, and what must hold inside one service. Knows nothing of other
 * services: clashes.c compares them. */
#include "config/services.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/adaptive.h"
#include "config/faults.h"

#define BURST_SECONDS_MAX    900 /* the meter's clock holds no longer debt */
#define BYTES_LEAST          64  /* a second, likewise: the largest frame is 17 minutes' worth */
#define PAYLOAD_OFFSET_UNSET UINT16_MAX

struct service_reading {
	struct config_service *service;
	struct service_places *places;
	struct adaptive_keys adaptive;
};

static const struct schema_word protocol_words[] = {
	{"tcp", CONFIG_TCP},   {"udp", CONFIG_UDP},       {"sctp", CONFIG_SCTP},
	{"icmp", CONFIG_ICMP}, {"icmpv6", CONFIG_ICMPV6}, {0},
};

static const struct schema_word mode_words[] = {{"observe", CONFIG_OBSERVE}, {"enforce", CONFIG_ENFORCE}, {0}};

static const struct schema_word kind_words[] = {
	{"source", CONFIG_SOURCE}, {"tenant", CONFIG_TENANT}, {"payload", CONFIG_PAYLOAD}, {"tag", CONFIG_TAG}, {0}};

static const struct schema_word class_words[] = {
	{"sheddable", CONFIG_SHEDDABLE}, {"normal", CONFIG_NORMAL}, {"critical", CONFIG_CRITICAL}, {0}};

bool service_name_is_sound(const char *name)
{
	if (!isascii(name[0]) || !isalnum((unsigned char)name[0]) || strlen(name) >= CONFIG_NAME_MAX)
		return false;
	for (; *name; name++) {
		if (!isascii(*name) || (!isalnum((unsigned char)*name) && !strchr("_.-", *name)))
			return false;
	}
	return true;
}

static void read_name(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	const char *name = schema_read_text(reading, node, "a name");

	into->service->mark = mark_of(node);
	if (!name)
		return;
	if (!service_name_is_sound(name))
		faults_add(reading->faults, mark_of(node),
		           "name '%.40s' is no name: expected a letter or digit, then up to %d of a-z A-Z 0-9 _ . -",
		           name, CONFIG_NAME_MAX - 2);
	else if (strcmp(name, "other") == 0)
		faults_add(reading->faults, mark_of(node),
		           "name 'other' is reserved for what no service matches: expected another name");
	else
		snprintf(into->service->name, sizeof(into->service->name), "%s", name);
}

static void read_protocol(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	int protocol;

	if (!schema_read_word(reading, node, protocol_words, &protocol))
		return;
	into->service->protocol = (enum config_protocol)protocol;
	into->places->protocol_read = true;
}

static bool port_read(const char **text, uint16_t *out)
{
	unsigned port = 0;
	const char *at = *text;

	if (*at < '1' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		port = port * 10 + (unsigned)(*at - '0');
		if (port > UINT16_MAX)
			return false;
	}
	*text = at;
	*out = (uint16_t)port;
	return true;
}

static bool read_port_range(struct reading *reading, const yaml_node_t *node, struct config_ports *out)
{
	static const char expected[] = "a port from 1 to 65535 or a range as 8000-8010";
	const char *text = schema_read_text(reading, node, expected);
	const char *at = text;
	struct config_ports ports = {0};

	if (!text)
		return false;
	bool sound = port_read(&at, &ports.first);
	ports.last = ports.first;
	if (sound && *at == '-') {
		at++;
		sound = port_read(&at, &ports.last);
	}
	if (!sound || *at) {
		faults_add(reading->faults, mark_of(node), "found '%.40s', expected %s", text, expected);
		return false;
	}
	if (ports.last < ports.first) {
		faults_add(reading->faults, mark_of(node), "range %s is reversed: expected %u-%u", text, ports.last,
		           ports.first);
		return false;
	}
	*out = ports;
	return true;
}

/* Whether no port of the newest range is in an older one of the same service. */
static bool ports_are_new(struct reading *reading, const struct service_reading *into, struct config_mark mark)
{
	const struct config_service *service = into->service;
	const struct config_ports *newest = &service->ports[service->ports_count];

	for (size_t i = 0; i < service->ports_count; i++) {
		const struct config_ports *older = &service->ports[i];
		if (newest->first > older->last || older->first > newest->last)
			continue;
		unsigned shared = newest->first > older->first ? newest->first : older->first;
		faults_add(reading->faults, mark,
		           "port %u is in this service already at line %u, column %u: write it once", shared,
		           into->places->ports[i].line, into->places->ports[i].column);
		return false;
	}
	return true;
}

static void read_ports(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	struct config_service *service = into->service;

	into->places->ports_given = true;
	into->places->ports_key = mark_of(node);
	size_t count = schema_list_count(reading, node, CONFIG_PORTS_MAX, "ports");
	if (count == 0 && node->type == YAML_SEQUENCE_NODE &&
	    node->data.sequence.items.top == node->data.sequence.items.start)
		faults_add(reading->faults, mark_of(node), "found an empty list, expected at least one port");
	for (size_t i = 0; i < count; i++) {
		const yaml_node_t *entry = schema_list_entry(reading, node, i);
		if (!read_port_range(reading, entry, &service->ports[service->ports_count]) ||
		    !ports_are_new(reading, into, mark_of(entry)))
			continue;
		into->places->ports[service->ports_count++] = mark_of(entry);
	}
}

static void read_destination(struct reading *reading, const yaml_node_t *node, struct service_reading *into)
{
	struct config_service *service = into->service;
	struct prefix prefix = {0};
	struct error err;
	const char *text = schema_read_text(reading, node, "a prefix as 203.0.113.0/24");

	if (!text)
		return;
	if (prefix_parse(text, &prefix, &err) < 0) {
		faults_add(reading->faults, mark_of(node), "%.200s", err.text);
		return;
	}
	for (size_t i = 0; i < service->destinations_count; i++) {
		const struct prefix *older = &service->destinations[i];
		if (older->length != prefix.length || older->ipv4 != prefix.ipv4 ||
		    memcmp(older->address, prefix.address, sizeof(prefix.address)) != 0)
			continue;
		faults_add(reading->faults, mark_of(node),
		           "destination '%.50s' is given already at line %u, column %u: write it once", text,
		           into->places->destinations[i].line, into->places->destinations[i].column);
		return;
	}
	into->places->destinations[service->destinations_count] = mark_of(node);
	service->destinations[service->destinations_count++] = prefix;
}

static void read_destinations(struct reading *reading, const yaml_node_t *node, void *target)
{
	size_t count = schema_list_count(reading, node, CONFIG_DESTINATIONS_MAX, "destinations");

	if (node->type == YAML_SEQUENCE_NODE && node->data.sequence.items.top == node->data.sequence.items.start)
		faults_add(reading->faults, mark_of(node),
		           "found an empty list, expected a prefix: leave the key away for any destination");
	for (size_t i = 0; i < count; i++)
		read_destination(reading, schema_list_entry(reading, node, i), target);
}

static void read_kind(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_service *service = target;
	int kind;
	if (schema_read_word(reading, node, kind_words, &kind))
		service->user_kind = (enum config_kind)kind;
}

static void read_payload_offset(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_service *service = target;
	unsigned offset;
	if (schema_read_whole(reading, node, 0, CONFIG_PAYLOAD_OFFSET_MAX, &offset))
		service->payload_offset = (uint16_t)offset;
}

static void read_payload_length(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_service *service = target;
	unsigned length;
	if (schema_read_whole(reading, node, 1, CONFIG_PAYLOAD_BYTES_MAX, &length))
		service->payload_bytes = (uint8_t)length;
}

static void read_ipv4_length(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_service *service = target;
	unsigned length;
	if (schema_read_whole(reading, node, 0, 32, &length))
		service->user_ipv4_length = (uint8_t)length;
}

static void read_ipv6_length(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_service *service = target;
	unsigned length;
	if (schema_read_whole(reading, node, 0, 128, &length))
		service->user_ipv6_length = (uint8_t)length;
}

static void read_user(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {
		{"kind", read_kind, false},
		{"ipv4", read_ipv4_length, false},
		{"ipv6", read_ipv6_length, false},
		{"offset", read_payload_offset, false},
		{"length", read_payload_length, false},
		{0},
	};
	static const struct schema schema = {"user", keys};
	struct service_reading *into = target;
	struct config_service *service = into->service;
	size_t faults_before = reading->faults->count;

	service->payload_offset = PAYLOAD_OFFSET_UNSET;
	schema_read(reading, node, &schema, service);
	if (reading->faults->count != faults_before)
		return;
	bool payload = service->user_kind == CONFIG_PAYLOAD;
	if (payload && (service->payload_offset == PAYLOAD_OFFSET_UNSET || !service->payload_bytes))
		faults_add(
			reading->faults, mark_of(node),
			"a user of kind 'payload' needs 'offset' and 'length': the bytes of the datagram that name it");
	if (!payload && (service->payload_offset != PAYLOAD_OFFSET_UNSET || service->payload_bytes))
		faults_add(reading->faults, mark_of(node),
		           "'offset' and 'length' are of users of kind 'payload': remove them, or name that kind");
	if (payload && into->places->protocol_read && service->protocol != CONFIG_UDP)
		faults_add(reading->faults, mark_of(node),
		           "users of kind 'payload' are named in UDP datagrams: expected 'protocol: udp'");
	if (service->user_kind == CONFIG_TAG && into->places->protocol_read && service->protocol != CONFIG_TCP &&
	    service->protocol != CONFIG_UDP)
		faults_add(reading->faults, mark_of(node),
		           "users of kind 'tag' are named on sockets: expected 'protocol: tcp' or 'udp'");
}

static void read_packets_per_second(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_number(reading, node, 0.1, 100e6, &limit->packets.per_second);
}

static void read_burst(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_number(reading, node, 1, 10e6, &limit->packets.burst);
}

static void read_bytes_per_second(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_bytes(reading, node, BYTES_LEAST, 100e9, &limit->bytes.per_second);
}

static void read_burst_bytes(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_bytes(reading, node, 64, 10e9, &limit->bytes.burst);
}

static void read_connections_per_second(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_number(reading, node, 0.1, 10e6, &limit->connections.per_second);
}

static void read_burst_connections(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct config_limit *limit = target;
	schema_read_number(reading, node, 1, 1e6, &limit->connections.burst);
}

/* Completes a pace, or says what is wrong with it. */
static void settle_burst(struct reading *reading, const yaml_node_t *node, struct config_pace *pace, const char *burst,
                         const char *noun)
{
	if (pace->per_second <= 0 && pace->burst > 0)
		faults_add(reading->faults, mark_of(node), "'%s' without a limit in %s a second: add it", burst, noun);
	if (pace->per_second <= 0)
		return;
	if (pace->burst <= 0)
		pace->burst = pace->per_second > 10 ? pace->per_second / 10 : 1;
	else if (pace->burst / pace->per_second > BURST_SECONDS_MAX)
		faults_add(reading->faults, mark_of(node),
		           "burst %.10g at %.10g %s a second lasts %.10g s, expected at most %d s: lower the burst",
		           pace->burst, pace->per_second, noun, pace->burst / pace->per_second, BURST_SECONDS_MAX);
}

static void read_limit(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_key keys[] = {
		{"packets_per_second", read_packets_per_second, false},
		{"burst", read_burst, false},
		{"bytes_per_second", read_bytes_per_second, false},
		{"burst_bytes", read_burst_bytes, false},
		{"connections_per_second", read_connections_per_second, false},
		{"burst_connections", read_burst_connections, false},
		{0},
	};
	static const struct schema schema = {"limit", keys};
	struct service_reading *into = target;
	struct config_limit *limit = &into->service->limit;

	size_t faults_before = reading->faults->count;

	schema_read(reading, node, &schema, limit);
	if (reading->faults->count != faults_before)
		return;
	settle_burst(reading, node, &limit->packets, "burst", "packets");
	settle_burst(reading, node, &limit->bytes, "burst_bytes", "bytes");
	settle_burst(reading, node, &limit->connections, "burst_connections", "connections");
	if (limit->packets.per_second <= 0 && limit->bytes.per_second <= 0 && limit->connections.per_second <= 0)
		faults_add(
			reading->faults, mark_of(node),
			"a limit of nothing: expected packets_per_second, bytes_per_second or connections_per_second");
	if (limit->connections.per_second > 0 && into->places->protocol_read && into->service->protocol != CONFIG_TCP)
		faults_add(reading->faults, mark_of(node),
		           "'connections_per_second' counts TCP SYNs: expected 'protocol: tcp'");
}

static void read_class(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	int class;
	if (schema_read_word(reading, node, class_words, &class))
		into->service->class = (enum config_class) class;
}

static void read_capacity(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	adaptive_read_capacity(reading, node, &into->adaptive);
}

static void read_adaptive(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	adaptive_read(reading, node, &into->adaptive);
}

static void read_replies(struct reading *reading, const yaml_node_t *node, void *target)
{
	static const struct schema_word words[] = {{"yes", true}, {"no", false}, {"true", true}, {"false", false}, {0}};
	struct service_reading *into = target;
	int replies;

	if (schema_read_word(reading, node, words, &replies))
		into->service->replies = replies;
}

static void read_service_mode(struct reading *reading, const yaml_node_t *node, void *target)
{
	struct service_reading *into = target;
	int mode;

	if (!schema_read_word(reading, node, mode_words, &mode))
		return;
	into->service->mode = (enum config_mode)mode;
	into->places->mode_given = true;
}

/* Ports go with the protocols that have them. */
static void check_ports_fit(struct reading *reading, const yaml_node_t *node, const struct service_reading *into)
{
	bool icmp = into->service->protocol == CONFIG_ICMP || into->service->protocol == CONFIG_ICMPV6;

	if (!into->places->protocol_read)
		return;
	if (icmp && into->places->ports_given)
		faults_add(reading->faults, into->places->ports_key,
		           "'ports' with a protocol that has none: remove them, or name tcp, udp or sctp");
	if (!icmp && !into->places->ports_given)
		faults_add(reading->faults, mark_of(node), "a service of tcp, udp or sctp has no 'ports': add it");
}

static void read_service(struct reading *reading, const yaml_node_t *node, struct service_reading *into)
{
	static const struct schema_key keys[] = {
		{"name", read_name, true},          {"protocol", read_protocol, true},
		{"ports", read_ports, false},       {"destinations", read_destinations, false},
		{"user", read_user, false},         {"limit", read_limit, false},
		{"mode", read_service_mode, false}, {"adaptive", read_adaptive, false},
		{"class", read_class, false},       {"capacity", read_capacity, false},
		{"replies", read_replies, false},   {0},
	};
	static const struct schema schema = {"a service", keys};
	size_t faults_before = reading->faults->count;

	into->service->mark = mark_of(node);
	into->service->user_ipv4_length = 32;
	into->service->user_ipv6_length = 64;
	into->service->class = CONFIG_NORMAL;
	into->service->replies = true;
	schema_read(reading, node, &schema, into);
	if (node->type == YAML_MAPPING_NODE)
		check_ports_fit(reading, node, into);
	adaptive_settle(reading->faults, &into->adaptive, into->service);
	into->places->comparable = reading->faults->count == faults_before;
}

int services_read(struct reading *reading, const yaml_node_t *node, struct config *config,
                  struct service_places **out_places)
{
	size_t count = schema_list_count(reading, node, CONFIG_SERVICES_MAX, "services");
	_cleanup_free_ struct config_service *services = calloc(count + 1, sizeof(*services));
	_cleanup_free_ struct service_places *places = calloc(count + 1, sizeof(*places));

	if (!services || !places)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct service_reading into = {.service = &services[i], .places = &places[i]};
		read_service(reading, schema_list_entry(reading, node, i), &into);
	}
	config->services = TAKE_PTR(services);
	config->services_count = count;
	*out_places = TAKE_PTR(places);
	return 0;
}

void services_check_tenants(struct config_faults *faults, const struct config *config)
{
	const struct config_tenant *lightest = config->tenants;

	for (size_t i = 1; i < config->tenants_count; i++)
		if (config->tenants[i].weight < lightest->weight)
			lightest = &config->tenants[i];
	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		double bytes = service->limit.bytes.per_second;
		if (service->user_kind != CONFIG_TENANT)
			continue;
		if (!config->tenants_count)
			faults_add(faults, service->mark, "users of kind 'tenant', but no tenants: add 'tenants'");
		else if (bytes > 0 && bytes * lightest->weight < BYTES_LEAST)
			faults_add(faults, service->mark,
			           "'%s' of weight %.10g may send %.10g bytes a second to '%s', expected at least %d: "
			           "raise either",
			           lightest->name, lightest->weight, bytes * lightest->weight, service->name,
			           BYTES_LEAST);
	}
}
