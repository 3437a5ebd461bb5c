/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that run frames through the program as fast as they can, each pinned to a CPU of its own: what only several
 * CPUs at once can get wrong. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "packet/frame.h"
#include "packet/world.h"

#define HAMMERS_MAX 2

struct shot {
	unsigned char frame[FRAME_MAX];
	size_t length;
	unsigned repeat; /* runs in one go, by the kernel's own loop */
};

/* Writes a shot's frame from words, as in frame.h. */
void shot_load(struct shot *shot, const char *words, unsigned repeat);

struct hammer {
	struct world *world;
	const struct shot *shots;
	size_t count;
	unsigned rounds; /* over the list; 0: until stopped */
	int cpu;
	pthread_t thread;
	atomic_bool stop;
	__u64 packets, bytes; /* sent, once it has ended */
};

/* Starts `threads` of them, each over the whole list of shots, on the first CPUs that this process may use (where there
 * are fewer, they share). */
void hammers_start(struct hammer *hammers, int threads, struct world *world, const struct shot *shots, size_t count,
                   unsigned rounds);

/* Waits until they have done their rounds, or stops those that go on until stopped. */
void hammers_end(struct hammer *hammers, int threads);
