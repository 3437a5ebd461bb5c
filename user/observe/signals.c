/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/signals.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "observe/listeners.h"
#include "observe/response_times.h"

#define WINDOW_S        5.0  /* of the percentiles that are shown: the last whole one, and this one so far */
#define SWEEP_S         0.05 /* more often nothing is looked for that is overdue */
#define PRESSURE_LOOK_S 0.5
#define LISTENER_LOOK_S 0.5

/* The counters of a service as they were seen last. */
struct seen_responses {
	double read_s;
	__u64 requests, connects, unanswered, overflows, done, sum_ns;
	__u64 buckets[RESPONSE_BUCKETS];
};

/* The counters of a service as the last window and this one began. */
struct shown_responses {
	__u64 before[2][RESPONSE_BUCKETS];
};

struct signals {
	struct datapath *dp;
	struct pressure *pressure;
	double swept_s, looked_s, window_s;
	struct listeners *listeners; /* asked where no program sees what they drop; NULL: cannot be asked */
	struct error why_not_listeners, why_asked;
	double asked_s;
	__u64 listen_drops[SERVICES_MAX]; /* what was counted when they were asked last */
	__u64 listen_told[SERVICES_MAX];  /* what they say now, from one question to the next */
	unsigned overflows[16];           /* the kernel's reasons that are about a full queue */
	size_t overflows_count;
	struct seen_responses *seen[SERVICES_MAX];   /* made when first needed */
	struct shown_responses *shown[SERVICES_MAX]; /* likewise */
};

DEFINE_CLEANUP(struct signals, signals_free)

/* Reasons that say: it came faster than it was taken. */
static const char *const overflow_reasons[] = {
	"TCP_LISTEN_OVERFLOW", "SOCKET_RCVBUFF", "SOCKET_BACKLOG",      "PROTO_MEM",
	"CPU_BACKLOG",         "FULL_RING",      "TCP_OFO_QUEUE_PRUNE",
};

static void find_overflows(struct signals *signals)
{
	struct datapath_drops drops = datapath_drops(signals->dp);

	for (unsigned reason = 0; drops.on && reason < DROP_REASONS; reason++)
		for (size_t i = 0; i < sizeof(overflow_reasons) / sizeof(*overflow_reasons); i++)
			if (strcmp(drops.reasons[reason], overflow_reasons[i]) == 0)
				signals->overflows[signals->overflows_count++] = reason;
}

int signals_new(struct signals **out, struct datapath *dp, struct error *err)
{
	_cleanup_(signals_freep) struct signals *signals = calloc(1, sizeof(*signals));
	if (!signals)
		return error_set(err, -ENOMEM, "signals: no memory");
	signals->dp = dp;
	find_overflows(signals);
	error_set(&signals->why_asked, 0,
	          "listeners are asked twice a second what they have dropped, since no program sees it: %.700s",
	          datapath_drops(dp).why_listeners);
	listeners_new(&signals->listeners, &signals->why_not_listeners);
	int failure = pressure_new(&signals->pressure, NULL, err);
	if (failure)
		return failure;
	*out = TAKE_PTR(signals);
	return 0;
}

void signals_free(struct signals *signals)
{
	if (!signals)
		return;
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		free(signals->seen[i]);
		free(signals->shown[i]);
	}
	listeners_free(signals->listeners);
	pressure_free(signals->pressure);
	free(signals);
}

static const struct service_responses *responses_of(const struct signals *signals, unsigned service)
{
	struct datapath_responses responses = datapath_responses(signals->dp);

	return responses.services + service;
}

/* Whether a service is timed now: what lies in its entry otherwise is of earlier times. */
static bool is_measured(const struct signals *signals, unsigned service)
{
	return service < SERVICES_MAX && datapath_responses(signals->dp).on &&
	       datapath_policies(signals->dp)->policies[service].flags & POLICY_RESPONSE;
}

/* Requests that have waited too long. Whoever swaps the word counts: a reply may come at this moment. */
static void sweep(struct signals *signals, double now_s)
{
	struct datapath_responses responses = datapath_responses(signals->dp);
	__u64 now_ns = (__u64)(now_s * 1e9);

	for (size_t i = 0; i < RESPONSE_SAMPLES; i++) {
		struct response_sample *sample = &responses.samples[i];
		__u64 flow = __atomic_load_n(&sample->flow, __ATOMIC_ACQUIRE), at_ns = sample->at_ns;
		unsigned service = sample->service;
		if ((flow & SAMPLE_STATE_MASK) != SAMPLE_WAITING || service >= SERVICES_MAX ||
		    now_ns < at_ns + RESPONSE_OVERDUE_NS)
			continue;
		if (__sync_bool_compare_and_swap(&sample->flow, flow, flow | SAMPLE_OVERDUE))
			__atomic_fetch_add(&responses.services[service].unanswered, 1, __ATOMIC_RELAXED);
	}
}

/* A new window of what is shown begins. */
static void turn_window(struct signals *signals)
{
	const struct service_responses *services = datapath_responses(signals->dp).services;

	for (unsigned service = 0; service < SERVICES_MAX; service++) {
		struct shown_responses **shown = &signals->shown[service];
		if (!is_measured(signals, service))
			continue;
		if (!*shown)
			*shown = calloc(1, sizeof(**shown));
		if (!*shown)
			continue;
		memcpy((*shown)->before[0], (*shown)->before[1], sizeof((*shown)->before[0]));
		memcpy((*shown)->before[1], services[service].buckets, sizeof((*shown)->before[1]));
	}
}

static void on_listener(const struct listener *listener, uint32_t dropped, void *argument)
{
	struct signals *signals = argument;
	const __u64 destination[2] = {listener->address[0], listener->address[1]};
	unsigned service =
		datapath_tcp_service(signals->dp, listener->port, listener->any ? NULL : destination, listener->ipv6);

	if (service < SERVICES_MAX)
		signals->listen_told[service] += dropped;
}

/* What listeners have dropped, less what was seen of it: last acknowledgements that find the queue full have a reason
 * (kernel 6.14), SYNs do not. */
static void ask_listeners(struct signals *signals)
{
	struct datapath_drops drops = datapath_drops(signals->dp);

	if (!drops.on || drops.listeners || !signals->listeners || drops.listen_reason >= DROP_REASONS)
		return;
	memset(signals->listen_told, 0, sizeof(signals->listen_told));
	if (listeners_look(signals->listeners, on_listener, signals, &signals->why_not_listeners) < 0) {
		listeners_free(signals->listeners);
		signals->listeners = NULL;
		return;
	}
	for (unsigned service = 0; service < SERVICES_MAX; service++) {
		const __u64 *counted = &drops.services[service].packets[drops.listen_reason];
		__u64 seen = *counted - signals->listen_drops[service];
		if (signals->listen_told[service] > seen)
			datapath_count_listen_drops(signals->dp, service, signals->listen_told[service] - seen);
		signals->listen_drops[service] = *counted;
	}
}

void signals_tick(struct signals *signals, double now_s)
{
	if (now_s - signals->asked_s >= LISTENER_LOOK_S) {
		signals->asked_s = now_s;
		ask_listeners(signals);
	}
	if (now_s - signals->swept_s >= SWEEP_S) {
		signals->swept_s = now_s;
		sweep(signals, now_s);
	}
	if (now_s - signals->looked_s >= PRESSURE_LOOK_S) {
		signals->looked_s = now_s;
		pressure_look(signals->pressure, now_s);
	}
	if (now_s - signals->window_s >= WINDOW_S) {
		signals->window_s = now_s;
		turn_window(signals);
	}
}

/* A counter that has gone backwards has begun anew: its number is another service's. */
static __u64 counted_since(__u64 now, __u64 before)
{
	return now >= before ? now - before : now;
}

/* Nothing was answered where the sum of all times is what it was: then a service costs three loads. */
static void read_responses(const struct service_responses *now, struct seen_responses *seen,
                           struct controller_signals *out)
{
	__u64 buckets[RESPONSE_BUCKETS], lately[RESPONSE_BUCKETS];
	__u64 requests = now->requests, connects = now->connects, unanswered = now->unanswered, sum_ns = now->sum_ns;

	out->requests = (unsigned)counted_since(requests, seen->requests);
	out->connects = (unsigned)counted_since(connects, seen->connects);
	out->unanswered = (unsigned)counted_since(unanswered, seen->unanswered);
	out->response_p50_s = out->response_p99_s = NAN;
	seen->requests = requests;
	seen->connects = connects;
	seen->unanswered = unanswered;
	if (sum_ns == seen->sum_ns)
		return;
	__u64 done = now->done;
	out->done = (double)counted_since(done, seen->done);
	seen->done = done;
	memcpy(buckets, now->buckets, sizeof(buckets)); /* the kernel goes on */
	__u64 sum = response_buckets_since(buckets, seen->buckets, lately);
	out->responses = (unsigned)sum;
	out->response_p50_s = response_percentile_s(lately, sum, 0.50);
	out->response_p99_s = response_percentile_s(lately, sum, 0.99);
	memcpy(seen->buckets, buckets, sizeof(buckets));
	seen->sum_ns = sum_ns;
}

static double read_overflows(const struct signals *signals, unsigned service, struct seen_responses *seen)
{
	struct datapath_drops drops = datapath_drops(signals->dp);
	__u64 dropped = 0;

	if (!drops.on)
		return NAN;
	for (size_t i = 0; i < signals->overflows_count; i++)
		dropped += drops.services[service].packets[signals->overflows[i]];
	double overflows = (double)counted_since(dropped, seen->overflows);
	seen->overflows = dropped;
	return overflows;
}

void signals_read(struct signals *signals, unsigned service, double now_s, struct controller_signals *inout)
{
	struct controller_signals out = {.offered_pps = inout->offered_pps,
	                                 .admitted_pps = inout->admitted_pps,
	                                 .overflows = NAN,
	                                 .host_pressure = pressure_most(signals->pressure)};
	struct seen_responses **seen = service < SERVICES_MAX ? &signals->seen[service] : NULL;

	if (seen && !*seen)
		*seen = calloc(1, sizeof(**seen));
	if (seen && *seen) {
		bool first = (*seen)->read_s <= 0;
		out.elapsed_s = first ? 0 : now_s - (*seen)->read_s;
		out.fresh = !first && out.elapsed_s > 0 && out.elapsed_s <= SIGNALS_STALE_S;
		read_responses(responses_of(signals, service), *seen, &out);
		out.overflows = read_overflows(signals, service, *seen);
		(*seen)->read_s = now_s;
	}
	/* What is not of this interval is nobody's to act on. */
	if (!out.fresh || !is_measured(signals, service)) {
		out.requests = out.connects = out.responses = out.unanswered = 0;
		out.done = 0;
		out.response_p50_s = out.response_p99_s = NAN;
	}
	if (!out.fresh)
		out.overflows = NAN;
	*inout = out;
}

double signals_bound_s(unsigned i)
{
	return response_bucket_floor_s((i + 1) * RESPONSE_STEPS);
}

void signals_histogram(const struct signals *signals, unsigned service, struct signals_histogram *out)
{
	*out = (struct signals_histogram){.p50_s = NAN, .p99_s = NAN};
	if (service >= SERVICES_MAX)
		return;
	const struct service_responses *now = responses_of(signals, service);
	const struct shown_responses *shown = signals->shown[service];
	__u64 lately[RESPONSE_BUCKETS];

	out->measured = is_measured(signals, service);
	out->requests = now->requests;
	out->unanswered = now->unanswered;
	out->sum_s = (double)now->sum_ns / 1e9;
	for (unsigned i = 0; i < RESPONSE_BUCKETS; i++) {
		out->count += now->buckets[i];
		if ((i + 1) % RESPONSE_STEPS == 0 && i / RESPONSE_STEPS < SIGNALS_BOUNDS)
			out->within[i / RESPONSE_STEPS] = out->count;
	}
	if (!out->measured || !shown)
		return;
	__u64 sum = response_buckets_since(now->buckets, shown->before[0], lately);
	out->p50_s = response_percentile_s(lately, sum, 0.50);
	out->p99_s = response_percentile_s(lately, sum, 0.99);
}

double signals_pressure(const struct signals *signals, enum pressure_resource resource)
{
	return pressure_read(signals->pressure, resource);
}

size_t signals_features(const struct signals *signals, struct signals_feature out[SIGNALS_FEATURES_MAX])
{
	struct datapath_responses responses = datapath_responses(signals->dp);
	bool stalls = pressure_has_stalls(signals->pressure);
	size_t count = 0;

	if (responses.used)
		out[count++] = (struct signals_feature){"response", responses.on,
		                                        responses.on ? "requests are sampled, and their replies timed"
		                                                     : responses.why};
	struct datapath_drops drops = datapath_drops(signals->dp);
	out[count++] = (struct signals_feature){"host_drops", drops.on,
	                                        drops.on ? "the kernel says what it drops, and why" : drops.why};
	if (drops.on)
		out[count++] = (struct signals_feature){
			"listen_drops", drops.listeners || signals->listeners,
			drops.listeners      ? "connection attempts that find a listener's queue full are seen"
			: signals->listeners ? signals->why_asked.text
					     : signals->why_not_listeners.text};
	out[count++] = (struct signals_feature){
		"pressure", stalls,
		stalls ? "the kernel tells how long tasks waited"
		       : "/proc/pressure cannot be read: how busy processors are, from /proc/stat, has to do"};
	return count;
}
