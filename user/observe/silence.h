/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a service has stopped answering: for those that no controller stands by, which has its own eye on it. Pure.
 */
#pragma once

#include <stdbool.h>

#include "control/controller.h"

struct silence {
	bool replied;        /* ever: what never does has no replies by nature */
	bool fault;          /* it has stopped */
	unsigned unanswered; /* requests, since the last response */
	double quiet_s;      /* since then */
};

enum silence_change {
	SILENCE_SAME,
	SILENCE_BEGINS,
	SILENCE_ENDS,
};

/* So many requests in a row that are overdue are a fault: one may have been lost, or have been nonsense. */
#define SILENCE_UNANSWERED 3

/* What an interval changes. One that is not fresh has nothing to say. */
enum silence_change silence_step(struct silence *silence, const struct controller_signals *signals);
