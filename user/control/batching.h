/* SPDX-License-Identifier: GPL-2.0-only */
/* When charges are settled in batches (bpf/batch.h): where the cells of those who are active, a cache line each, are
 * more than the nearer caches of a processor hold. There both ways cost the same; measured with 1,000, 4,000, 16,000
 * and 100,000 users (tools/bench). A pure decision. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define BATCHING_BEGINS 4096 /* users */
#define BATCHING_ENDS   2048

/* Whether it pays with so many users active, newcomers among them; `on`: it is so now. */
static inline bool batching_pays(bool on, size_t active)
{
	return active > (on ? BATCHING_ENDS : BATCHING_BEGINS);
}
