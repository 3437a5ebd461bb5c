/* SPDX-License-Identifier: GPL-2.0-only */
/* Times in the meter's table wrap after 2^44 ns, five hours: without this, a user that comes back after nearly that
 * long would be taken for one that is ahead of its time, and lose its burst. */
#include "datapath/internal.h"

#define STALE_NS (1ULL << 41) /* 36 minutes: beyond every burst, and beyond the silence that tenure outlasts */

/* A time that is further from now than STALE_NS, either way, has passed long ago. It becomes one that has passed just
 * that long ago; who is charged at this moment is fresh, and left alone. */
static void state_age(__u64 *state, __u64 now_ns)
{
	__u64 seen = __atomic_load_n(state, __ATOMIC_RELAXED);
	__s64 ahead_ns = (__s64)(seen - (now_ns << STATE_TAT_SHIFT)) >> STATE_TAT_SHIFT;
	__u64 aged = (now_ns - STALE_NS) << STATE_TAT_SHIFT | (seen & (STATE_TENURED | STATE_PACKETS_MASK));

	if (ahead_ns > (__s64)STALE_NS || ahead_ns < -(__s64)STALE_NS)
		__sync_val_compare_and_swap(state, seen, aged);
}

int datapath_age(struct datapath *dp, struct error *err)
{
	__u64 now_ns;

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	for (size_t set = 0; set < dp->sets; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++)
			state_age(&dp->table[set].states[cell], now_ns);
		state_age(&dp->overflows[set].state, now_ns);
	}
	return 0;
}
