/* SPDX-License-Identifier: GPL-2.0-only */
/* What is read and changed through maps; what else there is to do is asked of the keeper. */
#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/image.h"
#include "datapath/internal.h"

size_t table_bytes(size_t sets)
{
	return sets * (sizeof(struct meter_set) + sizeof(struct set_details) + sizeof(struct set_overflow) +
	               sizeof(struct set_gauges));
}

/* Gives an order and takes its answer over. Descriptors are in dp->answer, and nobody's yet. */
static int give(struct datapath *dp, const struct keeper_order *order, struct error *err)
{
	struct keeper_answer *answer = &dp->answer;

	dp->far.execute(dp->far.argument, order, answer);
	dp->features = answer->view.features;
	if (answer->result < 0 && err)
		*err = answer->why;
	return answer->result;
}

int datapath_order(struct datapath *dp, const struct keeper_order *order, int *fd, struct error *err)
{
	int result = give(dp, order, err);

	if (fd)
		*fd = dp->answer.fds_count == 1 ? dp->answer.fds[0] : -1;
	return result;
}

static size_t page_round(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

static void *map_shared(int fd, size_t bytes)
{
	void *memory = mmap(NULL, page_round(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void unmap(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, page_round(bytes));
}

/* Takes over what OPEN and LOAD hand out: the same maps as before, and other programs around them. */
static int take_objects(struct datapath *dp, struct error *err)
{
	if (dp->answer.fds_count != KEEPER_OBJECTS)
		return error_set(err, -EPROTO, "kernel objects: %u of %d were handed out", dp->answer.fds_count,
		                 KEEPER_OBJECTS);
	for (int object = 0; object < KEEPER_OBJECTS; object++) {
		if (dp->fds[object] >= 0)
			close(dp->fds[object]);
		dp->fds[object] = dp->answer.fds[object];
	}
	struct state *state = map_shared(dp->fds[OBJECT_STATE], sizeof(*state));
	if (!state)
		return error_set(err, -errno, "kernel maps: cannot map the state into memory: %s", strerror(errno));
	unmap(dp->state, sizeof(*dp->state));
	dp->state = state;
	return 0;
}

int datapath_load(struct datapath *dp, uint32_t features, struct error *err)
{
	int failure = give(dp, &(struct keeper_order){.kind = KEEPER_LOAD, .features = features}, err);

	return failure ? failure : take_objects(dp, err);
}

static int map_memory(struct datapath *dp, struct error *err)
{
	const int *fds = dp->fds;

	dp->catalogues = map_shared(fds[OBJECT_CATALOGUES], 2 * sizeof(struct catalogue_slot));
	dp->table = map_shared(fds[OBJECT_METER_SETS], dp->sets * sizeof(struct meter_set));
	dp->details = map_shared(fds[OBJECT_METER_DETAILS], dp->sets * sizeof(struct set_details));
	dp->overflows = map_shared(fds[OBJECT_METER_OVERFLOWS], dp->sets * sizeof(struct set_overflow));
	dp->lists.filter = map_shared(fds[OBJECT_LIST_FILTERS], sizeof(struct list_filter));
	dp->responses = map_shared(fds[OBJECT_RESPONSES], SERVICES_MAX * sizeof(struct service_responses));
	dp->samples = map_shared(fds[OBJECT_SAMPLES], RESPONSE_SAMPLES * sizeof(struct response_sample));
	if (!dp->responses || !dp->samples || !dp->catalogues || !dp->table || !dp->details || !dp->overflows ||
	    !dp->lists.filter)
		return error_set(err, -ENOMEM, "kernel maps: cannot map them into memory: %s", strerror(errno));
	return 0;
}

/* State that misses maps which nothing holds any more: what is left of it fits nothing. */
static void forget(struct datapath *dp)
{
	log_warning("pins were removed, and no program holds their maps: counters and users begin anew");
	__atomic_store_n(&dp->state->live.abi, 0, __ATOMIC_RELEASE);
	memset(dp->table, 0, dp->sets * sizeof(*dp->table));
	memset(dp->details, 0, dp->sets * sizeof(*dp->details));
	memset(dp->overflows, 0, dp->sets * sizeof(*dp->overflows));
	memset(dp->catalogues, 0, 2 * sizeof(*dp->catalogues)); /* without a name a service's tallies are cleared */
}

/* By how much an empty cell has been idle for longer than any user's that comes now. Were it as long, whoever shares a
 * set with a user of this very jiffy could be given that user's cell. */
#define EMPTY_SINCE_NS (10 * KEPT_NS)

int datapath_empty_cells(struct datapath *dp, struct error *err)
{
	__u64 now_ns = 0;

	int failure = datapath_clock(dp, &now_ns, err);
	if (failure)
		return failure;
	__u64 state = (now_ns - EMPTY_SINCE_NS) << STATE_TAT_SHIFT;
	for (size_t set = 0; set < dp->sets; set++) {
		for (int cell = 0; cell < SET_CELLS; cell++)
			dp->table[set].states[cell] = state;
		dp->overflows[set].state = state;
	}
	return 0;
}

/* First use of fresh maps: hash keys, and every cell's time long past. `abi` is written last: a start that was cut
 * short is done again from here. */
static int initialise(struct datapath *dp, struct error *err)
{
	struct live *live = &dp->state->live;

	if (dp->answer.view.adopted && dp->answer.view.complete)
		return 0;
	if (dp->answer.view.adopted)
		forget(dp);
	if (getrandom(live->hash_keys, sizeof(live->hash_keys), 0) != sizeof(live->hash_keys))
		return error_set(err, -errno, "hash keys: no random numbers: %s", strerror(errno));
	for (int i = 0; i < HASH_KEYS; i++)
		live->hash_keys[i] |= 1;
	int failure = datapath_empty_cells(dp, err);
	if (failure)
		return failure;
	__atomic_store_n(&live->abi, SPILLWAY_ABI, __ATOMIC_RELEASE);
	return 0;
}

/* What the host drops is counted where it can be. */
static void count_drops(struct datapath *dp)
{
	int fd;

	if (datapath_order(dp, &(struct keeper_order){.kind = KEEPER_COUNT_DROPS}, &fd, NULL) < 0 || fd < 0)
		return;
	dp->drop_counts = map_shared(fd, SERVICES_MAX * sizeof(*dp->drop_counts));
	close(fd);
}

static int bring_up(struct datapath *dp, struct error *err)
{
	int failure = take_objects(dp, err);
	if (!failure)
		failure = map_memory(dp, err);
	if (!failure)
		failure = initialise(dp, err);
	if (!failure)
		failure = lists_adopt(dp, err);
	if (!failure)
		count_drops(dp);
	return failure;
}

struct datapath_grants datapath_grants(const struct datapath *dp)
{
	return dp->answer.view.grants;
}

static void execute_here(void *argument, const struct keeper_order *order, struct keeper_answer *answer)
{
	keeper_execute(argument, order, answer);
}

int datapath_open(struct datapath **out, const struct datapath_options *options, struct error *err)
{
	_cleanup_(datapath_closep) struct datapath *dp = calloc(1, sizeof(*dp));
	if (!dp)
		return error_set(err, -ENOMEM, "data path: no memory");
	for (int object = 0; object < KEEPER_OBJECTS; object++)
		dp->fds[object] = -1;
	dp->far = options->keeper;
	if (!dp->far.execute) {
		dp->keeper = keeper_new(options->pins, options->drop_passed);
		if (!dp->keeper)
			return error_set(err, -ENOMEM, "data path: no memory");
		dp->far = (struct datapath_keeper){execute_here, dp->keeper};
	}
	int failure = give(dp,
	                   &(struct keeper_order){.kind = KEEPER_OPEN,
	                                          .features = options->features,
	                                          .table_users = options->table_users,
	                                          .list_entries = options->list_entries,
	                                          .allow = options->allow_generic},
	                   err);
	if (failure)
		return failure;
	dp->sets = dp->answer.view.sets;
	dp->lists.entries_max = dp->answer.view.list_entries;
	dp->jiffy_ns = dp->answer.view.jiffy_ns;
	failure = bring_up(dp, err);
	if (failure && !dp->answer.view.adopted)
		datapath_remove(dp, NULL);
	if (failure)
		return failure;
	*out = TAKE_PTR(dp);
	return 0;
}

void datapath_close(struct datapath *dp)
{
	if (!dp)
		return;
	unmap(dp->state, sizeof(*dp->state));
	unmap(dp->catalogues, 2 * sizeof(struct catalogue_slot));
	unmap(dp->table, dp->sets * sizeof(struct meter_set));
	unmap(dp->details, dp->sets * sizeof(struct set_details));
	unmap(dp->overflows, dp->sets * sizeof(struct set_overflow));
	unmap(dp->responses, SERVICES_MAX * sizeof(struct service_responses));
	unmap(dp->samples, RESPONSE_SAMPLES * sizeof(struct response_sample));
	unmap(dp->lists.filter, sizeof(struct list_filter));
	unmap(dp->drop_counts, SERVICES_MAX * sizeof(*dp->drop_counts));
	lists_release(dp);
	for (int object = 0; object < KEEPER_OBJECTS; object++)
		if (dp->fds[object] >= 0)
			close(dp->fds[object]);
	keeper_free(dp->keeper);
	free(dp);
}

int datapath_remove(struct datapath *dp, struct error *err)
{
	return give(dp, &(struct keeper_order){.kind = KEEPER_UNLOAD}, err);
}

/* Waits until no packet is judged by the slots that were active before the last flip: updating a map of maps waits for
 * all running programs (kernel 5.0, maybe_wait_bpf_programs). */
static int wait_for_packets(const struct datapath *dp, struct error *err)
{
	uint32_t first = 0;

	if (bpf_map_update_elem(dp->fds[OBJECT_WAIT_OUTER], &first, &dp->fds[OBJECT_WAIT_INNER], BPF_ANY) < 0)
		return error_set(err, -errno, "policy: cannot wait for packets in flight: %s", strerror(errno));
	return 0;
}

DEFINE_CLEANUP(struct image, image_free)

/* Puts a map of the image's tenants beside a policy slot, or none. Nothing of it is changed later, only replaced. */
static int tenants_put(struct datapath *dp, __u32 slot, const struct tenants_image *image, struct error *err)
{
	size_t bytes = image->lines_count * sizeof(*image->lines);
	int outer = dp->fds[OBJECT_TENANTS];
	_cleanup_close_ int inner = -1;

	if (!bytes) {
		bpf_map_delete_elem(outer, &slot); /* where there was one */
		return 0;
	}
	int failure = datapath_order(dp, &(struct keeper_order){.kind = KEEPER_TENANTS}, &inner, err);
	if (failure)
		return failure;
	void *lines = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, inner, 0);
	if (lines == MAP_FAILED)
		return error_set(err, -errno, "tenants: no map of %zu bytes for them: %s", bytes, strerror(errno));
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

	if ((policies->tenant_roots[0] || policies->tenant_roots[1]) && wait_for_packets(dp, NULL) == 0)
		bpf_map_delete_elem(dp->fds[OBJECT_TENANTS], &slot);
}

static int clear_tallies(struct datapath *dp, unsigned service)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct service_tallies *zero = calloc((size_t)cpus, sizeof(*zero));

	if (!zero)
		return -ENOMEM;
	return bpf_map_update_elem(dp->fds[OBJECT_TALLIES], &service, zero, BPF_ANY);
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
		if (bpf_map_update_batch(dp->fds[OBJECT_METER_GAUGES], sets, nothing, &count, NULL) < 0)
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
		dp->state->capacities[service].word = dp->state->capacities[service].burst_ns = 0;
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

static bool load_response(struct datapath *dp)
{
	return give(dp, &(struct keeper_order){.kind = KEEPER_LOAD_RESPONSE}, NULL) > 0;
}

int datapath_apply(struct datapath *dp, const struct config *config, struct error *err)
{
	_cleanup_(image_freep) struct image *image = NULL;
	const struct catalogue_slot *before = datapath_catalogue(dp);
	__u32 old_slot = LIVE_POLICY_SLOT(dp->state->live.active), policy_slot = !old_slot;
	unsigned classifier_slot = !LIVE_CLASSIFIER_SLOT(dp->state->live.active);
	struct image_context context = {.previous = before, .jiffy_ns = dp->jiffy_ns};

	int failure = image_compile(config, &context, &image, err);
	if (!failure)
		image->features |=
			dp->features & FEATURE_LISTS; /* they follow what is on them, not the configuration */
	if (!failure && image->features & FEATURE_RESPONSE && !load_response(dp))
		image->features &= ~FEATURE_RESPONSE;
	bool newly_gauged = !failure && image->features & ~dp->features & FEATURE_GAUGES;
	/* While either policy may count, the program can do what both use. */
	if (!failure && image->features & ~dp->features)
		failure = datapath_load(dp, dp->features | image->features, err);
	if (!failure && newly_gauged)
		failure = clear_gauges(dp, err);
	if (!failure)
		failure = wait_for_packets(dp, err);
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
	__u32 batches = dp->state->live.active & LIVE_BATCHES;
	__atomic_store_n(&dp->state->live.active, policy_slot | classifier_slot << 1 | batches, __ATOMIC_RELEASE);
	dp->state->live.features = image->features;
	dp->state->live.relax_after = config->relax_after_s;
	tenants_drop(dp, old_slot);
	if (image->features != dp->features && datapath_load(dp, image->features, err) < 0)
		log_warning("%s: the program keeps what the configuration no longer uses, and costs as before",
		            err->text);
	return give(dp, &(struct keeper_order){.kind = KEEPER_FOLLOW, .tags = config->tags}, err);
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
	if (bpf_map_lookup_elem(dp->fds[OBJECT_MALFORMATIONS], &why, values) < 0)
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
	if (bpf_map_lookup_elem(dp->fds[OBJECT_TALLIES], &service, values) < 0)
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

bool datapath_batches(const struct datapath *dp)
{
	return dp->state->live.active & LIVE_BATCHES;
}

void datapath_batch(struct datapath *dp, bool on)
{
	/* It lies on a line that each packet reads: it is not written without need. */
	if (on != datapath_batches(dp))
		__atomic_fetch_xor(&dp->state->live.active, LIVE_BATCHES, __ATOMIC_RELEASE);
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

	if (bpf_prog_test_run_opts(dp->fds[OBJECT_CLOCK], &run) < 0)
		return error_set(err, -errno, "clock: cannot ask the kernel program: %s", strerror(errno));
	*out_ns = dp->state->live.clock_ns;
	return 0;
}

bool datapath_adopted(const struct datapath *dp)
{
	return dp->answer.view.adopted;
}

int datapath_attach(struct datapath *dp, const char *name, struct error *err)
{
	struct keeper_order order = {.kind = KEEPER_ATTACH};

	snprintf(order.name, sizeof(order.name), "%s", name);
	return give(dp, &order, err);
}

void datapath_detach(struct datapath *dp, const char *name)
{
	struct keeper_order order = {.kind = KEEPER_DETACH};

	snprintf(order.name, sizeof(order.name), "%s", name);
	give(dp, &order, NULL);
}

void datapath_allow_generic(struct datapath *dp, bool allow)
{
	give(dp, &(struct keeper_order){.kind = KEEPER_ALLOW_GENERIC, .allow = allow}, NULL);
}

bool datapath_drop_stale_links(struct datapath *dp)
{
	return give(dp, &(struct keeper_order){.kind = KEEPER_DROP_STALE}, NULL) > 0;
}

void datapath_drop_strangers(struct datapath *dp)
{
	give(dp, &(struct keeper_order){.kind = KEEPER_DROP_STRANGERS}, NULL);
}

int datapath_keep_pins(struct datapath *dp, struct error *err)
{
	return give(dp, &(struct keeper_order){.kind = KEEPER_KEEP_PINS}, err);
}

const struct datapath_link *datapath_links(const struct datapath *dp, size_t *count)
{
	*count = dp->answer.view.links_count;
	return dp->answer.view.links;
}

struct datapath_tags datapath_tags(const struct datapath *dp)
{
	const struct keeper_view *view = &dp->answer.view;

	return (struct datapath_tags){
		.used = dp->state->live.features & FEATURE_TAGS, .on = view->tags_on, .why = view->tags_why.text};
}

struct datapath_responses datapath_responses(const struct datapath *dp)
{
	const struct keeper_view *view = &dp->answer.view;
	bool refused = !view->response_on && view->response_why.text[0];

	return (struct datapath_responses){.used = dp->state->live.features & FEATURE_RESPONSE || refused,
	                                   .on = view->response_on,
	                                   .why = view->response_why.text,
	                                   .services = dp->responses,
	                                   .samples = dp->samples};
}
