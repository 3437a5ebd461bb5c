/* SPDX-License-Identifier: GPL-2.0-only */
/* Telling Spillway who a user is. An application that has authenticated whoever is at the other end of a connection
 * names that user by a number of its own choosing, the same in all of its processes and on all of its hosts:
 *
 *     if (spillway_set_user(fd, account->id) < 0 && errno != ENOPROTOOPT)
 *             warn("spillway");
 *
 * From then on the connection's packets count for that user, from whatever address they come, in services of
 * `user: {kind: tag}`: one account on fifty addresses is one user, and fifty accounts behind one address are fifty. It
 * may be said again, when another user goes on with the connection, and ends with the connection: when the last
 * descriptor of the socket is closed. What comes before it is said, and after, counts for the source address.
 *
 * The kernel answers:
 *     0           said
 *     ENOPROTOOPT nobody listens: Spillway is not loaded here, or no service of it has users of kind `tag`. Harmless
 *     EINVAL      the value is not 8 bytes long
 *     ENOTCONN    there is no connection: a listening socket, one that the peer has reset, or a UDP socket without
 *                 connect(2), whose datagrams may come from anybody
 *     EPERM       Spillway's configuration does not let this process name users (`tags:`)
 *     EOPNOTSUPP  neither TCP nor UDP over IP (MPTCP: name the user on a plain TCP socket)
 *     ENOSPC      more than a million connections are tagged
 *     ENOMEM      the socket has no memory left for it
 *
 * Other languages call setsockopt with the two numbers below and 8 bytes in the host's order. A 32-bit process on a
 * 64-bit kernel is always answered ENOPROTOOPT. */
#ifndef SPILLWAY_H
#define SPILLWAY_H

#define SOL_SPILLWAY  0x53504c57 /* "SPLW": far from every level that a kernel has given away */
#define SPILLWAY_USER 1          /* uint64_t */

#ifndef __bpf__ /* Spillway's own kernel half needs the numbers alone */
#include <stdint.h>
#include <sys/socket.h>

/* Says whose the connection is. Returns 0, or -1 with errno as above. */
static inline int spillway_set_user(int fd, uint64_t user)
{
	return setsockopt(fd, SOL_SPILLWAY, SPILLWAY_USER, &user, sizeof(user));
}
#endif

#endif
