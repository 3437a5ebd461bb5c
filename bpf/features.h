/* SPDX-License-Identifier: GPL-2.0-only */
/* What this configuration uses: known when the program is loaded, so that the verifier deletes what is not used. */
#pragma once

#include "abi.h"

/* Whether one of the FEATURE_* bits is on: a branch that the verifier decides. The question is a single instruction,
 * which loads its own bits below FEATURE_ASKED; when user space loads the program it leaves those that are on. Unasked,
 * all are. Volatile, since an answer kept in a register that has to be saved costs more than asking again. */
#define FEATURE(bits)                                                             \
	({                                                                        \
		__u64 on;                                                         \
		asm volatile("%0 = %1" : "=r"(on) : "i"(FEATURE_ASKED | (bits))); \
		on;                                                               \
	})

/* Cuts a number to an index of the meter's table, in the same way: the verifier knows what is left of it. */
static __always_inline __u64 set_index(__u64 number)
{
	asm volatile("%0 &= %1" : "+r"(number) : "i"(SETS_MASK_ASKED));
	return number;
}
