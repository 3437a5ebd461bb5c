/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is at the other end of the control socket, and what that one may do: root and the control group change, the
 * viewers' group reads. The file's mode and its access list keep all others from connecting; the kernel's word on who
 * has connected (SO_PEERCRED, SO_PEERGROUPS; unix(7)) decides about each request. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "config/config.h"

struct broker;

/* Groups by their numbers. */
struct peers {
	gid_t group;
	gid_t viewers;
	bool has_viewers;
	char group_name[CONFIG_GROUP_MAX]; /* for words */
};

enum peer_right {
	PEER_NOTHING,
	PEER_READS,
	PEER_CHANGES,
};

/* Finds the groups that the configuration names; where it names none, those who may change are the daemon's own group.
 * Returns 0, or -ENOENT with the name of the one that is not there. */
int peers_find(struct broker *broker, const struct config_control *control, struct peers *out, struct error *err);

/* What a process of this user and these groups may do. */
enum peer_right peers_right(const struct peers *peers, uid_t user, const gid_t *groups, size_t count);

/* What whoever is connected may do, and which user that is. PEER_NOTHING where the kernel does not say who it is. */
enum peer_right peers_right_of(const struct peers *peers, int connection, uid_t *user);

/* Lets the groups connect to the socket at `path`, and nobody else: by an access list where it takes one. */
int peers_admit(const struct peers *peers, const char *path, struct error *err);
