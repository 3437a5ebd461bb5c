/* SPDX-License-Identifier: GPL-2.0-only */
/* The control laws that were tried, by name. The first is the one that Spillway uses; the others are here so that the
 * comparison can be repeated. */
#pragma once

#include "control/capacity.h"

struct law {
	const char *name;
	const char *about;
	capacity_law *law; /* NULL: nothing is controlled */
};

extern const struct law laws[]; /* ended by an empty one */
