/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/agenda.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

static bool before(const struct event *a, const struct event *b)
{
	if (a->at_s < b->at_s || a->at_s > b->at_s)
		return a->at_s < b->at_s;
	return (int32_t)(a->order - b->order) < 0;
}

void agenda_plan(struct agenda *agenda, struct event event)
{
	if (agenda->count == agenda->room) {
		agenda->room = agenda->room ? 2 * agenda->room : 1024;
		struct event *events = realloc(agenda->events, agenda->room * sizeof(*events));
		if (!events)
			abort();
		agenda->events = events;
	}
	event.order = agenda->planned++;
	size_t at = agenda->count++;
	while (at > 0 && before(&event, &agenda->events[(at - 1) / 2])) {
		agenda->events[at] = agenda->events[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	agenda->events[at] = event;
}

struct event agenda_next(struct agenda *agenda)
{
	assert(agenda->count > 0);
	struct event *events = agenda->events, first = events[0], last = events[--agenda->count];
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= agenda->count)
			break;
		if (child + 1 < agenda->count && before(&events[child + 1], &events[child]))
			child++;
		if (!before(&events[child], &last))
			break;
		events[at] = events[child];
		at = child;
	}
	events[at] = last;
	return first;
}

void agenda_free(struct agenda *agenda)
{
	free(agenda->events);
	*agenda = (struct agenda){0};
}
