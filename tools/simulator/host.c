/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulator/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JIFFY_S        0.004
#define STEP_PACKETS   8
#define BURST_PACKETS  8 /* at any level */
#define RANK_WITHIN    1 /* leaves half of its burst unused; ranks are in halves of a step */
#define RANK_CONNECT   0 /* a newcomer's SYN, where no tenants are of other classes */
#define RANK_NEWCOMER  2 /* a packet of an established connection */
#define RANK_TENURED   6
#define RANKS          24
#define CLOCK_APART_S  1.07
#define RATE_LEAST     0.1
#define SMOOTHING_S    0.5 /* OBSERVER_SMOOTHING_S */
#define SAMPLES        65536
#define SAMPLE_GAP_S   0.001 /* of a busy service */
#define SAMPLE_BURST_S 0.01
#define UNANSWERED_S   1.5 /* overdue: counted as unanswered; a reply that comes all the same counts */
#define FORGOTTEN_S    3.0
#define BUCKETS_OCTAVE 8
#define BUCKETS_FROM_S 1e-6

void responses_add(struct responses *responses, double response_s)
{
	double bucket = BUCKETS_OCTAVE * log2(fmax(response_s, BUCKETS_FROM_S) / BUCKETS_FROM_S);

	responses->counts[bucket < RESPONSE_BUCKETS ? (unsigned)bucket : RESPONSE_BUCKETS - 1]++;
	responses->total++;
}

double responses_quantile(const struct responses *responses, double share)
{
	double wanted = share * responses->total, seen = 0;

	if (!responses->total)
		return NAN;
	for (unsigned i = 0; i < RESPONSE_BUCKETS; i++) {
		seen += responses->counts[i];
		if (seen >= wanted && responses->counts[i])
			return BUCKETS_FROM_S * exp2((i + 0.5) / BUCKETS_OCTAVE);
	}
	return NAN;
}

void host_open(struct host *host, const struct scenario *scenario)
{
	size_t count = 1; /* one more than there are: none is no size to allocate */

	*host = (struct host){.level_pps = INFINITY, .capacity_pps = INFINITY, .burst_s = scenario->burst_s};
	for (size_t i = 0; i < scenario->crowd_count; i++)
		count += scenario->crowds[i].count;
	host->users = calloc(count, sizeof(*host->users));
	host->demands = calloc(count, sizeof(*host->demands));
	host->samples = calloc(SAMPLES, sizeof(*host->samples));
	if (!host->users || !host->demands || !host->samples)
		abort();
	for (size_t i = 0; i < scenario->crowd_count; i++) {
		for (unsigned k = 0; k < scenario->crowds[i].count; k++)
			host->users[host->user_count++] = (struct host_user){
				.weight = (float)scenario->crowds[i].weight, .tenured = scenario->crowds[i].tenured};
	}
}

void host_close(struct host *host)
{
	free(host->users);
	free(host->demands);
	free(host->samples);
}

/* What is owed stays as many packets (user/datapath/levels.c). */
void host_set(struct host *host, double level_pps, double capacity_pps, double capacity_burst, double now_s)
{
	if (capacity_pps > host->capacity_pps && host->tat_s > now_s)
		host->tat_s = now_s + (host->tat_s - now_s) * host->capacity_pps / capacity_pps;
	host->level_pps = level_pps;
	host->capacity_pps = capacity_pps;
	host->capacity_burst = capacity_burst;
}

/* A debt that no rank can have made with this capacity is one from a smaller one, and forgiven. */
static bool capacity_over(struct host *host, unsigned rank, double now_s)
{
	double step = 2 * JIFFY_S + STEP_PACKETS / host->capacity_pps,
	       burst = host->capacity_burst / host->capacity_pps;

	if (host->tat_s - now_s > (RANKS + 1) * step / 2 + burst + 1 / host->capacity_pps + CLOCK_APART_S)
		host->tat_s = now_s;
	return isfinite(host->capacity_pps) && host->tat_s - now_s > (rank + 1) * step / 2 + burst;
}

/* How long a user may send at once what it had left unused. */
static double burst_of(const struct host *host, const struct host_user *user)
{
	return fmax(host->burst_s, BURST_PACKETS / (host->level_pps * (double)user->weight));
}

static unsigned rank_of(const struct host *host, const struct host_user *user, bool connects, double now_s)
{
	unsigned newcomer = connects ? RANK_CONNECT : RANK_NEWCOMER;

	if (!user || !user->packets)
		return newcomer;
	bool within = !isfinite(host->level_pps) || user->tat_s - now_s <= burst_of(host, user) / 2;
	return (user->tenured ? RANK_TENURED : newcomer) + (within ? RANK_WITHIN : 0);
}

/* One a jiffy of those without room is known all the same. */
static void host_name(struct host *host, struct host_user *newcomer, double now_s)
{
	if ((newcomer && newcomer->packets) || now_s - host->named_s < JIFFY_S)
		return;
	host->named_s = now_s;
	if (newcomer)
		newcomer->packets = 1;
}

bool host_admit(struct host *host, uint32_t user, bool connects, double now_s)
{
	struct host_user *known = user == USER_FORGED ? NULL : &host->users[user];

	host->offered++;
	host->window_offered++;
	if (known) {
		known->window_packets++;
		known->packets += known->packets > 0;
	}
	if (known && isfinite(host->level_pps) && known->tat_s - now_s > burst_of(host, known))
		return false;
	if (capacity_over(host, rank_of(host, known, connects, now_s), now_s)) {
		host_name(host, known, now_s);
		return false;
	}
	if (known && isfinite(host->level_pps)) /* a debt from a tighter level is forgiven down to the burst */
		known->tat_s = fmin(fmax(known->tat_s, now_s), now_s + burst_of(host, known)) +
		               1 / (host->level_pps * (double)known->weight);
	if (isfinite(host->capacity_pps))
		host->tat_s = fmax(host->tat_s, now_s) + 1 / host->capacity_pps;
	if (known && !known->packets)
		known->packets = 1; /* it has a cell now */
	host->admitted++;
	host->let_in++;
	return true;
}

static bool sample_is_due(struct host *host, double now_s)
{
	if (host->sample_s > now_s)
		return false;
	host->sample_s = fmax(host->sample_s, now_s - SAMPLE_BURST_S) + SAMPLE_GAP_S;
	return true;
}

void host_connect(struct host *host, double now_s)
{
	host->connects += sample_is_due(host, now_s);
}

uint32_t host_sample(struct host *host, double now_s)
{
	if (host->sample_next - host->sample_first == SAMPLES || !sample_is_due(host, now_s))
		return SAMPLE_NONE;
	host->requests++;
	host->samples[host->sample_next % SAMPLES] =
		(struct sample){.at_s = now_s, .stands_for = host->let_in - host->stood_for};
	host->stood_for = host->let_in;
	return host->sample_next++;
}

void host_reply(struct host *host, uint32_t sample, double now_s)
{
	if (sample == SAMPLE_NONE || (int32_t)(sample - host->sample_first) < 0)
		return;
	host->samples[sample % SAMPLES].answered = true;
	host->replies++;
	host->done += host->samples[sample % SAMPLES].stands_for;
	responses_add(&host->responses, now_s - host->samples[sample % SAMPLES].at_s);
}

static void samples_expire(struct host *host, double now_s)
{
	for (; host->sample_overdue != host->sample_next; host->sample_overdue++) {
		const struct sample *oldest = &host->samples[host->sample_overdue % SAMPLES];
		if (oldest->at_s + UNANSWERED_S > now_s)
			break;
		host->unanswered += !oldest->answered;
	}
	while (host->sample_first != host->sample_overdue &&
	       host->samples[host->sample_first % SAMPLES].at_s + FORGOTTEN_S <= now_s)
		host->sample_first++;
}

/* Users that never sent more than a packet have no name in the table: they are of the rest. Both are smoothed, as the
 * daemon does it. */
void host_pass(struct host *host, double now_s)
{
	double elapsed = now_s - host->passed_s, weight = 1 - exp(-elapsed / SMOOTHING_S);
	unsigned named = 0;

	if (!(elapsed > 0))
		return;
	host->demand_count = 0;
	for (size_t i = 0; i < host->user_count; i++) {
		struct host_user *user = &host->users[i];
		double rate = user->window_packets / elapsed;
		if (user->packets > 1) {
			named += user->window_packets;
			user->lately = user->lately > 0 ? user->lately + weight * (rate - user->lately) : rate;
		}
		if (user->lately > RATE_LEAST)
			host->demands[host->demand_count++] =
				(struct demand){.rate = user->lately, .weight = user->weight, .tenured = user->tenured};
		else
			user->lately = 0;
		user->window_packets = 0;
	}
	host->demand_rest += weight * ((host->window_offered - named) / elapsed - host->demand_rest);
	host->window_offered = 0;
	host->passed_s = now_s;
}

void host_read(struct host *host, double now_s, double elapsed_s, struct controller_signals *out)
{
	samples_expire(host, now_s);
	*out = (struct controller_signals){
		.elapsed_s = elapsed_s,
		.fresh = true,
		.offered_pps = host->offered / elapsed_s,
		.admitted_pps = host->admitted / elapsed_s,
		.requests = host->requests,
		.connects = host->connects,
		.responses = host->replies,
		.done = host->done,
		.unanswered = host->unanswered,
		.response_p50_s = responses_quantile(&host->responses, 0.5),
		.response_p99_s = responses_quantile(&host->responses, 0.99),
		.overflows = host->overflows,
		.host_pressure = NAN,
	};
	host->offered = host->admitted = host->overflows = 0;
	host->requests = host->connects = host->replies = host->unanswered = 0;
	host->done = 0;
	memset(&host->responses, 0, sizeof(host->responses));
}
