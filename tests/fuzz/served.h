/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's parts as they are, its two servers among them, over a data path in the kernel, in a network namespace of
 * their own. There is no tick: the loop runs while something is asked. Needs root; ends the program with words where
 * it cannot. */
#pragma once

#include <stddef.h>

#include "daemon/daemon.h"

enum served_door {
	SERVED_CONTROL, /* the UNIX socket */
	SERVED_WEB,     /* TCP */
};

/* Once a process; what it leaves in the kernel goes when that ends. The services are `web`, `dns` (adaptive) and `bulk`
 * (adaptive, in bytes). */
struct daemon *served_start(void);

/* Sends the bytes on a new connection, and has the servers do what they do about them. Returns the status of the first
 * answer; 0 where nothing is answered. `*stopped` says whether the daemon was asked to stop. */
int served_ask(enum served_door door, const void *bytes, size_t size, bool *stopped);
