/* SPDX-License-Identifier: GPL-2.0-only */
/* How the host feels: which share of the time since the last look something was held up for want of a resource. From
 * the kernel's pressure stall information where there is some (kernel 4.20, /proc/pressure), else what /proc/stat says
 * of idleness; softirqs and the receive backlog from their own counters. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

enum pressure_resource {
	PRESSURE_CPU,     /* a task waited for a processor; without PSI: processors were not idle */
	PRESSURE_MEMORY,  /* a task waited for memory; without PSI it is not known */
	PRESSURE_IO,      /* a task waited for a device; without PSI: processors were idle for that */
	PRESSURE_SOFTIRQ, /* processors' time in softirqs, where packets are received */
	PRESSURE_BACKLOG, /* packets that the receive backlog dropped, of all received */
	PRESSURE_SQUEEZE, /* packets received in rounds that had to stop with work left, of all received */
	PRESSURES,
};

/* The resources' names in metrics. */
extern const char *const pressure_names[PRESSURES];

/* Where to read. */
struct pressure_paths {
	const char *cpu, *memory, *io; /* pressure stall information */
	const char *stat;
	const char *softnet;
};
extern const struct pressure_paths pressure_paths_of_host;

struct pressure;

/* `paths` is borrowed for as long as the reader lives; NULL: the host's. Returns 0 with `*out` owned by the caller, or
 * -ENOMEM. */
int pressure_new(struct pressure **out, const struct pressure_paths *paths, struct error *err);
void pressure_free(struct pressure *pressure);

/* Reads the files; `now_s` is monotonic. A look that comes no later than the last one changes nothing. */
void pressure_look(struct pressure *pressure, double now_s);

/* The share in the time between the last two looks, 0 to 1; NAN where it is not known: a file is missing or makes no
 * sense, or there was but one look. */
double pressure_read(const struct pressure *pressure, enum pressure_resource resource);

/* The greatest of the shares but for PRESSURE_SQUEEZE, of which no packet need have suffered; 0 where none is known. */
double pressure_most(const struct pressure *pressure);

/* Whether the kernel's pressure stall information was there at the last look. */
bool pressure_has_stalls(const struct pressure *pressure);
