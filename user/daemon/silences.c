/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/silences.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adaptive.h"
#include "daemon/daemon.h"
#include "observe/silence.h"

struct silences {
	struct daemon *daemon;
	struct silence services[SERVICES_MAX];
	char names[SERVICES_MAX][SERVICE_NAME_MAX]; /* whose they are; empty: nobody's */
};

int silences_new(struct silences **out, struct daemon *daemon, struct error *err)
{
	struct silences *silences = calloc(1, sizeof(*silences));
	if (!silences)
		return error_set(err, -ENOMEM, "silences: no memory");
	silences->daemon = daemon;
	*out = silences;
	return 0;
}

void silences_free(struct silences *silences)
{
	free(silences);
}

static void tell(const struct silences *silences, unsigned number, enum silence_change change, double quiet_s)
{
	struct events *events = silences->daemon->events;
	const char *name = silences->names[number];

	if (change == SILENCE_BEGINS)
		events_tell(events, "fault", name, NULL, json_pack("{s:s,s:f}", "signal", "replies", "value", quiet_s),
		            "it has stopped answering: nothing has come back for %.1f s, though it was asked", quiet_s);
	else if (change == SILENCE_ENDS)
		events_tell(events, "recovery", name, NULL,
		            json_pack("{s:s,s:f}", "signal", "replies", "value", quiet_s),
		            "it answers again, after %.1f s", quiet_s);
}

/* Whether the service is to be listened to here: it is timed, and no controller does. */
static bool is_listened_to(const struct silences *silences, unsigned number)
{
	const struct policy *policy = &datapath_policies(silences->daemon->datapath)->policies[number];
	struct adaptive_service adaptive;

	return policy->flags & POLICY_RESPONSE && !adaptive_service(silences->daemon->adaptive, number, &adaptive);
}

void silences_tick(struct silences *silences, double now_s)
{
	const struct catalogue_slot *catalogue = datapath_catalogue(silences->daemon->datapath);

	for (unsigned number = 1; number < SERVICES_MAX; number++) {
		const char *name = catalogue->names[number];
		struct controller_signals signals = {0};
		if (!name[0] && !silences->names[number][0])
			continue;
		if (strcmp(name, silences->names[number]) != 0) {
			silences->services[number] = (struct silence){0};
			memcpy(silences->names[number], name, SERVICE_NAME_MAX);
		}
		if (!name[0] || !is_listened_to(silences, number))
			continue;
		double quiet_s = silences->services[number].quiet_s;
		signals_read(silences->daemon->signals, number, now_s, &signals);
		enum silence_change change = silence_step(&silences->services[number], &signals);
		tell(silences, number, change, quiet_s + signals.elapsed_s);
	}
}
