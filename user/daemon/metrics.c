/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/adaptive.h"
#include "daemon/api.h"
#include "daemon/daemon.h"
#include "daemon/feed.h"
#include "daemon/hotspots.h"
#include "daemon/names.h"
#include "daemon/server.h"
#include "datapath/image.h"
#include "datapath/lists.h"
#include "observe/sums.h"

/* One scrape. All families tell of the same moment: what they need is read before the first is written. */
struct scrape {
	struct daemon *daemon;
	struct text out;
	const char *family, *ending;    /* whose samples are being written */
	unsigned numbers[SERVICES_MAX]; /* of the services that there are; the index of the next ones */
	size_t numbers_count;
	const char (*names)[SERVICE_NAME_MAX];
	struct observed_service services[SERVICES_MAX];
	struct signals_histogram responses[SERVICES_MAX];
	char bounds[SIGNALS_BOUNDS][32]; /* of the responses' buckets */
	struct tally malformed[MALFORMATIONS];
	struct lists_totals lists;
};

/* What both formats give a meaning is escaped: others chose the value. */
static void add_escaped(struct text *out, const char *value)
{
	for (;;) {
		size_t plain = strcspn(value, "\"\\\n");
		text_add_bytes(out, value, plain);
		value += plain;
		if (!*value)
			return;
		text_add(out, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
		value++;
	}
}

/* The family's name with its ending and the labels: name, value, ..., NULL. */
static void add_series(struct scrape *scrape, const char *const *labels)
{
	const char *before = "{";

	text_add(&scrape->out, scrape->family);
	text_add(&scrape->out, scrape->ending);
	for (; *labels; labels += 2, before = ",") {
		text_add(&scrape->out, before);
		text_add(&scrape->out, labels[0]);
		text_add(&scrape->out, "=\"");
		add_escaped(&scrape->out, labels[1]);
		text_add(&scrape->out, "\"");
	}
	text_add(&scrape->out, *before == ',' ? "} " : " ");
}

static void add_count(struct scrape *scrape, __u64 value, const char *const *labels)
{
	add_series(scrape, labels);
	text_add_whole(&scrape->out, value);
	text_add(&scrape->out, "\n");
}

static void add_gauge(struct scrape *scrape, double value, const char *const *labels)
{
	add_series(scrape, labels);
	text_add_number(&scrape->out, value);
	text_add(&scrape->out, "\n");
}

/* A sample with labels: name, value, ..., NULL. */
#define count(scrape, value, ...) add_count(scrape, value, (const char *const[]){__VA_ARGS__})
#define gauge(scrape, value, ...) add_gauge(scrape, value, (const char *const[]){__VA_ARGS__})

static __u64 part(const struct tally *tally, bool bytes)
{
	return bytes ? tally->bytes : tally->packets;
}

static void write_tallies(struct scrape *scrape, unsigned number, bool bytes)
{
	const struct service_tallies *tallies = &scrape->services[number].tallies;
	const char *service = scrape->names[number];
	struct sums sums = sums_of(tallies);

	count(scrape, part(&sums.passed, bytes), "service", service, "verdict", "passed", "reason", "", NULL);
	for (int reason = 0; reason < REASONS; reason++) {
		count(scrape, part(&tallies->outcomes[OUTCOME_SPILLED + reason], bytes), "service", service, "verdict",
		      "spilled", "reason", reason_names[reason], NULL);
		count(scrape, part(&tallies->outcomes[OUTCOME_SHADOW + reason], bytes), "service", service, "verdict",
		      "shadow", "reason", reason_names[reason], NULL);
	}
}

static void write_packets(struct scrape *scrape, unsigned number)
{
	write_tallies(scrape, number, false);
}

static void write_bytes(struct scrape *scrape, unsigned number)
{
	write_tallies(scrape, number, true);
}

static void gauge_pace(struct scrape *scrape, unsigned number, double per_second)
{
	if (per_second > 0)
		gauge(scrape, per_second, "service", scrape->names[number], NULL);
}

static void write_level(struct scrape *scrape, unsigned number)
{
	gauge_pace(scrape, number, scrape->services[number].paces.level_packets);
}

static void write_byte_level(struct scrape *scrape, unsigned number)
{
	gauge_pace(scrape, number, scrape->services[number].paces.level_bytes);
}

static void write_capacity(struct scrape *scrape, unsigned number)
{
	gauge_pace(scrape, number, scrape->services[number].paces.capacity_packets);
}

static void write_byte_capacity(struct scrape *scrape, unsigned number)
{
	gauge_pace(scrape, number, scrape->services[number].paces.capacity_bytes);
}

static void write_level_changes(struct scrape *scrape, unsigned number)
{
	struct adaptive_service service;

	if (adaptive_service(scrape->daemon->adaptive, number, &service))
		count(scrape, service.level_changes, "service", scrape->names[number], NULL);
}

static void write_active_users(struct scrape *scrape, unsigned number)
{
	count(scrape, scrape->services[number].active_users, "service", scrape->names[number], NULL);
}

static void write_heaviest_users(struct scrape *scrape, unsigned number)
{
	const struct observed_service *observed = &scrape->services[number];

	for (size_t i = 0; i < observed->heaviest_count && i < scrape->daemon->config->metrics_users; i++) {
		char user[API_USER_TEXT_MAX];
		api_user_text(scrape->daemon, number, &observed->heaviest[i], user);
		gauge(scrape, observed->heaviest[i].packets_per_second, "service", scrape->names[number], "user", user,
		      NULL);
	}
}

static void write_response(struct scrape *scrape, unsigned number)
{
	const struct signals_histogram *times = &scrape->responses[number];
	const char *service = scrape->names[number];

	if (!times->measured)
		return;
	scrape->ending = "_bucket";
	for (unsigned i = 0; i < SIGNALS_BOUNDS; i++)
		count(scrape, times->within[i], "service", service, "le", scrape->bounds[i], NULL);
	count(scrape, times->count, "service", service, "le", "+Inf", NULL);
	scrape->ending = "_count";
	count(scrape, times->count, "service", service, NULL);
	scrape->ending = "_sum";
	gauge(scrape, times->sum_s, "service", service, NULL);
	scrape->ending = "";
}

static void write_requests(struct scrape *scrape, unsigned number)
{
	if (scrape->responses[number].measured)
		count(scrape, scrape->responses[number].requests, "service", scrape->names[number], NULL);
}

static void write_unanswered(struct scrape *scrape, unsigned number)
{
	if (scrape->responses[number].measured)
		count(scrape, scrape->responses[number].unanswered, "service", scrape->names[number], NULL);
}

static void write_host_drops(struct scrape *scrape, unsigned number)
{
	struct datapath_drops drops = datapath_drops(scrape->daemon->datapath);

	for (int reason = 0; drops.on && reason < DROP_REASONS; reason++)
		if (drops.services[number].packets[reason] && drops.reasons[reason][0])
			count(scrape, drops.services[number].packets[reason], "service", scrape->names[number],
			      "reason", drops.reasons[reason], NULL);
}

static void write_pressure(struct scrape *scrape)
{
	for (int resource = 0; resource < PRESSURES; resource++) {
		double share = signals_pressure(scrape->daemon->signals, (enum pressure_resource)resource);
		if (!isnan(share))
			gauge(scrape, share, "resource", pressure_names[resource], NULL);
	}
}

static void write_hotspot(const char *service, const char *user, void *argument)
{
	count(argument, 1, "service", service, "user", user, NULL);
}

static void write_hotspots(struct scrape *scrape)
{
	heat_each(scrape->daemon->heat, write_hotspot, scrape);
}

static void write_malformed(struct scrape *scrape)
{
	for (int why = 0; why < MALFORMATIONS; why++)
		count(scrape, scrape->malformed[why].packets, "kind", malformation_names[why], NULL);
}

static void write_list_entries(struct scrape *scrape)
{
	count(scrape, scrape->lists.allowed, "list", "allow", NULL);
	count(scrape, scrape->lists.denied, "list", "deny", NULL);
}

static void write_allowed_over(struct scrape *scrape)
{
	count(scrape, scrape->lists.over_packets, NULL);
}

static void write_interfaces(struct scrape *scrape)
{
	size_t links_count;
	const struct datapath_link *links = datapath_links(scrape->daemon->datapath, &links_count);

	for (size_t i = 0; i < links_count; i++)
		count(scrape, links[i].index != 0, "interface", links[i].name, "mode",
		      links[i].generic ? "generic" : "native", NULL);
}

static void write_events(struct scrape *scrape)
{
	size_t kinds;
	const struct events_count *counts = events_counts(scrape->daemon->events, &kinds);

	for (size_t i = 0; i < kinds; i++)
		count(scrape, counts[i].count, "event", counts[i].event, NULL);
}

static void write_event_readers(struct scrape *scrape)
{
	count(scrape, feed_readers(server_feed(scrape->daemon->server)), NULL);
}

static void write_events_lost(struct scrape *scrape)
{
	count(scrape, feed_lost(server_feed(scrape->daemon->server)), NULL);
}

static void write_events_untold(struct scrape *scrape)
{
	count(scrape, events_lost(scrape->daemon->events), NULL);
}

static void write_build(struct scrape *scrape)
{
	count(scrape, 1, "version", SPILLWAY_VERSION, "kernel", scrape->daemon->kernel, NULL);
}

/* A family has the one function or the other: of_service writes what there is to say of one service, and is called for
 * each. */
static const struct family {
	const char *name, *type, *help;
	void (*of_service)(struct scrape *scrape, unsigned number);
	void (*of_host)(struct scrape *scrape);
} families[] = {
	{"spillway_packets_total", "counter", "Packets by service and verdict. Shadow packets also count as passed.",
         write_packets, NULL},
	{"spillway_bytes_total", "counter", "Bytes by service and verdict. Shadow bytes also count as passed.",
         write_bytes, NULL},
	{"spillway_level_packets_per_second", "gauge", "What one user of weight 1 may send to the service.",
         write_level, NULL},
	{"spillway_level_bytes_per_second", "gauge", "The same in bytes, where it is limited in them.",
         write_byte_level, NULL},
	{"spillway_capacity_packets_per_second", "gauge", "What the service as a whole can take.", write_capacity,
         NULL},
	{"spillway_capacity_bytes_per_second", "gauge", "The same in bytes, where it is counted in them.",
         write_byte_capacity, NULL},
	{"spillway_level_changes_total", "counter",
         "Times that the controller has moved a level so far as to tell of it.", write_level_changes, NULL},
	{"spillway_active_users", "gauge", "Users that sent something within the last two seconds.", write_active_users,
         NULL},
	{"spillway_user_packets_per_second", "gauge", "Rates of the heaviest users of each service.",
         write_heaviest_users, NULL},
	{"spillway_response_seconds", "histogram", "Response times of sampled requests, as the kernel saw them.",
         write_response, NULL},
	{"spillway_requests_sampled_total", "counter", "Requests whose replies were waited for.", write_requests, NULL},
	{"spillway_requests_unanswered_total", "counter",
         "Sampled requests and connection attempts that had no reply within 1.5 s.", write_unanswered, NULL},
	{"spillway_host_drops_total", "counter", "Packets that the host itself dropped, by the kernel's own reason.",
         write_host_drops, NULL},
	{"spillway_pressure_ratio", "gauge", "Share of the time that something was held up for want of the resource.",
         NULL, write_pressure},
	{"spillway_hotspot", "gauge", "1 while a user, a prefix of users or (without a user) a service stands out.",
         NULL, write_hotspots},
	{"spillway_malformed_packets_total", "counter", "Packets that could not be parsed, by what is wrong with them.",
         NULL, write_malformed},
	{"spillway_list_entries", "gauge", "Prefixes on the lists.", NULL, write_list_entries},
	{"spillway_allowed_over_packets_total", "counter",
         "Packets from allowed sources beyond the allow list's limit, judged as anybody's.", NULL, write_allowed_over},
	{"spillway_interface_attached", "gauge", "1 where packets of the interface are judged.", NULL,
         write_interfaces},
	{"spillway_events_total", "counter", "Events since the daemon's start, by what happened.", NULL, write_events},
	{"spillway_event_readers", "gauge", "Readers of events that are being served.", NULL, write_event_readers},
	{"spillway_event_reader_losses_total", "counter", "Events that were lost to readers who were too slow.", NULL,
         write_events_lost},
	{"spillway_events_untold_total", "counter", "Events that nobody was told of, for want of memory.", NULL,
         write_events_untold},
	{"spillway_build_info", "gauge", "Always 1; the labels say what runs.", NULL, write_build},
};

static void add_about(struct text *out, const char *what, const char *name, size_t length, const char *words)
{
	text_add(out, what);
	text_add_bytes(out, name, length);
	text_add(out, " ");
	text_add(out, words);
	text_add(out, "\n");
}

static void write_family(struct scrape *scrape, const struct family *family, bool open_metrics)
{
	/* OpenMetrics names a counter's family without its suffix. */
	size_t length = strlen(family->name);
	if (open_metrics && length > 6 && strcmp(family->name + length - 6, "_total") == 0)
		length -= 6;

	add_about(&scrape->out, "# HELP ", family->name, length, family->help);
	add_about(&scrape->out, "# TYPE ", family->name, length, family->type);
	scrape->family = family->name;
	scrape->ending = "";
	if (family->of_host)
		family->of_host(scrape);
	for (size_t i = 0; family->of_service && i < scrape->numbers_count; i++)
		family->of_service(scrape, scrape->numbers[i]);
}

static int read_all(struct scrape *scrape, struct error *err)
{
	struct daemon *daemon = scrape->daemon;

	scrape->names = (const char(*)[SERVICE_NAME_MAX])datapath_catalogue(daemon->datapath)->names;
	scrape->lists = lists_totals(daemon->datapath);
	for (unsigned number = 0; number < SERVICES_MAX; number++) {
		if (!scrape->names[number][0])
			continue;
		int failure = observer_service(daemon->observer, number, &scrape->services[number], err);
		if (failure)
			return failure;
		signals_histogram(daemon->signals, number, &scrape->responses[number]);
		scrape->numbers[scrape->numbers_count++] = number;
	}
	for (unsigned i = 0; i < SIGNALS_BOUNDS; i++)
		snprintf(scrape->bounds[i], sizeof(scrape->bounds[i]), "%.9g", signals_bound_s(i));
	return datapath_read_malformations(daemon->datapath, scrape->malformed, err);
}

/* Scrapes are much alike: room for the last one and a little more is seldom too little. */
static size_t room_wanted(size_t last)
{
	return last + last / 16 + 4096;
}

int metrics_text(struct daemon *daemon, bool open_metrics, char **out, size_t *out_size, struct error *err)
{
	static size_t last_size;
	_cleanup_free_ struct scrape *scrape = calloc(1, sizeof(*scrape));

	if (!scrape)
		return error_set(err, -ENOMEM, "metrics: no memory");
	scrape->daemon = daemon;
	int failure = read_all(scrape, err);
	if (failure)
		return failure;
	text_begin(&scrape->out, room_wanted(last_size));
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		write_family(scrape, &families[i], open_metrics);
	if (open_metrics)
		text_add(&scrape->out, "# EOF\n");
	last_size = scrape->out.length;
	if (text_take(&scrape->out, out, out_size) < 0)
		return error_set(err, -ENOMEM, "metrics: no memory for %zu bytes", last_size);
	return 0;
}
