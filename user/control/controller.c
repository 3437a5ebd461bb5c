/* SPDX-License-Identifier: GPL-2.0-only */
/* One tick of one service: which measurements count, whether there is a fault, what the capacity law says, and what
 * level that makes; then the words. */
#include "control/controller.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "control/average.h"

#define ELAPSED_MOST_S  1.0  /* after a longer pause the figures are of another time */
#define STALE_LET_GO_S  30.0 /* as long as the kernel stands by a level that nobody refreshes */
#define TICK_S          0.1  /* counted for a step that cannot say */
#define RATE_MOST       1e12 /* packets or bytes a second that no host has */
#define RESPONSE_MOST_S 3600.0
#define FAULT_SILENCE_S 2.0
#define FAULT_BESTS     4 /* a service whose best response is slow is given so many of them */
#define FAULT_REQUESTS  3
#define FAULT_TRICKLE   0.05 /* of what is proven is let through a fault, to see it end */
#define NEWCOMERS_SHARE 0.1  /* of the capacity, kept for newcomers where the tenured alone would fill it */
#define LEVEL_MARGIN    1.1  /* of the capacity above the sum of fair shares: users at their level must not meet it */
#define REST_SMALL      0.1  /* of all that is asked for */
#define TENURED_FIT     1.2  /* times the capacity: so many tenured are left to the packet path's ranks */
#define TENURED_MARGIN  2.0  /* above the heaviest tenured demand: it was measured, and varies */
#define TENURED_LOSS                                                                                    \
	0.7 /* of what the tenured ask for: where fair shares for all take more, newcomers are too many \
	     */
#define TENURED_REGAINS   0.6 /* and are so until it is less than that */
#define FEW_SHARE         0.2 /* of the users are few, */
#define MANY_S            3.0 /* without that, and they are many */
#define NAMELESS_S        0.3 /* who has no name may be given one, by the next pass */
#define FEW_EXCESS        0.5 /* where so much of the capacity is what they ask for above the level */
#define LEVEL_HOLD_S      5.5 /* a level outlasts so long a pause of what made it necessary */
#define LEVEL_EASES_S     1.0 /* within that time it comes to be felt by nobody, */
#define EASED_MARGIN      1.2 /* as far above what the heaviest asks for */
#define LEVEL_NOISE       0.5
#define LEVEL_STILL       0.15 /* where it is a few who feel it, it need not be exact */
#define LEVEL_FOLLOWS     0.1  /* within the noise: a step's part of the way */
#define LEVEL_FOLLOWS_FEW 0.01
#define LEVEL_WANTED_S    1.0 /* over which what it follows is averaged: the others' haste is not theirs */
#define LEVEL_SETTLES_S   3.0 /* a level goes down at once when it is new; then by steps */
#define LEVEL_FALLS       0.97
#define LEVEL_RISES       1.1  /* a step, where more is wanted */
#define LEVEL_UNUSED_S    0.35 /* of a capacity that is asked for and not used say that the level is too low */
#define LEVEL_RELEASES    2.0  /* a step, once it is let go */
#define TELL_FROM         1.1

/* What is left of the figures when those that cannot be are taken out. */
static double sane(double value, double most)
{
	return value >= 0 && value <= most ? value : NAN;
}

static double maximum_of(double maximum, double minimum)
{
	if (!(maximum > 0))
		return INFINITY;
	return fmax(maximum, minimum);
}

static struct capacity_limits limits_of(const struct controller_bounds *bounds)
{
	double minimum = fmax(bounds->capacity_minimum > 0 ? bounds->capacity_minimum : 0, 1);

	return (struct capacity_limits){
		.minimum_pps = minimum,
		.maximum_pps = maximum_of(bounds->capacity_maximum, minimum),
		.target_s = bounds->target_response_s > 0 ? bounds->target_response_s : 0,
	};
}

static struct capacity_sample sample_of(const struct controller_signals *signals)
{
	double admitted = sane(signals->admitted_pps, RATE_MOST), offered = sane(signals->offered_pps, RATE_MOST);

	return (struct capacity_sample){
		.elapsed_s = signals->elapsed_s,
		.offered_pps = offered,
		.admitted_pps = fmin(admitted, offered), /* of two numbers the one that is */
		.response_s = signals->responses ? sane(signals->response_p50_s, RESPONSE_MOST_S) : NAN,
		.tail_s = signals->responses ? sane(signals->response_p99_s, RESPONSE_MOST_S) : NAN,
		.requests = signals->requests,
		.done = sane(signals->done, RATE_MOST),
		.connects = signals->connects,
		.connections = sane(signals->connections, RATE_MOST),
		.responses = signals->responses,
		.unanswered = signals->unanswered,
		.overflows = sane(signals->overflows, RATE_MOST),
		.host_pressure = sane(signals->host_pressure, 1),
	};
}

void controller_init(struct controller *controller)
{
	*controller = (struct controller){.level_pps = INFINITY,
	                                  .wanted_pps = INFINITY,
	                                  .margin = 1,
	                                  .told_capacity = INFINITY,
	                                  .told_level = INFINITY};
	capacity_init(&controller->capacity);
}

void controller_resume(struct controller *controller, double capacity_pps, double level_pps)
{
	controller_init(controller);
	controller->capacity.pps = controller->told_capacity = capacity_pps;
	controller->level_pps = controller->wanted_pps = controller->told_level = level_pps;
}

/* Faults --------------------------------------------------------------------------------------------------------- */

static bool silence_is_fault(const struct controller *controller, double best_s)
{
	double patience = fmax(FAULT_SILENCE_S, best_s > 0 ? FAULT_BESTS * best_s : 0);

	return controller->silent_requests >= FAULT_REQUESTS && controller->silence_s >= patience;
}

static void fault_step(struct controller *controller, const struct controller_bounds *bounds,
                       const struct capacity_sample *sample, double best_s, struct controller_decision *out)
{
	if (sample->responses > 0) {
		controller->replied = true;
		controller->silence_s = controller->silent_requests = 0;
		out->fault_ends = controller->faulty;
		controller->faulty = false;
		return;
	}
	if (!controller->replied || !bounds->replies)
		return;
	controller->silent_requests += sample->requests;
	if (controller->silent_requests > 0)
		controller->silence_s += sample->elapsed_s;
	if (!controller->faulty && silence_is_fault(controller, best_s))
		controller->faulty = out->fault_begins = true;
}

/* The level ------------------------------------------------------------------------------------------------------ */

/* Moves the tenured to the front. Returns how many they are. */
static size_t tenured_first(struct demand *users, size_t count)
{
	size_t tenured = 0;

	for (size_t i = 0; i < count; i++) {
		if (!users[i].tenured)
			continue;
		struct demand user = users[i];
		users[i] = users[tenured];
		users[tenured++] = user;
	}
	return tenured;
}

static double demands_sum(const struct demand *users, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += users[i].rate > 0 ? users[i].rate : 0;
	return sum;
}

static double demands_highest(const struct demand *users, size_t count)
{
	double highest = 0;

	for (size_t i = 0; i < count; i++)
		highest = fmax(highest, users[i].weight > 0 ? users[i].rate / (double)users[i].weight : users[i].rate);
	return highest;
}

/* What users ask for above the level. */
static double excess_of(const struct demand *users, size_t count, double level)
{
	double excess = 0;

	for (size_t i = 0; i < count; i++)
		excess += fmax(users[i].rate - level * (users[i].weight > 0 ? (double)users[i].weight : 1), 0);
	return excess;
}

/* The share of what they ask for that a level takes from users. */
static double loss_of(const struct demand *users, size_t count, double level)
{
	double sum = demands_sum(users, count);

	return sum > 0 ? excess_of(users, count, level) / sum : 0;
}

/* The level that the demands call for. The rest, users too small or too short-lived to be known, hits no level: it is
 * served in proportion, as the capacity step of the packet path does it. A crowd shares equally with the tenured. But
 * where newcomers are so many that fair shares would leave the tenured less than a third, or nobody knows them, it is
 * the newcomers' part that is cut, by the packet path's ranks; of those no level is needed below what the tenured ask
 * for.
 */
static double level_wanted(struct controller *controller, struct demand *users, size_t count, double rest,
                           double capacity, bool *fair)
{
	double total = demands_sum(users, count) + rest,
	       bearable = controller->capacity.guarded ? TENURED_REGAINS : TENURED_LOSS;

	*fair = false;
	if (!(total > capacity))
		return INFINITY;
	double level = level_find(users, count, rest * capacity / total, capacity);
	*fair = rest < REST_SMALL * total;
	size_t tenured = tenured_first(users, count);
	double highest = demands_highest(users, tenured) * TENURED_MARGIN;
	double known = fmax(capacity, controller->capacity.proven_pps); /* what it can do, on a better day than this */
	double lost = loss_of(users, tenured, level_find(users, count, rest * capacity / total, known));
	bool guards = level < highest && !(*fair && lost < bearable);
	if (guards && !controller->capacity.guarded && !controller->capacity.few)
		controller->level_pps = INFINITY; /* whatever it was, it was the crowd's */
	controller->capacity.guarded = guards;
	if (!guards)
		return level;
	*fair = false;
	double newcomers = fmin(total - demands_sum(users, tenured), NEWCOMERS_SHARE * known);
	return fmax(level, fmin(highest, level_find(users, tenured, newcomers, TENURED_FIT * known)));
}

/* With the capacity at once (`scaled`: how many times it is what it was); with what is asked for down at once, up
 * slowly, and not at all while what made it necessary only pauses. */
static void level_follow(struct controller *controller, double wanted, double highest, double scaled, double elapsed_s)
{
	double level = controller->level_pps * scaled;

	controller->wanted_pps *= scaled;
	if (!isfinite(level)) {
		controller->level_pps = controller->wanted_pps = wanted;
		controller->held_s = controller->level_s = 0;
		return;
	}
	if (!isfinite(wanted)) {
		controller->held_s += elapsed_s;
		if (controller->held_s > LEVEL_EASES_S) /* all that is asked for fits: nobody is to feel it */
			level = fmax(level, EASED_MARGIN * highest);
		if (controller->held_s > LEVEL_HOLD_S)
			level *= LEVEL_RELEASES;
		controller->level_pps = level > RATE_MOST ? INFINITY : level;
		return;
	}
	controller->held_s = 0;
	controller->level_s += elapsed_s;
	/* Where some of a few are only just heard of, they seem to be left any amount. */
	double heard = fmin(wanted, level * (1 + LEVEL_NOISE));
	controller->wanted_pps += average_weight(elapsed_s, LEVEL_WANTED_S) * (heard - controller->wanted_pps);
	if (wanted > level && controller->capacity.unused_s > LEVEL_UNUSED_S) {
		controller->level_pps = fmin(level * LEVEL_RISES, wanted);
		return;
	}
	bool settles = controller->level_s < LEVEL_SETTLES_S, still = controller->capacity.few && !settles;
	if (still)
		wanted = controller->wanted_pps;
	if (still && wanted > level * (1 - LEVEL_STILL) && wanted < level * (1 + LEVEL_STILL))
		return;
	if (wanted < level * (1 - LEVEL_NOISE))
		controller->level_pps = settles ? wanted : fmax(wanted, level * LEVEL_FALLS);
	else if (still || wanted < level * (1 + LEVEL_NOISE))
		controller->level_pps = level + (still ? LEVEL_FOLLOWS_FEW : LEVEL_FOLLOWS) * (wanted - level);
	else
		controller->level_pps = fmin(level * LEVEL_RISES, wanted);
}

/* Whether what is too much is asked for by a few, or by nobody who has a name: then it is no crowd's. */
static bool is_of_few(const struct demand *users, size_t count, double rest, size_t above, double level,
                      double capacity)
{
	return rest > capacity ||
	       ((double)above <= FEW_SHARE * (double)count && excess_of(users, count, level) > FEW_EXCESS * capacity);
}

/* At once; but who comes and goes is a few still while away, as long as the overload lasts. */
static void few_step(struct controller *controller, bool few, bool nameless, double elapsed_s)
{
	double lasts_s = controller->nameless ? NAMELESS_S : MANY_S;

	controller->many_s = few ? 0 : controller->many_s + elapsed_s;
	controller->nameless = few ? nameless : controller->nameless;
	controller->capacity.few = few || (controller->capacity.few && controller->many_s < lasts_s);
}

/* How many times what it was a level is now, since the capacity is. Of a crowd it is as many. Of a few, where it falls,
 * it is by as much as what the others leave of it; where it rises there is no haste. */
static double level_scale(const struct controller *controller, const struct demand *users, size_t count, double rest,
                          double capacity)
{
	double before = controller->leveled_pps, total = demands_sum(users, count) + rest;

	if (!(before > 0) || !isfinite(before) || !isfinite(capacity))
		return 1;
	if (!controller->capacity.few)
		return capacity / before;
	if (capacity >= before || total <= before)
		return 1;
	double left = level_find(users, count, rest * before / total, before);
	return left > 0 ? level_find(users, count, rest * capacity / total, capacity) / left : 1;
}

static void level_step(struct controller *controller, const struct controller_bounds *bounds, struct demand *users,
                       size_t count, double rest, double elapsed_s, struct controller_decision *out)
{
	double minimum = bounds->level_minimum > 0 ? bounds->level_minimum : 0;
	double maximum = maximum_of(bounds->level_maximum, minimum), highest = demands_highest(users, count);
	/* While a queue is worked off, the ranks of the packet path keep a few out as well; their level can stay. */
	double capacity = controller->capacity.few ? fmax(controller->capacity.pps, controller->capacity.settled_pps)
	                                           : controller->capacity.pps;
	double scaled = level_scale(controller, users, count, rest, capacity);
	bool fair = false;

	controller->leveled_pps = capacity;
	/* While it is away or comes back, what little it takes is nobody's fair share: capacity alone decides. */
	if (controller->faulty || controller->capacity.pps < controller->capacity.returning_pps)
		controller->level_pps = INFINITY;
	else
		level_follow(controller, level_wanted(controller, users, count, rest, capacity, &fair), highest, scaled,
		             elapsed_s);
	if (controller->held_s > LEVEL_HOLD_S && controller->level_pps > highest * LEVEL_RELEASES)
		controller->level_pps = INFINITY; /* felt by nobody */
	controller->level_pps = fmax(controller->level_pps, minimum);
	if (controller->level_pps >= maximum)
		controller->level_pps = INFINITY;
	out->level_pps = fmin(controller->level_pps, maximum);
	controller->margin = fair && !out->overloaded && isfinite(controller->level_pps) ? LEVEL_MARGIN : 1;
	out->users_above = isfinite(controller->level_pps) ? level_above(users, count, controller->level_pps) : 0;
	if (out->users_above || controller->capacity.guarded)
		few_step(controller,
		         is_of_few(users, count, rest, out->users_above, controller->level_pps,
		                   controller->capacity.pps),
		         rest > controller->capacity.pps, elapsed_s);
}

/* The words ------------------------------------------------------------------------------------------------------ */

static bool worth_telling(double told, double now)
{
	if (isfinite(told) != isfinite(now))
		return true;
	return isfinite(now) && (now > told * TELL_FROM || now < told / TELL_FROM);
}

static void words_rate(char *out, size_t size, double rate)
{
	if (isfinite(rate))
		units_format_count(rate, out, size);
	else
		snprintf(out, size, "none");
}

static void words_time(char *out, size_t size, double seconds)
{
	units_format_duration_ns((uint64_t)(fmin(seconds, RESPONSE_MOST_S) * 1e9), out, size);
}

static void words_cause(const struct controller_decision *decision, char *out, size_t size)
{
	char value[UNITS_TEXT_MAX], target[UNITS_TEXT_MAX];

	if (strcmp(decision->signal, "overflows") == 0) {
		snprintf(out, size, "%.1f %% of what is let pass is lost in its queues or stays unanswered",
		         decision->value * 100);
		return;
	}
	if (strcmp(decision->signal, "host") == 0) {
		snprintf(out, size, "work of this host stands still for %.0f %% of the time", decision->value * 100);
		return;
	}
	if (strcmp(decision->signal, "response") != 0 || !isfinite(decision->value) || !isfinite(decision->target)) {
		snprintf(out, size, "no measurement speaks against it");
		return;
	}
	words_time(value, sizeof(value), decision->value);
	words_time(target, sizeof(target), decision->target);
	if (decision->excused)
		snprintf(out, size, "response %s, which shedding does not help", value);
	else
		snprintf(out, size, "response %s %s its target of %s", value,
		         decision->value > decision->target ? "is above" : "is within", target);
}

static const char *words_excess(const struct controller_decision *decision)
{
	if (strcmp(decision->excess_by, "few") == 0)
		return ", a few ask for too much";
	if (strcmp(decision->excess_by, "nameless") == 0)
		return ", too much is asked for by users who do not stay";
	return strcmp(decision->excess_by, "newcomers") == 0 ? ", the tenured are guarded from newcomers" : "";
}

void controller_why(const struct controller_decision *decision, char *out, size_t size)
{
	char cause[112], capacity[UNITS_TEXT_MAX], level[UNITS_TEXT_MAX];

	words_rate(capacity, sizeof(capacity), decision->capacity_pps);
	words_rate(level, sizeof(level), decision->level_pps);
	if (strcmp(decision->signal, "stale") == 0) {
		snprintf(out, size, "no fresh measurements for %.1f s: %s", decision->value,
		         decision->value > decision->target ? "the static limits count" : "held");
		return;
	}
	if (decision->fault_begins || decision->faulty) {
		snprintf(out, size, "no reply for %.1f s while requests arrive: capacity %s until it answers",
		         decision->value, capacity);
		return;
	}
	if (decision->fault_ends) {
		snprintf(out, size, "it answers again: capacity %s, and slowly more", capacity);
		return;
	}
	words_cause(decision, cause, sizeof(cause));
	snprintf(out, size, "%s: capacity %s, level %s, %zu above it%s", cause, capacity, level, decision->users_above,
	         words_excess(decision));
}

/* The step ------------------------------------------------------------------------------------------------------- */

static void hold(struct controller *controller, double elapsed_s, struct controller_decision *out)
{
	controller->stale_s += elapsed_s > 0 && elapsed_s < RATE_MOST ? elapsed_s : TICK_S;
	if (controller->stale_s > STALE_LET_GO_S) {
		controller->level_pps *= LEVEL_RELEASES;
		controller->capacity.pps *= LEVEL_RELEASES;
		if (controller->level_pps > RATE_MOST)
			controller->level_pps = INFINITY;
		if (controller->capacity.pps > RATE_MOST)
			controller->capacity.pps = INFINITY;
	}
	out->signal = "stale";
	out->value = controller->stale_s;
	out->target = STALE_LET_GO_S;
}

static double capacity_in_force(const struct controller *controller, const struct capacity_limits *limits)
{
	return fmin(controller->capacity.pps * controller->margin, limits->maximum_pps);
}

static const char *excess_of_whom(const struct controller *controller)
{
	if (controller->capacity.few)
		return controller->nameless ? "nameless" : "few";
	return controller->capacity.guarded ? "newcomers" : "crowd";
}

/* What is told of a capacity and a level, where they are felt: nobody wants an event for a bound that is far away. */
static void tell(struct controller *controller, double offered_pps, bool strained, struct controller_decision *out)
{
	bool felt = offered_pps > controller->capacity.pps;
	double capacity = felt || isfinite(controller->level_pps) ? controller->capacity.pps : INFINITY;

	out->overloaded = felt || strained || isfinite(controller->level_pps) || controller->faulty;
	out->excess_by = felt || isfinite(controller->level_pps) ? excess_of_whom(controller) : "none";
	out->capacity_moved = worth_telling(controller->told_capacity, capacity);
	out->level_moved = worth_telling(controller->told_level, controller->level_pps);
	if (out->capacity_moved)
		controller->told_capacity = capacity;
	if (out->level_moved)
		controller->told_level = controller->level_pps;
}

static void decide(struct controller *controller, const struct controller_bounds *bounds,
                   const struct capacity_limits *limits, const struct capacity_sample *sample,
                   struct controller_decision *out)
{
	struct capacity_verdict verdict;

	capacity_step(&controller->capacity, limits, sample, &verdict);
	fault_step(controller, bounds, sample, verdict.best_s, out);
	out->signal = verdict.signal;
	out->value = verdict.value;
	out->target = verdict.target;
	if (controller->faulty || out->fault_ends) {
		double trickle = FAULT_TRICKLE * controller->capacity.proven_pps;
		capacity_return(&controller->capacity, fmin(fmax(limits->minimum_pps, trickle), limits->maximum_pps));
		out->signal = "replies";
		out->value = controller->silence_s;
		out->target = FAULT_SILENCE_S;
	}
	out->faulty = controller->faulty;
	out->overloaded = verdict.strained;
	out->excused = verdict.excused;
	out->best_response_s = verdict.best_s;
	out->target_response_s = verdict.target_s;
	out->proven_pps = controller->capacity.proven_pps;
}

/* What the users beside the known ones offered. */
static double rest_of(const struct capacity_sample *sample, const struct demand *users, size_t count, double rest_pps)
{
	double rest = sane(rest_pps, RATE_MOST);

	if (isfinite(rest))
		return rest;
	return isfinite(sample->offered_pps) ? fmax(sample->offered_pps - demands_sum(users, count), 0) : 0;
}

/* How the capacity is to be used up. */
static void tell_room(const struct controller *controller, struct controller_decision *out)
{
	out->capacity_burst = capacity_burst(&controller->capacity);
	out->costs = capacity_costs(&controller->capacity);
}

void controller_step(struct controller *controller, const struct controller_bounds *bounds,
                     const struct controller_signals *signals, struct demand *users, size_t count, double rest_pps,
                     struct controller_decision *out)
{
	struct capacity_limits limits = limits_of(bounds);
	double minimum = bounds->level_minimum > 0 ? bounds->level_minimum : 0;
	double maximum = maximum_of(bounds->level_maximum, minimum);

	*out = (struct controller_decision){
		.capacity_before = capacity_in_force(controller, &limits),
		.level_before = fmin(controller->level_pps, maximum),
		.faulty = controller->faulty,
		.signal = "none",
		.excess_by = "none",
		.value = NAN,
		.target = NAN,
		.best_response_s = NAN,
		.target_response_s = NAN,
	};
	if (!signals->fresh || !(signals->elapsed_s > 0) || signals->elapsed_s > ELAPSED_MOST_S) {
		hold(controller, signals->elapsed_s, out);
		out->capacity_pps = capacity_in_force(controller, &limits);
		tell_room(controller, out);
		out->level_pps = fmin(controller->level_pps, maximum);
		return;
	}
	struct capacity_sample sample = sample_of(signals);
	controller->stale_s = 0;
	decide(controller, bounds, &limits, &sample, out);
	level_step(controller, bounds, users, count, rest_of(&sample, users, count, rest_pps), sample.elapsed_s, out);
	out->capacity_pps = capacity_in_force(controller, &limits);
	tell_room(controller, out);
	tell(controller, sample.offered_pps, out->overloaded, out);
}
