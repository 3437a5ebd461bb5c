/* SPDX-License-Identifier: GPL-2.0-only */
/* The words of the contract for what the kernel side numbers. */
#pragma once

#include "bpf/abi.h"

static const char *const class_names[CLASSES] = {
	[CLASS_SHEDDABLE] = "sheddable",
	[CLASS_NORMAL] = "normal",
	[CLASS_CRITICAL] = "critical",
};

static const char *const kind_names[USER_KINDS] = {
	[USER_SOURCE] = "source",
	[USER_TENANT] = "tenant",
	[USER_PAYLOAD] = "payload",
	[USER_TAG] = "tag",
};

static const char *const reason_names[REASONS] = {
	[REASON_USER_LIMIT] = "user_limit",
	[REASON_USER_BYTES] = "user_bytes",
	[REASON_USER_CONNECTIONS] = "user_connections",
	[REASON_CAPACITY] = "capacity",
	[REASON_DENIED] = "denied",
	[REASON_MALFORMED] = "malformed",
	[REASON_DRILL] = "drill",
	[REASON_NOT_OWNER] = "not_owner",
};

static const char *const malformation_names[MALFORMATIONS] = {
	[MALFORMED_ETHERNET] = "ethernet",
	[MALFORMED_IP] = "ip",
	[MALFORMED_EXTENSION] = "extension",
	[MALFORMED_TRANSPORT] = "transport",
};
