/* SPDX-License-Identifier: GPL-2.0-only */
/* The control law on delay: what is learnt, when the law is asked, and how far it may go. */
#include "control/capacity.h"

#include <math.h>
#include <string.h>

#include "control/average.h"
#include "control/knee.h"

/* What is learnt. */
#define WINDOW_S          30.0  /* of the best response: it is forgotten after CAPACITY_WINDOWS of them */
#define SAMPLES_ENOUGH    10.0  /* answers that the smoothed response rests on; */
#define SAMPLES_STEADY    100.0 /* and the one that may be the best there is: the least of many is no chance then */
#define TAIL_S            1.0
#define ORDINARY_S        30.0
#define TARGET_FACTOR     2.0  /* learnt target: so many best responses, */
#define TARGET_QUEUE      6.0  /* and the time that so many packets take at the proven rate, */
#define TARGET_QUEUE_OF   10.0 /* which is at most so many best responses, */
#define TARGET_LEAST_S    0.0005
#define FEW_FACTOR        6.0 /* best responses, where it is a few who ask for too much */
#define PROVEN_FADES_S    (6 * 3600.0)
#define CONNECTS_S        10.0  /* over which it is learnt how many SYNs come with a request */
#define CONNECTS_CHANGE_S 600.0 /* where they are suddenly many more */
#define CONNECTS_SLACK    1.5
#define LEARNT_ENOUGH_S   20.0  /* of traffic that went well, before a rate counts as proven for headroom */
#define HEADROOM_PEAK     2.5   /* above the highest of a single step, or what came at once, */
#define PEAK_CHANCE       4.0   /* less so many standard deviations of connections */
#define PROVEN_LEAST      100.0 /* for that headroom: a quiet service has bursts */
#define HEADROOM          2.0   /* above what is proven, that nothing needs to be proven for */
#define HEADROOM_FOUND    1.2   /* above what was proven in an overload: it was sought there as far as it went */
#define HEADROOM_KNEE     1.2   /* above where a queue began the last time, */
#define HEADROOM_PASSED   1.3   /* where that is not enough: from there on it is to be proven */
#define CONNECTION_MOST   16.0  /* packets: one that brings more is there to stay, and may come back at any time */

/* What is wrong. */
#define LOSS_MUCH        0.01
#define LOSSLESS         0.95 /* of what gets done leaves a queue room to drain */
#define LOSSLESS_RISES   0.1  /* a second; twice as fast after so long: */
#define LOSSLESS_HASTE_S 3.0
#define LOSS_LATE_S      2.0 /* after a cut, what stays unanswered is from before it */
#define PRESSURE_MUCH    0.95
#define UNANSWERED_S     1.0  /* over which they are counted: */
#define UNANSWERED_LEAST 3.0  /* fewer may be chance, */
#define UNANSWERED_MUCH  0.1  /* and a smaller share be those of clients who gave up */
#define PATIENCE_S       0.5  /* with a strain that is not severe, before an overload begins; */
#define PATIENCE_CALM_S  1.2  /* or with any, where no more is asked for than always: a host has slow moments */
#define SEVERE           4.0  /* times the target: no chance, a queue */
#define UNPROVEN         1.3  /* times what is proven: there a strain is no chance either; */
#define SURGE_S          0.02 /* what comes sooner may have come at once */
#define SURGE_CHANCE     3.0  /* and so many standard deviations, where it is about what is asked for */

/* How far the law may go. */
#define TESTED       0.8 /* of the capacity must be used, to say that it goes well; */
#define TESTED_KNOWN 0.6 /* and so much, where it is below this share of what is proven: */
#define KNOWN_WELL   0.6
#define FLOOR_S                                                                                                       \
	3.0 /* of strain at a proven rate disprove it; a sixth where it does not get done, half with an ordinary load \
	     */
#define FLOOR_UNDONE    0.8  /* of it */
#define FLOOR_DRAINS    0.6  /* of it, while a queue stands */
#define FLOOR_ORDINARY  1.2  /* of what is ordinary, even then */
#define FLOOR_RESPONSES 2.0  /* and not before so many response times */
#define TRICKLE         0.05 /* of what is proven is let in whatever happens: else nobody sees how it is */
#define FLOOR_SINKS     0.7  /* a second, then */
#define TRIAL_LESS      0.16 /* of what gets done is not let in, */
#define TRIAL_S         0.36 /* until a queue were shorter by that */
#define TRIAL_RESPONSES 0.5  /* and by so many responses */
#define BACKLOG         1.15 /* so far apart are what gets done and what is let in where a backlog changes; */
#define BACKLOG_CHANCE  2.0  /* and so many standard deviations */
#define MOMENT_S        0.3
#define USED_MUCH       0.7  /* of the capacity */
#define TRIAL_HELPED    0.75 /* of the response that it was */
#define EXCUSED         2.0
#define HOLD_S          8.0 /* after an overload, before the capacity is let go */
#define LET_GO          0.5 /* growth a second, then */
#define STEP_DOWN       0.25
#define STEP_UP         1.25
#define RETURN_UP       1.2

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
	double steady = known_or(capacity->steady_s, sample->response_s);
	double weight = n / (n + fmin(capacity->samples, SAMPLES_ENOUGH));
	capacity->response_s = average_ratio(before, sample->response_s, weight);
	weight = n / (n + fmin(capacity->samples, SAMPLES_STEADY));
	capacity->steady_s = average_ratio(steady, sample->response_s, weight);
	capacity->samples = fmin(capacity->samples + n, SAMPLES_STEADY);
}

/* What the slowest of a hundred wait for, and what it is while all is well. */
static void learn_tail(struct capacity *capacity, const struct capacity_sample *sample)
{
	if (sample->tail_s > 0)
		capacity->tail_s =
			average_ratio(capacity->tail_s, sample->tail_s, average_weight(sample->elapsed_s, TAIL_S));
}

static void learn_ordinary(struct capacity *capacity, const struct capacity_sample *sample)
{
	double weight = average_weight(sample->elapsed_s, fmin(ORDINARY_S, capacity->learnt_s));
	double rate = known_or(sample->admitted_pps, 0) * capacity->borne;

	if (capacity->overload)
		return;
	if (capacity->ordinary_pps <= 0)
		weight = 1;
	capacity->ordinary_pps += weight * (rate - capacity->ordinary_pps);
	capacity->ordinary_connections +=
		weight * (known_or(sample->connections, 0) / sample->elapsed_s - capacity->ordinary_connections);
	if (capacity->tail_s > 0)
		capacity->ordinary_tail_s = average_ratio(capacity->ordinary_tail_s, capacity->tail_s, weight);
}

/* The share of what was let in that says anything about the service: SYNs that no request follows the host bears by
 * itself, and they go well at any rate. As many SYNs come with a request as do on an ordinary day. */
static double borne_of(struct capacity *capacity, const struct capacity_sample *sample, bool well)
{
	double requests = known_or(sample->requests, 0), connects = known_or(sample->connects, 0);
	double ordinary = CONNECTS_SLACK * (requests * (1 + capacity->connects) + 1);
	bool learns = capacity->learnt_s < LEARNT_ENOUGH_S || requests + connects <= ordinary;
	double over_s = learns ? CONNECTS_S : CONNECTS_CHANGE_S;

	if (well && requests > 0)
		capacity->connects +=
			average_weight(sample->elapsed_s, over_s) * (connects / requests - capacity->connects);
	return learns ? 1 : (requests * (1 + capacity->connects) + 1) / (requests + connects);
}

static void learn_backlog(struct capacity *capacity, const struct capacity_sample *sample, double done)
{
	double keeps = exp(-sample->elapsed_s / MOMENT_S);

	capacity->admitted =
		keeps * capacity->admitted + known_or(sample->admitted_pps, 0) * capacity->borne * sample->elapsed_s;
	capacity->offered = keeps * capacity->offered + known_or(sample->offered_pps, 0) * sample->elapsed_s;
	capacity->done = keeps * capacity->done + done;
	keeps = exp(-sample->elapsed_s / UNANSWERED_S);
	capacity->asked = keeps * capacity->asked + known_or(sample->requests, 0) + known_or(sample->connects, 0);
	capacity->unanswered = keeps * capacity->unanswered + known_or(sample->unanswered, 0);
}

/* The time that `offered`, `admitted` and `done` are of. */
static double moment_of(double elapsed_s)
{
	return elapsed_s / average_weight(elapsed_s, MOMENT_S);
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
	if (capacity->samples >= SAMPLES_STEADY)
		capacity->best_s[0] = fmin(capacity->best_s[0], capacity->steady_s);
}

/* The packets of a connection, where it is one request or a few: they come together. Else 1. */
static double connection_packets(const struct capacity *capacity)
{
	double packets =
		capacity->ordinary_connections > 0 ? capacity->ordinary_pps / capacity->ordinary_connections : 1;

	return packets >= 1 && packets <= CONNECTION_MOST ? packets : 1;
}

/* A rate is proven when it went well for some steps on end, and for some more: its response comes after it. The mean of
 * those steps counts. */
static void learn_proven(struct capacity *capacity, const struct capacity_sample *sample, bool well)
{
	double sum = 0, most = 0, fades = exp(-sample->elapsed_s / PROVEN_FADES_S);

	capacity->proven_pps *= fades;
	capacity->usual_pps *= fades;
	capacity->peak_pps *= fades;
	capacity->usual_peak *= fades;
	capacity->burst *= fades;
	capacity->knee_pps *= fades;
	capacity->proof_at = (capacity->proof_at + 1) % (CAPACITY_PROOF + CAPACITY_PROOF_LATE);
	capacity->proof[capacity->proof_at] = known_or(sample->admitted_pps, 0) * capacity->borne;
	capacity->well_steps = well ? capacity->well_steps + 1 : 0;
	for (unsigned i = 1; i <= CAPACITY_PROOF; i++) { /* from the oldest on */
		double rate = capacity->proof[(capacity->proof_at + i) % (CAPACITY_PROOF + CAPACITY_PROOF_LATE)];
		sum += rate;
		most = fmax(most, rate);
	}
	if (capacity->well_steps >= CAPACITY_PROOF + CAPACITY_PROOF_LATE) {
		double mean = sum / CAPACITY_PROOF;
		double chance = connection_packets(capacity) * fmax(mean, PROVEN_LEAST) / sample->elapsed_s;
		double peak = most - PEAK_CHANCE * sqrt(chance);
		capacity->proven_pps = fmax(capacity->proven_pps, mean);
		capacity->peak_pps = fmax(capacity->peak_pps, peak);
		if (!capacity->overload) { /* else it is the law that makes them */
			capacity->usual_pps = fmax(capacity->usual_pps, mean);
			capacity->usual_peak = fmax(capacity->usual_peak, peak);
			capacity->burst = fmax(capacity->burst, (peak - mean) * sample->elapsed_s);
		}
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

/* Where a few ask for too much, or newcomers beside the tenured, it is the others' response that counts, and no
 * operator minds if that is better. */
static double target_few(double target_s, double best_s)
{
	return best_s > 0 ? fmin(target_s, FEW_FACTOR * best_s + TARGET_LEAST_S) : target_s;
}

/* What is wrong -------------------------------------------------------------------------------------------------- */

/* Where nothing ever was answered, that says nothing. */
static double unanswered_of(const struct capacity *capacity)
{
	if (!(capacity->response_s > 0 && capacity->unanswered >= UNANSWERED_LEAST && capacity->asked > 0))
		return 0;
	double share = fmin(capacity->unanswered / capacity->asked, 1);
	return share > UNANSWERED_MUCH ? share : 0;
}

/* That a request stayed unanswered is known late: what was let pass before the last cut says nothing about it. */
static double loss_of(const struct capacity *capacity, const struct capacity_sample *sample)
{
	double packets = sample->admitted_pps * sample->elapsed_s, loss = 0;

	if (sample->overflows > 0 && packets > 0)
		loss = fmin(sample->overflows / packets, 1);
	if (capacity->cut_s > LOSS_LATE_S)
		loss = fmax(loss, unanswered_of(capacity));
	return loss;
}

/* When the law is asked ------------------------------------------------------------------------------------------ */

void capacity_init(struct capacity *capacity)
{
	*capacity = (struct capacity){.law = capacity_law_knee, .pps = INFINITY, .response_s = NAN, .steady_s = NAN};
	for (unsigned i = 0; i < CAPACITY_WINDOWS; i++)
		capacity->best_s[i] = INFINITY;
}

double capacity_burst(const struct capacity *capacity)
{
	return capacity->overload ? 0 : HEADROOM_PEAK * capacity->burst;
}

struct capacity_costs capacity_costs(const struct capacity *capacity)
{
	double brings = connection_packets(capacity);

	if (capacity->overload || capacity->learnt_s < LEARNT_ENOUGH_S)
		return (struct capacity_costs){1, 1};
	/* A SYN twice: for its connection, and one of its packets. */
	double packet = brings / (2 * brings - 1);
	return (struct capacity_costs){packet, packet * brings};
}

bool capacity_surges(const struct capacity *capacity, double arrived, double since_s)
{
	double most = capacity->pps * fmax(since_s, SURGE_S), chance = connection_packets(capacity) * most;

	return !capacity->overload && isfinite(most) &&
	       arrived > most + SURGE_CHANCE * sqrt(chance) + capacity_burst(capacity);
}

void capacity_return(struct capacity *capacity, double pps)
{
	memset(capacity->memory, 0, sizeof(capacity->memory));
	capacity->overload = true;
	capacity->returning_pps = capacity->proven_pps;
	capacity->pps = pps;
	capacity->floor_pps = pps;
	capacity->response_s = capacity->steady_s = NAN;
	capacity->samples = 0;
	capacity->strained_s = capacity->calm_s = capacity->cut_s = 0;
	capacity->asked = capacity->unanswered = 0;
}

/* Shedding is a trial. What is let in is less than the service was seen to get done, for so long that a queue were gone
 * or much shorter; but no backlog grows or is worked off, and the response is no better. Then it is not load that makes
 * the service slow (but what it depends on, say), and the target is let be for as long as that lasts. */
static void trial_step(struct capacity *capacity, const struct capacity_view *view, double target_s, bool strained)
{
	double moment_s = moment_of(view->elapsed_s);
	double change = capacity->steady_s / capacity->trial_response_s;

	if (capacity->excused_s > 0 && view->response_s < target_s)
		capacity->excused_s = 0;
	capacity->trial_pps = strained ? fmax(capacity->trial_pps, capacity->done / moment_s) : 0;
	bool quiet =
		view->backlog >= 1 && view->backlog <= 1 && view->loss <= LOSS_MUCH && view->unanswered <= LOSS_MUCH;
	double less = strained ? 1 - capacity->admitted / moment_s / capacity->trial_pps : 0;
	if (!quiet || !(less > TRIAL_LESS) || !(change > TRIAL_HELPED && change < 1 / TRIAL_HELPED)) {
		capacity->trial_s = 0;
		capacity->trial_response_s = capacity->steady_s;
		return;
	}
	capacity->trial_s += view->elapsed_s * less;
	if (capacity->trial_s < fmax(TRIAL_S, TRIAL_RESPONSES * view->response_s))
		return;
	capacity->excused_s = capacity->steady_s;
	capacity->trial_s = 0;
	capacity->pps = fmax(capacity->pps, capacity->trial_pps); /* it was in vain */
}

/* Below what went well before the overload no cut goes, until that has been given some time; and then not below what
 * the service is seen to get done, and a little less. */
static void floor_step(struct capacity *capacity, const struct capacity_view *view)
{
	bool undone = capacity->done / moment_of(view->elapsed_s) < FLOOR_UNDONE * capacity->floor_pps;
	/* Sooner, what comes is the responses of before the cut, and those of clients who gave up do not. */
	double undone_s = fmin(fmax(FLOOR_S / (view->ordinary ? 2 : 6), FLOOR_RESPONSES * view->response_s), FLOOR_S);

	if (capacity->strained_s > (undone ? undone_s : FLOOR_S))
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
	capacity->settled_pps = 0;
	capacity->floor_pps = capacity->proven_pps;
	capacity->pps = fmin(capacity->pps, anchor(view));
}

/* Without responses to go by: the share that is lost, and a little more. */
static double wanted_by_loss(const struct capacity *capacity, const struct capacity_view *view)
{
	if (view->loss > LOSS_MUCH)
		return fmin(capacity->pps, view->done_pps) * LOSSLESS;
	return capacity->pps * (1 + LOSSLESS_RISES * view->elapsed_s * (1 + view->calm_s / LOSSLESS_HASTE_S));
}

static double wanted_in_overload(struct capacity *capacity, const struct capacity_view *view, bool strained)
{
	double before = capacity->pps, wanted;

	if (before >= capacity->returning_pps) /* it is back: what comes now is another story */
		capacity->returning_pps = 0;
	if (!strained && before < capacity->returning_pps && view->offered_pps > TESTED * before)
		return before * RETURN_UP;
	bool stands = view->few && capacity->settled_pps > 0; /* and goes lower by its own will */
	if (!strained && !stands && view->admitted_pps < (view->known ? TESTED_KNOWN : TESTED) * before)
		return before;
	if (strained)
		floor_step(capacity, view);
	if (view->target_s > 0 && view->response_s > 0)
		wanted = capacity->law(capacity, view);
	else
		wanted = wanted_by_loss(capacity, view);
	double floor_pps = capacity->floor_pps;
	if (view->surge && view->strain > (view->few ? 1 : SEVERE))
		floor_pps = fmax(FLOOR_DRAINS * floor_pps, fmin(FLOOR_ORDINARY * view->ordinary_pps, floor_pps));
	if (capacity->settled_pps > 0 && (view->few || view->guarded)) /* it is others who wait */
		floor_pps = fmin(floor_pps, capacity->settled_pps);
	return fmax(wanted, fmin(fmax(floor_pps, TRICKLE * capacity->proven_pps), before));
}

static void capacity_decide(struct capacity *capacity, const struct capacity_view *view, bool strained)
{
	double wanted = capacity->pps;
	bool severe = view->severe || (view->unproven && view->strain > 1);
	bool free = !strained && capacity->offered / moment_of(view->elapsed_s) <= capacity->pps;
	double patience_s = view->surge ? (severe ? 0 : PATIENCE_S) : PATIENCE_CALM_S;

	capacity->free_s = free ? capacity->free_s + view->elapsed_s : 0;

	if (!capacity->overload && strained && capacity->strained_s > patience_s)
		overload_begin(capacity, view);
	if (capacity->overload && capacity->free_s > HOLD_S) {
		capacity->overload = capacity->few = capacity->guarded = false;
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

/* Above the highest rate that went well for a second (or the highest of a step) nothing is let in, whether overloaded
 * or not. Who passes even that, is more than there ever was: what is let in grows from what is ordinary, by the law. */
static double headroom(struct capacity *capacity, const struct capacity_view *view)
{
	double proven = fmax(capacity->proven_pps, PROVEN_LEAST);
	double usual = capacity->overload ? proven : fmax(capacity->usual_pps, PROVEN_LEAST);
	double most = fmax(fmax(HEADROOM * usual,
	                        HEADROOM_PEAK * (capacity->overload ? capacity->peak_pps : capacity->usual_peak)),
	                   HEADROOM_FOUND * proven);

	if (capacity->knee_pps > 0)
		most = fmin(most, fmax(HEADROOM_KNEE * capacity->knee_pps, HEADROOM_PASSED * proven));
	if (capacity->learnt_s < LEARNT_ENOUGH_S)
		return INFINITY;
	if (capacity->overload || !view->surge || view->offered_pps <= most)
		return most;
	overload_begin(capacity, view);
	/* The fullest tick beyond the fullest second: a flood that was held back is no burst. */
	double at_once = capacity->ordinary_pps + capacity->peak_pps - capacity->proven_pps;
	return fmax(fmax(FLOOR_ORDINARY * capacity->ordinary_pps, PROVEN_LEAST), at_once);
}

static bool is_surge(const struct capacity_view *view)
{
	double proven = fmax(view->proven_pps, PROVEN_LEAST) * view->elapsed_s;

	return view->offered_pps * view->elapsed_s > UNPROVEN * proven + SURGE_CHANCE * sqrt(proven);
}

static const char *signal_of(const struct capacity_view *view, bool host)
{
	if (view->lossy)
		return host ? "host" : "overflows";
	return view->response_s > 0 ? "response" : "none";
}

/* What is counted of every interval. Returns what got done in it, in packets that the service had to bear. */
static double learn_interval(struct capacity *capacity, const struct capacity_sample *sample)
{
	learn_response(capacity, sample);
	learn_tail(capacity, sample);
	capacity->borne = borne_of(capacity, sample, capacity->strained_s <= 0);
	double done = known_or(sample->done, 0) * capacity->borne;
	learn_backlog(capacity, sample, done);
	capacity->used_pps = capacity->admitted / moment_of(sample->elapsed_s);
	bool unused = sample->offered_pps > capacity->pps && capacity->used_pps < USED_MUCH * capacity->pps;
	capacity->unused_s = unused ? capacity->unused_s + sample->elapsed_s : 0;
	return done;
}

/* The interval as a law sees it, but for `calm_s`. `*host`: it is the host's pressure that speaks. */
static struct capacity_view view_of(const struct capacity *capacity, const struct capacity_sample *sample, double done,
                                    double best_s, double target_s, bool *host)
{
	struct capacity_view view = {
		.elapsed_s = sample->elapsed_s,
		.offered_pps = known_or(sample->offered_pps, 0),
		.admitted_pps = known_or(sample->admitted_pps, 0),
		.used_pps = capacity->used_pps,
		.done_pps = known_or(sample->admitted_pps, 0),
		.response_s = capacity->response_s,
		.target_s = fmax(capacity->few || capacity->guarded ? target_few(target_s, best_s) : target_s,
	                         EXCUSED * capacity->excused_s),
		.best_s = best_s,
		.proven_pps = capacity->proven_pps,
		.ordinary_pps = capacity->ordinary_pps,
		.tail = capacity->ordinary_tail_s > 0 ? capacity->tail_s / capacity->ordinary_tail_s : 0,
		.loss = loss_of(capacity, sample),
		.backlog = backlog_of(capacity),
		.unanswered = unanswered_of(capacity),
	};
	bool answers = view.response_s > 0;
	/* Of a service that is asked nothing, or whose answers are still on their way, a busy host says nothing. */
	bool mute = !answers && !(sample->requests > 0) && sample->admitted_pps > 0;
	*host = mute && sample->host_pressure - PRESSURE_MUCH > view.loss;
	if (*host)
		view.loss = sample->host_pressure - PRESSURE_MUCH;
	view.done_pps = answers ? done / sample->elapsed_s : view.admitted_pps * (1 - view.loss);
	view.strain = known_or(view.response_s / view.target_s, 0);
	view.lossy = view.loss > LOSS_MUCH;
	view.severe = view.strain > SEVERE || view.lossy;
	view.few = capacity->few;
	view.guarded = capacity->guarded;
	view.known = capacity->pps < KNOWN_WELL * view.proven_pps;
	view.surge = is_surge(&view);
	view.ordinary = !view.surge && capacity->returning_pps <= 0;
	view.unproven = view.proven_pps > 0 && view.admitted_pps > UNPROVEN * fmax(view.proven_pps, PROVEN_LEAST);
	return view;
}

void capacity_step(struct capacity *capacity, const struct capacity_limits *limits,
                   const struct capacity_sample *sample, struct capacity_verdict *out)
{
	double before = capacity->pps;
	bool host;

	double done = learn_interval(capacity, sample);
	double best_s = best_response(capacity), target_s = target_of(capacity, limits, best_s);
	struct capacity_view view = view_of(capacity, sample, done, best_s, target_s, &host);
	bool strained = view.strain > 1 || view.lossy, answers = view.response_s > 0;

	learn_best(capacity, sample->elapsed_s);
	learn_proven(capacity, sample, !strained && (answers || sample->overflows >= 0));
	if (!strained)
		learn_ordinary(capacity, sample);
	capacity->strained_s = strained ? capacity->strained_s + sample->elapsed_s : 0;
	capacity->calm_s = strained ? 0 : capacity->calm_s + sample->elapsed_s;
	view.calm_s = capacity->calm_s;
	trial_step(capacity, &view, target_s, strained);
	capacity_decide(capacity, &view, strained);

	capacity->pps =
		fmax(fmin(fmin(capacity->pps, headroom(capacity, &view)), limits->maximum_pps), limits->minimum_pps);
	capacity->cut_s = capacity->pps < before ? 0 : capacity->cut_s + sample->elapsed_s;
	double told_s = view.target_s > 0 ? view.target_s : NAN;
	*out = (struct capacity_verdict){
		.signal = signal_of(&view, host),
		.value = !view.lossy ? view.response_s
	                 : host      ? sample->host_pressure
	                             : view.loss,
		.target = !view.lossy ? told_s
	                  : host      ? PRESSURE_MUCH + LOSS_MUCH
	                              : LOSS_MUCH,
		.best_s = best_s,
		.target_s = told_s,
		.strained = strained,
		.excused = capacity->excused_s > 0,
	};
}
