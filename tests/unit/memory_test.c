/* SPDX-License-Identifier: GPL-2.0-only */
/* What control groups allow, as both versions of them say it. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "datapath/memory.h"

static char root[] = "/tmp/spillway-memory-XXXXXX";

/* Writes a file below the root, with the directories on the way to it. */
static void put(const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	FILE *file = fopen(path, "w");
	if (!file || fputs(text, file) == EOF || fclose(file) == EOF)
		fail_msg("%s: cannot write", path);
}

static uint64_t allowed(const char *groups)
{
	char proc[PATH_MAX], cgroup[PATH_MAX];

	put("proc/self/cgroup", groups);
	snprintf(proc, sizeof(proc), "%s/proc", root);
	snprintf(cgroup, sizeof(cgroup), "%s/cgroup", root);
	return memory_allowed(proc, cgroup);
}

static void version_two_counts_the_least_on_the_way_up(void **state)
{
	(void)state;
	put("cgroup/a/memory.max", "5000\n");
	put("cgroup/a/b/memory.max", "max\n");
	put("cgroup/a/b/c/memory.max", "9000\n");
	assert_int_equal(allowed("0::/a/b/c\n"), 5000);
	assert_int_equal(allowed("0::/a\n"), 5000);
	assert_true(allowed("0::/\n") == UINT64_MAX);
}

static void version_one_has_a_hierarchy_for_memory(void **state)
{
	(void)state;
	put("cgroup/memory/x/memory.limit_in_bytes", "4096\n");
	put("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	assert_int_equal(allowed("5:cpu:/x\n4:memory:/x\n0::/\n"), 4096);
	assert_true(allowed("4:memory:/\n") == 9223372036854771712ULL);
}

static void what_cannot_be_read_is_no_limit(void **state)
{
	(void)state;
	put("cgroup/odd/memory.max", "many\n");
	assert_true(allowed("0::/odd\n") == UINT64_MAX);
	put("cgroup/odd/memory.max", "");
	assert_true(allowed("0::/odd\n") == UINT64_MAX);
	assert_true(allowed("nonsense\n\n:\n0:\n0::\n0::/gone\n") == UINT64_MAX);
	assert_true(memory_allowed("/nowhere", "/nowhere") == UINT64_MAX);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[PATH_MAX];
	(void)state;

	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command); /* NOLINT(concurrency-mt-unsafe,cert-env33-c) */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_two_counts_the_least_on_the_way_up),
		cmocka_unit_test(version_one_has_a_hierarchy_for_memory),
		cmocka_unit_test(what_cannot_be_read_is_no_limit),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
