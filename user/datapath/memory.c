/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define MIB (1 << 20)

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* The number in that file; UINT64_MAX where there is none, or it says "max". */
static uint64_t read_limit(const char *path)
{
	_cleanup_(file_closep) FILE *file = fopen(path, "re");
	char text[32], *end;

	if (!file || !fgets(text, sizeof(text), file))
		return UINT64_MAX;
	errno = 0;
	uint64_t limit = strtoull(text, &end, 10);
	return end == text || errno ? UINT64_MAX : limit;
}

/* The least limit of a group and of all those around it. */
static uint64_t least_limit(const char *root, const char *group, const char *name)
{
	uint64_t least = UINT64_MAX;
	char within[PATH_MAX], path[2 * PATH_MAX + 64];

	snprintf(within, sizeof(within), "%s", group);
	for (;;) {
		snprintf(path, sizeof(path), "%s%s/%s", root, within, name);
		uint64_t limit = read_limit(path);
		if (limit < least)
			least = limit;
		char *slash = strrchr(within, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* Lines of /proc/PID/cgroup (cgroups(7)): "4:memory:/group" in version 1, "0::/group" in version 2, which lies under
 * `unified` where both are there. */
uint64_t memory_allowed(const char *proc, const char *cgroup)
{
	char path[PATH_MAX], line[PATH_MAX];
	uint64_t least = UINT64_MAX;

	snprintf(path, sizeof(path), "%s/self/cgroup", proc);
	_cleanup_(file_closep) FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		static const struct {
			const char *controller, *mount, *name;
		} kinds[] = {{"memory", "/memory", "memory.limit_in_bytes"},
		             {"", "", "memory.max"},
		             {"", "/unified", "memory.max"}};
		char *controller = strchr(line, ':'), *group = controller ? strchr(controller + 1, ':') : NULL;
		if (!group)
			continue;
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
			if (strcmp(controller + 1, kinds[i].controller) != 0)
				continue;
			snprintf(path, sizeof(path), "%s%s", cgroup, kinds[i].mount);
			uint64_t limit = least_limit(path, group, kinds[i].name);
			least = limit < least ? limit : least;
		}
	}
	return least;
}

int memory_check(uint64_t needed, struct error *err)
{
	uint64_t allowed = memory_allowed("/proc", "/sys/fs/cgroup");

	if (needed <= allowed)
		return 0;
	return error_set(err, -ENOMEM,
	                 "memory: the table of users needs %llu MiB (%llu bytes), and the control group allows "
	                 "%llu MiB (%llu bytes): lower 'table.users', or allow more (MemoryMax=)",
	                 (unsigned long long)needed / MIB, (unsigned long long)needed,
	                 (unsigned long long)allowed / MIB, (unsigned long long)allowed);
}
