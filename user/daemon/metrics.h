/* SPDX-License-Identifier: GPL-2.0-only */
/* What Prometheus reads: the text of /metrics. A family is a row of the table in metrics.c and the function that writes
 * its samples; the number of samples is bounded by the configuration, whatever traffic comes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct daemon;

/* Prometheus text (0.0.4), or OpenMetrics (1.0.0). Returns 0 with `*out`, of `*out_size` bytes, freed by the caller, or
 * -errno where a counter could not be read or there is no memory. */
int metrics_text(struct daemon *daemon, bool open_metrics, char **out, size_t *out_size, struct error *err);
