/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/listeners.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define LISTENERS_MOST 65536
#define BUFFER_BYTES   32768 /* of a part of the kernel's answer: it makes them no longer */

/* A listener by the kernel's cookie, what it had dropped, and whether much of its queue was in use. */
struct account {
	uint64_t cookie;
	uint32_t drops;
	bool filled;
};

struct listeners {
	struct mnl_socket *netlink;
	struct account *accounts; /* by cookie, in order */
	size_t count;
	bool looked;
};

/* One look. */
struct look {
	struct listeners *listeners;
	listeners_teller *tell;
	void *argument;
	struct account *accounts;
	size_t count, room;
};

DEFINE_CLEANUP(struct listeners, listeners_free)

int listeners_new(struct listeners **out, struct error *err)
{
	_cleanup_(listeners_freep) struct listeners *listeners = calloc(1, sizeof(*listeners));
	if (!listeners)
		return error_set(err, -ENOMEM, "listeners: no memory");
	listeners->netlink = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!listeners->netlink || mnl_socket_bind(listeners->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_set(err, -errno, "listeners: cannot ask the kernel about sockets: %s", strerror(errno));
	*out = TAKE_PTR(listeners);
	return 0;
}

void listeners_free(struct listeners *listeners)
{
	if (!listeners)
		return;
	if (listeners->netlink)
		mnl_socket_close(listeners->netlink);
	free(listeners->accounts);
	free(listeners);
}

static int by_cookie(const void *left, const void *right)
{
	uint64_t a = ((const struct account *)left)->cookie, b = ((const struct account *)right)->cookie;

	return (a > b) - (a < b);
}

static struct listener listener_of(const struct inet_diag_msg *told)
{
	struct listener listener = {.ipv6 = told->idiag_family == AF_INET6, .port = ntohs(told->id.idiag_sport)};
	static const uint32_t nowhere[4];
	size_t bytes = listener.ipv6 ? sizeof(told->id.idiag_src) : sizeof(told->id.idiag_src[0]);
	unsigned char *address = (unsigned char *)listener.address;

	listener.any = memcmp(told->id.idiag_src, nowhere, bytes) == 0;
	if (!listener.ipv6)
		memset(address + 10, 0xff, 2);
	memcpy(address + sizeof(listener.address) - bytes, told->id.idiag_src, bytes);
	return listener;
}

static int account_keep(struct look *look, struct account account)
{
	if (look->count == LISTENERS_MOST)
		return MNL_CB_OK;
	if (look->count == look->room) {
		size_t room = look->room ? 2 * look->room : 64;
		struct account *more = reallocarray(look->accounts, room, sizeof(*more));
		if (!more) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		look->accounts = more;
		look->room = room;
	}
	look->accounts[look->count++] = account;
	return MNL_CB_OK;
}

static int on_listener(const struct nlmsghdr *message, void *argument)
{
	struct look *look = argument;
	const struct listeners *listeners = look->listeners;
	const struct inet_diag_msg *told = mnl_nlmsg_get_payload(message);
	struct nlattr *attribute; /* not const for the sake of the macro, which casts that away */
	struct account now = {.cookie = told->id.idiag_cookie[0] | (uint64_t)told->id.idiag_cookie[1] << 32,
	                      .filled = told->idiag_rqueue > told->idiag_wqueue / 2};

	mnl_attr_for_each(attribute, message, sizeof(*told))
	{
		const uint32_t *memory = mnl_attr_get_payload(attribute);
		if (mnl_attr_get_type(attribute) == INET_DIAG_SKMEMINFO &&
		    mnl_attr_get_payload_len(attribute) >= (SK_MEMINFO_DROPS + 1) * sizeof(*memory))
			now.drops = memory[SK_MEMINFO_DROPS];
	}
	const struct account *before =
		listeners->count ? bsearch(&now, listeners->accounts, listeners->count, sizeof(now), by_cookie) : NULL;
	uint32_t dropped = now.drops - (before ? before->drops : 0);
	/* SYNs that merely came twice are counted as well: forged ones do, while its queue is empty. */
	bool full = now.filled || !before || before->filled;
	if (dropped && full && listeners->looked) {
		struct listener listener = listener_of(told);
		look->tell(&listener, dropped, look->argument);
	}
	return account_keep(look, now);
}

static int dump(struct look *look, uint8_t family)
{
	char buffer[BUFFER_BYTES];
	struct mnl_socket *netlink = look->listeners->netlink;
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	struct inet_diag_req_v2 *asked = mnl_nlmsg_put_extra_header(message, sizeof(*asked));
	*asked = (struct inet_diag_req_v2){.sdiag_family = family,
	                                   .sdiag_protocol = IPPROTO_TCP,
	                                   .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
	                                   .idiag_states = 1 << TCP_LISTEN};
	if (mnl_socket_sendto(netlink, message, message->nlmsg_len) < 0)
		return -errno;
	for (int status = MNL_CB_OK; status != MNL_CB_STOP;) {
		ssize_t bytes = mnl_socket_recvfrom(netlink, buffer, sizeof(buffer));
		if (bytes < 0)
			return -errno;
		status = mnl_cb_run(buffer, (size_t)bytes, 0, mnl_socket_get_portid(netlink), on_listener, look);
		if (status < 0)
			return -errno;
	}
	return 0;
}

int listeners_look(struct listeners *listeners, listeners_teller *tell, void *argument, struct error *err)
{
	struct look look = {.listeners = listeners, .tell = tell, .argument = argument};

	int failure = dump(&look, AF_INET);
	if (!failure)
		failure = dump(&look, AF_INET6);
	if (failure) {
		free(look.accounts);
		return error_set(err, failure, "listeners: the kernel does not tell about them: %s",
		                 strerror(-failure));
	}
	if (look.count)
		qsort(look.accounts, look.count, sizeof(*look.accounts), by_cookie);
	free(listeners->accounts);
	listeners->accounts = look.accounts;
	listeners->count = look.count;
	listeners->looked = true;
	return 0;
}
