/* SPDX-License-Identifier: GPL-2.0-only */
/* What must be said to the compiler so that the code it makes is the code that was meant, and that the verifier
 * follows. */
#pragma once

/* Hides where a value came from: arithmetic stays arithmetic (a compiler likes to make branches of it), and a pointer
 * stays the one register that the verifier has checked. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
