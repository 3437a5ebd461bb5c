/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/api.h"
#include "daemon/daemon.h"
#include "daemon/names.h"
#include "datapath/image.h"
#include "datapath/lists.h"
#include "observe/sums.h"

/* One scrape. All families tell of the same moment: what they need is read before the first is written. */
struct scrape {
	struct daemon *daemon;
	FILE *out;
	const char *family;             /* whose samples are being written */
	unsigned numbers[SERVICES_MAX]; /* of the services that there are; the index of the next three */
	size_t numbers_count;
	const char (*names)[SERVICE_NAME_MAX];
	struct observed_service services[SERVICES_MAX];
	struct tally malformed[MALFORMATIONS];
	struct lists_totals lists;
};

/* What both formats give a meaning is escaped: others chose the value. */
static void write_escaped(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
}

/* The family's name and the labels: name, value, ..., NULL. */
static void write_series(struct scrape *scrape, va_list labels)
{
	const char *before = "{";

	fputs(scrape->family, scrape->out);
	for (const char *label; (label = va_arg(labels, const char *)); before = ",") {
		fputs(before, scrape->out);
		fputs(label, scrape->out);
		fputs("=\"", scrape->out);
		write_escaped(scrape->out, va_arg(labels, const char *));
		fputc('"', scrape->out);
	}
	if (*before == ',')
		fputc('}', scrape->out);
}

/* A sample with labels: name, value, ..., NULL. */
__attribute__((sentinel)) static void count(struct scrape *scrape, __u64 value, ...)
{
	va_list labels;

	va_start(labels, value);
	write_series(scrape, labels);
	va_end(labels);
	fprintf(scrape->out, " %llu\n", value);
}

__attribute__((sentinel)) static void gauge(struct scrape *scrape, double value, ...)
{
	va_list labels;

	va_start(labels, value);
	write_series(scrape, labels);
	va_end(labels);
	fprintf(scrape->out, " %.10g\n", value);
}

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

/* A histogram's series have a family's name with an ending. */
static void write_response(struct scrape *scrape, unsigned number)
{
	struct signals_histogram times;
	const char *service = scrape->names[number], *family = scrape->family;
	char name[64], bound[32];

	signals_histogram(scrape->daemon->signals, number, &times);
	if (!times.measured)
		return;
	snprintf(name, sizeof(name), "%s_bucket", family);
	scrape->family = name;
	for (unsigned i = 0; i < SIGNALS_BOUNDS; i++) {
		snprintf(bound, sizeof(bound), "%.9g", signals_bound_s(i));
		count(scrape, times.within[i], "service", service, "le", bound, NULL);
	}
	count(scrape, times.count, "service", service, "le", "+Inf", NULL);
	snprintf(name, sizeof(name), "%s_count", family);
	count(scrape, times.count, "service", service, NULL);
	snprintf(name, sizeof(name), "%s_sum", family);
	gauge(scrape, times.sum_s, "service", service, NULL);
	scrape->family = family;
}

static void write_requests(struct scrape *scrape, unsigned number)
{
	struct signals_histogram times;

	signals_histogram(scrape->daemon->signals, number, &times);
	if (times.measured)
		count(scrape, times.requests, "service", scrape->names[number], NULL);
}

static void write_unanswered(struct scrape *scrape, unsigned number)
{
	struct signals_histogram times;

	signals_histogram(scrape->daemon->signals, number, &times);
	if (times.measured)
		count(scrape, times.unanswered, "service", scrape->names[number], NULL);
}

static void write_pressure(struct scrape *scrape)
{
	for (int resource = 0; resource < PRESSURES; resource++) {
		double share = signals_pressure(scrape->daemon->signals, (enum pressure_resource)resource);
		if (!isnan(share))
			gauge(scrape, share, "resource", pressure_names[resource], NULL);
	}
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
	{"spillway_active_users", "gauge", "Users that sent something within the last two seconds.", write_active_users,
         NULL},
	{"spillway_user_packets_per_second", "gauge", "Rates of the heaviest users of each service.",
         write_heaviest_users, NULL},
	{"spillway_response_seconds", "histogram", "Response times of sampled requests, as the kernel saw them.",
         write_response, NULL},
	{"spillway_requests_sampled_total", "counter", "Requests whose replies were waited for.", write_requests, NULL},
	{"spillway_requests_unanswered_total", "counter",
         "Sampled requests and connection attempts that had no reply within 1.5 s.", write_unanswered, NULL},
	{"spillway_pressure_ratio", "gauge", "Share of the time that something was held up for want of the resource.",
         NULL, write_pressure},
	{"spillway_malformed_packets_total", "counter", "Packets that could not be parsed, by what is wrong with them.",
         NULL, write_malformed},
	{"spillway_list_entries", "gauge", "Prefixes on the lists.", NULL, write_list_entries},
	{"spillway_allowed_over_packets_total", "counter",
         "Packets from allowed sources beyond the allow list's limit, judged as anybody's.", NULL, write_allowed_over},
	{"spillway_interface_attached", "gauge", "1 where packets of the interface are judged.", NULL,
         write_interfaces},
	{"spillway_build_info", "gauge", "Always 1; the labels say what runs.", NULL, write_build},
};

static void write_family(struct scrape *scrape, const struct family *family, bool open_metrics)
{
	/* OpenMetrics names a counter's family without its suffix. */
	size_t length = strlen(family->name);
	if (open_metrics && length > 6 && strcmp(family->name + length - 6, "_total") == 0)
		length -= 6;

	fprintf(scrape->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)length, family->name, family->help, (int)length,
	        family->name, family->type);
	scrape->family = family->name;
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
		scrape->numbers[scrape->numbers_count++] = number;
	}
	return datapath_read_malformations(daemon->datapath, scrape->malformed, err);
}

int metrics_text(struct daemon *daemon, bool open_metrics, char **out, size_t *out_size, struct error *err)
{
	_cleanup_free_ struct scrape *scrape = calloc(1, sizeof(*scrape));
	char *text = NULL;
	size_t size = 0;

	if (!scrape)
		return error_set(err, -ENOMEM, "metrics: no memory");
	scrape->daemon = daemon;
	int failure = read_all(scrape, err);
	if (failure)
		return failure;
	scrape->out = open_memstream(&text, &size);
	if (!scrape->out)
		return error_set(err, -ENOMEM, "metrics: no memory");
	__fsetlocking(scrape->out, FSETLOCKING_BYCALLER);
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		write_family(scrape, &families[i], open_metrics);
	if (open_metrics)
		fputs("# EOF\n", scrape->out);
	bool whole = !ferror(scrape->out);
	if (fclose(scrape->out) != 0 || !whole) {
		free(text);
		return error_set(err, -ENOMEM, "metrics: no memory");
	}
	*out = text;
	*out_size = size;
	return 0;
}
