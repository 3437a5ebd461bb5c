/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/probe.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PIECE_BYTES_MAX (4U << 20) /* KMALLOC_MAX_SIZE */

bool probe_frags(void)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	_cleanup_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "frags", "GPL", pass, 2, &options);

	/* Where something else is wrong, such as rights, the real program will meet it, and say so. */
	return fd >= 0 || errno != EINVAL;
}

bool probe_large_values(void)
{
	_cleanup_close_ int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "large_value", 4, PIECE_BYTES_MAX + 8, 1, NULL);

	return fd >= 0;
}

bool probe_configuration(void)
{
	char path[PATH_MAX];
	struct utsname kernel;

	uname(&kernel);
	snprintf(path, sizeof(path), "/boot/config-%s", kernel.release);
	return access(path, R_OK) == 0 || access("/proc/config.gz", R_OK) == 0; /* where libbpf looks */
}
