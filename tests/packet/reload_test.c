/* SPDX-License-Identifier: GPL-2.0-only */
/* F31. The policy is changed under full traffic on two CPUs, and no packet is judged by a mixture of two policies, or
 * by none.
 *
 * Three policies take turns, so that a slot never gets what it had, and are made so that a mixture shows. In each, the
 * port that is sent to belongs to one of three services, whose limit is out of reach, while those of the others stop
 * everything. So the classifier of one with the policy of another spills, and so does the first half of a policy block
 * (which limits there are) with the second half of another (how high those in bytes are). RELOADS: how many changes
 * (500). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "datapath/internal.h"
#include "packet/hammer.h"
#include "packet/world.h"

#define RELOADS        500
#define RELOADS_FEWER  50 /* on an emulated processor */
#define WARM_UP        20 /* changes before memory is first looked at */
#define RUNS           100000
#define GROWTH_MAX_KIB 512

enum { SERVICES = 3 };

/* Each has a limit in bytes somewhere: the program is loaded once. */
#define POLICY(reachable, stopped, also_stopped, destinations)                                                       \
	"mode: enforce\nservices:\n"                                                                                 \
	"  - {name: " reachable ", protocol: udp, ports: [53], destinations: [" destinations ", \"2001:db8::/32\"]," \
	" limit: {bytes_per_second: 10GB, burst_bytes: 10GB}}\n"                                                     \
	"  - {name: " stopped ", protocol: udp, ports: [54], limit: {packets_per_second: 0.1, burst: 1}}\n"          \
	"  - {name: " also_stopped ", protocol: udp, ports: [55], limit: {packets_per_second: 0.1, burst: 1}}\n"

static const char *const services[SERVICES] = {"a", "b", "c"};
static const char *const policies[SERVICES] = {POLICY("a", "b", "c", "192.0.2.1/32"),
                                               POLICY("b", "c", "a", "192.0.0.0/16"),
                                               POLICY("c", "a", "b", "0.0.0.0/0")};

static struct world world;

static unsigned reloads_wanted(void)
{
	const char *text = getenv("RELOADS");

	if (text)
		return (unsigned)strtoul(text, NULL, 10);
	return world_emulated() ? RELOADS_FEWER : RELOADS;
}

/* What this process, which does the daemon's part, holds of the kernel's: maps and programs are descriptors. */
static unsigned descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	assert_int_not_equal(count, 0);
	return count;
}

/* The most memory that this process has had so far. */
static long peak_kib(void)
{
	struct rusage used;

	assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
	return used.ru_maxrss;
}

static void test_no_packet_meets_a_mixture(void **state)
{
	unsigned reloads = reloads_wanted(), held = 0;
	long kib = 0;
	struct hammer hammers[HAMMERS_MAX];
	struct shot *shots = calloc(2, sizeof(*shots));
	__u64 counted = 0, sent = 0;

	(void)state;
	assert_non_null(shots);
	unsigned runs = world_emulated() ? RUNS / 50 : RUNS;
	shot_load(&shots[0], "4 udp:53", runs);
	shot_load(&shots[1], "6 udp:53", runs);
	hammers_start(hammers, HAMMERS_MAX, &world, shots, 2, 0);
	for (unsigned i = 0; i < WARM_UP + reloads; i++) {
		world_apply(&world, policies[i % SERVICES]);
		if (i + 1 == WARM_UP) {
			held = descriptors();
			kib = peak_kib();
		}
	}
	hammers_end(hammers, HAMMERS_MAX);
	free(shots);

	long grown_kib = peak_kib() - kib;
	for (int i = 0; i < HAMMERS_MAX; i++)
		sent += hammers[i].packets;
	for (int i = 0; i < SERVICES; i++)
		counted += world_tallies(&world, services[i]).outcomes[OUTCOME_PASSED].packets;
	printf("%u changes under %llu packets, %llu passed; %ld KiB more\n", reloads, (unsigned long long)sent,
	       (unsigned long long)counted, grown_kib);
	assert_int_equal(counted, sent);
	assert_int_equal(descriptors(), held);
	assert_true(grown_kib < GROWTH_MAX_KIB);
}

static int make(void **state)
{
	(void)state;
	world_make(&world, policies[SERVICES - 1]);
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_packet_meets_a_mixture),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
