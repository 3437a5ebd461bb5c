/* SPDX-License-Identifier: GPL-2.0-only */
/* Services compiled to the classifier that the packet path walks (bpf/service.h): a row for each port, and for ports
 * that belong to destinations a trie over the bytes in which the prefixes differ. Pure. */
#pragma once

#include "base/error.h"
#include "bpf/abi.h"
#include "config/config.h"

/* The port table of a protocol. */
enum port_table classifier_table(enum config_protocol protocol);

/* Fills `*slot`, which must be zero, with `config`'s services under the numbers that `catalogue` gives them. Returns 0,
 * or -E2BIG with the words where the destinations need more roots or nodes than there are. */
int classifier_compile(const struct config *config, const struct catalogue_slot *catalogue,
                       struct classifier_slot *slot, struct error *err);

/* The reading of a compiled slot, as the packet path does it. `destination` is in network order, IPv4 as
 * ::ffff:a.b.c.d. */
unsigned classifier_lookup(const struct classifier_slot *slot, enum port_table table, unsigned port, bool ipv6,
                           const __u8 destination[16]);

/* The service of the port, where the destination is of no account: if it belongs to destinations, the first of theirs.
 */
unsigned classifier_first(const struct classifier_slot *slot, enum port_table table, unsigned port);
