/* SPDX-License-Identifier: GPL-2.0-only */
/* A service's outcomes as the contract splits them: received = passed + spilled, and shadowed packets passed. */
#pragma once

#include "bpf/abi.h"

struct sums {
	struct tally received, passed, spilled, shadow;
};

struct sums sums_of(const struct service_tallies *tallies);
