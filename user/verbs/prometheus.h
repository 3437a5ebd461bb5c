/* SPDX-License-Identifier: GPL-2.0-only */
/* Asks a Prometheus server for what was: query_range of its HTTP API. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define PROMETHEUS_POINTS_MOST 10000 /* of one request; servers refuse more than 11,000 */

/* Evaluates `query` at `start_s` and each `step_s` after, up to `count` times; `values[i]`, NAN where there is none
 * then, sums the series where the query yields several. `url` is the server's base ("http://prometheus:9090"). Returns
 * 0, or -errno with what the server said or why its answer makes no sense; `values` is then undefined. */
int prometheus_range(const char *url, const char *query, int64_t start_s, unsigned step_s, double *values, size_t count,
                     struct error *err);

/* Writes `text` into `out` as it stands within the quotes of a query. */
void prometheus_quote(const char *text, char *out, size_t size);
