/* SPDX-License-Identifier: GPL-2.0-only */
/* A simulated service: a bounded queue in front of workers, who may wait for a service behind it. */
#pragma once

#include "simulator/agenda.h"
#include "simulator/chance.h"
#include "simulator/scenario.h"

enum { SERVICE_EDGE, SERVICE_DEPENDENCY, SERVICES };

struct service {
	const struct service_plan *plan;
	unsigned number;   /* SERVICE_* */
	uint16_t finish;   /* the event that tells when a request is done */
	uint32_t *waiting; /* requests, a ring */
	unsigned first, count;
	unsigned busy;
	double factor; /* requests take so many times as long as planned */
	bool hung, away;
	uint32_t life; /* raised by a restart: what was planned before it is void */
};

void service_open(struct service *service, const struct service_plan *plan, unsigned number, uint16_t finish);
void service_close(struct service *service);

/* False where its queue is full, or nobody is there. */
bool service_take(struct service *service, uint32_t request, double now_s, struct agenda *agenda,
                  struct chance *chance);

/* A worker is free: the next one. */
void service_next(struct service *service, double now_s, struct agenda *agenda, struct chance *chance);

/* Loses all that it holds; calls `lose` for each of those that wait. Those that are worked on are lost when their event
 * comes and is of another life. */
void service_restart(struct service *service, void (*lose)(void *argument, uint32_t request), void *argument);
