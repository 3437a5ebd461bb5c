/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of tenants, and the files that hold prefixes of theirs. Private to config/. */
#pragma once

#include "config/schema.h"

/* Reads `node` into the tenants of `config`, sorted by key, and adds the faults that they have, each by itself and
 * among each other. Returns 0 or -ENOMEM. */
int tenants_read(struct reading *reading, const yaml_node_t *node, struct config *config);
