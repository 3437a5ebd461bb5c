/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/telling.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/prefix.h"
#include "base/units.h"
#include "daemon/daemon.h"

#define PREFIXES_NAMED 3 /* in words; the event counts all */

struct words {
	char text[400];
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void words_add(struct words *words, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int written = vsnprintf(words->text + words->length, sizeof(words->text) - words->length, format, arguments);
	va_end(arguments);

	if (written > 0 && words->length + (size_t)written < sizeof(words->text))
		words->length += (size_t)written;
}

/* How the log takes events; those that are not here are notices, each written. */
static const struct manner {
	const char *event;
	int priority;
	double every_s; /* one of these of a service in so long, the newest */
} manners[] = {
	{"fault", LOG_WARNING, 0},
	{"level", LOG_INFO, 10},
	{"capacity", LOG_INFO, 10},
};

static struct manner manner_of(const json_t *event, const char *kind)
{
	/* An interface that is lost, a reload that is refused. */
	if (json_is_false(json_object_get(event, "attached")))
		return (struct manner){kind, LOG_WARNING, 0};
	if (json_is_false(json_object_get(event, "applied")))
		return (struct manner){kind, LOG_ERR, 0};
	for (size_t i = 0; i < sizeof(manners) / sizeof(*manners); i++)
		if (strcmp(manners[i].event, kind) == 0)
			return manners[i];
	return (struct manner){kind, LOG_NOTICE, 0};
}

void tell_log(const json_t *event, const char *line, void *argument)
{
	const char *kind = json_string_value(json_object_get(event, "event"));
	const char *service = json_string_value(json_object_get(event, "service"));
	const char *user = json_string_value(json_object_get(event, "user"));
	const char *why = json_string_value(json_object_get(event, "why"));
	struct manner manner = manner_of(event, kind);
	struct log_field fields[] = {{"SPILLWAY_EVENT", kind}, {"SPILLWAY_SERVICE", service}, {"SPILLWAY_USER", user}};
	bool hot =
		strncmp(kind, "hotspot_", strlen("hotspot_")) == 0; /* whose words do not say that they are about one */
	char topic[128], text[1400];
	(void)line, (void)argument;

	snprintf(topic, sizeof(topic), "%s %s", kind, service ? service : "");
	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s", service ? "service " : "", service ? service : "",
	         user ? ", user " : "", user ? user : "", service || user ? ": " : "",
	         !hot                                 ? ""
	         : strcmp(kind, "hotspot_begin") == 0 ? "hot: "
	                                              : "no longer hot: ",
	         why);
	log_record(manner.priority, topic, manner.every_s, fields, sizeof(fields) / sizeof(*fields), text);
}

void tell_reload(const struct daemon *daemon, const struct error *refusal)
{
	size_t services = daemon->config->services_count;

	if (refusal)
		events_tell(daemon->events, "reload", NULL, NULL, json_pack("{s:b}", "applied", 0),
		            "reload refused, the old configuration stays in force: %s", refusal->text);
	else
		events_tell(daemon->events, "reload", NULL, NULL,
		            json_pack("{s:b,s:I}", "applied", 1, "services", (json_int_t)services),
		            "configuration applied: %zu service%s", services, services == 1 ? "" : "s");
}

static void add_pace(struct words *words, json_t *figures, const char *name, double per_second, bool bytes)
{
	const char *unit = bytes ? "bytes" : "packets";
	char text[UNITS_TEXT_MAX], key[40];

	units_format_count(per_second, text, sizeof(text));
	words_add(words, ", %s %s %s/s", name, text, unit);
	snprintf(key, sizeof(key), "%s_%s_per_second", name, unit);
	json_object_set_new(figures, key, json_real(per_second));
}

static void add_word(struct words *words, json_t *figures, const char *name, const char *word)
{
	words_add(words, ", %s %s", name, word);
	json_object_set_new(figures, name, json_string(word));
}

void tell_override(const struct daemon *daemon, const struct override *set)
{
	static const char *const classes[] = {
		[CONFIG_SHEDDABLE] = "sheddable", [CONFIG_NORMAL] = "normal", [CONFIG_CRITICAL] = "critical"};
	const struct config_service *service = daemon_service(daemon, set->service);
	bool bytes = service && service->adaptive.bytes;
	json_t *figures = json_pack("{s:s}", "action", "set");
	struct words words = {0};
	char lapse[UNITS_TEXT_MAX];

	if (set->has_mode)
		add_word(&words, figures, "mode", set->mode == CONFIG_OBSERVE ? "observe" : "enforce");
	if (set->has_level)
		add_pace(&words, figures, "level", set->level_pps, bytes);
	if (set->has_capacity)
		add_pace(&words, figures, "capacity", set->capacity_pps, bytes);
	if (set->has_class)
		add_word(&words, figures, "class", classes[set->class]);
	json_object_set_new(figures, "for_seconds", set->for_s > 0 ? json_real(set->for_s) : json_null());
	if (set->for_s > 0) {
		units_format_duration_ns((uint64_t)(set->for_s * 1e9 + 0.5), lapse, sizeof(lapse));
		words_add(&words, ", for %s", lapse);
	}
	events_tell(daemon->events, "override", set->service, NULL, figures, "set by hand%s", words.text);
}

void tell_override_lapsed(const struct daemon *daemon, const struct override *lapsed)
{
	struct words words = {0};

	if (lapsed->has_mode)
		words_add(&words, ", mode");
	if (lapsed->has_level)
		words_add(&words, ", level");
	if (lapsed->has_capacity)
		words_add(&words, ", capacity");
	if (lapsed->has_class)
		words_add(&words, ", class");
	events_tell(daemon->events, "override", lapsed->service, NULL, json_pack("{s:s}", "action", "lapsed"),
	            "the override has lapsed, the configuration counts again%s", words.text);
}

void tell_interface(const struct daemon *daemon, const char *name, bool attached, bool generic, const char *why)
{
	json_t *mode = attached ? json_string(generic ? "generic" : "native") : json_null();

	events_tell(daemon->events, "interface", NULL, NULL,
	            json_pack("{s:s%,s:b,s:o}", "interface", name, strlen(name), "attached", attached, "mode", mode),
	            "interface %s: %s", name, why);
}

void tell_lists(const struct daemon *daemon, const char *list, const struct prefix *prefixes, size_t count,
                uint64_t for_ns)
{
	struct words words = {0};
	char text[PREFIX_TEXT_MAX], lapse[UNITS_TEXT_MAX];

	for (size_t i = 0; i < count && i < PREFIXES_NAMED; i++) {
		prefix_format(&prefixes[i], text);
		words_add(&words, "%s%s", i ? ", " : "", text);
	}
	if (count > PREFIXES_NAMED)
		words_add(&words, " and %zu more", count - PREFIXES_NAMED);
	if (for_ns) {
		units_format_duration_ns(for_ns, lapse, sizeof(lapse));
		words_add(&words, ", for %s", lapse);
	}
	events_tell(daemon->events, "lists", NULL, NULL,
	            json_pack("{s:s?,s:I,s:o}", "list", list, "prefixes", (json_int_t)count, "for_seconds",
	                      for_ns ? json_real((double)for_ns / 1e9) : json_null()),
	            "%s by hand: %s", list ? (list[0] == 'a' ? "allowed" : "denied") : "taken off the lists",
	            words.text);
}
