/* SPDX-License-Identifier: GPL-2.0-only */
/* Tenants compiled to the trie that the packet path walks (bpf/tenant.h): pure, no I/O. */
#pragma once

#include "base/error.h"
#include "bpf/abi.h"
#include "config/config.h"

struct tenants_image {
	union tenant_line *lines; /* NULL: there are no tenants */
	size_t lines_count;
	__u32 roots[2]; /* [ipv6] */
};

/* Compiles the tenants of `config`, numbered from 1 in its order. Returns 0 with `*out` owned by the caller
 * (tenants_image_release), or -ENOMEM, or -E2BIG where it needs more than TENANT_LINES. */
int tenants_compile(const struct config *config, struct tenants_image *out, struct error *err);
void tenants_image_release(struct tenants_image *image);

/* The number of the tenant that a source belongs to, 0 for none: what the packet path finds. `address` as in struct
 * prefix. */
unsigned tenants_lookup(const struct tenants_image *image, bool ipv6, const __u8 address[16]);
