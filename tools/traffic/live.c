/* SPDX-License-Identifier: GPL-2.0-only */
/* The fast engine: the XDP program of traffic.bpf.c, run by BPF_PROG_RUN with live frames, in calls short enough that
 * time bounds and signals are kept. Must not know options or how results are shown. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "traffic.h"

/* The skeleton is one long string. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
#include "tools/traffic/traffic.skel.h"
#pragma GCC diagnostic pop

#define NS_PER_S     1000000000ULL
#define BATCH        64
#define CALL_NS      1000000000ULL
#define SETUP_NS     24000000ULL /* measured: of each call, before its first frame */
#define FIRST_FRAMES 8192        /* enough to measure by */
#define SETTLE_NS    20000000    /* until the peer has counted the last frames */

DEFINE_CLEANUP(struct traffic_bpf, traffic_bpf__destroy)
DEFINE_CLEANUP(struct ifaddrs, freeifaddrs)

/* What an interface says that it sent: packets, modulo 2^32. */
struct odometer {
	bool exact; /* veth counts at once; hardware may lag by seconds, and is believed */
	uint32_t last;
	uint64_t packets;
};

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static int load_failed(struct error *err, int code, const char *what)
{
	return error_set(
		err, code,
		"%s: %s: be root (CAP_BPF, CAP_NET_ADMIN) on Linux 5.18 or later, or send at most %d packets/s", what,
		strerror(-code), TRAFFIC_PACED_PPS_MAX);
}

static bool is_veth(const char *interface)
{
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (char *)&driver};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(request.ifr_name, interface, strnlen(interface, IFNAMSIZ - 1));
	return fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0 && strcmp(driver.driver, "veth") == 0;
}

/* By way of getifaddrs(): /sys may show another network namespace's interfaces. */
static uint32_t tx_packets(const char *interface, uint32_t unknown)
{
	_cleanup_(freeifaddrsp) struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return unknown;
	for (struct ifaddrs *one = all; one; one = one->ifa_next) {
		const struct rtnl_link_stats *stats = one->ifa_data;

		if (stats && one->ifa_addr && one->ifa_addr->sa_family == AF_PACKET &&
		    strcmp(one->ifa_name, interface) == 0)
			return stats->tx_packets;
	}
	return unknown;
}

static void odometer_start(struct odometer *odometer, const char *interface)
{
	odometer->exact = is_veth(interface);
	odometer->last = tx_packets(interface, 0);
}

static void odometer_advance(struct odometer *odometer, const char *interface)
{
	uint32_t now = tx_packets(interface, odometer->last);

	odometer->packets += now - odometer->last;
	odometer->last = now;
}

/* The template with the halves of the source address that do not vary, and their part of the sums. */
static void place_template(struct traffic_bpf *bpf, const struct traffic_plan *plan, const struct frame *frame,
                           const struct sources *sources)
{
	uint8_t bytes[sizeof(bpf->rodata->header)] = {0};
	size_t address_bytes = frame->ipv4 ? 4 : 16;
	uint32_t word_at = frame->ipv4 ? 0 : sources->word_offset;
	uint8_t *address = bytes + frame->source_offset;

	memcpy(bytes, frame->bytes, frame->header_length);
	memcpy(address, sources->address + 16 - address_bytes, address_bytes);
	memset(address + word_at, 0, sources->word_bytes);

	memcpy(bpf->rodata->header, bytes, sizeof(bytes));
	bpf->rodata->header_length = frame->header_length;
	bpf->rodata->word_offset = frame->source_offset + word_at;
	bpf->rodata->word_bytes = sources->word_bytes;
	bpf->rodata->word = sources->word;
	bpf->rodata->ip_checksum_offset = frame->ip_checksum_offset;
	bpf->rodata->checksum_offset = frame->checksum_offset;
	bpf->rodata->ip_sum = frame->ip_sum;
	bpf->rodata->sum = frame_sum(address, address_bytes, frame->sum);
	bpf->rodata->distribution = sources->distribution;
	bpf->rodata->users = sources->users;
	bpf->rodata->host_bits = sources->host_bits;
	bpf->rodata->ifindex = (uint32_t)plan->ifindex;
	bpf->rodata->rate_pps = plan->rate_pps;
	bpf->bss->sent = 0;
	bpf->data->state.random = sources->state.random;
	bpf->data->state.counter = sources->state.counter;
}

static int load(const struct traffic_plan *plan, const struct frame *frame, const struct sources *sources,
                struct traffic_bpf **out, struct error *err)
{
	libbpf_set_print(silent);

	_cleanup_(traffic_bpf__destroyp) struct traffic_bpf *bpf = traffic_bpf__open();

	if (!bpf)
		return load_failed(err, -errno, "XDP program: cannot be opened");
	place_template(bpf, plan, frame, sources);

	int code = traffic_bpf__load(bpf);

	if (code < 0)
		return load_failed(err, code, "XDP program: the kernel does not load it");
	for (uint32_t i = 0; sources->zipf && i < SPREAD_ZIPF_STEPS; i++) {
		code = bpf_map__update_elem(bpf->maps.zipf, &i, sizeof(i), &sources->zipf[i], sizeof(*sources->zipf),
		                            BPF_ANY);
		if (code < 0)
			return load_failed(err, code, "Zipf table: cannot be filled");
	}
	*out = TAKE_PTR(bpf);
	return 0;
}

/* One BPF_PROG_RUN of `frames`. Sets `*frame_ns` to what one took. A signal ends the call early, which is no error. */
static int call(struct traffic_bpf *bpf, const struct frame *frame, uint64_t frames, uint64_t *frame_ns,
                struct error *err)
{
	struct bpf_test_run_opts opts = {
		.sz = sizeof(opts),
		.data_in = frame->bytes,
		.data_size_in = frame->length,
		.repeat = (int)frames,
		.flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		.batch_size = BATCH,
	};
	int code = bpf_prog_test_run_opts(bpf_program__fd(bpf->progs.generate), &opts);

	if (code == -EINTR)
		return 0;
	if (code < 0)
		return load_failed(err, code, "live frames: the kernel does not send them");
	*frame_ns = opts.duration ? opts.duration : 1;
	return 0;
}

/* Frames of the next call, flat out: as many as fit into CALL_NS and into the rest of the run; 0 where none does. */
static uint64_t next_flat_out(uint64_t rest_ns, uint64_t frame_ns)
{
	if (rest_ns <= SETUP_NS)
		return 0;

	uint64_t time_ns = rest_ns - SETUP_NS < CALL_NS ? rest_ns - SETUP_NS : CALL_NS;

	return frame_ns ? time_ns / frame_ns : FIRST_FRAMES;
}

/* The same at a rate: what falls due during the call and its set-up, so that the next one starts on time. */
static uint64_t next_at_rate(uint64_t rest_ns, uint64_t rate_pps)
{
	uint64_t time_ns = (rest_ns < CALL_NS ? rest_ns : CALL_NS) + SETUP_NS;

	return time_ns * rate_pps / NS_PER_S + 1;
}

static int send_all(struct traffic_bpf *bpf, const struct traffic_plan *plan, const struct frame *frame,
                    struct odometer *odometer, struct error *err)
{
	uint64_t target = traffic_target(plan);
	uint64_t frame_ns = 0;

	while (!*plan->stop) {
		uint64_t passed_ns = traffic_now_ns() - bpf->bss->start_ns;

		if (passed_ns >= plan->duration_ns)
			return 0;

		uint64_t rest_ns = plan->duration_ns - passed_ns;
		uint64_t rest = target - bpf->bss->sent;
		uint64_t frames =
			plan->rate_pps ? next_at_rate(rest_ns, plan->rate_pps) : next_flat_out(rest_ns, frame_ns);

		if (rest == 0 || frames == 0)
			return 0;

		int code = call(bpf, frame, frames < rest ? frames : rest, &frame_ns, err);

		if (code < 0)
			return code;
		odometer_advance(odometer, plan->interface);
	}
	return 0;
}

int live_run(const struct traffic_plan *plan, const struct frame *frame, struct sources *sources,
             struct traffic_result *out, struct error *err)
{
	_cleanup_(traffic_bpf__destroyp) struct traffic_bpf *bpf = NULL;
	struct odometer odometer = {0};
	int code = load(plan, frame, sources, &bpf, err);

	if (code < 0)
		return code;
	odometer_start(&odometer, plan->interface);
	bpf->bss->start_ns = traffic_now_ns();
	code = send_all(bpf, plan, frame, &odometer, err);
	if (code < 0)
		return code;

	uint64_t elapsed_ns = traffic_now_ns() - bpf->bss->start_ns;
	uint64_t sent = bpf->bss->sent;

	nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
	odometer_advance(&odometer, plan->interface);

	uint64_t failed = odometer.exact && odometer.packets < sent ? sent - odometer.packets : 0;

	if (sent && failed == sent)
		return error_set(err, -ENXIO,
		                 "interface %s: took none of %llu frames: the other end of a veth pair takes them only "
		                 "when it is up and has an XDP program: attach one there (--attach-pass) or enable GRO",
		                 plan->interface, (unsigned long long)sent);
	*out = (struct traffic_result){.sent = sent - failed,
	                               .failed = failed,
	                               .bytes = (sent - failed) * frame->length,
	                               .begin_ns = bpf->bss->start_ns,
	                               .elapsed_ns = elapsed_ns,
	                               .engine = "xdp"};
	return 0;
}

int live_attach_pass(const char *interface, struct error *err)
{
	libbpf_set_print(silent);

	unsigned int ifindex = if_nametoindex(interface);
	_cleanup_(traffic_bpf__destroyp) struct traffic_bpf *bpf = traffic_bpf__open();

	if (ifindex == 0)
		return error_set(err, -ENODEV, "interface %s: not found: name one that 'ip link' shows here",
		                 interface);
	if (!bpf)
		return load_failed(err, -errno, "XDP program: cannot be opened");
	bpf_program__set_autoload(bpf->progs.generate, false);

	int code = traffic_bpf__load(bpf);

	if (code < 0)
		return load_failed(err, code, "XDP program: the kernel does not load it");

	int fd = bpf_link_create(bpf_program__fd(bpf->progs.pass), (int)ifindex, BPF_XDP, NULL);

	if (fd == -EBUSY || fd == -EEXIST)
		return error_set(err, fd, "interface %s: has an XDP program already: leave out --attach-pass",
		                 interface);
	if (fd < 0)
		return error_set(err, fd, "interface %s: does not take an XDP program: %s: be root, or use a veth",
		                 interface, strerror(-fd));
	return fd;
}
