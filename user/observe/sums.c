/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/sums.h"

#include <stdbool.h>

static void tally_add(struct tally *sum, const struct tally *tally)
{
	sum->packets += tally->packets;
	sum->bytes += tally->bytes;
}

struct sums sums_of(const struct service_tallies *tallies)
{
	struct sums sums = {0};

	for (int outcome = 0; outcome < OUTCOMES; outcome++) {
		const struct tally *tally = &tallies->outcomes[outcome];
		bool spilled = outcome >= OUTCOME_SPILLED && outcome < OUTCOME_SHADOW;
		tally_add(&sums.received, tally);
		tally_add(spilled ? &sums.spilled : &sums.passed, tally);
		if (outcome >= OUTCOME_SHADOW)
			tally_add(&sums.shadow, tally);
	}
	return sums;
}
