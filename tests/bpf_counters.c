/* SPDX-License-Identifier: GPL-2.0-only */
/* Preloaded where coverage is counted: kernel programs keep their counters in one map for all processes, pinned below
 * BPF_COUNTERS by the skeleton's name, so that nothing of it is in the program itself. */
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bpf_object__load_skeleton(struct bpf_object_skeleton *skeleton)
{
	int (*load)(struct bpf_object_skeleton *);
	const char *directory = getenv("BPF_COUNTERS");
	struct bpf_map *map;
	char path[256];

	*(void **)&load = dlsym(RTLD_NEXT, "bpf_object__load_skeleton"); /* as dlsym(3) writes it */
	bpf_object__for_each_map(map, *skeleton->obj)
	{
		const char *section = strrchr(bpf_map__name(map), '.');
		if (directory && access(directory, W_OK) == 0 && section && strcmp(section, ".cov") == 0) {
			snprintf(path, sizeof(path), "%s/%s", directory, skeleton->name);
			bpf_map__set_pin_path(map, path);
		}
	}
	return load(skeleton);
}
