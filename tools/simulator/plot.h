/* SPDX-License-Identifier: GPL-2.0-only */
/* A picture of a run: offered, admitted, answered; response; level and capacity, over time. SVG, nothing else needed.
 */
#pragma once

#include "simulator/record.h"

/* Returns 0, or -errno with the cause in `err`. */
int plot_write(const struct record *record, const char *path, struct error *err);
