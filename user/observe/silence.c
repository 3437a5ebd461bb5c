/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/silence.h"

enum silence_change silence_step(struct silence *silence, const struct controller_signals *signals)
{
	bool fault = silence->fault;

	if (!signals->fresh)
		return SILENCE_SAME;
	if (signals->responses) {
		*silence = (struct silence){.replied = true};
		return fault ? SILENCE_ENDS : SILENCE_SAME;
	}
	silence->unanswered += signals->unanswered;
	silence->quiet_s += signals->elapsed_s;
	silence->fault |= silence->replied && silence->unanswered >= SILENCE_UNANSWERED;
	return silence->fault && !fault ? SILENCE_BEGINS : SILENCE_SAME;
}
