/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens next: a heap of events by time, those of the same time in the order in which they were planned. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct event {
	double at_s;
	uint32_t order;
	uint16_t what;  /* enum, of whoever plans it */
	uint16_t whose; /* crowd or service */
	uint32_t which; /* user or request */
	uint32_t detail;
};

struct agenda {
	struct event *events;
	size_t count, room;
	uint32_t planned;
};

void agenda_plan(struct agenda *agenda, struct event event);

/* The earliest; there must be one. */
struct event agenda_next(struct agenda *agenda);

void agenda_free(struct agenda *agenda);
