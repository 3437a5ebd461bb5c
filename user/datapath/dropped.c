/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host itself dropped, as it was counted (drops.c), and whose it was. */
#include <string.h>

#include "datapath/classifier.h"
#include "datapath/internal.h"

void drops_forget(struct datapath *dp, unsigned service)
{
	if (dp->drop_counts)
		memset(&dp->drop_counts[service], 0, sizeof(*dp->drop_counts));
}

struct datapath_drops datapath_drops(const struct datapath *dp)
{
	const struct keeper_view *view = &dp->answer.view;

	return (struct datapath_drops){.on = dp->drop_counts != NULL,
	                               .why = view->drops_why.text,
	                               .listeners = view->listeners_on,
	                               .why_listeners = view->listeners_why.text,
	                               .listen_reason = drops_reason_called(&view->reasons, LISTEN_OVERFLOW),
	                               .services = dp->drop_counts,
	                               .reasons = view->reasons.texts};
}

unsigned datapath_tcp_service(const struct datapath *dp, uint16_t port, const __u64 *destination, bool ipv6)
{
	const struct classifier_slot *slot = &dp->state->classifiers[LIVE_CLASSIFIER_SLOT(dp->state->live.active)];

	if (!destination)
		return classifier_first(slot, PORTS_TCP, port);
	return classifier_lookup(slot, PORTS_TCP, port, ipv6, (const __u8 *)destination);
}

void datapath_count_listen_drops(struct datapath *dp, unsigned service, __u64 packets)
{
	uint32_t reason = drops_reason_called(&dp->answer.view.reasons, LISTEN_OVERFLOW);

	if (dp->drop_counts && service < SERVICES_MAX && reason < DROP_REASONS)
		__atomic_fetch_add(&dp->drop_counts[service].packets[reason], packets, __ATOMIC_RELAXED);
}
