/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "datapath/classifier.h"

DEFINE_CLEANUP(struct image, image_free)

#define NS_PER_SECOND 1e9
#define UNLIMITED_NS  (1ULL << 46) /* a tolerance that no TAT reaches */

#define STATE_AHEAD_MOST_NS ((1ULL << (63 - STATE_TAT_SHIFT)) - 1) /* half of what a state's TAT can say */

/* Between two samples of a busy service on one CPU: a millisecond, and longer where many services share what sampling
 * may cost altogether: 50,000 samples a second, half a percent of a CPU. */
#define SAMPLE_GAP_NS   1000000
#define SAMPLE_SHARE_NS 20000

int catalogue_find(const struct catalogue_slot *catalogue, const char *name)
{
	for (int number = 0; number < SERVICES_MAX; number++)
		if (strcmp(catalogue->names[number], name) == 0)
			return number;
	return -1;
}

static int catalogue_free_number(const struct catalogue_slot *now, const struct catalogue_slot *previous)
{
	for (int number = 1; number < SERVICES_MAX; number++)
		if (!now->names[number][0] && (!previous || !previous->names[number][0]))
			return number;
	for (int number = 1; number < SERVICES_MAX; number++)
		if (!now->names[number][0])
			return number;
	return -1;
}

/* Services that go on keep their numbers, and with them their counters and their users; then the new ones are seated.
 */
static void catalogue_fill(struct catalogue_slot *catalogue, const struct config *config,
                           const struct catalogue_slot *previous)
{
	strcpy(catalogue->names[SERVICE_OTHER], "other");
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < config->services_count; i++) {
			const char *name = config->services[i].name;
			int number = previous ? catalogue_find(previous, name) : -1;
			if ((number < 0) != (pass == 1))
				continue;
			if (number < 0)
				number = catalogue_free_number(catalogue, previous);
			memcpy(catalogue->names[number], name, strlen(name) + 1);
		}
	}
}

__u64 policy_increment(double packets_per_second)
{
	double increment = NS_PER_SECOND / packets_per_second;

	return (__u64)llround(increment < 1 ? 1 : increment);
}

__u64 policy_byte_increment(double bytes_per_second)
{
	double increment = NS_PER_SECOND * (1 << BYTE_SHIFT) / bytes_per_second;

	return (__u64)llround(increment < 1 ? 1 : increment);
}

/* Bits of one family's mask: `length` leading ones of 128, as the packet has its address in memory. */
static void mask_set(__u64 mask[2], unsigned length)
{
	__u8 bytes[16] = {0};

	for (unsigned bit = 0; bit < length; bit++)
		bytes[bit / 8] |= (__u8)(0x80 >> (bit % 8));
	memcpy(mask, bytes, sizeof(bytes));
}

/* A burst in nanoseconds: how far ahead of now a time may run. Never less than two jiffies, since time is no finer. */
static __u64 pace_tolerance(const struct config_pace *pace, double first, __u64 jiffy_ns)
{
	if (pace->per_second <= 0)
		return UNLIMITED_NS;
	double tolerance = (pace->burst > first ? pace->burst - first : 0) * NS_PER_SECOND / pace->per_second;
	return tolerance < 2.0 * (double)jiffy_ns ? 2 * jiffy_ns : (__u64)tolerance;
}

static void policy_set_limit(struct policy *policy, const struct config_pace *pace, __u64 jiffy_ns)
{
	policy->increment_ns = pace->per_second > 0 ? policy_increment(pace->per_second) : 0;
	policy->tolerance_ns = pace_tolerance(pace, 1, jiffy_ns);
	policy->charge = (policy->increment_ns << STATE_TAT_SHIFT) + 1;
	__u64 state_ns = policy->tolerance_ns < STATE_AHEAD_MOST_NS ? policy->tolerance_ns : STATE_AHEAD_MOST_NS;
	policy->least_late = -(__s64)(state_ns << STATE_TAT_SHIFT);
}

static void policies_set_lists(struct policy_slot *slot, const struct config *config, __u64 jiffy_ns)
{
	struct config_pace pace = {config->lists.allowed_pps, config->lists.allowed_pps / 10};

	slot->allowed_increment_ns = policy_increment(pace.per_second);
	slot->allowed_tolerance_ns = pace_tolerance(&pace, 1, jiffy_ns);
	slot->other_denied_flags = config->mode == CONFIG_OBSERVE ? POLICY_OBSERVE : 0;
}

static void policy_set_gauges(struct policy *policy, const struct config_limit *limit, __u64 jiffy_ns)
{
	if (limit->bytes.per_second <= 0 && limit->connections.per_second <= 0)
		return;
	policy->flags |= POLICY_GAUGED;
	policy->byte_tolerance_ns = pace_tolerance(&limit->bytes, 0, jiffy_ns);
	policy->connection_tolerance_ns = pace_tolerance(&limit->connections, 1, jiffy_ns);
	if (limit->bytes.per_second > 0)
		policy->byte_increment = policy_byte_increment(limit->bytes.per_second);
	if (limit->connections.per_second > 0)
		policy->connection_increment_ns = policy_increment(limit->connections.per_second);
}

/* Each rank may run a step further ahead than the one below: as much as arrives in two jiffies, since time is no finer,
 * and the packets that come at once where arrivals are random. */
static void policy_set_capacity(struct policy *policy, const struct config_service *service, __u64 jiffy_ns)
{
	bool moves = service->adaptive.on && !service->capacity_held;
	double most = service->capacity_pps;

	policy->capacity_tick_ns = CAPACITY_STEP_NONE_NS;
	if (most <= 0 && !moves)
		return;
	policy->flags |= POLICY_CAPACITY | (moves ? POLICY_MOVES : 0);
	policy->capacity_tick_ns = 2 * jiffy_ns;
	/* Users who are no tenants are all of one class, and ranks that nobody has below them only add to what comes at
	 * once. What may do so where the capacity moves has been learnt (`burst_ns`). */
	if (moves && service->user_kind != CONFIG_TENANT)
		policy->class = CLASS_SHEDDABLE;
	if (most > 0)
		policy->capacity_increment =
			policy->flags & POLICY_BYTES ? policy_byte_increment(most) : policy_increment(most);
}

static void policy_set_kind(struct policy *policy, const struct config_service *service)
{
	static const __u8 kinds[] = {[CONFIG_SOURCE] = USER_SOURCE,
	                             [CONFIG_TENANT] = USER_TENANT,
	                             [CONFIG_PAYLOAD] = USER_PAYLOAD,
	                             [CONFIG_TAG] = USER_TAG};

	policy->kind = kinds[service->user_kind];
	mask_set(policy->payload_mask, 8U * service->payload_bytes);
}

/* Whether requests of the service are sampled, and their replies timed. */
static bool service_is_timed(const struct config_service *service)
{
	return service->replies && (service->protocol == CONFIG_TCP || service->protocol == CONFIG_UDP);
}

static __u64 sample_gap(const struct config *config)
{
	__u64 timed = 0;

	for (size_t i = 0; i < config->services_count; i++)
		timed += service_is_timed(&config->services[i]);
	return timed * SAMPLE_SHARE_NS > SAMPLE_GAP_NS ? timed * SAMPLE_SHARE_NS : SAMPLE_GAP_NS;
}

static void policy_fill(struct policy *policy, const struct config_service *service, __u32 number,
                        const struct image_context *context)
{
	static const __u8 classes[] = {[CONFIG_SHEDDABLE] = CLASS_SHEDDABLE,
	                               [CONFIG_NORMAL] = CLASS_NORMAL,
	                               [CONFIG_CRITICAL] = CLASS_CRITICAL};

	policy->service = (__u16)number;
	policy->class = classes[service->class];
	policy->flags = service->mode == CONFIG_OBSERVE ? POLICY_OBSERVE : 0;
	if (service->adaptive.on)
		policy->flags |=
			(service->level_held ? 0 : POLICY_LEVEL) | (service->adaptive.bytes ? POLICY_BYTES : 0);
	policy->flags |= service_is_timed(service) ? POLICY_RESPONSE : 0;
	policy->ipv4_mask = service->user_ipv4_length ? htonl(~0U << (32 - service->user_ipv4_length)) : 0;
	mask_set(policy->ipv6_mask, service->user_ipv6_length);
	policy_set_limit(policy, &service->limit.packets, context->jiffy_ns);
	policy_set_gauges(policy, &service->limit, context->jiffy_ns);
	policy_set_capacity(policy, service, context->jiffy_ns);
	policy_set_kind(policy, service);
}

static const struct config_service other_service = {.name = "other",
                                                    .mode = CONFIG_OBSERVE,
                                                    .class = CONFIG_NORMAL,
                                                    .user_ipv4_length = 32,
                                                    .user_ipv6_length = 64};

/* The tightest limit that a packet of this port table could fall under, if any service of it has one. */
static const struct policy *tightest_policy(const struct config *config, const struct image *image, unsigned table)
{
	const struct policy *tightest = &image->policies.policies[SERVICE_OTHER];

	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		if (table != POLICY_STRAY_UNKNOWN && classifier_table(service->protocol) != table)
			continue;
		int number = catalogue_find(&image->catalogue, service->name);
		const struct policy *policy = &image->policies.policies[number];
		if (policy->increment_ns > tightest->increment_ns)
			tightest = policy;
	}
	return tightest;
}

__u32 image_features(const struct config *config)
{
	__u32 features = 0;

	for (size_t i = 0; i < config->services_count; i++) {
		const struct config_service *service = &config->services[i];
		if (service->limit.bytes.per_second > 0 || service->limit.connections.per_second > 0)
			features |= FEATURE_GAUGES;
		if (service->capacity_pps > 0)
			features |= FEATURE_CAPACITY;
		if (service->adaptive.on)
			features |= FEATURE_CAPACITY | FEATURE_LEVELS;
		if (service->user_kind == CONFIG_PAYLOAD)
			features |= FEATURE_PAYLOAD;
		if (service->user_kind == CONFIG_TAG)
			features |= FEATURE_TAGS;
		if (service->user_kind == CONFIG_TENANT)
			features |= FEATURE_TENANTS;
		if (service_is_timed(service))
			features |= FEATURE_RESPONSE;
	}
	return features;
}

void image_free(struct image *image)
{
	tenants_image_release(&image->tenants);
	free(image);
}

int image_compile(const struct config *config, const struct image_context *context, struct image **out,
                  struct error *err)
{
	_cleanup_(image_freep) struct image *image = calloc(1, sizeof(*image));
	if (!image)
		return error_set(err, -ENOMEM, "policy: no memory for %zu bytes", sizeof(*image));

	struct policy *policies = image->policies.policies;
	catalogue_fill(&image->catalogue, config, context->previous);
	policy_fill(&policies[SERVICE_OTHER], &other_service, SERVICE_OTHER, context);
	for (size_t i = 0; i < config->services_count; i++) {
		__u32 number = (__u32)catalogue_find(&image->catalogue, config->services[i].name);
		policy_fill(&policies[number], &config->services[i], number, context);
		image->policies.payload_spans[number] =
			(__u16)PAYLOAD_SPAN(config->services[i].payload_offset, config->services[i].payload_bytes);
	}
	image->features = image_features(config);
	for (unsigned table = 0; table < POLICY_STRAYS; table++) {
		struct policy *stray = &policies[POLICY_STRAY(table)];
		*stray = *tightest_policy(config, image, table);
		stray->service = SERVICE_OTHER;
		stray->kind = USER_SOURCE;
		stray->flags &= ~(POLICY_CAPACITY | POLICY_MOVES | POLICY_LEVEL | POLICY_BYTES | POLICY_RESPONSE);
	}
	for (unsigned number = 0; number < POLICIES; number++)
		if (policies[number].kind == USER_SOURCE && !(policies[number].flags & POLICY_ASKS_MORE))
			policies[number].flags |= POLICY_PLAIN;
	image->policies.sample_gap_ns = sample_gap(config);
	policies_set_lists(&image->policies, config, context->jiffy_ns);
	if (config->malformed == CONFIG_MALFORMED_PASS)
		image->policies.malformed_flags = MALFORMED_PASSES;
	else if (config->mode == CONFIG_OBSERVE)
		image->policies.malformed_flags = POLICY_OBSERVE;

	int failure = classifier_compile(config, &image->catalogue, &image->classifier, err);
	if (!failure && image->features & FEATURE_TENANTS)
		failure = tenants_compile(config, &image->tenants, err);
	if (failure)
		return failure;
	memcpy(image->policies.tenant_roots, image->tenants.roots, sizeof(image->tenants.roots));
	*out = TAKE_PTR(image);
	return 0;
}
