/* SPDX-License-Identifier: GPL-2.0-only */
#include "packet/world.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <string.h>

#include "datapath/image.h"
#include "datapath/internal.h"
#include "datapath/lists.h"

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

bool world_emulated(void)
{
	return getenv("EMULATED") != NULL;
}

void world_apply(struct world *world, const char *yaml)
{
	struct config_faults faults = {0};
	struct config *config;
	struct error err;

	if (config_parse(yaml, strlen(yaml), &config, &faults) < 0)
		fail("configuration:%u:%u: %s", faults.faults[0].mark.line, faults.faults[0].mark.column,
		     faults.faults[0].text);
	if (lists_file(world->datapath, &config->lists, &err) < 0 || datapath_apply(world->datapath, config, &err) < 0)
		fail("%s", err.text);
	config_free(config);
}

void world_make(struct world *world, const char *yaml)
{
	struct datapath_options options = {.pins = world->pins,
	                                   .table_users = world->table_users ? world->table_users : 1000,
	                                   .drop_passed = world->drop_passed};
	struct error err;

	snprintf(world->pins, sizeof(world->pins), "/sys/fs/bpf/spillway-test-%d", getpid());
	if (datapath_open(&world->datapath, &options, &err) < 0)
		fail("%s", err.text);
	world_apply(world, yaml);
}

void world_remove(struct world *world)
{
	struct error err;

	datapath_close(world->datapath);
	world->datapath = NULL;
	if (datapath_unload(world->pins, &err) < 0)
		fail("%s", err.text);
}

unsigned world_run(struct world *world, const unsigned char *frame, size_t length, unsigned repeat)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = (__u32)length, .repeat = (int)repeat);

	int failure = bpf_prog_test_run_opts(bpf_program__fd(world->datapath->keeper->skeleton->progs.spillway), &run);
	if (failure < 0)
		fail("test run of %zu bytes: %s", length, strerror(-failure));
	return run.retval;
}

static void clear_percpu(const struct bpf_map *map)
{
	_cleanup_free_ void *zero = calloc((size_t)libbpf_num_possible_cpus(), bpf_map__value_size(map));

	for (__u32 key = 0; key < bpf_map__max_entries(map); key++)
		bpf_map_update_elem(bpf_map__fd(map), &key, zero, BPF_ANY);
}

/* What waits to be charged, and who is watched. */
static void forget_batches(const struct spillway_bpf *skeleton)
{
	_cleanup_free_ void *nobody = calloc(1, bpf_map__value_size(skeleton->maps.watches));
	__u32 first = 0;

	clear_percpu(skeleton->maps.batches);
	if (!nobody || bpf_map_update_elem(bpf_map__fd(skeleton->maps.watches), &first, nobody, BPF_ANY) < 0)
		fail("cannot clear who is watched");
}

void world_forget(struct world *world)
{
	struct datapath *dp = world->datapath;
	struct error err;

	for (int key = 0; key < HASH_KEYS - 1; key++)                 /* the last one is in the lists' filter already */
		dp->state->live.hash_keys[key] += 0x9e3779b97f4a7c16; /* even: they stay odd */
	memset(dp->details, 0, dp->sets * sizeof(*dp->details));
	memset(dp->table, 0, dp->sets * sizeof(*dp->table));
	memset(dp->overflows, 0, dp->sets * sizeof(*dp->overflows));
	memset(dp->state->capacities, 0, sizeof(dp->state->capacities));
	forget_batches(dp->keeper->skeleton);
	if (datapath_empty_cells(dp, &err) < 0)
		fail("%s", err.text);
}

void world_reset(struct world *world)
{
	clear_percpu(world->datapath->keeper->skeleton->maps.tallies);
	clear_percpu(world->datapath->keeper->skeleton->maps.malformations);
	world_forget(world);
}

struct service_tallies world_tallies(struct world *world, const char *service)
{
	struct service_tallies tallies;
	struct error err;
	int number = catalogue_find(datapath_catalogue(world->datapath), service);

	if (number < 0)
		fail("service %s: there is none of that name", service);
	if (datapath_read_tallies(world->datapath, (unsigned)number, &tallies, &err) < 0)
		fail("%s", err.text);
	return tallies;
}

const struct user_detail *world_only_user(struct world *world, __u64 *packets, __u64 *bytes)
{
	const struct datapath *dp = world->datapath;
	const struct user_detail *found = NULL;

	for (size_t set = 0; set < dp->sets; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++) {
			if (!dp->table[set].cells[cell].tag)
				continue;
			if (found)
				return NULL;
			found = &dp->details[set].users[cell];
			*packets = found->carried_packets + (dp->table[set].states[cell] & STATE_PACKETS_MASK);
			*bytes = found->carried_bytes + dp->table[set].cells[cell].bytes;
		}
	}
	return found;
}
