/* SPDX-License-Identifier: GPL-2.0-only */
/* The frames for tests that compare two readers of packets: every case, every truncation of every case, and mutations
 * of cases from a fixed seed: the same frames on every run. */
#pragma once

#include <stddef.h>

#include "packet/frame.h"

#define CORPUS_FRAME_MIN 14 /* BPF_PROG_RUN takes no less than an Ethernet header */
#define CORPUS_MUTATIONS 20000

struct corpus_frame {
	unsigned char *bytes;
	size_t length;
	const char *words; /* of the case it was made from */
};

struct corpus {
	struct corpus_frame *frames;
	size_t count;
};

/* Makes all frames. Ends the program where there is no memory. */
struct corpus corpus_make(void);
void corpus_free(struct corpus *corpus);

/* Prints a frame in hexadecimal, for the message of a test that fails. */
void corpus_print(const struct corpus_frame *frame);
