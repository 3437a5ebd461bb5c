/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs a scenario: its users, the host's packet path, the services, and the controller as the daemon runs it. */
#pragma once

#include <stdio.h>

#include "simulator/record.h"
#include "simulator/scenario.h"

#define TICK_S   0.1
#define GLANCE_S 0.02

/* `law` may be NULL: nothing is controlled. `trace` may be NULL: else each decision that moves something, a line. */
void world_run(const struct scenario *scenario, capacity_law *law, struct record *record, FILE *trace);
