/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/keeper.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>

#include "datapath/internal.h"
#include "datapath/memory.h"
#include "datapath/pins.h"
#include "datapath/probe.h"

#define CELLS_PER_USER \
	2 /* sets fill unevenly: with twice the cells, 3 % of users meet a full set when all are active */
#define TABLE_USERS_MAX  (1ULL << 28) /* beyond any configuration's */
#define LIST_ENTRIES_MAX (1U << 28)
#define FLAT_SETS_MAX    ((1U << 29) / sizeof(struct meter_set)) /* BPF_MAX_VAR_OFF: how far an index may reach */
#define FEATURES_ALL     ((FEATURE_RESPONSE << 1) - 1)

static uint32_t sets_for(uint64_t users)
{
	uint64_t sets = 1;

	while (sets * SET_CELLS < users * CELLS_PER_USER)
		sets *= 2;
	return (uint32_t)sets;
}

static bool pinned_map(const char *pins, const char *name, struct bpf_map_info *out)
{
	char path[PATH_MAX];
	uint32_t size = sizeof(*out);

	pins_path(pins, name, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	return fd >= 0 && bpf_obj_get_info_by_fd(fd, out, &size) == 0;
}

/* The size that a pinned map has already; 0 where there is none. */
static uint32_t pinned_entries(const char *pins, const char *name)
{
	struct bpf_map_info map = {0};

	return pinned_map(pins, name, &map) ? map.max_entries : 0;
}

/* The shape that the meter's table has already: whether it is one value, and its sets; 0 where there is none. */
static uint32_t pinned_sets(const char *pins, bool *flat)
{
	struct bpf_map_info map = {0};

	if (!pinned_map(pins, "meter_sets", &map))
		return pinned_entries(pins, "meter_details");
	*flat = map.value_size > sizeof(struct meter_set);
	return map.max_entries * (map.value_size / (uint32_t)sizeof(struct meter_set));
}

/* The live words of the pinned state; NULL where there is none of this shape. Unmap it. */
static struct live *pinned_live(int fd)
{
	struct bpf_map_info map = {0};
	uint32_t size = sizeof(map);

	if (bpf_obj_get_info_by_fd(fd, &map, &size) < 0 || map.value_size != sizeof(struct state))
		return NULL;
	void *live = mmap(NULL, sizeof(struct live), PROT_READ, MAP_SHARED, fd, 0);
	return live == MAP_FAILED ? NULL : live;
}

/* The features that the pinned policy uses. */
static uint32_t pinned_features(const char *pins)
{
	char path[PATH_MAX];

	pins_path(pins, PIN_STATE, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct live *live = fd < 0 ? NULL : pinned_live(fd);
	if (!live)
		return 0;
	uint32_t features = live->features;
	munmap(live, sizeof(*live));
	return features;
}

/* State of another version is refused by name, never reset behind the operator's back. Says whether there is one to
 * adopt: a start that was cut short has left none. */
static int check_version(const char *pins, bool *adopted, struct error *err)
{
	char path[PATH_MAX];

	pins_path(pins, PIN_STATE, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_set(err, -errno, "%s: cannot open: %s: %s", path, strerror(errno), program_remedy(-errno));
	struct live *live = pinned_live(fd);
	bool ours = live && (live->abi == 0 || live->abi == SPILLWAY_ABI);
	*adopted = live && live->abi == SPILLWAY_ABI;
	if (live)
		munmap(live, sizeof(*live));
	if (!ours)
		return error_set(
			err, -ESTALE,
			"%s: state of another spillway version (this is %d) is pinned: 'spillway unload' removes it, "
			"with its counters and users",
			pins, SPILLWAY_ABI);
	return 0;
}

/* An update of a map of maps waits for all running programs (kernel 5.0, maybe_wait_bpf_programs). */
static int make_wait(struct keeper *keeper, struct error *err)
{
	keeper->wait_inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "spillway_wait", 4, 4, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)keeper->wait_inner);
	if (keeper->wait_inner >= 0)
		keeper->wait_outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "spillway_wait", 4, 4, 1, &options);
	if (keeper->wait_outer < 0)
		return error_set(err, -errno, "policy: no map to wait for packets in flight by: %s: %s",
		                 strerror(errno), program_remedy(-errno));
	return 0;
}

static int load(struct keeper *keeper, const struct keeper_order *order, struct error *err)
{
	keeper->flat = probe_large_values();
	keeper->sets = pinned_sets(keeper->pins, &keeper->flat);
	if (!keeper->sets) {
		keeper->sets = sets_for(order->table_users);
		int failure = memory_check(table_bytes(keeper->sets), err);
		if (failure)
			return failure;
	}
	keeper->flat &= keeper->sets <= FLAT_SETS_MAX;
	keeper->list_entries = pinned_entries(keeper->pins, "lists");
	if (!keeper->list_entries)
		keeper->list_entries = order->list_entries ? order->list_entries : CONFIG_LIST_ENTRIES_DEFAULT;
	/* What the pinned policy uses goes on until another counts. */
	int failure = program_load(keeper, order->features | pinned_features(keeper->pins), err);
	return failure ? failure : make_wait(keeper, err);
}

static void release(struct keeper *keeper)
{
	for (size_t i = 0; i < keeper->links_count; i++)
		if (keeper->link_fds[i] >= 0)
			close(keeper->link_fds[i]);
	keeper->links_count = 0;
	tags_close(&keeper->tags);
	response_close(keeper);
	drops_close(keeper);
	spillway_bpf__destroy(keeper->skeleton);
	keeper->skeleton = NULL;
	keeper->state = NULL;
	int *const held[] = {&keeper->wait_outer, &keeper->wait_inner, &keeper->lock};
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++) {
		if (*held[i] >= 0)
			close(*held[i]);
		*held[i] = -1;
	}
}

struct keeper *keeper_new(const char *pins, bool drop_passed)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));

	if (!keeper)
		return NULL;
	keeper->lock = keeper->wait_outer = keeper->wait_inner = -1;
	for (int program = 0; program < TAG_PROGRAMS; program++)
		keeper->tags.link_fds[program] = -1;
	keeper->drop_passed = drop_passed;
	snprintf(keeper->pins, sizeof(keeper->pins), "%s", pins);
	return keeper;
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	release(keeper);
	free(keeper);
}

/* Orders --------------------------------------------------------------------------------------------------------- */

static int hand_out(struct keeper_answer *answer, int fd, struct error *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return error_set(err, -errno, "kernel objects: cannot hand them out: %s", strerror(errno));
	answer->fds[answer->fds_count++] = copy;
	return 0;
}

static int hand_out_objects(const struct keeper *keeper, struct keeper_answer *answer, struct error *err)
{
	const struct spillway_bpf *skeleton = keeper->skeleton;
	const int objects[KEEPER_OBJECTS] = {
		[OBJECT_STATE] = bpf_map__fd(skeleton->maps.bss),
		[OBJECT_CATALOGUES] = bpf_map__fd(skeleton->maps.catalogues),
		[OBJECT_METER_SETS] = bpf_map__fd(skeleton->maps.meter_sets),
		[OBJECT_METER_DETAILS] = bpf_map__fd(skeleton->maps.meter_details),
		[OBJECT_METER_OVERFLOWS] = bpf_map__fd(skeleton->maps.meter_overflows),
		[OBJECT_METER_GAUGES] = bpf_map__fd(skeleton->maps.meter_gauges),
		[OBJECT_LISTS] = bpf_map__fd(skeleton->maps.lists),
		[OBJECT_LIST_FILTERS] = bpf_map__fd(skeleton->maps.list_filters),
		[OBJECT_RESPONSES] = bpf_map__fd(skeleton->maps.responses),
		[OBJECT_SAMPLES] = bpf_map__fd(skeleton->maps.samples),
		[OBJECT_TALLIES] = bpf_map__fd(skeleton->maps.tallies),
		[OBJECT_MALFORMATIONS] = bpf_map__fd(skeleton->maps.malformations),
		[OBJECT_TENANTS] = bpf_map__fd(skeleton->maps.tenants),
		[OBJECT_CLOCK] = bpf_program__fd(skeleton->progs.clock),
		[OBJECT_WAIT_OUTER] = keeper->wait_outer,
		[OBJECT_WAIT_INNER] = keeper->wait_inner,
	};
	int failure = 0;

	for (int object = 0; object < KEEPER_OBJECTS && !failure; object++)
		failure = hand_out(answer, objects[object], err);
	return failure;
}

static int open_pins(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                     struct error *err)
{
	if (order->table_users > TABLE_USERS_MAX || order->list_entries > LIST_ENTRIES_MAX)
		return error_set(err, -EINVAL, "table: larger than can be");
	keeper->lock = pins_lock(keeper->pins, err);
	if (keeper->lock < 0)
		return keeper->lock;
	keeper->allow_generic = order->allow;
	keeper_recover(keeper);
	int failure = check_version(keeper->pins, &keeper->adopted, err);
	if (!failure) {
		failure = load(keeper, order, err);
		if (!failure)
			failure = hand_out_objects(keeper, answer, err);
		if (failure && !keeper->adopted)
			datapath_unpin_all(keeper->pins, NULL);
	}
	if (failure) {
		rmdir(keeper->pins); /* where nothing is in it */
		release(keeper);
	}
	return failure;
}

static int load_again(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                      struct error *err)
{
	int failure = program_load(keeper, order->features, err);

	return failure ? failure : hand_out_objects(keeper, answer, err);
}

static int load_response(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                         struct error *err)
{
	(void)order, (void)answer, (void)err;
	return response_load(keeper);
}

static int count_drops(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                       struct error *err)
{
	(void)order;
	if (!keeper->drops.skeleton)
		drops_start(keeper);
	malloc_trim(0); /* the kernel's types are megabytes */
	return drops_map(keeper) < 0 ? 0 : hand_out(answer, drops_map(keeper), err);
}

static int attach(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                  struct error *err)
{
	(void)answer;
	return keeper_attach(keeper, order->name, err);
}

static int detach(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                  struct error *err)
{
	(void)answer, (void)err;
	keeper_detach(keeper, order->name);
	return 0;
}

static int allow_generic(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                         struct error *err)
{
	(void)answer, (void)err;
	keeper->allow_generic = order->allow;
	return 0;
}

static int drop_stale(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                      struct error *err)
{
	(void)order, (void)answer, (void)err;
	return keeper_drop_stale_links(keeper);
}

static int drop_strangers(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                          struct error *err)
{
	(void)order, (void)answer, (void)err;
	keeper_drop_strangers(keeper);
	return 0;
}

static int keep_pins(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                     struct error *err)
{
	(void)order, (void)answer;
	return keeper_keep_pins(keeper, err);
}

static int follow(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                  struct error *err)
{
	(void)answer, (void)err;
	tags_apply(keeper, &order->tags);
	response_follow(keeper);
	return 0;
}

static int make_tenants(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                        struct error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	(void)keeper, (void)order;

	_cleanup_close_ int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "tenant_lines", sizeof(__u32),
	                                        sizeof(union tenant_line), TENANT_LINES, &options);
	if (fd < 0)
		return error_set(err, -errno, "tenants: no map for them: %s: %s", strerror(errno),
		                 program_remedy(-errno));
	return hand_out(answer, fd, err);
}

static int unload(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer,
                  struct error *err)
{
	(void)order, (void)answer;
	return datapath_unpin_all(keeper->pins, err);
}

static int (*const doers[KEEPER_ORDERS])(struct keeper *keeper, const struct keeper_order *order,
                                         struct keeper_answer *answer, struct error *err) = {
	[KEEPER_OPEN] = open_pins,
	[KEEPER_LOAD] = load_again,
	[KEEPER_LOAD_RESPONSE] = load_response,
	[KEEPER_COUNT_DROPS] = count_drops,
	[KEEPER_ATTACH] = attach,
	[KEEPER_DETACH] = detach,
	[KEEPER_ALLOW_GENERIC] = allow_generic,
	[KEEPER_DROP_STALE] = drop_stale,
	[KEEPER_DROP_STRANGERS] = drop_strangers,
	[KEEPER_KEEP_PINS] = keep_pins,
	[KEEPER_FOLLOW] = follow,
	[KEEPER_TENANTS] = make_tenants,
	[KEEPER_UNLOAD] = unload,
};

/* What an order says comes from where a mistake may be made, or worse. */
static int check(const struct keeper *keeper, const struct keeper_order *order, struct error *err)
{
	bool is_open = keeper->skeleton != NULL;
	bool sound = order->kind < KEEPER_ORDERS && is_open == (order->kind != KEEPER_OPEN) &&
	             !(order->features & ~FEATURES_ALL) && memchr(order->name, '\0', sizeof(order->name)) &&
	             !strchr(order->name, '/') && memchr(order->tags.cgroup, '\0', sizeof(order->tags.cgroup)) &&
	             order->tags.uids_count <= CONFIG_TAG_UIDS_MAX;

	return sound ? 0 : error_set(err, -EINVAL, "order %u: not one that can be obeyed now", order->kind);
}

static void show(const struct keeper *keeper, struct keeper_view *view)
{
	const struct drops *drops = &keeper->drops;
	unsigned long hz = keeper->skeleton && keeper->skeleton->kconfig ? keeper->skeleton->kconfig->CONFIG_HZ : 0;

	memcpy(view->links, keeper->links, sizeof(view->links));
	view->links_count = keeper->links_count;
	view->grants = keeper->grants;
	view->adopted = keeper->adopted;
	view->complete = keeper->complete;
	view->features = keeper->features;
	view->sets = keeper->sets;
	view->list_entries = keeper->list_entries;
	view->jiffy_ns = hz ? 1000000000ULL / hz : 10000000; /* unknown: no kernel ticks less than 100 times a second */
	view->tags_on = keeper->tags.skeleton != NULL;
	view->tags_why = keeper->tags.why;
	view->response_on = response_on_everywhere(keeper);
	view->response_why = keeper->responder.why;
	view->drops_on = drops->links[DROP_SEEN] != NULL;
	view->drops_why = drops->why[DROP_SEEN];
	view->listeners_on = drops->links[DROP_LISTENER] != NULL;
	view->listeners_why = drops->why[DROP_LISTENER];
	view->reasons = drops->reasons;
}

void keeper_execute(struct keeper *keeper, const struct keeper_order *order, struct keeper_answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->result = check(keeper, order, &answer->why);
	if (!answer->result)
		answer->result = doers[order->kind](keeper, order, answer, &answer->why);
	if (answer->result < 0)
		while (answer->fds_count)
			close(answer->fds[--answer->fds_count]);
	show(keeper, &answer->view);
}
