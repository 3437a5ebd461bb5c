/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/response_times.h"

#include <math.h>

double response_bucket_floor_s(unsigned bucket)
{
	double unit_s = (double)(1 << RESPONSE_UNIT_SHIFT) / 1e9;

	if (bucket < 2 * RESPONSE_STEPS)
		return bucket * unit_s;
	return ldexp(bucket % RESPONSE_STEPS + RESPONSE_STEPS, (int)(bucket / RESPONSE_STEPS) - 1) * unit_s;
}

__u64 response_buckets_since(const __u64 now[RESPONSE_BUCKETS], const __u64 before[RESPONSE_BUCKETS],
                             __u64 out[RESPONSE_BUCKETS])
{
	__u64 sum = 0;

	for (unsigned i = 0; i < RESPONSE_BUCKETS; i++) {
		__u64 seen = now[i];
		out[i] = seen >= before[i] ? seen - before[i] : seen;
		sum += out[i];
	}
	return sum;
}

double response_percentile_s(const __u64 buckets[RESPONSE_BUCKETS], __u64 sum, double part)
{
	double rank = part * (double)sum;
	__u64 least = (__u64)ceil(rank), below = 0;

	for (unsigned i = 0; i < RESPONSE_BUCKETS && sum; i++) {
		if (buckets[i] && below + buckets[i] >= least) {
			double floor_s = response_bucket_floor_s(i), width_s = response_bucket_floor_s(i + 1) - floor_s;
			return floor_s + width_s * (rank - (double)below) / (double)buckets[i];
		}
		below += buckets[i];
	}
	return NAN;
}
