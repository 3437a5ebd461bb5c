/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel programs: loaded for the features that are used, around the pinned maps, and swapped under the links. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "datapath/internal.h"
#include "datapath/pins.h"
#include "datapath/probe.h"

/* The last lines that libbpf had to say, kept for the error and not for the terminal. */
static char libbpf_words[512];

__attribute__((format(printf, 2, 0))) static int keep_libbpf_words(enum libbpf_print_level level, const char *format,
                                                                   va_list arguments)
{
	char line[512];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), format, arguments);
	if (!strstr(line, "-- BEGIN PROG LOAD LOG --")) {
		line[strcspn(line, "\n")] = '\0';
		if (!libbpf_words[0])
			snprintf(libbpf_words, sizeof(libbpf_words), "%s", line);
	}
	return 0;
}

/* The map of the program that is loaded, by its descriptor; -1 where there is none. */
static int loaded_map(const struct keeper *keeper, const char *name)
{
	const struct bpf_map *map = keeper->skeleton ? bpf_object__find_map_by_name(keeper->skeleton->obj, name) : NULL;

	return map && bpf_map__autocreate(map) ? bpf_map__fd(map) : -1;
}

/* Gives a program the maps of the one whose place it takes, whether or not their pins are there, and else those that
 * are pinned. Says whether all of these were; those aside that come and go with a feature. */
static int share_maps(const struct keeper *keeper, struct spillway_bpf *skeleton, bool *complete, struct error *err)
{
	struct bpf_map *map;

	*complete = true;
	bpf_object__for_each_map(map, skeleton->obj)
	{
		char path[PATH_MAX];
		const char *name = pins_map_name(bpf_map__name(map));
		if (!name || !bpf_map__autocreate(map))
			continue;
		int loaded = loaded_map(keeper, bpf_map__name(map));
		pins_path(keeper->pins, name, path);
		if (loaded < 0 ? bpf_map__set_pin_path(map, path) < 0 : bpf_map__reuse_fd(map, loaded) < 0)
			return error_set(err, -errno, "%s: cannot share the map: %s", path, strerror(errno));
		*complete &= map == skeleton->maps.tags || access(path, F_OK) == 0;
	}
	return 0;
}

/* The verifier answers EACCES for a program that it rejects, so that only EPERM is about rights. */
const char *program_remedy(int failure)
{
	switch (failure) {
	case -EPERM:
		return "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
	case -EACCES:
		return "its verifier rejects a program: grant CAP_PERFMON, or report it with the kernel's version";
	case -ENOMEM:
		return "lower 'table.users', or allow it more memory";
	default:
		return "kernel 5.15 with BTF is the oldest that it is made for";
	}
}

/* What the program that is being loaded uses: libbpf passes its handlers nothing that changes. */
static struct {
	uint32_t features;
	uint32_t sets;
	const struct bpf_map *flat; /* the map of the meter's table, where that is one value */
} to_load;

/* What an instruction becomes that asks for what is known now: see bpf/features.h. And where the meter's table is one
 * value, its map's name becomes its address: libbpf knows that of its own variables alone. */
static void answer(struct bpf_insn *asks)
{
	uint32_t operand = (uint32_t)asks->imm;

	if (asks->code == (BPF_ALU64 | BPF_MOV | BPF_K) && (operand & FEATURE_ASKED_MASK) == FEATURE_ASKED)
		asks->imm = (int32_t)(operand & to_load.features & ~FEATURE_ASKED_MASK);
	else if (asks->code == (BPF_ALU64 | BPF_AND | BPF_K) && operand == SETS_MASK_ASKED)
		asks->imm = (int32_t)(to_load.sets - 1);
	else if (asks->code == (BPF_LD | BPF_IMM | BPF_DW) && asks->src_reg == BPF_PSEUDO_MAP_FD && to_load.flat &&
	         asks->imm == bpf_map__fd(to_load.flat))
		asks->src_reg = BPF_PSEUDO_MAP_VALUE;
}

/* Answers what a program's instructions ask. libbpf calls it when all of them are in their place. */
static int answer_all(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	size_t count = bpf_program__insn_cnt(program);
	_cleanup_free_ struct bpf_insn *answered = calloc(count, sizeof(*answered));

	(void)options;
	(void)cookie;
	if (!answered)
		return -ENOMEM;
	memcpy(answered, bpf_program__insns(program), count * sizeof(*answered));
	for (size_t i = 0; i < count; i++)
		answer(&answered[i]);
	return bpf_program__set_insns(program, answered, count);
}

/* Once for the process: libbpf before 1.3 uses freed memory where its last handler has been taken back. */
static int handle_questions(void)
{
	static int handler = -1;

	if (handler < 0)
		handler = libbpf_register_prog_handler(
			"xdp", BPF_PROG_TYPE_XDP, BPF_XDP,
			&(struct libbpf_prog_handler_opts){.sz = sizeof(struct libbpf_prog_handler_opts),
		                                           .prog_prepare_load_fn = answer_all});
	return handler < 0 ? handler : 0;
}

/* The meter's table has a size, and a shape. */
static void shape_table(const struct spillway_bpf *skeleton, const struct keeper *keeper, uint32_t features)
{
	struct bpf_map *const tables[] = {skeleton->maps.meter_sets, skeleton->maps.meter_details,
	                                  skeleton->maps.meter_overflows, skeleton->maps.meter_gauges};

	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		bpf_map__set_max_entries(tables[i], keeper->sets);
	to_load.sets = keeper->sets;
	to_load.features = features;
	to_load.flat = NULL;
	if (!keeper->flat)
		return;
	bpf_map__set_max_entries(skeleton->maps.meter_sets, 1);
	bpf_map__set_value_size(skeleton->maps.meter_sets, keeper->sets * (uint32_t)sizeof(struct meter_set));
	to_load.flat = skeleton->maps.meter_sets;
	to_load.features |= FEATURE_FLAT;
}

int program_load(struct keeper *keeper, uint32_t features, struct error *err)
{
	libbpf_set_print(keep_libbpf_words);
	libbpf_words[0] = '\0';
	int failure = handle_questions();
	if (failure)
		return error_set(err, failure, "kernel programs: cannot choose their features: %s", strerror(-failure));
	keeper->grants = (struct datapath_grants){
		.frags = probe_frags(), .jiffies = probe_configuration(), .flat = keeper->flat};
	LIBBPF_OPTS(bpf_object_open_opts, open, .kconfig = keeper->grants.jiffies ? NULL : "CONFIG_HZ=0");
	_cleanup_(spillway_bpf__destroyp) struct spillway_bpf *skeleton = spillway_bpf__open_opts(&open);
	if (!skeleton)
		return error_set(err, -errno, "kernel programs: cannot open: %s", strerror(errno));

	shape_table(skeleton, keeper, features);
	bpf_map__set_max_entries(skeleton->maps.lists, keeper->list_entries);
	if (keeper->grants.frags)
		bpf_program__set_flags(skeleton->progs.spillway, BPF_F_XDP_HAS_FRAGS);
	bpf_map__set_autocreate(skeleton->maps.tags, features & FEATURE_TAGS);
	if (keeper->drop_passed)
		skeleton->rodata->action_passed = XDP_DROP;
	failure = share_maps(keeper, skeleton, &keeper->complete, err);
	if (failure)
		return failure;
	failure = spillway_bpf__load(skeleton);
	if (failure)
		return error_set(err, failure, "kernel programs: the kernel refused them: %s (%s): %s",
		                 strerror(-failure), libbpf_words, program_remedy(failure));
	/* The program has no use for the names, but holds them with the rest, so that all is found through it. */
	bpf_prog_bind_map(bpf_program__fd(skeleton->progs.spillway), bpf_map__fd(skeleton->maps.catalogues), NULL);

	for (size_t i = 0; i < keeper->links_count; i++)
		if (keeper->link_fds[i] >= 0 &&
		    bpf_link_update(keeper->link_fds[i], bpf_program__fd(skeleton->progs.spillway), NULL) < 0 &&
		    errno != ENOLINK)
			return error_set(err, -errno, "interface %s: cannot swap the program: %s",
			                 keeper->links[i].name, strerror(errno));
	if (keeper->skeleton)
		spillway_bpf__destroy(keeper->skeleton);
	keeper->skeleton = TAKE_PTR(skeleton);
	keeper->state = &keeper->skeleton->bss->state;
	keeper->features = features;
	return 0;
}
