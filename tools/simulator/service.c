/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/service.h"

#include <stdlib.h>

#define LOGNORMAL_SIGMA 1.0

void service_open(struct service *service, const struct service_plan *plan, unsigned number, uint16_t finish)
{
	*service = (struct service){.plan = plan, .number = number, .finish = finish, .factor = 1};
	service->waiting = calloc(plan->queue + 1, sizeof(*service->waiting));
	if (!service->waiting)
		abort();
}

void service_close(struct service *service)
{
	free(service->waiting);
}

static double time_of_one(const struct service *service, struct chance *chance)
{
	double time = service->plan->time_s * service->factor;

	if (service->plan->spread == SPREAD_EXPONENTIAL)
		return time * chance_exponential(chance);
	return service->plan->spread == SPREAD_LOGNORMAL ? time * chance_lognormal(chance, LOGNORMAL_SIGMA) : time;
}

static void service_start(struct service *service, uint32_t request, double now_s, struct agenda *agenda,
                          struct chance *chance)
{
	service->busy++;
	agenda_plan(agenda, (struct event){.at_s = now_s + time_of_one(service, chance),
	                                   .what = service->finish,
	                                   .whose = (uint16_t)service->number,
	                                   .which = request,
	                                   .detail = service->life});
}

bool service_take(struct service *service, uint32_t request, double now_s, struct agenda *agenda, struct chance *chance)
{
	if (service->away)
		return false;
	if (service->busy < service->plan->workers && !service->hung) {
		service_start(service, request, now_s, agenda, chance);
		return true;
	}
	if (service->count == service->plan->queue)
		return false;
	service->waiting[(service->first + service->count++) % (service->plan->queue + 1)] = request;
	return true;
}

void service_next(struct service *service, double now_s, struct agenda *agenda, struct chance *chance)
{
	while (service->count && service->busy < service->plan->workers && !service->hung && !service->away) {
		uint32_t request = service->waiting[service->first];
		service->first = (service->first + 1) % (service->plan->queue + 1);
		service->count--;
		service_start(service, request, now_s, agenda, chance);
	}
}

void service_restart(struct service *service, void (*lose)(void *argument, uint32_t request), void *argument)
{
	for (; service->count; service->count--) {
		lose(argument, service->waiting[service->first]);
		service->first = (service->first + 1) % (service->plan->queue + 1);
	}
	service->busy = 0;
	service->life++;
}
