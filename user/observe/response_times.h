/* SPDX-License-Identifier: GPL-2.0-only */
/* Arithmetic on the buckets of response times that bpf/abi.h describes. Pure. */
#pragma once

#include <stddef.h>

#include "bpf/abi.h"

/* The least time that counts in the bucket, in seconds; of RESPONSE_BUCKETS, the end of the last. */
double response_bucket_floor_s(unsigned bucket);

/* The counts since `before`, into `out`; returns their sum. A count that has gone backwards counts from 0. */
__u64 response_buckets_since(const __u64 now[RESPONSE_BUCKETS], const __u64 before[RESPONSE_BUCKETS],
                             __u64 out[RESPONSE_BUCKETS]);

/* The time that this part (0 to 1) of the `sum` counted responses took no longer than, in seconds; NAN where none were
 * counted. Within a bucket, of which there are 16 to a doubling, they count as spread evenly. */
double response_percentile_s(const __u64 buckets[RESPONSE_BUCKETS], __u64 sum, double part);
