/* SPDX-License-Identifier: GPL-2.0-only */
/* The real program in the real kernel, loaded under pins of its own, fed by BPF_PROG_RUN: no interface, no namespace.
 */
#pragma once

#include "datapath/datapath.h"

/* Whether this machine's processor is another's program (EMULATED=1, as `make matrix` says in its guests): a packet
 * takes some fifty times as long there. Tests that measure nothing else by it send fewer of them, or none faster than
 * that. */
bool world_emulated(void);

struct world {
	uint64_t table_users; /* as in datapath_options; 0: 1,000 */
	bool drop_passed;     /* the same */
	struct datapath *datapath;
	char pins[64];
};

/* Loads the program with a configuration in YAML (without interfaces). Ends the program with a message where it cannot.
 */
void world_make(struct world *world, const char *yaml);
void world_apply(struct world *world, const char *yaml);
void world_remove(struct world *world);

/* How much of a frame a test run puts into the first buffer: a page, less the kernel's room before and behind. */
#define WORLD_BUFFER_BYTES (4096 - 256 - 320)

/* Runs one frame; returns the XDP verdict. `repeat` runs it so often. */
unsigned world_run(struct world *world, const unsigned char *frame, size_t length, unsigned repeat);

/* Forgets every user and every fragment: the table is wiped, and what is remembered of fragments lies under hash keys
 * that are no more. */
void world_forget(struct world *world);

/* The same, and sets every counter to zero. */
void world_reset(struct world *world);

struct service_tallies world_tallies(struct world *world, const char *service);

/* The details of the only user in the table; NULL where there is none, or more than one. */
const struct user_detail *world_only_user(struct world *world, __u64 *packets, __u64 *bytes);
