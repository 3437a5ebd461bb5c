/* SPDX-License-Identifier: GPL-2.0-only */
/* A configuration compiled to what the kernel programs read: pure, no I/O. The data path writes it into the idle slots.
 */
#pragma once

#include "base/error.h"
#include "bpf/abi.h"
#include "config/config.h"
#include "datapath/tenants.h"

struct image {
	struct policy_slot policies;
	struct classifier_slot classifier;
	struct catalogue_slot catalogue;
	struct tenants_image tenants;
	__u32 features; /* FEATURE_* that it uses */
};

/* What the compilation depends on beside the configuration. */
struct image_context {
	const struct catalogue_slot *previous; /* services that are there keep their numbers; NULL: none are */
	__u64 jiffy_ns;                        /* a burst is never less than two jiffies' worth */
};

/* Compiles `config`. Returns 0 with `*out` owned by the caller (image_free), or -ENOMEM, or -E2BIG where the
 * destinations need more room than the classifier has. */
int image_compile(const struct config *config, const struct image_context *context, struct image **out,
                  struct error *err);

void image_free(struct image *image);

/* The features that a configuration uses. */
__u32 image_features(const struct config *config);

/* The number of the service called `name`, or -1. `other` is 0. */
int catalogue_find(const struct catalogue_slot *catalogue, const char *name);

/* What one packet moves a user's time on by at that rate, in nanoseconds; and one byte, in 2^-BYTE_SHIFT ns. */
__u64 policy_increment(double packets_per_second);
__u64 policy_byte_increment(double bytes_per_second);
