/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading, adopting and changing the kernel side. Attaching is in link.c. */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/image.h"
#include "datapath/internal.h"
#include "datapath/memory.h"
#include "datapath/pins.h"

#define CELLS_PER_USER \
	2 /* sets fill unevenly: with twice the cells, 3 % of users meet a full set when all are active */

static uint32_t sets_for(uint64_t users)
{
	uint64_t sets = 1;

	while (sets * SET_CELLS < users * CELLS_PER_USER)
		sets *= 2;
	return (uint32_t)sets;
}

/* The size that a pinned map has already; 0 where there is none. */
static uint32_t pinned_entries(const char *pins, const char *name)
{
	char path[PATH_MAX];
	struct bpf_map_info map = {0};
	uint32_t size = sizeof(map);

	pins_path(pins, name, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &map, &size) < 0)
		return 0;
	return map.max_entries;
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

/* Of a table of so many sets, in the kernel. */
static size_t table_bytes(size_t sets)
{
	return sets * (sizeof(struct meter_set) + sizeof(struct set_details) + sizeof(struct set_overflow) +
	               sizeof(struct set_gauges));
}

static int load(struct datapath *dp, const struct datapath_options *options, struct error *err)
{
	dp->sets = pinned_entries(options->pins, "meter_sets");
	if (!dp->sets)
		dp->sets = pinned_entries(options->pins, "meter_details");
	if (!dp->sets) {
		dp->sets = sets_for(options->table_users);
		int failure = memory_check(table_bytes(dp->sets), err);
		if (failure)
			return failure;
	}
	dp->lists.entries_max = pinned_entries(options->pins, "lists");
	if (!dp->lists.entries_max)
		dp->lists.entries_max = options->list_entries ? options->list_entries : CONFIG_LIST_ENTRIES_DEFAULT;
	dp->drop_passed = options->drop_passed;
	/* What the pinned policy uses goes on until another counts. */
	return program_load(dp, options->features | pinned_features(options->pins), err);
}

static void *map_shared(const struct bpf_map *map, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static size_t page_round(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

static int map_memory(struct datapath *dp, struct error *err)
{
	dp->catalogues = map_shared(dp->skeleton->maps.catalogues, page_round(2 * sizeof(struct catalogue_slot)));
	dp->table = map_shared(dp->skeleton->maps.meter_sets, page_round(dp->sets * sizeof(struct meter_set)));
	dp->details = map_shared(dp->skeleton->maps.meter_details, page_round(dp->sets * sizeof(struct set_details)));
	dp->overflows =
		map_shared(dp->skeleton->maps.meter_overflows, page_round(dp->sets * sizeof(struct set_overflow)));
	dp->lists.filter = map_shared(dp->skeleton->maps.list_filters, page_round(sizeof(struct list_filter)));
	dp->responses =
		map_shared(dp->skeleton->maps.responses, page_round(SERVICES_MAX * sizeof(struct service_responses)));
	dp->samples =
		map_shared(dp->skeleton->maps.samples, page_round(RESPONSE_SAMPLES * sizeof(struct response_sample)));
	if (!dp->responses || !dp->samples || !dp->catalogues || !dp->table || !dp->details || !dp->overflows ||
	    !dp->lists.filter)
		return error_set(err, -ENOMEM, "kernel maps: cannot map them into memory: %s", strerror(errno));
	return 0;
}

/* State that misses maps which nothing holds any more: what is left of it fits nothing. */
static void forget(struct datapath *dp)
{
	log_warning("%s: pins were removed, and no program holds their maps: counters and users begin anew", dp->pins);
	__atomic_store_n(&dp->state->live.abi, 0, __ATOMIC_RELEASE);
	memset(dp->table, 0, dp->sets * sizeof(*dp->table));
	memset(dp->details, 0, dp->sets * sizeof(*dp->details));
	memset(dp->overflows, 0, dp->sets * sizeof(*dp->overflows));
	memset(dp->catalogues, 0, 2 * sizeof(*dp->catalogues)); /* without a name a service's tallies are cleared */
}

/* First use of fresh maps: hash keys, and every cell's time long past. `abi` is written last: a start that was cut
 * short is done again from here. */
static int initialise(struct datapath *dp, struct error *err)
{
	struct live *live = &dp->state->live;
	__u64 now_ns;

	if (dp->adopted && dp->complete)
		return 0;
	if (dp->adopted)
		forget(dp);
	if (getrandom(live->hash_keys, sizeof(live->hash_keys), 0) != sizeof(live->hash_keys))
		return error_set(err, -errno, "hash keys: no random numbers: %s", strerror(errno));
	for (int i = 0; i < HASH_KEYS; i++)
		live->hash_keys[i] |= 1;
	live->sets_mask = dp->sets - 1;
	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	for (size_t set = 0; set < dp->sets; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++)
			dp->table[set].states[cell] = now_ns << STATE_TAT_SHIFT;
		dp->overflows[set].state = now_ns << STATE_TAT_SHIFT;
	}
	__atomic_store_n(&live->abi, SPILLWAY_ABI, __ATOMIC_RELEASE);
	return 0;
}

static __u64 jiffy_ns(const struct datapath *dp)
{
	unsigned long hz = dp->skeleton->kconfig ? dp->skeleton->kconfig->CONFIG_HZ : 0;

	return hz ? 1000000000ULL / hz : 10000000; /* unknown: no kernel ticks slower than 100 times a second */
}

static int bring_up(struct datapath *dp, const struct datapath_options *options, struct error *err)
{
	int failure = load(dp, options, err);
	if (!failure)
		failure = map_memory(dp, err);
	if (!failure)
		failure = initialise(dp, err);
	if (!failure)
		failure = lists_adopt(dp, err);
	if (!failure)
		drops_start(dp);
	if (failure && !dp->adopted)
		datapath_unpin_all(dp->pins, NULL);
	return failure;
}

struct datapath_grants datapath_grants(const struct datapath *dp)
{
	return dp->grants;
}

int datapath_open(struct datapath **out, const struct datapath_options *options, struct error *err)
{
	_cleanup_(datapath_closep) struct datapath *dp = calloc(1, sizeof(*dp));
	if (!dp)
		return error_set(err, -ENOMEM, "data path: no memory");
	dp->lock = -1;
	for (int program = 0; program < TAG_PROGRAMS; program++)
		dp->tags.link_fds[program] = -1;
	dp->allow_generic = options->allow_generic;
	snprintf(dp->pins, sizeof(dp->pins), "%s", options->pins);

	dp->lock = pins_lock(options->pins, err);
	if (dp->lock < 0)
		return dp->lock;
	datapath_recover(dp);
	int failure = check_version(options->pins, &dp->adopted, err);
	if (!failure)
		failure = bring_up(dp, options, err);
	if (failure) {
		rmdir(dp->pins); /* where nothing is in it */
		return failure;
	}
	dp->jiffy_ns = jiffy_ns(dp);
	*out = TAKE_PTR(dp);
	return 0;
}

static void unmap(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, page_round(bytes));
}

void datapath_close(struct datapath *dp)
{
	if (!dp)
		return;
	unmap(dp->catalogues, 2 * sizeof(struct catalogue_slot));
	unmap(dp->table, dp->sets * sizeof(struct meter_set));
	unmap(dp->details, dp->sets * sizeof(struct set_details));
	unmap(dp->overflows, dp->sets * sizeof(struct set_overflow));
	unmap(dp->responses, SERVICES_MAX * sizeof(struct service_responses));
	unmap(dp->samples, RESPONSE_SAMPLES * sizeof(struct response_sample));
	unmap(dp->lists.filter, sizeof(struct list_filter));
	lists_release(dp);
	for (size_t i = 0; i < dp->links_count; i++)
		if (dp->link_fds[i] >= 0)
			close(dp->link_fds[i]);
	tags_close(&dp->tags);
	response_close(dp);
	drops_close(dp);
	spillway_bpf__destroy(dp->skeleton);
	if (dp->lock >= 0)
		close(dp->lock);
	free(dp);
}

/* Waits until no packet is judged by the slots that were active before the last flip: updating a map of maps waits for
 * all running programs (kernel 5.0, maybe_wait_bpf_programs). */
static int wait_for_packets(struct error *err)
{
	uint32_t first = 0;
	_cleanup_close_ int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "spillway_wait", 4, 4, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)inner);
	_cleanup_close_ int outer =
		inner < 0 ? -1 : bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "spillway_wait", 4, 4, 1, &options);

	if (outer < 0 || bpf_map_update_elem(outer, &first, &inner, BPF_ANY) < 0)
		return error_set(err, -errno, "policy: cannot wait for packets in flight: %s", strerror(errno));
	return 0;
}

DEFINE_CLEANUP(struct image, image_free)

/* Puts a map of the image's tenants beside a policy slot, or none. Nothing of it is changed later, only replaced. */
static int tenants_put(struct datapath *dp, __u32 slot, const struct tenants_image *image, struct error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	size_t bytes = image->lines_count * sizeof(*image->lines);
	int outer = bpf_map__fd(dp->skeleton->maps.tenants);

	if (!bytes) {
		bpf_map_delete_elem(outer, &slot); /* where there was one */
		return 0;
	}
	_cleanup_close_ int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "tenant_lines", sizeof(slot),
	                                           sizeof(*image->lines), TENANT_LINES, &options);
	void *lines = inner < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, inner, 0);
	if (lines == MAP_FAILED)
		return error_set(err, -errno, "tenants: no map of %zu bytes for them: %s: %s", bytes, strerror(errno),
		                 program_remedy(-errno));
	memcpy(lines, image->lines, bytes);
	munmap(lines, bytes);
	if (bpf_map_update_elem(outer, &slot, &inner, BPF_ANY) < 0)
		return error_set(err, -errno, "tenants: cannot put their map in place: %s", strerror(errno));
	return 0;
}

/* Frees the tenants that went with a slot, when no packet is judged by it any more. */
static void tenants_drop(struct datapath *dp, __u32 slot)
{
	const struct policy_slot *policies = &dp->state->policies[slot];

	if ((policies->tenant_roots[0] || policies->tenant_roots[1]) && wait_for_packets(NULL) == 0)
		bpf_map_delete_elem(bpf_map__fd(dp->skeleton->maps.tenants), &slot);
}

static int clear_tallies(struct datapath *dp, unsigned service)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct service_tallies *zero = calloc((size_t)cpus, sizeof(*zero));

	if (!zero)
		return -ENOMEM;
	return bpf_map_update_elem(bpf_map__fd(dp->skeleton->maps.tallies), &service, zero, BPF_ANY);
}

/* Forgets what users owe in bytes and connections. While no policy had such limits, the program did not look at it, and
 * cells have changed hands. */
static int clear_gauges(const struct datapath *dp, struct error *err)
{
	enum { AT_ONCE = 1024 };
	_cleanup_free_ struct set_gauges *nothing = calloc(AT_ONCE, sizeof(*nothing));
	__u32 sets[AT_ONCE];
	if (!nothing)
		return error_set(err, -ENOMEM, "limits in bytes: no memory");

	for (uint32_t first = 0; first < dp->sets; first += AT_ONCE) {
		__u32 count = dp->sets - first < AT_ONCE ? dp->sets - first : AT_ONCE;
		for (__u32 i = 0; i < count; i++)
			sets[i] = first + i;
		if (bpf_map_update_batch(bpf_map__fd(dp->skeleton->maps.meter_gauges), sets, nothing, &count, NULL) < 0)
			return error_set(err, -errno, "limits in bytes: cannot clear what users owe: %s",
			                 strerror(errno));
	}
	return 0;
}

/* Levels and capacities that were found for another service of that number, or in another unit, say nothing of this
 * one; nor do another's counters. */
static int services_begin(struct datapath *dp, const struct image *image, struct error *err)
{
	const struct catalogue_slot *before = datapath_catalogue(dp);
	const struct policy_slot *policies = datapath_policies(dp);

	for (unsigned service = 1; service < SERVICES_MAX; service++) {
		const char *name = image->catalogue.names[service];
		__u32 changed = image->policies.policies[service].flags ^ policies->policies[service].flags;
		bool same = strcmp(name, before->names[service]) == 0;
		if (!name[0] || (same && !(changed & POLICY_BYTES)))
			continue;
		dp->state->levels[service] = 0;
		dp->state->capacities[service].word = 0;
		if (same)
			continue;
		memset(&dp->responses[service], 0, sizeof(*dp->responses));
		drops_forget(dp, service);
		if (clear_tallies(dp, service))
			return error_set(err, -errno, "counters of service %s: cannot clear: %s", name,
			                 strerror(errno));
	}
	return 0;
}

int datapath_apply(struct datapath *dp, const struct config *config, struct error *err)
{
	_cleanup_(image_freep) struct image *image = NULL;
	const struct catalogue_slot *before = datapath_catalogue(dp);
	__u32 old_slot = LIVE_POLICY_SLOT(dp->state->live.active), policy_slot = !old_slot;
	unsigned classifier_slot = !LIVE_CLASSIFIER_SLOT(dp->state->live.active);
	struct image_context context = {
		.previous = before, .service_key = dp->state->live.hash_keys[HASH_KEYS - 1], .jiffy_ns = dp->jiffy_ns};

	int failure = image_compile(config, &context, &image, err);
	if (!failure)
		image->features |=
			dp->features & FEATURE_LISTS; /* they follow what is on them, not the configuration */
	if (!failure && image->features & FEATURE_RESPONSE && !response_load(dp))
		image->features &= ~FEATURE_RESPONSE;
	bool newly_gauged = !failure && image->features & ~dp->features & FEATURE_GAUGES;
	/* While either policy may count, the program can do what both use. */
	if (!failure && image->features & ~dp->features)
		failure = program_load(dp, dp->features | image->features, err);
	if (!failure && newly_gauged)
		failure = clear_gauges(dp, err);
	if (!failure)
		failure = wait_for_packets(err);
	if (!failure)
		failure = tenants_put(dp, policy_slot, &image->tenants, err);
	if (failure)
		return failure;
	image->policies.tenants = policy_slot;
	failure = services_begin(dp, image, err);
	if (failure)
		return failure;

	dp->state->policies[policy_slot] = image->policies;
	dp->state->classifiers[classifier_slot] = image->classifier;
	dp->catalogues[classifier_slot] = image->catalogue;
	/* One word says both: no packet is judged by a mixture of old and new. */
	__atomic_store_n(&dp->state->live.active, policy_slot | classifier_slot << 1, __ATOMIC_RELEASE);
	dp->state->live.features = image->features;
	dp->state->live.relax_after = config->relax_after_s;
	tenants_drop(dp, old_slot);
	if (image->features != dp->features && program_load(dp, image->features, err) < 0)
		log_warning("%s: the program keeps what the configuration no longer uses, and costs as before",
		            err->text);
	tags_apply(dp, &config->tags);
	response_follow(dp);
	return 0;
}

const struct policy_slot *datapath_policies(const struct datapath *dp)
{
	return &dp->state->policies[LIVE_POLICY_SLOT(dp->state->live.active)];
}

const struct catalogue_slot *datapath_catalogue(const struct datapath *dp)
{
	return &dp->catalogues[LIVE_CLASSIFIER_SLOT(dp->state->live.active)];
}

static int read_malformation(const struct datapath *dp, unsigned why, struct tally *out, struct error *err)
{
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	_cleanup_free_ struct tally *values = calloc(cpus, sizeof(*values));
	if (!values)
		return error_set(err, -ENOMEM, "counters: no memory");
	if (bpf_map_lookup_elem(bpf_map__fd(dp->skeleton->maps.malformations), &why, values) < 0)
		return error_set(err, -errno, "malformed packets %u: cannot read: %s", why, strerror(errno));

	*out = (struct tally){0};
	for (size_t cpu = 0; cpu < cpus; cpu++) {
		out->packets += values[cpu].packets;
		out->bytes += values[cpu].bytes;
	}
	return 0;
}

int datapath_read_tallies(struct datapath *dp, unsigned service, struct service_tallies *out, struct error *err)
{
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	_cleanup_free_ struct service_tallies *values = calloc(cpus, sizeof(*values));
	if (!values)
		return error_set(err, -ENOMEM, "counters: no memory");
	if (bpf_map_lookup_elem(bpf_map__fd(dp->skeleton->maps.tallies), &service, values) < 0)
		return error_set(err, -errno, "counters %u: cannot read: %s", service, strerror(errno));

	memset(out, 0, sizeof(*out));
	for (size_t cpu = 0; cpu < cpus; cpu++)
		for (int outcome = 0; outcome < OUTCOMES; outcome++) {
			out->outcomes[outcome].packets += values[cpu].outcomes[outcome].packets;
			out->outcomes[outcome].bytes += values[cpu].outcomes[outcome].bytes;
		}
	return 0;
}

int datapath_read_malformations(struct datapath *dp, struct tally out[MALFORMATIONS], struct error *err)
{
	for (unsigned why = 0; why < MALFORMATIONS; why++) {
		int failure = read_malformation(dp, why, &out[why], err);
		if (failure)
			return failure;
	}
	return 0;
}

struct table_view datapath_table(const struct datapath *dp)
{
	return (struct table_view){.sets = dp->table,
	                           .details = dp->details,
	                           .overflows = dp->overflows,
	                           .count = dp->sets,
	                           .bytes = table_bytes(dp->sets)};
}

int datapath_clock(struct datapath *dp, __u64 *out_ns, struct error *err)
{
	__u8 frame[ETH_ZLEN] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .repeat = 1);

	if (bpf_prog_test_run_opts(bpf_program__fd(dp->skeleton->progs.clock), &run) < 0)
		return error_set(err, -errno, "clock: cannot ask the kernel program: %s", strerror(errno));
	*out_ns = dp->state->live.clock_ns;
	return 0;
}

bool datapath_adopted(const struct datapath *dp)
{
	return dp->adopted;
}
