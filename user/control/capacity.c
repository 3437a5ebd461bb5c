/* SPDX-License-Identifier: GPL-2.0-only */
/* The control law on delay. What is learnt, when the law is asked, and how far it may go. */
#include "control/capacity.h"

#include <math.h>
#include <string.h>

#define WINDOW_S        30.0 /* of the best response: it is unlearnt after CAPACITY_WINDOWS of them */
#define SAMPLES_ENOUGH  10.0 /* answers that the smoothed response rests on, before it means anything */
#define SMOOTHING       10.0 /* answers after which an old one counts for half */
#define TARGET_FACTOR   2.0  /* learnt target: so many best responses, */
#define TARGET_QUEUE    6.0  /* and the time that so many packets take */
#define TARGET_LEAST_S  0.0005
#define PROVEN_FADES_S  (6 * 3600.0)
#define HEADROOM        4.0  /* above what is proven, that nothing needs to be proven for */
#define LEARNT_ENOUGH_S 30.0 /* of traffic that went well, before that headroom means anything */
#define LOSS_MUCH       0.01
#define HOLD_S          8.0  /* after an overload, before capacity that nobody asks for is let go */
#define LET_GO          0.5  /* growth a second, then */
#define STEP_DOWN       0.25 /* at most, a step */
#define STEP_UP         1.25

static double finite_or(double value, double otherwise)
{
	return isfinite(value) ? value : otherwise;
}

static double best_response(const struct capacity *capacity)
{
	double best = INFINITY;

	for (unsigned i = 0; i < CAPACITY_WINDOWS; i++)
		best = fmin(best, capacity->best_s[i]);
	return isfinite(best) ? best : NAN;
}

/* Answers count by their number: many make the old ones forgotten at once. */
static void learn_response(struct capacity *capacity, const struct capacity_sample *sample)
{
	double n = finite_or(sample->responses, 0);

	if (!(sample->response_s > 0) || n <= 0)
		return;
	double weight = n / (n + fmin(capacity->samples, SMOOTHING));
	capacity->response_s += weight * (sample->response_s - finite_or(capacity->response_s, sample->response_s));
	if (!isfinite(capacity->response_s))
		capacity->response_s = sample->response_s;
	capacity->samples = fmin(capacity->samples + n, SMOOTHING * 100);
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

/* A rate is proven when it went well for some steps on end: the least of them counts. */
static void learn_proven(struct capacity *capacity, const struct capacity_sample *sample, bool well)
{
	double least = INFINITY;

	capacity->proven_pps *= exp(-sample->elapsed_s / PROVEN_FADES_S);
	capacity->proof[capacity->proof_at++ % CAPACITY_PROOF] = well ? finite_or(sample->admitted_pps, 0) : 0;
	for (unsigned i = 0; i < CAPACITY_PROOF; i++)
		least = fmin(least, capacity->proof[i]);
	capacity->proven_pps = fmax(capacity->proven_pps, least);
	if (well && sample->admitted_pps > 0)
		capacity->learnt_s += sample->elapsed_s;
}

static double target_of(const struct capacity *capacity, const struct capacity_limits *limits, double best_s)
{
	if (limits->target_s > 0)
		return limits->target_s;
	if (!isfinite(best_s))
		return NAN;
	double queue_s = capacity->proven_pps > 0 ? TARGET_QUEUE / capacity->proven_pps : 0;
	return best_s * TARGET_FACTOR + fmin(queue_s, best_s * 10) + TARGET_LEAST_S;
}

static double loss_of(const struct capacity_sample *sample)
{
	double packets = sample->admitted_pps * sample->elapsed_s, loss = 0;

	if (sample->overflows > 0 && packets > 0)
		loss = fmin(sample->overflows / packets, 1);
	if (sample->unanswered > 0 && sample->requests > 0)
		loss = fmax(loss, fmin(sample->unanswered / sample->requests, 1));
	return loss;
}

/* Velocity-form PI on the relative error of delay, as PIE does for packets (RFC 8033 section 4.2). */
static double law_pi(struct capacity *capacity, const struct capacity_view *view)
{
	double error = fmin((view->response_s - view->target_s) / view->target_s, 3);
	double change = 0.06 * error + 0.1 * (error - capacity->memory[0]);

	capacity->memory[0] = error;
	return capacity->pps * exp(-change);
}

void capacity_init(struct capacity *capacity)
{
	*capacity = (struct capacity){.law = law_pi, .pps = INFINITY, .response_s = NAN, .answered = 1};
	for (unsigned i = 0; i < CAPACITY_WINDOWS; i++)
		capacity->best_s[i] = INFINITY;
}

/* Where the law starts from when an overload begins: what is proven, or gets done. */
static double anchor(const struct capacity_view *view)
{
	double done = finite_or(view->answered_pps, 0);

	return fmax(view->proven_pps, fmin(done, view->admitted_pps));
}

void capacity_step(struct capacity *capacity, const struct capacity_limits *limits,
                   const struct capacity_sample *sample, struct capacity_verdict *out)
{
	learn_response(capacity, sample);
	double best_s = best_response(capacity);
	double loss = loss_of(sample);
	struct capacity_view view = {
		.elapsed_s = sample->elapsed_s,
		.offered_pps = sample->offered_pps,
		.admitted_pps = sample->admitted_pps,
		.answered_pps =
			sample->requests > 0 ? sample->admitted_pps * sample->responses / sample->requests : NAN,
		.response_s = capacity->response_s,
		.target_s = target_of(capacity, limits, best_s),
		.best_s = best_s,
		.proven_pps = capacity->proven_pps,
		.loss = loss,
		.binding = sample->offered_pps > 0.95 * capacity->pps,
	};
	bool strained = view.response_s > view.target_s || loss > LOSS_MUCH;

	learn_best(capacity, sample->elapsed_s);
	learn_proven(capacity, sample, !strained && view.response_s > 0);
	capacity->strained_s = strained ? capacity->strained_s + sample->elapsed_s : 0;
	capacity->calm_s = strained ? 0 : capacity->calm_s + sample->elapsed_s;

	double before = capacity->pps, wanted = before;
	if (strained && (!isfinite(before) || before > anchor(&view))) {
		memset(capacity->memory, 0, sizeof(capacity->memory));
		wanted = capacity->pps = anchor(&view);
	}
	if (isfinite(wanted) && isfinite(view.target_s) && (strained || view.binding))
		wanted = capacity->law(capacity, &view);
	else if (isfinite(wanted) && capacity->calm_s > HOLD_S)
		wanted *= 1 + LET_GO * sample->elapsed_s;
	if (loss > LOSS_MUCH)
		wanted = fmin(wanted, capacity->pps * (1 - loss / 2));

	double standing = capacity->learnt_s >= LEARNT_ENOUGH_S ? HEADROOM * capacity->proven_pps : INFINITY;
	wanted = fmin(wanted, standing);
	if (isfinite(before))
		wanted = fmax(fmin(wanted, before * STEP_UP), before * STEP_DOWN);
	capacity->pps = fmax(fmin(wanted, limits->maximum_pps), limits->minimum_pps);
	*out = (struct capacity_verdict){
		.signal = loss > LOSS_MUCH      ? "overflows"
	                  : view.response_s > 0 ? "response"
	                                        : "none",
		.value = loss > LOSS_MUCH ? loss : view.response_s,
		.target = loss > LOSS_MUCH ? LOSS_MUCH : view.target_s,
		.best_s = best_s,
		.target_s = view.target_s,
		.strained = strained,
	};
}
