/* SPDX-License-Identifier: GPL-2.0-only */
/* Time on the packet path: the jiffy, since reading it is one inlined load where a clock is a call of 17 to 31 ns. */
#pragma once

#include "abi.h"

extern unsigned long CONFIG_HZ __kconfig __weak;

#define NS_PER_SECOND 1000000000ULL

/* Monotonic nanoseconds in steps of a jiffy. The verifier knows CONFIG_HZ and keeps one of the branches; where the
 * kernel does not show its configuration, the coarse clock (kernel 5.11) has the same steps for one call. */
static __always_inline __u64 clock_ns(void)
{
	if (CONFIG_HZ == 250)
		return bpf_jiffies64() * (NS_PER_SECOND / 250);
	if (CONFIG_HZ == 1000)
		return bpf_jiffies64() * (NS_PER_SECOND / 1000);
	if (CONFIG_HZ)
		return bpf_jiffies64() * (NS_PER_SECOND / CONFIG_HZ);
	return bpf_ktime_get_coarse_ns();
}

/* The same in units of 2^30 ns, for what is rare. */
static __always_inline __u32 clock_seconds(void)
{
	return clock_ns() >> SECOND_SHIFT;
}
