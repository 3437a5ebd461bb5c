/* SPDX-License-Identifier: GPL-2.0-only */
/* F33. What the running kernel's verifier makes of every program: it takes the packet path with each feature alone,
 * with all of them and with all but one, and what stands beside it is on, or says why not; and it is nowhere near the
 * end of its patience. Prints `verified|PROGRAM|FEATURES|INSTRUCTIONS` for each. COMBINATIONS=all has every subset, in
 * a minute.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/internal.h"
#include "packet/world.h"

#define INSTRUCTIONS_MAX 500000 /* half of what a verifier looks at (BPF_COMPLEXITY_LIMIT_INSNS) */
#define EVERY_KIND                                                                                       \
	"mode: enforce\n"                                                                                \
	"tenants: [{name: home, prefixes: [198.51.100.0/24]}]\n"                                         \
	"services:\n"                                                                                    \
	"  - {name: shop, protocol: tcp, ports: [80], user: {kind: tag}, capacity: 1000,\n"              \
	"     limit: {packets_per_second: 1, burst: 50, bytes_per_second: 64, burst_bytes: 50500}}\n"    \
	"  - {name: game, protocol: udp, ports: [27015], user: {kind: payload, offset: 4, length: 8}}\n" \
	"  - {name: farm, protocol: udp, ports: [53], user: {kind: tenant}}\n"

static const char *const names[] = {"gauges", "capacity", "levels", "payload", "tenants", "tags", "lists", "response"};

#define FEATURES     (sizeof(names) / sizeof(*names))
#define ALL_FEATURES ((1U << FEATURES) - 1)

static struct world world;
static unsigned impatient; /* programs of the running test that are beyond the limit */

static void name_features(uint32_t features, char out[128])
{
	size_t length = 0;

	snprintf(out, 128, "none");
	for (size_t i = 0; i < FEATURES; i++)
		if (features & 1U << i)
			length += (size_t)snprintf(out + length, 128 - length, "%s%s", length ? "+" : "", names[i]);
	if (features == ALL_FEATURES)
		snprintf(out, 128, "all");
}

/* All are printed before any fails the test. */
static void weigh(const struct bpf_program *program, const char *features)
{
	struct bpf_prog_info loaded = {0};
	uint32_t size = sizeof(loaded);

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &loaded, &size), 0);
	printf("verified|%s|%s|%u\n", bpf_program__name(program), features, loaded.verified_insns);
	assert_true(loaded.verified_insns > 0);
	impatient += loaded.verified_insns > INSTRUCTIONS_MAX;
}

static void load(uint32_t features)
{
	struct error err;
	char words[128];

	name_features(features, words);
	if (program_load(world.datapath->keeper, features, &err) < 0)
		fail_msg("%s: %s", words, err.text);
	weigh(world.datapath->keeper->skeleton->progs.spillway, words);
}

static void test_no_feature(void **state)
{
	(void)state;
	load(0);
}

static void test_each_feature_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < FEATURES; i++)
		load(1U << i);
}

static void test_all_features_but_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < FEATURES; i++)
		load(ALL_FEATURES & ~(1U << i));
}

static void test_every_subset(void **state)
{
	(void)state;
	for (uint32_t features = 0; features <= ALL_FEATURES; features++)
		load(features);
}

static void test_all_features(void **state)
{
	(void)state;
	load(ALL_FEATURES);
}

/* What stands beside the packet path is there, or has a reason. */
static void assert_beside(bool on, const struct bpf_program *program, const char *name, const char *why)
{
	if (on) {
		weigh(program, "");
		return;
	}
	printf("refused|%s|%s\n", name, why);
	assert_true(*why);
}

static void test_programs_beside(void **state)
{
	(void)state;
	world_apply(&world, EVERY_KIND);
	const struct datapath *dp = world.datapath;
	const struct drops_bpf *drops = dp->keeper->drops.skeleton;
	const struct tag_bpf *tags = dp->keeper->tags.skeleton;

	assert_int_equal(dp->features & (FEATURE_TAGS | FEATURE_TENANTS | FEATURE_RESPONSE),
	                 FEATURE_TAGS | FEATURE_TENANTS | FEATURE_RESPONSE);
	assert_non_null(dp->keeper->responder.skeleton);
	weigh(dp->keeper->responder.skeleton->progs.response, "");
	assert_beside(tags, tags ? tags->progs.tag_set : NULL, "tag_set", dp->keeper->tags.why.text);
	assert_beside(tags, tags ? tags->progs.tag_end : NULL, "tag_end", dp->keeper->tags.why.text);
	assert_beside(drops, drops ? drops->progs.drop_seen : NULL, "drop_seen", dp->keeper->drops.why[DROP_SEEN].text);
	assert_beside(dp->keeper->drops.links[DROP_LISTENER], drops ? drops->progs.listener_asked : NULL,
	              "listener_asked", dp->keeper->drops.why[DROP_LISTENER].text);
}

static int begin(void **state)
{
	(void)state;
	impatient = 0;
	return 0;
}

/* A teardown that fails fails the test. */
static int judge(void **state)
{
	(void)state;
	if (impatient)
		print_error("%u programs are beyond %u instructions\n", impatient, INSTRUCTIONS_MAX);
	return impatient ? -1 : 0;
}

static int make(void **state)
{
	(void)state;
	world_make(&world, "{}");
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest every_subset[] = {
		cmocka_unit_test_setup_teardown(test_every_subset, begin, judge),
	};
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_feature, begin, judge),
		cmocka_unit_test_setup_teardown(test_each_feature_alone, begin, judge),
		cmocka_unit_test_setup_teardown(test_all_features, begin, judge),
		cmocka_unit_test_setup_teardown(test_all_features_but_one, begin, judge),
		cmocka_unit_test_setup_teardown(test_programs_beside, begin, judge),
	};

	const char *asked = getenv("COMBINATIONS");

	setvbuf(stdout, NULL, _IOLBF, 0); /* in order with what is wrong, when that goes to the same place */
	return cmocka_run_group_tests(tests, make, end) +
	       (asked && strcmp(asked, "all") == 0 ? cmocka_run_group_tests(every_subset, make, end) : 0);
}
