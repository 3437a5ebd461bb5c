/* SPDX-License-Identifier: GPL-2.0-only */
/* What the generator's parts share: what to send, how much of it, what became of it, and the engines that send. */
#pragma once

#include <signal.h>
#include <stdint.h>

#include "base/error.h"
#include "frame.h"
#include "sources.h"

/* Above this the XDP engine sends; below, its set-up of some 24 ms a call would be felt in the pace. */
#define TRAFFIC_PACED_PPS_MAX 200000
#define TRAFFIC_COUNT_MAX     100000000000ULL
#define TRAFFIC_SECONDS_MAX   3600
#define TRAFFIC_BYTES_MAX     65535 /* of one recorded frame */

/* How much to send, and how fast. Whichever bound comes first ends the run. */
struct traffic_plan {
	int ifindex;
	const char *interface;
	uint64_t rate_pps;    /* 0: flat out */
	uint64_t count;       /* packets */
	uint64_t duration_ns; /* since the first packet */
	const volatile sig_atomic_t *stop;
};

struct traffic_result {
	uint64_t sent;
	uint64_t failed;   /* the interface did not take them */
	uint64_t bytes;    /* of those sent */
	uint64_t begin_ns; /* of the first packet, by traffic_now_ns() */
	uint64_t elapsed_ns;
	const char *engine;
};

/* Frames one after another, for paced_run(). */
struct traffic_stream {
	/* Writes a frame into `bytes` (TRAFFIC_BYTES_MAX of room). Returns 1; 0 at the end; or -errno with words. */
	int (*next)(void *context, uint8_t *bytes, uint32_t *length, struct error *err);
	void *context;
};

struct capture;

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t traffic_now_ns(void);

/* The packets that `plan` comes to: its count, or what its rate sends in its time where that is less. */
uint64_t traffic_target(const struct traffic_plan *plan);

/* Sends frames of `sources` from within the kernel (BPF_PROG_RUN with live frames, Linux 5.18), flat out or at a rate
 * above TRAFFIC_PACED_PPS_MAX. Returns 0 with `*out`, or -errno with words. */
int live_run(const struct traffic_plan *plan, const struct frame *frame, struct sources *sources,
             struct traffic_result *out, struct error *err);

/* Attaches an XDP program that passes everything to `interface`, so that a veth peer takes redirected frames. Returns
 * a descriptor of the link, owned by the caller: closing it detaches; or -errno with words. */
int live_attach_pass(const char *interface, struct error *err);

/* Sends a stream through an AF_PACKET socket at the plan's rate, or flat out where that is 0. Returns 0 with `*out`,
 * or -errno with words. */
int paced_run(const struct traffic_plan *plan, const struct traffic_stream *stream, struct traffic_result *out,
              struct error *err);

/* Opens a recording of Ethernet frames (pcap or pcapng). With `repeat` it begins again at its end. Returns 0, or
 * -errno with words; release with capture_close(). */
int capture_open(const char *path, bool repeat, struct capture **out, struct error *err);
void capture_close(struct capture *capture);

/* The next recorded frame, for struct traffic_stream; `context` is a struct capture. */
int capture_next(void *context, uint8_t *bytes, uint32_t *length, struct error *err);
