/* SPDX-License-Identifier: GPL-2.0-only */
/* The control law on delay: what is learnt, when the law is asked, and how far it may go. */
#include "control/capacity.h"

#include <math.h>
#include <string.h>

/* What is learnt. */
#define WINDOW_S        30.0 /* of the best response: it is forgotten after CAPACITY_WINDOWS of them */
#define SAMPLES_ENOUGH  10.0 /* answers that the smoothed response rests on, before it means anything */
#define TARGET_FACTOR   2.0  /* learnt target: so many best responses, */
#define TARGET_QUEUE    6.0  /* and the time that so many packets take at the proven rate, */
#define TARGET_QUEUE_OF 10.0 /* which is at most so many best responses, */
#define TARGET_LEAST_S  0.0005
#define PROVEN_FADES_S  (6 * 3600.0)
#define LEARNT_ENOUGH_S 20.0  /* of traffic that went well, before a rate counts as proven for headroom */
#define HEADROOM_PEAK   2.0   /* above the highest of a single step */
#define PROVEN_LEAST    100.0 /* for that headroom: a quiet service has bursts */
#define HEADROOM        3.0   /* above what is proven, that nothing needs to be proven for */

/* What is wrong. */
#define LOSS_MUCH     0.01
#define LOSSLESS      0.95 /* of what gets done leaves a queue room to drain */
#define LOSS_LATE_S   2.0  /* after a cut, what stays unanswered is from before it */
#define PRESSURE_MUCH 0.95
#define PATIENCE_S    0.5 /* with a strain that is not severe, before an overload begins */
#define SEVERE        4.0 /* times the target: no chance, a queue */
#define UNPROVEN      1.3 /* times what is proven: there a strain is no chance either */

/* How far the law may go. */
#define TESTED          0.8 /* of the capacity must be used, to say that it goes well */
#define FLOOR_S         3.0 /* of strain at a proven rate disprove it, */
#define FLOOR_UNDONE    0.8 /* or a third of that where only so much of it gets done */
#define FLOOR_SINKS     0.7 /* a second, then */
#define TRIAL_SHARE     0.75
#define TRIAL_S         1.0
#define TRIAL_RESPONSES 2.0
#define BACKLOG         1.15 /* so far apart are what gets done and what is let in where a backlog changes; */
#define BACKLOG_CHANCE  2.0  /* and so many standard deviations */
#define MOMENT_S        0.3
#define TRIAL_HELPED    0.67 /* of the response that it was */
#define EXCUSED         2.0
#define HOLD_S          8.0 /* after an overload, before the capacity is let go */
#define LET_GO          0.5 /* growth a second, then */
#define STEP_DOWN       0.25
#define STEP_UP         1.25
#define RETURN_UP       1.1

/* The law. */
#define CUT                 0.7
#define ALARMS              9    /* steps of a severe strain that count, near the knee; */
#define ALARM_GROWS         3    /* so many times where a backlog grows */
#define DRAINED_S           1.0  /* after which a backlog should be worked off */
#define DRAIN_LEAST         0.3  /* of the knee is let in all the while */
#define CUT_STEADY          0.95 /* where the backlog is neither more nor less */
#define SLOW_S              1.0
#define KNEE_SEEN           6 /* figures that any strain gives; beyond those, only one with a backlog */
#define KNEE_LEARNS         0.3
#define KNEE_SHARE          0.9
#define KNEE_NEAR           0.93
#define KNEE_TRUSTED_S      5.0  /* of calm make it worth while to try beyond it: twice as long each time that fails, */
#define KNEE_TRUSTED_MOST_S 40.0 /* up to so long; until */
#define KNEE_GONE           1.25 /* times the knee went well, */
#define KNEE_GONE_S         1.0  /* for so long */
#define FLOOR_KNEE          0.75 /* of the knee leaves room to drain */
#define FAR_BELOW           0.4  /* of the target: there it rises faster */
#define USED                0.85 /* of the capacity must be used before more is tried */
#define SETTLES             0.8  /* of the target, on average */
#define GAIN                0.1  /* a second */
#define CALM_DOUBLES_S      3.0  /* the speed at which it rises */

static double known_or(double value, double otherwise)
{
	return isfinite(value) ? value : otherwise;
}

/* What is learnt ------------------------------------------------------------------------------------------------- */

static double best_response(const struct capacity *capacity)
{
	double best = INFINITY;

	for (unsigned i = 0; i < CAPACITY_WINDOWS; i++)
		best = fmin(best, capacity->best_s[i]);
	return isfinite(best) ? best : NAN;
}

/* Answers count by their number: many make older ones forgotten at once, few hardly count. */
static void learn_response(struct capacity *capacity, const struct capacity_sample *sample)
{
	double n = known_or(sample->responses, 0);

	if (!(sample->response_s > 0) || n <= 0)
		return;
	double before = known_or(capacity->response_s, sample->response_s);
	double weight = n / (n + fmin(capacity->samples, SAMPLES_ENOUGH));
	capacity->response_s = before + weight * (sample->response_s - before);
	capacity->samples = fmin(capacity->samples + n, SAMPLES_ENOUGH);
}

/* What gets done, in packets. Of a busy service only some requests are sampled, and a response stands for as many
 * packets as one did when it was asked: a response time ago. */
static double done_of(struct capacity *capacity, const struct capacity_sample *sample)
{
	double admitted = known_or(sample->admitted_pps, 0) * sample->elapsed_s;
	double last = capacity->weights[capacity->weight_at % CAPACITY_LAG];
	double lag = known_or(sample->response_s, 0) / sample->elapsed_s;

	capacity->weight_at++;
	capacity->weights[capacity->weight_at % CAPACITY_LAG] =
		sample->requests > 0 ? fmax(admitted / sample->requests, 1e-3) : last;
	unsigned back = (unsigned)fmin(lag + 0.5, CAPACITY_LAG - 1);
	return known_or(sample->responses, 0) * capacity->weights[(capacity->weight_at - back) % CAPACITY_LAG];
}

static void learn_backlog(struct capacity *capacity, const struct capacity_sample *sample, double done)
{
	double keeps = exp(-sample->elapsed_s / MOMENT_S);

	capacity->admitted = keeps * capacity->admitted + known_or(sample->admitted_pps, 0) * sample->elapsed_s;
	capacity->done = keeps * capacity->done + done;
}

/* 1 where the difference may be chance. */
static double backlog_of(const struct capacity *capacity)
{
	double ratio = capacity->done > 0 && capacity->admitted > 0 ? capacity->done / capacity->admitted : 1;
	double slack = BACKLOG + BACKLOG_CHANCE / sqrt(capacity->admitted + 1);

	return ratio > slack || ratio < 1 / slack ? ratio : 1;
}

static void learn_best(struct capacity *capacity, double elapsed_s)
{
	capacity->window_s += elapsed_s;
	if (capacity->window_s >= WINDOW_S) {
		memmove(capacity->best_s + 1, capacity->best_s, sizeof(capacity->best_s) - sizeof(capacity->best_s[0]));
		capacity->best_s[0] = INFINITY;
		capacity->window_s = 0;
	}
	if (capacity->samples >= SAMPLES_ENOUGH)
		capacity->best_s[0] = fmin(capacity->best_s[0], capacity->response_s);
}

/* A rate is proven when it went well for some steps on end, and for some more: its response comes after it. The mean of
 * those steps counts. */
static void learn_proven(struct capacity *capacity, const struct capacity_sample *sample, bool well)
{
	double sum = 0, most = 0, fades = exp(-sample->elapsed_s / PROVEN_FADES_S);

	capacity->proven_pps *= fades;
	capacity->peak_pps *= fades;
	capacity->proof_at = (capacity->proof_at + 1) % (CAPACITY_PROOF + CAPACITY_PROOF_LATE);
	capacity->proof[capacity->proof_at] = known_or(sample->admitted_pps, 0);
	capacity->well_steps = well ? capacity->well_steps + 1 : 0;
	for (unsigned i = 1; i <= CAPACITY_PROOF; i++) { /* from the oldest on */
		double rate = capacity->proof[(capacity->proof_at + i) % (CAPACITY_PROOF + CAPACITY_PROOF_LATE)];
		sum += rate;
		most = fmax(most, rate);
	}
	if (capacity->well_steps >= CAPACITY_PROOF + CAPACITY_PROOF_LATE) {
		capacity->proven_pps = fmax(capacity->proven_pps, sum / CAPACITY_PROOF);
		capacity->peak_pps = fmax(capacity->peak_pps, most);
	}
	if (well && sample->admitted_pps > 0)
		capacity->learnt_s += sample->elapsed_s;
}

/* The learnt target leaves room for a queue of some packets, since a service of one worker has no other way to be busy;
 * one of many workers has more to go by the factor. */
static double target_of(const struct capacity *capacity, const struct capacity_limits *limits, double best_s)
{
	if (limits->target_s > 0)
		return limits->target_s;
	double queue_s = capacity->proven_pps > 0 ? TARGET_QUEUE / capacity->proven_pps : 0;
	return best_s * TARGET_FACTOR + fmin(queue_s, best_s * TARGET_QUEUE_OF) + TARGET_LEAST_S;
}

/* What is wrong -------------------------------------------------------------------------------------------------- */

/* Where nothing ever was answered, that says nothing. */
static double unanswered_of(const struct capacity *capacity, const struct capacity_sample *sample)
{
	if (!(capacity->response_s > 0 && sample->unanswered > 0 && sample->requests > 0))
		return 0;
	return fmin(sample->unanswered / sample->requests, 1);
}

/* That a request stayed unanswered is known late: what was let pass before the last cut says nothing about it. */
static double loss_of(const struct capacity *capacity, const struct capacity_sample *sample)
{
	double packets = sample->admitted_pps * sample->elapsed_s, loss = 0;

	if (sample->overflows > 0 && packets > 0)
		loss = fmin(sample->overflows / packets, 1);
	if (capacity->cut_s > LOSS_LATE_S)
		loss = fmax(loss, unanswered_of(capacity, sample));
	return loss;
}

static double strain_of(const struct capacity_view *view)
{
	return known_or(view->response_s / view->target_s, 0);
}

static bool strain_is_severe(const struct capacity_view *view, bool new)
{
	double strain = strain_of(view);

	if (strain > SEVERE || view->loss > LOSS_MUCH)
		return true;
	return new && strain > 1 && view->proven_pps > 0 &&
	       view->admitted_pps > UNPROVEN *fmax(view->proven_pps, PROVEN_LEAST);
}

/* The law -------------------------------------------------------------------------------------------------------- */

enum { MEMORY_SLOW, MEMORY_KNEE, MEMORY_DRAINING, MEMORY_ALARMS, MEMORY_TRUST, MEMORY_SEEN };

/* The first figure, of a moment of change, may be far off. */
static void knee_learn(double *knee, double *seen, const struct capacity_view *view)
{
	double known = view->proven_pps > 0 ? fmin(view->done_pps, 2 * view->proven_pps) : view->done_pps;

	*seen = *knee > 0 ? *seen + 1 : 1;
	if (*knee > 0)
		*knee += fmax(1 / *seen, KNEE_LEARNS) * (view->done_pps - *knee);
	else
		*knee = fmax(known, view->proven_pps);
}

/* Beyond some times its target the response says that a queue stands: the capacity is cut each step, and what the
 * service gets done while it has a backlog is its knee. Once the queue is drained the capacity goes straight back to
 * just below the knee (as CUBIC does, RFC 9438 section 4), and from there on slowly after the response of the last
 * second or so: up the faster, the longer nothing was wrong. A response that varies by chance moves it by a percent. */
double capacity_law_knee(struct capacity *capacity, const struct capacity_view *view)
{
	double *slow = &capacity->memory[MEMORY_SLOW], *knee = &capacity->memory[MEMORY_KNEE];
	double *draining = &capacity->memory[MEMORY_DRAINING], *alarms = &capacity->memory[MEMORY_ALARMS];
	double *trust = &capacity->memory[MEMORY_TRUST], *seen = &capacity->memory[MEMORY_SEEN];
	double strain = strain_of(view);
	bool severe = strain_is_severe(view, *knee <= 0);

	/* Below a knee that is known, a queue that a burst has made drains by itself: it takes one that grows, or
	 * stays. */
	*alarms = !severe ? 0 : *alarms + (view->backlog < 1 ? ALARM_GROWS : 1);
	if (*knee > 0 && *draining <= 0 && view->loss <= LOSS_MUCH && *alarms < ALARMS)
		severe = false;

	*slow = *slow > 0 ? *slow + (1 - exp(-view->elapsed_s / SLOW_S)) * (strain - *slow) : strain;
	bool backlog = view->backlog < 1 || view->backlog > 1; /* else done is what is let in */
	if ((severe || (strain > 1 && *draining > 0)) && view->done_pps > 0 &&
	    (backlog || *knee <= 0 || *seen < KNEE_SEEN))
		knee_learn(knee, seen, view);
	if (severe && *draining <= 0) /* a knee that is met again is trusted longer */
		*trust = fmax(fmin(2 * *trust, KNEE_TRUSTED_MOST_S), KNEE_TRUSTED_S);
	*draining = severe || (*draining > 0 && strain > 1);
	if (*draining > 0) {
		*slow = strain;
		if (capacity->strained_s > PATIENCE_S)
			capacity->floor_pps = fmin(capacity->floor_pps, FLOOR_KNEE * *knee);
		double most = fmin(capacity->pps, fmax(view->proven_pps, view->done_pps));
		if (view->loss > LOSS_MUCH || view->backlog < 1)
			return most * CUT;
		if (view->backlog <= 1)
			return most * CUT_STEADY;
		double drain = 1 - (view->response_s - view->target_s) / DRAINED_S;
		return fmin(capacity->pps, *knee * fmax(drain, DRAIN_LEAST));
	}
	if (capacity->pps < KNEE_SHARE * *knee)
		return fmin(capacity->pps * STEP_UP, KNEE_SHARE * *knee);
	double error = fmax(fmin(SETTLES - *slow, 0.5), -SEVERE), haste = 1;
	if (error > 0) {
		bool near = capacity->pps > KNEE_NEAR * *knee;
		double calm = near ? fmax(view->calm_s - *trust, 0) : view->calm_s;
		if (view->admitted_pps < USED * capacity->pps)
			return capacity->pps;
		if (!(near && calm <= 0) && *slow < FAR_BELOW && capacity->pps < KNEE_SHARE * view->proven_pps)
			return capacity->pps * RETURN_UP; /* it went well before */
		haste = near && calm <= 0 ? 0.25 : 1 + calm / (*slow < FAR_BELOW ? CALM_DOUBLES_S / 3 : CALM_DOUBLES_S);
	}
	if (capacity->pps > KNEE_GONE * *knee && view->calm_s > KNEE_GONE_S)
		*knee = *trust = 0;
	return capacity->pps * (1 + fmin(error * haste * GAIN * view->elapsed_s, STEP_UP - 1));
}

/* When the law is asked ------------------------------------------------------------------------------------------ */

void capacity_init(struct capacity *capacity)
{
	*capacity = (struct capacity){.law = capacity_law_knee, .pps = INFINITY, .response_s = NAN};
	for (unsigned i = 0; i < CAPACITY_WINDOWS; i++)
		capacity->best_s[i] = INFINITY;
}

void capacity_return(struct capacity *capacity, double pps)
{
	memset(capacity->memory, 0, sizeof(capacity->memory));
	capacity->overload = true;
	capacity->returning_pps = capacity->proven_pps;
	capacity->pps = pps;
	capacity->floor_pps = pps;
	capacity->response_s = NAN;
	capacity->samples = 0;
	capacity->strained_s = capacity->calm_s = 0;
}

/* Shedding is a trial. What is let in is less than the service was seen to get done, no backlog grows or is worked off,
 * and still the response is no better: then it is not load that makes the service slow (but what it depends on, say),
 * and the target is let be for as long as that lasts. */
static void trial_step(struct capacity *capacity, const struct capacity_view *view, double target_s, bool strained)
{
	double moment_s = view->elapsed_s / (1 - exp(-view->elapsed_s / MOMENT_S));
	double change = view->response_s / capacity->trial_response_s;

	if (capacity->excused_s > 0 && view->response_s < target_s)
		capacity->excused_s = 0;
	capacity->trial_pps = strained ? fmax(capacity->trial_pps, capacity->done / moment_s) : 0;
	bool quiet =
		view->backlog >= 1 && view->backlog <= 1 && view->loss <= LOSS_MUCH && view->unanswered <= LOSS_MUCH;
	if (!strained || !quiet || capacity->admitted / moment_s > TRIAL_SHARE * capacity->trial_pps ||
	    !(change > TRIAL_HELPED && change < 1 / TRIAL_HELPED)) {
		capacity->trial_s = 0;
		capacity->trial_response_s = view->response_s;
	}
	capacity->trial_s += view->elapsed_s;
	/* A queue of so long, drained by the share that is not let in, would be seen to shrink by then. */
	if (capacity->trial_s < fmax(TRIAL_S, TRIAL_RESPONSES * view->response_s))
		return;
	capacity->excused_s = view->response_s;
	capacity->trial_s = 0;
}

/* Below what went well before the overload no cut goes, until that has been given some time; and then not below what
 * the service is seen to get done, and a little less. */
static void floor_step(struct capacity *capacity, const struct capacity_view *view)
{
	bool undone = view->done_pps < FLOOR_UNDONE * capacity->floor_pps;

	if (capacity->strained_s > (undone ? FLOOR_S / 6 : FLOOR_S))
		capacity->floor_pps *= exp(-(undone ? 4 : 1) * FLOOR_SINKS * view->elapsed_s);
}

/* Where an overload starts from: what is proven, or gets done. */
static double anchor(const struct capacity_view *view)
{
	return fmax(view->proven_pps, fmin(view->done_pps, view->admitted_pps));
}

static void overload_begin(struct capacity *capacity, const struct capacity_view *view)
{
	memset(capacity->memory, 0, sizeof(capacity->memory));
	capacity->overload = true;
	capacity->floor_pps = capacity->proven_pps;
	capacity->pps = fmin(capacity->pps, anchor(view));
}

/* Without responses to go by: the share that is lost, and a little more. */
static double wanted_by_loss(const struct capacity *capacity, const struct capacity_view *view)
{
	if (view->loss > LOSS_MUCH)
		return fmin(capacity->pps, view->done_pps) * LOSSLESS;
	return capacity->pps * (1 + GAIN * view->elapsed_s * (1 + view->calm_s / CALM_DOUBLES_S));
}

static double wanted_in_overload(struct capacity *capacity, const struct capacity_view *view, bool strained)
{
	double before = capacity->pps, wanted = before;

	if (!strained && before < capacity->returning_pps && view->offered_pps > TESTED * before)
		return before * RETURN_UP;
	if (!strained && view->admitted_pps < TESTED * before)
		return before;
	if (strained)
		floor_step(capacity, view);
	if (view->target_s > 0 && view->response_s > 0)
		wanted = capacity->law(capacity, view);
	else
		wanted = wanted_by_loss(capacity, view);
	return strained ? fmax(wanted, fmin(capacity->floor_pps, before)) : wanted;
}

static void capacity_decide(struct capacity *capacity, const struct capacity_view *view, bool strained)
{
	double wanted = capacity->pps;
	bool severe = strain_is_severe(view, true);
	bool free = !strained && view->offered_pps <= capacity->pps;

	capacity->free_s = free ? capacity->free_s + view->elapsed_s : 0;

	if (!capacity->overload && strained && (severe || capacity->strained_s > PATIENCE_S))
		overload_begin(capacity, view);
	if (capacity->overload && capacity->free_s > HOLD_S) {
		capacity->overload = false;
		capacity->returning_pps = 0;
	}
	if (capacity->overload)
		wanted = wanted_in_overload(capacity, view, strained);
	else if (!strained)
		wanted *= 1 + LET_GO * view->elapsed_s;
	if (isfinite(capacity->pps))
		wanted = fmax(fmin(wanted, capacity->pps * STEP_UP), capacity->pps * STEP_DOWN);
	capacity->pps = wanted;
}

void capacity_step(struct capacity *capacity, const struct capacity_limits *limits,
                   const struct capacity_sample *sample, struct capacity_verdict *out)
{
	double before = capacity->pps;

	learn_response(capacity, sample);
	double done = done_of(capacity, sample);
	learn_backlog(capacity, sample, done);
	double best_s = best_response(capacity), target_s = target_of(capacity, limits, best_s);
	struct capacity_view view = {
		.elapsed_s = sample->elapsed_s,
		.offered_pps = known_or(sample->offered_pps, 0),
		.admitted_pps = known_or(sample->admitted_pps, 0),
		.done_pps = known_or(sample->admitted_pps, 0),
		.response_s = capacity->response_s,
		.target_s = fmax(target_s, EXCUSED * capacity->excused_s),
		.best_s = best_s,
		.proven_pps = capacity->proven_pps,
		.loss = loss_of(capacity, sample),
		.backlog = backlog_of(capacity),
		.unanswered = unanswered_of(capacity, sample),
	};
	bool answers = view.response_s > 0;
	if (!answers && sample->host_pressure > PRESSURE_MUCH)
		view.loss = fmax(view.loss, sample->host_pressure - PRESSURE_MUCH);
	view.done_pps = answers ? done / sample->elapsed_s : view.admitted_pps * (1 - view.loss);
	bool strained = strain_of(&view) > 1 || view.loss > LOSS_MUCH;

	learn_best(capacity, sample->elapsed_s);
	learn_proven(capacity, sample, !strained && (answers || sample->overflows >= 0));
	capacity->strained_s = strained ? capacity->strained_s + sample->elapsed_s : 0;
	capacity->calm_s = strained ? 0 : capacity->calm_s + sample->elapsed_s;
	view.calm_s = capacity->calm_s;
	trial_step(capacity, &view, target_s, strained);
	capacity_decide(capacity, &view, strained);

	double standing =
		capacity->learnt_s >= LEARNT_ENOUGH_S
			? fmax(HEADROOM * fmax(capacity->proven_pps, PROVEN_LEAST), HEADROOM_PEAK * capacity->peak_pps)
			: INFINITY;
	capacity->pps = fmax(fmin(fmin(capacity->pps, standing), limits->maximum_pps), limits->minimum_pps);
	capacity->cut_s = capacity->pps < before ? 0 : capacity->cut_s + sample->elapsed_s;
	bool lossy = view.loss > LOSS_MUCH;
	*out = (struct capacity_verdict){
		.signal = lossy     ? "overflows"
	                  : answers ? "response"
	                            : "none",
		.value = lossy ? view.loss : view.response_s,
		.target = lossy ? LOSS_MUCH : view.target_s,
		.best_s = best_s,
		.target_s = view.target_s,
		.strained = strained,
		.excused = capacity->excused_s > 0,
	};
}
