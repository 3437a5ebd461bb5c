/* SPDX-License-Identifier: GPL-2.0-only */
/* The receivers of the benchmark, at one interface in turn. All are loaded at once, and what comes in goes to one of
 * them after the other without a pause in between: so they are compared within tenths of a second, where what else a
 * shared machine does is the same for all. Every receiver drops what it gets, so that nothing but the receiver is
 * weighed.
 *
 *     spillway-receiver INTERFACE [CONFIG PINS]
 *
 * does as the lines of its standard input say, and answers each with one: `ok`, or what was asked for.
 *     attach KIND     gives what comes in to spillway, drop, parse, line, lru_hash, or none of them. Without CONFIG
 * there is no Spillway, whose program on the kernel's drops would count those of others observe on|off  does beside
 * Spillway, while a line waits, what the daemon does wait MS measure MS      waits, and answers with the nanoseconds
 * that a packet took */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "control/batching.h"
#include "datapath/internal.h"
#include "datapath/lists.h"
#include "observe/observer.h"
#include "tools/bench/receivers.skel.h"

#define MS_MAX    60000
#define NS_PER_MS 1000000

struct receiver {
	const char *interface, *pins;
	struct datapath *datapath;
	struct observer *observer;
	struct receivers_bpf *others;
	int link; /* of the interface; -1: nobody receives */
	bool observing;
};

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "spillway-receiver: %s: %s\n", what, why);
	return -1;
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS}, NULL);
}

/* Packets that the interface has received, in 32 bits that wrap. */
static int received(const char *interface, uint32_t *packets)
{
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return complain(interface, strerror(errno));
	const struct ifaddrs *one = all;
	while (one &&
	       (strcmp(one->ifa_name, interface) != 0 || !one->ifa_addr || one->ifa_addr->sa_family != AF_PACKET))
		one = one->ifa_next;
	if (one)
		*packets = ((const struct rtnl_link_stats *)one->ifa_data)->rx_packets;
	freeifaddrs(all);
	return one ? 0 : complain(interface, "no such interface");
}

/* What the daemon does: reads the table, and says whether charges are settled in batches. */
static int tick(struct receiver *receiver)
{
	struct error err;

	if (observer_tick(receiver->observer, now_ns() / 1e9, &err) < 0)
		return complain("observe", err.text);
	datapath_batch(receiver->datapath,
	               batching_pays(datapath_batches(receiver->datapath), observer_active(receiver->observer)));
	return 0;
}

static int wait_ms(struct receiver *receiver, long ms)
{
	double until_ns = now_ns() + (double)ms * NS_PER_MS;

	if (!receiver->observing) {
		sleep_ms(ms);
		return 0;
	}
	while (now_ns() < until_ns) {
		if (tick(receiver) < 0)
			return -1;
		double rest_ms = (until_ns - now_ns()) / NS_PER_MS;
		sleep_ms(rest_ms < 0 ? 0 : rest_ms < OBSERVER_TICK_MS ? (long)rest_ms : OBSERVER_TICK_MS);
	}
	return 0;
}

static int answer_wait(struct receiver *receiver, const char *argument)
{
	if (wait_ms(receiver, strtol(argument, NULL, 10) % (MS_MAX + 1)) < 0)
		return -1;
	puts("ok");
	return 0;
}

static int answer_measure(struct receiver *receiver, const char *argument)
{
	uint32_t before, after;
	double began_ns = now_ns();

	if (received(receiver->interface, &before) < 0 ||
	    wait_ms(receiver, strtol(argument, NULL, 10) % (MS_MAX + 1)) < 0 ||
	    received(receiver->interface, &after) < 0)
		return -1;
	double took_ns = now_ns() - began_ns;
	if (after == before)
		return complain(receiver->interface, "no packet came: is the generator running?");
	printf("%.2f\n", took_ns / (after - before));
	return 0;
}

static int answer_observe(struct receiver *receiver, const char *argument)
{
	receiver->observing = receiver->observer && strcmp(argument, "on") == 0;
	puts("ok");
	return 0;
}

static int program_named(const struct receiver *receiver, const char *kind)
{
	if (strcmp(kind, "spillway") == 0 && receiver->datapath)
		return bpf_program__fd(receiver->datapath->keeper->skeleton->progs.spillway);
	const struct bpf_program *program = bpf_object__find_program_by_name(receiver->others->obj, kind);
	return program ? bpf_program__fd(program) : complain(kind, "no such receiver");
}

static int answer_attach(struct receiver *receiver, const char *kind)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);

	if (strcmp(kind, "none") == 0) {
		cleanup_close(&receiver->link);
		receiver->link = -1;
		puts("ok");
		return 0;
	}
	int program = program_named(receiver, kind);
	if (program < 0)
		return -1;
	if (receiver->link < 0)
		receiver->link = bpf_link_create(program, (int)if_nametoindex(receiver->interface), BPF_XDP, &options);
	else if (bpf_link_update(receiver->link, program, NULL) < 0)
		return complain(receiver->interface, strerror(errno));
	if (receiver->link < 0)
		return complain(receiver->interface, strerror(-receiver->link));
	puts("ok");
	return 0;
}

static int answer(struct receiver *receiver, char *line)
{
	static const struct {
		const char *verb;
		int (*answer)(struct receiver *receiver, const char *argument);
	} verbs[] = {
		{"attach", answer_attach},
		{"observe", answer_observe},
		{"wait", answer_wait},
		{"measure", answer_measure},
	};
	char *argument = line + strcspn(line, " ");

	line[strcspn(line, "\n")] = '\0';
	if (*argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(line, verbs[i].verb) == 0)
			return verbs[i].answer(receiver, argument);
	return complain(line, "no such verb");
}

static int load_spillway(struct receiver *receiver, const char *file)
{
	struct datapath_options options = {.pins = receiver->pins, .drop_passed = true};
	_cleanup_free_ struct config_faults *faults = calloc(1, sizeof(*faults));
	struct config *config;
	struct error err;

	if (!faults || config_load(file, &config, faults) < 0)
		return complain(file, faults ? faults->faults[0].text : "no memory");
	options.table_users = config->table_users;
	int failure = datapath_open(&receiver->datapath, &options, &err);
	if (!failure)
		failure = lists_file(receiver->datapath, &config->lists, &err);
	if (!failure)
		failure = datapath_apply(receiver->datapath, config, &err);
	config_free(config);
	if (!failure)
		failure = observer_new(&receiver->observer, receiver->datapath, &err);
	return failure ? complain("spillway", err.text) : 0;
}

static int load(struct receiver *receiver, const char *file)
{
	if (file && load_spillway(receiver, file) < 0)
		return -1;
	receiver->others = receivers_bpf__open_and_load();
	return receiver->others ? 0 : complain("load", strerror(errno));
}

static int unload(struct receiver *receiver)
{
	struct error err;

	if (receiver->link >= 0)
		close(receiver->link);
	if (receiver->others)
		receivers_bpf__destroy(receiver->others);
	if (receiver->observer)
		observer_free(receiver->observer);
	datapath_close(receiver->datapath);
	return receiver->pins && datapath_unload(receiver->pins, &err) < 0 ? complain("unload", err.text) : 0;
}

int main(int argc, char **argv)
{
	char line[64];
	int failure;

	if (argc != 2 && argc != 4)
		return complain("usage", "spillway-receiver INTERFACE [CONFIG PINS]") < 0;
	struct receiver receiver = {.interface = argv[1], .pins = argc == 4 ? argv[3] : NULL, .link = -1};
	setvbuf(stdout, NULL, _IOLBF, 0);
	failure = load(&receiver, argc == 4 ? argv[2] : NULL);
	while (!failure && fgets(line, sizeof(line), stdin))
		failure = answer(&receiver, line);
	return unload(&receiver) < 0 || failure;
}
