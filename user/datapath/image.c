/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/image.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "datapath/classifier.h"

#define NS_PER_SECOND 1e9
#define UNLIMITED_NS  (1ULL << 46) /* a tolerance that no TAT reaches */

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
			strcpy(catalogue->names[number], name);
		}
	}
}

void policy_set_limit(struct policy *policy, double packets_per_second, double burst, __u64 jiffy_ns)
{
	if (packets_per_second <= 0) {
		policy->increment_ns = 0;
		policy->tolerance_ns = UNLIMITED_NS;
		return;
	}
	double increment = NS_PER_SECOND / packets_per_second;
	policy->increment_ns = (__u64)llround(increment < 1 ? 1 : increment);
	policy->tolerance_ns = (__u64)((burst > 1 ? burst - 1 : 0) * increment);
	if (policy->tolerance_ns < 2 * jiffy_ns)
		policy->tolerance_ns = 2 * jiffy_ns;
}

double policy_limit(const struct policy *policy)
{
	return policy->increment_ns ? NS_PER_SECOND / (double)policy->increment_ns : 0;
}

/* Bits of one family's mask: `length` leading ones of 128, as the packet has its address in memory. */
static void mask_set(__u64 mask[2], unsigned length)
{
	__u8 bytes[16] = {0};

	for (unsigned bit = 0; bit < length; bit++)
		bytes[bit / 8] |= (__u8)(0x80 >> (bit % 8));
	memcpy(mask, bytes, sizeof(bytes));
}

static void policy_fill(struct policy *policy, const struct config_service *service, __u32 number,
                        const struct image_context *context)
{
	policy->service = number;
	policy->seed = (number + 1) * context->service_key;
	policy->flags = service->mode == CONFIG_OBSERVE ? POLICY_OBSERVE : 0;
	mask_set(policy->source_mask[0], 96U + service->user_ipv4_length);
	mask_set(policy->source_mask[1], service->user_ipv6_length);
	policy_set_limit(policy, service->limit.packets_per_second, service->limit.burst, context->jiffy_ns);
}

static const struct config_service other_service = {
	.name = "other", .mode = CONFIG_OBSERVE, .user_ipv4_length = 32, .user_ipv6_length = 64};

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

int image_compile(const struct config *config, const struct image_context *context, struct image **out,
                  struct error *err)
{
	_cleanup_free_ struct image *image = calloc(1, sizeof(*image));
	if (!image)
		return error_set(err, -ENOMEM, "policy: no memory for %zu bytes", sizeof(*image));

	struct policy *policies = image->policies.policies;
	catalogue_fill(&image->catalogue, config, context->previous);
	policy_fill(&policies[SERVICE_OTHER], &other_service, SERVICE_OTHER, context);
	for (size_t i = 0; i < config->services_count; i++) {
		__u32 number = (__u32)catalogue_find(&image->catalogue, config->services[i].name);
		policy_fill(&policies[number], &config->services[i], number, context);
	}
	for (unsigned table = 0; table < POLICY_STRAYS; table++) {
		struct policy *stray = &policies[POLICY_STRAY(table)];
		*stray = *tightest_policy(config, image, table);
		stray->service = SERVICE_OTHER;
		stray->seed = (POLICY_STRAY(table) + 1) * context->service_key;
	}
	if (config->malformed == CONFIG_MALFORMED_PASS)
		image->policies.malformed_flags = MALFORMED_PASSES;
	else if (config->mode == CONFIG_OBSERVE)
		image->policies.malformed_flags = POLICY_OBSERVE;

	int failure = classifier_compile(config, &image->catalogue, &image->classifier, err);
	if (failure)
		return failure;
	*out = TAKE_PTR(image);
	return 0;
}
