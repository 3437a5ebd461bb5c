/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/peers.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "privilege/broker.h"

#define GROUPS_MAX 4096 /* of one process; whoever is in more is known by the first of them */

static int find(struct broker *broker, const char *key, const char *name, gid_t *out, struct error *err)
{
	int failure = broker_group(broker, name, out);

	if (failure == -ENOENT)
		return error_set(err, failure, "control.%s: this host has no group '%s': make it (groupadd %s)", key,
		                 name, name);
	return failure ? error_set(err, failure, "control.%s: group %s: %s", key, name, strerror(-failure)) : 0;
}

int peers_find(struct broker *broker, const struct config_control *control, struct peers *out, struct error *err)
{
	struct peers peers = {.group = getegid()};
	int failure = 0;

	snprintf(peers.group_name, sizeof(peers.group_name), "%s", control->group);
	if (control->group[0])
		failure = find(broker, "group", control->group, &peers.group, err);
	else
		snprintf(peers.group_name, sizeof(peers.group_name), "%u", peers.group);
	if (!failure && control->viewers[0]) {
		peers.has_viewers = true;
		failure = find(broker, "viewers", control->viewers, &peers.viewers, err);
	}
	if (!failure)
		*out = peers;
	return failure;
}

static bool is_in(gid_t group, const gid_t *groups, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return false;
}

enum peer_right peers_right(const struct peers *peers, uid_t user, const gid_t *groups, size_t count)
{
	if (user == 0 || user == geteuid() || is_in(peers->group, groups, count))
		return PEER_CHANGES;
	return peers->has_viewers && is_in(peers->viewers, groups, count) ? PEER_READS : PEER_NOTHING;
}

enum peer_right peers_right_of(const struct peers *peers, int connection, uid_t *user)
{
	gid_t *groups _cleanup_free_ = calloc(GROUPS_MAX + 1, sizeof(*groups));
	struct ucred who;
	socklen_t size = sizeof(who), groups_size = GROUPS_MAX * sizeof(*groups);

	*user = (uid_t)-1;
	if (!groups || getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return PEER_NOTHING;
	*user = who.uid;
	if (getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_size) < 0)
		groups_size = 0;
	size_t count = groups_size / sizeof(*groups);
	groups[count++] = who.gid;
	return peers_right(peers, who.uid, groups, count);
}

static void release(acl_t *list)
{
	if (*list)
		acl_free(*list);
}

int peers_admit(const struct peers *peers, const char *path, struct error *err)
{
	bool own = peers->group == getegid(), more = !own || peers->has_viewers;
	char text[160], group[32] = "", viewers[32] = "";

	if (!own)
		snprintf(group, sizeof(group), ",g:%u:rw", peers->group);
	if (peers->has_viewers && (own || peers->viewers != peers->group))
		snprintf(viewers, sizeof(viewers), ",g:%u:rw", peers->viewers);
	snprintf(text, sizeof(text), "u::rw,g::%s%s%s%s,o::-", own ? "rw" : "-", group, viewers, more ? ",m::rw" : "");
	_cleanup_(release) acl_t list = acl_from_text(text);
	if (list && acl_set_file(path, ACL_TYPE_ACCESS, list) == 0)
		return 0;
	if (list && !more && errno == EOPNOTSUPP)
		return 0; /* what the mode says is all */
	return error_set(err, -errno,
	                 "socket %s: cannot be opened to the groups under 'control:': %s: put it on a file system that "
	                 "has access lists",
	                 path, strerror(errno));
}
