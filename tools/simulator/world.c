/* SPDX-License-Identifier: GPL-2.0-only */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "simulator/agenda.h"
#include "simulator/chance.h"
#include "simulator/host.h"
#include "simulator/service.h"
#include "simulator/world.h"

#define PASS_CALM_S       1.0 /* from one pass over the table to the next */
#define PASS_OVERLOADED_S 0.25
#define FRESH_S           0.3 /* a tick later than that tells that its figures are not of one interval */
#define WARM_UP_S         5.0 /* after a restart: from three times the time down to once */
#define WARM_UP_FACTOR    3.0
#define NOBODY            UINT32_MAX

enum { EVENT_ARRIVAL, EVENT_PATIENCE, EVENT_FINISH, EVENT_MOVES_ON, EVENT_TICK, EVENT_GLANCE };

/* One try of a request. */
struct request {
	double sent_s, asked_s; /* this try; the first one */
	uint32_t user;          /* in the host's table */
	uint32_t sample;
	uint16_t crowd;
	uint8_t tries;   /* left */
	uint8_t holders; /* who still refers to it: the service, the client's patience */
	bool settled;    /* answered in time, or given up */
	bool connects;   /* a SYN */
};

struct world {
	const struct scenario *scenario;
	struct record *record;
	capacity_law *law;
	FILE *trace;
	struct agenda agenda;
	struct chance chance;
	struct host host;
	struct service services[SERVICES];
	struct controller controller;
	struct controller_signals frozen;
	double now_s, ticked_s;
	double still_s;                  /* until then the service stands still: a hiccup of the host */
	double felt_pps;                 /* the level, where it is below its maximum; else INFINITY */
	uint32_t turn[CROWDS_MAX];       /* the next user of a regular crowd */
	uint32_t first_user[CROWDS_MAX]; /* in the host's table */

	struct request *requests;
	uint32_t request_count, request_room, request_free; /* a list of free ones through `user` */
};

/* Requests ------------------------------------------------------------------------------------------------------- */

static uint32_t request_new(struct world *world)
{
	uint32_t number = world->request_free;

	if (number != NOBODY) {
		world->request_free = world->requests[number].user;
		return number;
	}
	if (world->request_count == world->request_room) {
		world->request_room = world->request_room ? 2 * world->request_room : 4096;
		struct request *requests = realloc(world->requests, world->request_room * sizeof(*requests));
		if (!requests)
			abort();
		world->requests = requests;
	}
	return world->request_count++;
}

static void request_drop(struct world *world, uint32_t number)
{
	struct request *request = &world->requests[number];

	if (--request->holders)
		return;
	request->user = world->request_free;
	world->request_free = number;
}

static struct crowd_tick *crowd_at(struct world *world, unsigned crowd, double at_s)
{
	return &record_at(world->record, at_s)->crowds[crowd];
}

static void lose(void *argument, uint32_t number)
{
	request_drop(argument, number);
}

/* A try: through the packet path to the service, or not. */
static void request_send(struct world *world, uint32_t number)
{
	struct request *request = &world->requests[number];
	const struct crowd_plan *plan = &world->scenario->crowds[request->crowd];
	struct crowd_tick *tick = crowd_at(world, request->crowd, world->now_s);

	request->sample = SAMPLE_NONE;
	request->holders = 1;
	if (plan->tries > 1) {
		request->holders++;
		agenda_plan(&world->agenda, (struct event){.at_s = world->now_s + plan->patience_s,
		                                           .what = EVENT_PATIENCE,
		                                           .which = number});
	}
	tick->offered++;
	if (!host_admit(&world->host, request->user, request->connects, world->now_s)) {
		tick->spilled++;
		request_drop(world, number);
		return;
	}
	if (request->user != USER_FORGED)
		record_admitted(world->record, request->crowd, request->user - world->first_user[request->crowd],
		                world->now_s);
	if (request->connects) {
		host_connect(&world->host, world->now_s);
		request_drop(world, number);
		return;
	}
	request->sample = host_sample(&world->host, world->now_s);
	if (!service_take(&world->services[SERVICE_EDGE], number, world->now_s, &world->agenda, &world->chance)) {
		world->host.overflows += !world->services[SERVICE_EDGE].away;
		request_drop(world, number);
	}
}

static void request_ask(struct world *world, unsigned crowd, uint32_t user)
{
	uint32_t number = request_new(world);

	world->requests[number] =
		(struct request){.sent_s = world->now_s,
	                         .asked_s = world->now_s,
	                         .user = user,
	                         .crowd = (uint16_t)crowd,
	                         .tries = (uint8_t)world->scenario->crowds[crowd].tries,
	                         .connects = world->scenario->crowds[crowd].rhythm == RHYTHM_CONNECTS};
	crowd_at(world, crowd, world->now_s)->asked++;
	request_send(world, number);
}

/* The client has waited long enough: it gives this try up and begins another, if it has one left. */
static void request_retry(struct world *world, uint32_t number)
{
	struct request old = world->requests[number];

	if (!old.settled && old.tries > 1) {
		uint32_t again = request_new(world);
		world->requests[again] = old;
		world->requests[again].sent_s = world->now_s;
		world->requests[again].tries--;
		request_send(world, again);
	}
	world->requests[number].settled = true;
	request_drop(world, number);
}

static void request_answered(struct world *world, uint32_t number)
{
	struct request *request = &world->requests[number];
	double response_s = world->now_s - request->sent_s;

	if (!world->scenario->service.deaf) {
		host_reply(&world->host, request->sample, world->now_s);
		record_response(world->record, request->crowd, request->asked_s, response_s);
		record_at(world->record, world->now_s)->answered_pps += (float)(1 / TICK_S);
		if (!request->settled && response_s <= world->scenario->objective_s)
			crowd_at(world, request->crowd, request->asked_s)->answered++;
		request->settled = request->settled || response_s <= world->scenario->objective_s;
	}
	request_drop(world, number);
}

/* Services ------------------------------------------------------------------------------------------------------- */

static void service_finished(struct world *world, const struct event *event)
{
	struct service *edge = &world->services[SERVICE_EDGE], *service = &world->services[event->whose];

	if (event->detail != service->life) { /* a restart came between */
		request_drop(world, event->which);
		return;
	}
	if (service == edge && world->scenario->dependency.workers) {
		/* The worker waits for what it has asked. */
		if (!service_take(&world->services[SERVICE_DEPENDENCY], event->which, world->now_s, &world->agenda,
		                  &world->chance)) {
			request_drop(world, event->which);
			edge->busy--;
		}
		return;
	}
	service->busy--;
	if (service != edge) {
		service_next(service, world->now_s, &world->agenda, &world->chance);
		edge->busy--;
	}
	request_answered(world, event->which);
	service_next(edge, world->now_s, &world->agenda, &world->chance);
}

static bool under(const struct world *world, enum incident_kind kind, double *factor)
{
	for (size_t i = 0; i < world->scenario->incident_count; i++) {
		const struct incident *incident = &world->scenario->incidents[i];
		if (incident->kind != kind || world->now_s < incident->from_s || world->now_s >= incident->until_s)
			continue;
		if (factor)
			*factor = incident->factor;
		return true;
	}
	return false;
}

/* How many times as long a request takes now. */
static double edge_factor(const struct world *world)
{
	double factor = 1;

	for (size_t i = 0; i < world->scenario->incident_count; i++) {
		const struct incident *incident = &world->scenario->incidents[i];
		double since = world->now_s - incident->from_s, up = world->now_s - incident->until_s;
		bool now = since >= 0 && up < 0;
		if (incident->kind == INCIDENT_SLOW && now)
			factor *= incident->factor;
		if (incident->kind == INCIDENT_LEAK && now)
			factor *= 1 + (incident->factor - 1) * since / (incident->until_s - incident->from_s);
		if (incident->kind == INCIDENT_RESTART && up >= 0 && up < WARM_UP_S)
			factor *= WARM_UP_FACTOR - (WARM_UP_FACTOR - 1) * up / WARM_UP_S;
	}
	return factor;
}

static void incidents_apply(struct world *world)
{
	struct service *edge = &world->services[SERVICE_EDGE];
	double factor = 1, still_s = 0;
	bool away = under(world, INCIDENT_RESTART, NULL);

	edge->factor = edge_factor(world);
	under(world, INCIDENT_SLOW_DEPENDENCY, &factor);
	world->services[SERVICE_DEPENDENCY].factor = factor;
	if (away && !edge->away)
		service_restart(edge, lose, world);
	edge->away = away;
	if (under(world, INCIDENT_HICCUPS, &still_s) && chance_uniform(&world->chance) < TICK_S) {
		world->still_s = world->now_s + still_s;
		agenda_plan(&world->agenda, (struct event){.at_s = world->still_s, .what = EVENT_MOVES_ON});
	}
	edge->hung = under(world, INCIDENT_HANG, NULL) || world->now_s < world->still_s;
	service_next(edge, world->now_s, &world->agenda, &world->chance);
}

/* Users ---------------------------------------------------------------------------------------------------------- */

/* A day of 20 minutes: morning, lunch and tea, and what nobody can foresee. */
static double varied(double now_s)
{
	double day = 2 * M_PI * now_s / 1200;

	return 0.7 - 0.2 * cos(day) + 0.07 * sin(3 * day + 1) + 0.03 * sin(37 * day);
}

static bool is_forged(const struct crowd_plan *plan)
{
	return plan->rhythm == RHYTHM_FORGED || plan->rhythm == RHYTHM_CONNECTS;
}

/* How many times a second the crowd acts, at most. */
static double crowd_pace(const struct crowd_plan *plan)
{
	double rate = is_forged(plan) ? plan->rate : plan->rate * plan->count;

	return plan->rhythm == RHYTHM_BURSTY ? rate / plan->burst : rate;
}

/* Whether it acts now, of the times that it could. */
static bool crowd_acts(struct world *world, const struct crowd_plan *plan)
{
	if (world->now_s < plan->from_s)
		return false;
	if (plan->rhythm == RHYTHM_SQUARE)
		return fmod(world->now_s - plan->from_s, plan->period_s) < plan->period_s / 2;
	if (plan->rhythm == RHYTHM_VARIED)
		return chance_uniform(&world->chance) < varied(world->now_s);
	return true;
}

static void crowd_act(struct world *world, unsigned crowd)
{
	const struct crowd_plan *plan = &world->scenario->crowds[crowd];
	uint32_t user = plan->rhythm == RHYTHM_REGULAR ? world->turn[crowd]++ % plan->count
	                                               : chance_below(&world->chance, plan->count);
	unsigned times = plan->rhythm == RHYTHM_BURSTY ? plan->burst : 1;

	for (unsigned i = 0; i < times; i++)
		request_ask(world, crowd, is_forged(plan) ? USER_FORGED : world->first_user[crowd] + user);
}

static void crowd_plan_next(struct world *world, unsigned crowd)
{
	const struct crowd_plan *plan = &world->scenario->crowds[crowd];
	double pace = crowd_pace(plan);

	if (!(pace > 0))
		return;
	double wait = (plan->rhythm == RHYTHM_REGULAR ? 1 : chance_exponential(&world->chance)) / pace;
	double at_s = fmax(world->now_s, plan->from_s) + wait;
	if (at_s < plan->until_s)
		agenda_plan(&world->agenda,
		            (struct event){.at_s = at_s, .what = EVENT_ARRIVAL, .whose = (uint16_t)crowd});
}

/* The controller ------------------------------------------------------------------------------------------------- */

/* What goes wrong with the measurements. */
static void signals_spoil(struct world *world, struct controller_signals *signals)
{
	if (under(world, INCIDENT_FREEZE, NULL) && world->frozen.elapsed_s > 0)
		*signals = world->frozen;
	else
		world->frozen = *signals;
	if (under(world, INCIDENT_STALE, NULL) || signals->elapsed_s > FRESH_S)
		signals->fresh = false;
	if (under(world, INCIDENT_BLIND, NULL)) {
		signals->requests = signals->responses = signals->unanswered = 0;
		signals->response_p50_s = signals->response_p99_s = NAN;
	}
}

static void world_decide(struct world *world, const struct controller_signals *signals, struct tick *tick)
{
	struct controller_decision decision;
	struct controller_bounds bounds = world->scenario->bounds;

	bounds.replies = !world->scenario->service.deaf;
	controller_step(&world->controller, &bounds, signals, world->host.demands, world->host.demand_count,
	                world->host.demand_rest, &decision);
	if (!decision.overloaded ? world->now_s - world->host.passed_s > PASS_CALM_S - TICK_S / 2
	                         : world->now_s - world->host.passed_s > PASS_OVERLOADED_S - TICK_S / 2)
		host_pass(&world->host, world->now_s);
	host_set(&world->host, decision.level_pps, decision.capacity_pps, decision.capacity_burst, world->now_s);
	bool felt = bounds.level_maximum <= 0 || decision.level_pps < bounds.level_maximum;
	world->felt_pps = felt ? decision.level_pps : INFINITY;
	tick->level_pps = (float)world->felt_pps;
	tick->capacity_pps = (float)decision.capacity_pps;
	tick->fault_begins = decision.fault_begins;
	if (!world->trace ||
	    !(decision.capacity_moved || decision.level_moved || decision.fault_begins || decision.fault_ends))
		return;
	char why[CONTROLLER_WHY_MAX];
	controller_why(&decision, why, sizeof(why));
	fprintf(world->trace, "%8.1f s  %s\n", world->now_s, why);
}

static void world_step(struct world *world, double elapsed)
{
	struct controller_signals signals;
	struct tick *tick = record_at(world->record, world->now_s - TICK_S / 2);

	host_read(&world->host, world->now_s, elapsed, &signals);
	world->ticked_s = world->now_s;
	tick->offered_pps = (float)signals.offered_pps;
	tick->admitted_pps = (float)signals.admitted_pps;
	if (!world->law)
		return;
	signals_spoil(world, &signals);
	world_decide(world, &signals, tick);
}

/* As the daemon does it, between two ticks. */
static void world_glance(struct world *world)
{
	agenda_plan(&world->agenda, (struct event){.at_s = world->now_s + GLANCE_S, .what = EVENT_GLANCE});
	if (!under(world, INCIDENT_STARVE, NULL) && world->now_s > world->ticked_s &&
	    capacity_surges(&world->controller.capacity, world->host.offered, world->now_s - world->ticked_s))
		world_step(world, world->now_s - world->ticked_s);
}

static void world_tick(struct world *world)
{
	double starve = 0, elapsed = world->now_s - world->ticked_s;
	struct tick *tick = record_at(world->record, world->now_s - TICK_S / 2);

	agenda_plan(&world->agenda, (struct event){.at_s = world->now_s + TICK_S, .what = EVENT_TICK});
	incidents_apply(world);
	tick->level_pps = world->law ? (float)world->felt_pps : INFINITY;
	tick->capacity_pps = (float)world->host.capacity_pps;
	tick->response_s = (float)responses_quantile(&world->host.responses, 0.5);
	if (!(elapsed > TICK_S / 2) || (under(world, INCIDENT_STARVE, &starve) && elapsed < starve - TICK_S / 2))
		return;
	world_step(world, elapsed);
}

/* ---------------------------------------------------------------------------------------------------------------- */

static void world_open(struct world *world)
{
	const struct scenario *scenario = world->scenario;
	uint32_t user = 0;

	world->chance.state = scenario->seed * UINT64_C(0x9e3779b97f4a7c15);
	world->request_free = NOBODY;
	world->felt_pps = INFINITY;
	host_open(&world->host, scenario);
	service_open(&world->services[SERVICE_EDGE], &scenario->service, SERVICE_EDGE, EVENT_FINISH);
	service_open(&world->services[SERVICE_DEPENDENCY], &scenario->dependency, SERVICE_DEPENDENCY, EVENT_FINISH);
	controller_init(&world->controller);
	if (world->law)
		world->controller.capacity.law = world->law;
	for (unsigned i = 0; i < scenario->crowd_count; i++) {
		world->first_user[i] = user;
		user += scenario->crowds[i].count;
		crowd_plan_next(world, i);
	}
	agenda_plan(&world->agenda, (struct event){.at_s = TICK_S, .what = EVENT_TICK});
	if (world->law)
		agenda_plan(&world->agenda, (struct event){.at_s = GLANCE_S, .what = EVENT_GLANCE});
}

static void world_close(struct world *world)
{
	host_close(&world->host);
	service_close(&world->services[SERVICE_EDGE]);
	service_close(&world->services[SERVICE_DEPENDENCY]);
	agenda_free(&world->agenda);
	free(world->requests);
}

static void world_handle(struct world *world, const struct event *event)
{
	switch (event->what) {
	case EVENT_ARRIVAL:
		if (crowd_acts(world, &world->scenario->crowds[event->whose]))
			crowd_act(world, event->whose);
		crowd_plan_next(world, event->whose);
		return;
	case EVENT_PATIENCE:
		request_retry(world, event->which);
		return;
	case EVENT_FINISH:
		service_finished(world, event);
		return;
	case EVENT_MOVES_ON:
		world->services[SERVICE_EDGE].hung = under(world, INCIDENT_HANG, NULL);
		service_next(&world->services[SERVICE_EDGE], world->now_s, &world->agenda, &world->chance);
		return;
	case EVENT_GLANCE:
		world_glance(world);
		return;
	default:
		world_tick(world);
	}
}

void world_run(const struct scenario *scenario, capacity_law *law, struct record *record, FILE *trace)
{
	struct world world = {.scenario = scenario, .record = record, .law = law, .trace = trace};

	world_open(&world);
	while (world.agenda.events[0].at_s < scenario->seconds) {
		struct event event = agenda_next(&world.agenda);
		world.now_s = event.at_s;
		world_handle(&world, &event);
	}
	world_close(&world);
}
