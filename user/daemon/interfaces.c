/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/interfaces.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/telling.h"

struct interfaces_watch {
	struct daemon *daemon;
	struct mnl_socket *netlink;
	struct event *event;
	struct event *timer; /* for what the kernel sends no message about */
	struct error told;   /* the trouble of the last look, said once */
};

#define LOOK_AGAIN_S 1

static void tell_once(struct interfaces_watch *watch, const struct error *trouble)
{
	struct events *events = watch->daemon->events;

	if (trouble->text[0] && strcmp(watch->told.text, trouble->text) != 0)
		events_tell(events, "fault", NULL, NULL, NULL, "%s", trouble->text);
	if (!trouble->text[0] && watch->told.text[0])
		events_tell(events, "recovery", NULL, NULL, NULL, "no longer so: %s", watch->told.text);
	watch->told = *trouble;
}

static void tell_pinned(const struct daemon *daemon, int pins)
{
	events_tell(daemon->events, "recovery", NULL, NULL, json_pack("{s:i}", "pins", pins),
	            "%s: %d pin%s removed: pinned again, and the packet path has not noticed", daemon->options.pins,
	            pins, pins == 1 ? " was" : "s were");
}

/* Tells of those that were attached and are not, before they are looked for again. */
static void drop_lost(struct daemon *daemon)
{
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);
	bool was_attached[CONFIG_INTERFACES_MAX] = {false};

	for (size_t i = 0; i < count && i < CONFIG_INTERFACES_MAX; i++)
		was_attached[i] = links[i].index != 0;
	if (!datapath_drop_stale_links(daemon->datapath))
		return;
	for (size_t i = 0; i < count && i < CONFIG_INTERFACES_MAX; i++)
		if (was_attached[i] && !links[i].index)
			tell_interface(daemon, links[i].name, false, false,
			               "gone, or another bears its name: its packets are not judged until it is back");
}

static void tell_attached(struct daemon *daemon, const char *name)
{
	size_t count;
	const struct datapath_link *links = datapath_links(daemon->datapath, &count);

	for (size_t i = 0; i < count; i++)
		if (strcmp(links[i].name, name) == 0)
			tell_interface(daemon, name, true, links[i].generic,
			               links[i].generic ? "is there: attached in generic mode"
			                                : "is there: attached in native mode");
}

/* Whatever the kernel told: look at what is, not at what was said, so that lost messages cost nothing. */
static void reconcile(struct interfaces_watch *watch)
{
	struct daemon *daemon = watch->daemon;
	struct error err, trouble = {0};

	drop_lost(daemon);
	for (size_t i = 0; i < daemon->config->interfaces_count; i++) {
		const char *name = daemon->config->interfaces[i];
		size_t count;
		const struct datapath_link *links = datapath_links(daemon->datapath, &count);
		bool attached = false;
		for (size_t j = 0; j < count; j++)
			attached |= links[j].index && strcmp(links[j].name, name) == 0;
		if (attached)
			continue;
		int failure = datapath_attach(daemon->datapath, name, &err);
		if (!failure)
			tell_attached(daemon, name);
		else if (failure != -ENODEV)
			trouble = err;
	}
	int pinned = datapath_keep_pins(daemon->datapath, &err);
	if (pinned < 0)
		trouble = err;
	else if (pinned)
		tell_pinned(daemon, pinned);
	tell_once(watch, &trouble);
}

static void on_message(evutil_socket_t fd, short what, void *argument)
{
	struct interfaces_watch *watch = argument;
	char buffer[8192];
	(void)fd, (void)what;

	while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		errno = 0;
	reconcile(watch);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	reconcile(argument);
}

int interfaces_watch_new(struct interfaces_watch **out, struct daemon *daemon, struct error *err)
{
	_cleanup_(interfaces_watch_freep) struct interfaces_watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return error_set(err, -ENOMEM, "interfaces: no memory");
	watch->daemon = daemon;
	watch->netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!watch->netlink || mnl_socket_bind(watch->netlink, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		return error_set(err, -errno, "interfaces: cannot listen to the kernel's link messages: %s",
		                 strerror(errno));
	watch->event =
		event_new(daemon->loop, mnl_socket_get_fd(watch->netlink), EV_READ | EV_PERSIST, on_message, watch);
	watch->timer = event_new(daemon->loop, -1, EV_PERSIST, on_timer, watch);
	if (!watch->event || !watch->timer || event_add(watch->event, NULL) < 0 ||
	    event_add(watch->timer, &(struct timeval){.tv_sec = LOOK_AGAIN_S}) < 0)
		return error_set(err, -ENOMEM, "interfaces: cannot watch");
	*out = TAKE_PTR(watch);
	return 0;
}

void interfaces_watch_free(struct interfaces_watch *watch)
{
	if (watch->event)
		event_free(watch->event);
	if (watch->timer)
		event_free(watch->timer);
	if (watch->netlink)
		mnl_socket_close(watch->netlink);
	free(watch);
}
