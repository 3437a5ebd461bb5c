/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys `allow`, `deny` and `lists`: private to config/. */
#pragma once

#include "config/schema.h"

#define LISTS_ALLOWED_PPS_DEFAULT 100000

/* Reads a list of prefixes and adds them to those that are there. Returns 0 or -ENOMEM. */
int lists_read_entries(struct reading *reading, const yaml_node_t *node, struct config_lists *lists, bool denied);

/* Reads the settings of both. */
void lists_read_settings(struct reading *reading, const yaml_node_t *node, struct config_lists *lists);

/* Puts the entries in order; a prefix that is given twice is a fault. */
void lists_check_entries(struct config_faults *faults, struct config_lists *lists);
