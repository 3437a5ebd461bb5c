/* SPDX-License-Identifier: GPL-2.0-only */
/* Attaches one receiver of the benchmark to an interface and holds it until standard input ends. Every receiver drops
 * what it gets, so that nothing but the receiver is weighed. spillway-receiver spillway INTERFACE CONFIG PINS
 *   spillway-receiver drop|parse|line|lru_hash INTERFACE */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "control/batching.h"
#include "datapath/datapath.h"
#include "observe/observer.h"
#include "tools/bench/receivers.skel.h"

DEFINE_CLEANUP(struct observer, observer_free)

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "spillway-receiver: %s: %s\n", what, why);
	return 1;
}

static void hold(void)
{
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
}

/* Holds Spillway, and does beside it what the daemon does: reads the table, and says whether charges are settled in
 * batches. Up to a line on standard input, if there is one: from then on the program is weighed by itself. */
static int hold_observing(struct datapath *dp, struct error *err)
{
	_cleanup_(observer_freep) struct observer *observer = NULL;
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	int failure = observer_new(&observer, dp, err);
	if (failure)
		return failure;
	puts("ready");
	fflush(stdout);
	while (!failure && poll(&input, 1, OBSERVER_TICK_MS) == 0) {
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		failure = observer_tick(observer, (double)now.tv_sec + (double)now.tv_nsec / 1e9, err);
		datapath_batch(dp, batching_pays(datapath_batches(dp), observer_active(observer)));
	}
	while (!failure && getchar() != EOF)
		;
	return failure;
}

static int hold_program(const char *name, const char *interface)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	struct receivers_bpf *skeleton = receivers_bpf__open_and_load();
	if (!skeleton)
		return complain("load", strerror(errno));

	struct bpf_program *program = bpf_object__find_program_by_name(skeleton->obj, name);
	if (!program)
		return complain(name, "no such receiver");
	_cleanup_close_ int link =
		bpf_link_create(bpf_program__fd(program), (int)if_nametoindex(interface), BPF_XDP, &options);
	if (link < 0)
		return complain(interface, strerror(errno));
	hold();
	receivers_bpf__destroy(skeleton);
	return 0;
}

static int hold_spillway(const char *interface, const char *file, const char *pins)
{
	struct datapath_options options = {.pins = pins, .drop_passed = true};
	_cleanup_free_ struct config_faults *faults = calloc(1, sizeof(*faults));
	struct datapath *dp;
	struct config *config;
	struct error err;

	if (!faults || config_load(file, &config, faults) < 0)
		return complain(file, faults ? faults->faults[0].text : "no memory");
	options.table_users = config->table_users;
	int failure = datapath_open(&dp, &options, &err);
	if (failure)
		return complain("open", err.text);
	failure = datapath_apply(dp, config, &err);
	if (!failure)
		failure = datapath_attach(dp, interface, &err);
	if (!failure)
		failure = hold_observing(dp, &err);
	datapath_close(dp);
	config_free(config);
	if (failure)
		complain(interface, err.text);
	if (datapath_unload(pins, &err) < 0)
		return complain("unload", err.text);
	return failure != 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "spillway") == 0)
		return hold_spillway(argv[2], argv[3], argv[4]);
	if (argc == 3)
		return hold_program(argv[1], argv[2]);
	return complain("usage", "spillway-receiver KIND INTERFACE [CONFIG PINS]");
}
