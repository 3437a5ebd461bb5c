/* SPDX-License-Identifier: GPL-2.0-only */
/* What listening TCP sockets of this network namespace have dropped, from the kernel's own account of each
 * (sock_diag(7)). For hosts that do not let a program see it happen. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct listeners;

struct listener {
	uint64_t address[2]; /* network order, IPv4 as ::ffff:a.b.c.d */
	bool ipv6;
	bool any; /* it listens at every address */
	uint16_t port;
};

/* Returns 0 with `*out` owned by the caller, or -errno. */
int listeners_new(struct listeners **out, struct error *err);
void listeners_free(struct listeners *listeners);

typedef void listeners_teller(const struct listener *listener, uint32_t dropped, void *argument);

/* Tells of each listener that has dropped something since the last look: SYNs and last acknowledgements that met a full
 * queue. One that is new since then has dropped all that it has. The first look tells nothing. The kernel's account has
 * also what else was not for the listener to take, so that it is believed only where more than half of the queue of
 * connections was in use, at this look or the last. */
int listeners_look(struct listeners *listeners, listeners_teller *tell, void *argument, struct error *err);
