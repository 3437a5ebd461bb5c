/* SPDX-License-Identifier: GPL-2.0-only */
/* The exact engine: an AF_PACKET socket and deadlines counted from the first packet, so that no lateness adds up. Must
 * not know where frames come from. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "traffic.h"

#define BATCH        64
#define NS_PER_S     1000000000ULL
#define GROUP_NS     100000ULL  /* packets whose turns are this close leave together: a wake-up costs some 5 us */
#define CATCH_UP_NS  2000000ULL /* the most that leaves at once after a delay, in time at the rate */
#define CATCH_UP_GAP 1000000ULL /* between two such bursts: twice the rate until the delay is made up */

struct burst {
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	uint32_t lengths[BATCH];
	uint8_t bytes[BATCH][TRAFFIC_BYTES_MAX];
};

struct sender {
	int fd;
	const struct traffic_plan *plan;
	const struct traffic_stream *stream;
	struct burst *burst;
	struct traffic_result result;
	bool ended; /* the stream has no more */
};

uint64_t traffic_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t traffic_target(const struct traffic_plan *plan)
{
	/* At most 10^11 by count; the product of the greatest rate and an hour still fits 128 bits. */
	__extension__ unsigned __int128 by_time = (unsigned __int128)plan->rate_pps * plan->duration_ns / NS_PER_S;

	return plan->rate_pps && by_time < plan->count ? (uint64_t)by_time : plan->count;
}

/* When packet `number` (from 0) is due, after the first. A product would overflow beyond 18 thousand million. */
static uint64_t due_after_ns(uint64_t number, uint64_t rate_pps)
{
	return number / rate_pps * NS_PER_S + number % rate_pps * NS_PER_S / rate_pps;
}

/* How many packets are due within `passed_ns`; the first at once. */
static uint64_t due_within(uint64_t passed_ns, uint64_t rate_pps)
{
	return passed_ns / NS_PER_S * rate_pps + passed_ns % NS_PER_S * rate_pps / NS_PER_S + 1;
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int open_socket(const struct traffic_plan *plan, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = plan->ifindex};
	int on = 1;

	if (fd < 0)
		return error_set(err, -errno, "raw socket: %s: be root (CAP_NET_RAW)", strerror(errno));
	/* Past the queueing discipline: it would smooth or drop what is being measured. */
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) < 0)
		return error_set(err, -errno,
		                 "raw socket: cannot bypass the queueing discipline: %s: use Linux 3.14 "
		                 "or later",
		                 strerror(errno));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(err, -errno, "interface %s: cannot be sent on: %s: check that it is up",
		                 plan->interface, strerror(errno));
	return TAKE_FD(fd);
}

/* Takes up to `wanted` frames from the stream. Returns how many, or -errno with words. */
static int fill(struct sender *sender, uint32_t wanted, struct error *err)
{
	struct burst *burst = sender->burst;
	uint32_t count = 0;

	while (count < wanted && !sender->ended) {
		int code =
			sender->stream->next(sender->stream->context, burst->bytes[count], &burst->lengths[count], err);

		if (code < 0)
			return code;
		if (code == 0) {
			sender->ended = true;
			break;
		}
		burst->pieces[count] =
			(struct iovec){.iov_base = burst->bytes[count], .iov_len = burst->lengths[count]};
		burst->messages[count].msg_hdr = (struct msghdr){.msg_iov = &burst->pieces[count], .msg_iovlen = 1};
		count++;
	}
	return (int)count;
}

/* Whether a failed send is that one packet's end and not the run's. */
static bool is_lost_packet(int code)
{
	return code == ENOBUFS || code == EAGAIN || code == EMSGSIZE || code == ENOMEM;
}

/* Sends the `count` frames of the burst; what the interface refuses counts as failed. */
static int flush(struct sender *sender, uint32_t count, struct error *err)
{
	uint32_t done = 0;

	while (done < count) {
		int accepted = sendmmsg(sender->fd, sender->burst->messages + done, count - done, 0);

		if (accepted < 0 && errno == EINTR)
			continue;
		if (accepted < 0 && !is_lost_packet(errno))
			return error_set(err, -errno, "interface %s: does not send: %s: check that it is up",
			                 sender->plan->interface, strerror(errno));
		if (accepted < 0) {
			sender->result.failed++;
			done++;
			continue;
		}
		for (int i = 0; i < accepted; i++)
			sender->result.bytes += sender->burst->lengths[done + (uint32_t)i];
		sender->result.sent += (uint64_t)accepted;
		done += (uint32_t)accepted;
	}
	return 0;
}

/* Sends `wanted` packets or what the stream still has. */
static int send_packets(struct sender *sender, uint64_t wanted, struct error *err)
{
	while (wanted && !sender->ended && !*sender->plan->stop) {
		int count = fill(sender, wanted < BATCH ? (uint32_t)wanted : BATCH, err);
		int code = count > 0 ? flush(sender, (uint32_t)count, err) : count;

		if (code < 0)
			return code;
		wanted -= (uint64_t)count;
	}
	return 0;
}

static int run_flat_out(struct sender *sender, uint64_t start_ns, struct error *err)
{
	const struct traffic_plan *plan = sender->plan;
	uint64_t left = plan->count;

	while (left && !sender->ended && !*plan->stop && traffic_now_ns() - start_ns < plan->duration_ns) {
		uint64_t wanted = left < BATCH ? left : BATCH;
		int code = send_packets(sender, wanted, err);

		if (code < 0)
			return code;
		left -= wanted;
	}
	return 0;
}

static int run_at_rate(struct sender *sender, uint64_t start_ns, struct error *err)
{
	const struct traffic_plan *plan = sender->plan;
	uint64_t target = traffic_target(plan);
	uint64_t group = plan->rate_pps * GROUP_NS / NS_PER_S;
	uint64_t burst_max = plan->rate_pps * CATCH_UP_NS / NS_PER_S;
	uint64_t tried = 0, not_before_ns = 0;

	burst_max = burst_max ? burst_max : 1;
	while (tried < target && !sender->ended && !*plan->stop) {
		uint64_t last = tried + (group ? group - 1 : 0);
		uint64_t wake_ns = start_ns + due_after_ns(last < target ? last : target - 1, plan->rate_pps);

		sleep_until(wake_ns > not_before_ns ? wake_ns : not_before_ns);
		if (*plan->stop)
			break;

		uint64_t now_ns = traffic_now_ns();
		uint64_t due = due_within(now_ns > start_ns ? now_ns - start_ns : 0, plan->rate_pps);
		uint64_t wanted = (due < target ? due : target) - tried;

		not_before_ns = wanted > burst_max ? now_ns + CATCH_UP_GAP : 0;
		wanted = wanted < burst_max ? wanted : burst_max;

		int code = send_packets(sender, wanted, err);

		if (code < 0)
			return code;
		tried += wanted;
	}
	/* The last packet's turn is over when the next would be due: only so do ten packets at 10/s take a second. */
	if (!sender->ended && !*plan->stop)
		sleep_until(start_ns + due_after_ns(target, plan->rate_pps));
	return 0;
}

int paced_run(const struct traffic_plan *plan, const struct traffic_stream *stream, struct traffic_result *out,
              struct error *err)
{
	_cleanup_close_ int fd = open_socket(plan, err);

	if (fd < 0)
		return fd;

	_cleanup_free_ struct burst *burst = calloc(1, sizeof(*burst));

	if (!burst)
		return error_set(err, -ENOMEM, "frames: out of memory: free some");

	struct sender sender = {.fd = fd, .plan = plan, .stream = stream, .burst = burst, .result.engine = "packet"};

	/* The default slack of 50 us is as long as five packets at 100,000 a second. */
	prctl(PR_SET_TIMERSLACK, 1);

	uint64_t start_ns = traffic_now_ns();
	int code = plan->rate_pps ? run_at_rate(&sender, start_ns, err) : run_flat_out(&sender, start_ns, err);

	if (code < 0)
		return code;
	sender.result.begin_ns = start_ns;
	sender.result.elapsed_ns = traffic_now_ns() - start_ns;
	*out = sender.result;
	return 0;
}
