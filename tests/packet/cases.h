/* SPDX-License-Identifier: GPL-2.0-only */
/* Crafted packets, a line each, and what must become of them: every test that wants packets starts from these. The
 * words of a frame are in frame.h. */
#pragma once

#include <stddef.h>

#include "bpf/abi.h"

#define NOBODY        NULL /* the packet has no user */
#define NOT_MALFORMED MALFORMATIONS

struct packet_case {
	const char *frame;
	const char *service; /* of packet_cases_services */
	const char *user;    /* as in the table: its prefix's address */
	enum malformation malformed;
};

extern const struct packet_case packet_cases[];
extern const size_t packet_cases_count;

/* The configuration in YAML that the cases speak of. */
extern const char packet_cases_services[];
