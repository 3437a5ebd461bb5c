/* SPDX-License-Identifier: GPL-2.0-only */
/* What this configuration uses: a constant when the program is loaded, so that the verifier deletes what is not used.
 */
#pragma once

#include "abi.h"

const volatile __u32 features;

/* Whether one of the FEATURE_* bits is on: a branch that the verifier decides. */
#define FEATURE(bits) (features & (bits))
