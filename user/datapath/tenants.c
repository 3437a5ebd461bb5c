/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/tenants.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define VALUES      256 /* of a byte */
#define DENSE_LINES (VALUES / DENSE_LEAVES)
#define IPV4_BYTE   12

/* A part of the trie that is still to be made: of these prefixes, which are the same in the bytes before `byte`. */
struct task {
	const struct config_tenant_prefix *const *prefixes; /* sorted: by address, then the shorter first */
	size_t count;
	unsigned byte;
	__u32 covering; /* the leaf of what none of them covers */
	size_t place;   /* where its own leaf goes, counted in words of all lines; or a root */
};
#define PLACE_ROOT(ipv6) (SIZE_MAX - (ipv6))

struct builder {
	struct tenants_image image;
	size_t room; /* lines allocated */
	struct task *tasks;
	size_t tasks_count;
};

static int compare_prefixes(const void *left, const void *right)
{
	const struct prefix *a = &(*(const struct config_tenant_prefix *const *)left)->prefix;
	const struct prefix *b = &(*(const struct config_tenant_prefix *const *)right)->prefix;
	int order = memcmp(a->address, b->address, sizeof(a->address));

	return order ? order : a->length - b->length;
}

static int lines_new(struct builder *builder, size_t count, size_t *first, struct error *err)
{
	struct tenants_image *image = &builder->image;

	if (image->lines_count + count > TENANT_LINES) {
		error_set(err, -E2BIG, "tenants: their prefixes need more than %u MiB: use fewer or shorter ones",
		          (unsigned)(TENANT_LINES * sizeof(*image->lines) >> 20));
		return -E2BIG;
	}
	if (!image->lines || image->lines_count + count > builder->room) {
		size_t room = 2 * (image->lines_count + count);
		union tenant_line *lines = aligned_alloc(sizeof(*lines), room * sizeof(*lines));
		if (!lines) {
			error_set(err, -ENOMEM, "tenants: no memory for %zu lines", room);
			return -ENOMEM;
		}
		if (image->lines)
			memcpy(lines, image->lines, image->lines_count * sizeof(*lines));
		free(image->lines);
		image->lines = lines;
		builder->room = room;
	}
	*first = image->lines_count;
	memset(&image->lines[*first], 0, count * sizeof(*image->lines));
	image->lines_count += count;
	return 0;
}

static size_t place_of(const struct builder *builder, const __u32 *leaf)
{
	return (size_t)(leaf - (const __u32 *)builder->image.lines);
}

static void leaf_put(struct builder *builder, size_t place, __u32 leaf)
{
	if (place >= PLACE_ROOT(1))
		builder->image.roots[SIZE_MAX - place] = leaf;
	else
		((__u32 *)builder->image.lines)[place] = leaf;
}

static __u32 leaf_of_tenant(const struct config_tenant_prefix *prefix)
{
	return LEAF_OF(LEAF_TENANT, prefix->tenant + 1);
}

/* The byte up to which all prefixes are the same and none ends; they are sorted, so that it is enough to look at the
 * first and the last, and at the lengths. */
static unsigned shared_bytes(const struct task *task)
{
	const __u8 *first = task->prefixes[0]->prefix.address, *last = task->prefixes[task->count - 1]->prefix.address;
	unsigned shared = task->byte;

	while (shared < 16 && first[shared] == last[shared])
		shared++;
	for (size_t i = 0; i < task->count; i++)
		if (task->prefixes[i]->prefix.length / 8U < shared)
			shared = task->prefixes[i]->prefix.length / 8U;
	return shared;
}

/* A node that compares the first `bits` at once: `same` where they are the first prefix's, and from `byte` on. */
static int make_compare(struct builder *builder, const struct task *task, unsigned bits, size_t *line_at,
                        struct error *err)
{
	__u8 mask[16] = {0};

	int failure = lines_new(builder, 1, line_at, err);
	if (failure)
		return failure;
	union tenant_line *line = &builder->image.lines[*line_at];
	for (unsigned bit = 0; bit < bits; bit++)
		mask[bit / 8] |= (__u8)(0x80 >> (bit % 8));
	memcpy(line->compare.mask, mask, sizeof(mask));
	memcpy(line->compare.value, task->prefixes[0]->prefix.address, sizeof(line->compare.value));
	line->compare.other = task->covering;
	line->compare.byte = bits / 8;
	leaf_put(builder, task->place, LEAF_OF(LEAF_COMPARE, *line_at));
	return 0;
}

static int make_single(struct builder *builder, const struct task *task, struct error *err)
{
	size_t line;

	int failure = make_compare(builder, task, task->prefixes[0]->prefix.length, &line, err);
	if (!failure)
		builder->image.lines[line].compare.same = leaf_of_tenant(task->prefixes[0]);
	return failure;
}

static int make_skip(struct builder *builder, const struct task *task, unsigned byte, struct error *err)
{
	struct task below = *task;
	size_t line;

	int failure = make_compare(builder, task, 8 * byte, &line, err);
	if (failure)
		return failure;
	below.byte = byte;
	below.place = place_of(builder, &builder->image.lines[line].compare.same);
	builder->tasks[builder->tasks_count++] = below;
	return 0;
}

/* What a node says of each value of its byte: a leaf, or the prefixes that are longer. */
struct branches {
	__u32 leaves[VALUES];
	size_t first[VALUES], longer[VALUES]; /* in the task's prefixes; how many */
};

static void branches_find(const struct task *task, struct branches *branches)
{
	memset(branches->longer, 0, sizeof(branches->longer));
	for (unsigned value = 0; value < VALUES; value++)
		branches->leaves[value] = task->covering;
	/* A prefix comes before those within it: theirs are painted over its. */
	for (size_t i = 0; i < task->count; i++) {
		const struct prefix *prefix = &task->prefixes[i]->prefix;
		unsigned value = prefix->address[task->byte], bits = prefix->length - 8U * task->byte;
		if (bits > 8) {
			if (!branches->longer[value]++)
				branches->first[value] = i;
			continue;
		}
		for (unsigned covered = value; covered < value + (VALUES >> bits); covered++)
			branches->leaves[covered] = leaf_of_tenant(task->prefixes[i]);
	}
}

/* Whether the value's leaf is the same as the one before it. */
static bool branch_goes_on(const struct branches *branches, unsigned value)
{
	return value && !branches->longer[value] && !branches->longer[value - 1] &&
	       branches->leaves[value] == branches->leaves[value - 1];
}

static unsigned branches_runs(const struct branches *branches)
{
	unsigned runs = 0;

	for (unsigned value = 0; value < VALUES; value++)
		runs += !branch_goes_on(branches, value);
	return runs;
}

static void branch_put(struct builder *builder, const struct task *task, const struct branches *branches,
                       unsigned value, __u32 *leaf)
{
	*leaf = branches->leaves[value];
	if (branches->longer[value])
		builder->tasks[builder->tasks_count++] =
			(struct task){.prefixes = task->prefixes + branches->first[value],
		                      .count = branches->longer[value],
		                      .byte = task->byte + 1,
		                      .covering = branches->leaves[value],
		                      .place = place_of(builder, leaf)};
}

static int make_node(struct builder *builder, const struct task *task, struct error *err)
{
	struct branches branches;
	size_t at;

	branches_find(task, &branches);
	bool sparse = branches_runs(&branches) <= SPARSE_LEAVES;
	int failure = lines_new(builder, sparse ? 1 : DENSE_LINES, &at, err);
	if (failure)
		return failure;
	leaf_put(builder, task->place, LEAF_OF(sparse ? LEAF_SPARSE : LEAF_DENSE, at));

	union tenant_line *line = &builder->image.lines[at];
	if (!sparse) {
		for (unsigned value = 0; value < VALUES; value++)
			branch_put(builder, task, &branches, value,
			           &line[value / DENSE_LEAVES].dense[value % DENSE_LEAVES]);
		return 0;
	}
	__u8 *ends = (__u8 *)line->sparse.ends;
	memset(ends, 255, sizeof(line->sparse.ends));
	for (unsigned value = 0, run = 0; value < VALUES; value++) {
		if (branch_goes_on(&branches, value))
			continue;
		if (value)
			ends[run - 1] = (__u8)(value - 1);
		branch_put(builder, task, &branches, value, &line->sparse.leaves[run++]);
	}
	return 0;
}

/* A node of two bytes for so few prefixes that it has room for all their runs. */
#define PAIR_VALUES       65536U
#define PAIR_PREFIXES_MAX ((PAIR_LEAVES - 1) / 2)

/* The first and the last value of two bytes that lie in the prefix. */
static void pair_span(const struct prefix *prefix, unsigned byte, unsigned *first, unsigned *last)
{
	unsigned bits = prefix->length - 8U * byte;

	*first = (unsigned)prefix->address[byte] << 8 | prefix->address[byte + 1];
	*last = *first + (bits < 16 ? PAIR_VALUES >> bits : 1) - 1;
}

/* What the node says of one value: the prefixes come as in branches_find(). Puts the leaf, or a task for it. */
static void pair_put(struct builder *builder, const struct task *task, unsigned value, __u32 *leaf)
{
	struct task below = {.byte = task->byte + 2, .covering = task->covering, .place = place_of(builder, leaf)};

	for (size_t i = 0; i < task->count; i++) {
		unsigned first, last;
		pair_span(&task->prefixes[i]->prefix, task->byte, &first, &last);
		if (value < first || value > last)
			continue;
		if (task->prefixes[i]->prefix.length <= 8 * below.byte)
			below.covering = leaf_of_tenant(task->prefixes[i]);
		else if (!below.count++)
			below.prefixes = &task->prefixes[i];
	}
	*leaf = below.covering;
	if (below.count)
		builder->tasks[builder->tasks_count++] = below;
}

static int compare_unsigned(const void *left, const void *right)
{
	unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;

	return (a > b) - (a < b);
}

static int make_pair(struct builder *builder, const struct task *task, struct error *err)
{
	unsigned starts[2 * PAIR_PREFIXES_MAX + 1] = {0}, count = 1, runs = 0;
	size_t at;

	int failure = lines_new(builder, 1, &at, err);
	if (failure)
		return failure;
	leaf_put(builder, task->place, LEAF_OF(LEAF_PAIR, at));
	for (size_t i = 0; i < task->count; i++, count += 2) {
		pair_span(&task->prefixes[i]->prefix, task->byte, &starts[count], &starts[count + 1]);
		starts[count + 1]++;
	}
	qsort(starts, count, sizeof(*starts), compare_unsigned);

	union tenant_line *line = &builder->image.lines[at];
	__u16 *ends = (__u16 *)line->pair.ends;
	memset(ends, 255, sizeof(line->pair.ends));
	for (unsigned i = 0; i < count && starts[i] < PAIR_VALUES; i++) {
		if (i && starts[i] == starts[i - 1])
			continue;
		if (runs)
			ends[runs - 1] = (__u16)(starts[i] - 1);
		pair_put(builder, task, starts[i], &line->pair.leaves[runs++]);
	}
	return 0;
}

static int make(struct builder *builder, struct task task, struct error *err)
{
	/* The first ones may cover the whole part; the longest of them counts. */
	while (task.count && task.prefixes[0]->prefix.length <= 8 * task.byte) {
		task.covering = leaf_of_tenant(task.prefixes[0]);
		task.prefixes++;
		task.count--;
	}
	if (!task.count) {
		leaf_put(builder, task.place, task.covering);
		return 0;
	}
	if (task.count == 1)
		return make_single(builder, &task, err);
	unsigned shared = shared_bytes(&task);
	if (task.count <= PAIR_PREFIXES_MAX && shared <= task.byte + 1 && task.byte < 15)
		return make_pair(builder, &task, err);
	return shared > task.byte ? make_skip(builder, &task, shared, err) : make_node(builder, &task, err);
}

static int make_family(struct builder *builder, const struct config *config, bool ipv6, struct error *err)
{
	_cleanup_free_ const struct config_tenant_prefix **prefixes =
		calloc(config->tenant_prefixes_count + 1, sizeof(*prefixes));
	size_t count = 0;

	if (!prefixes)
		return error_set(err, -ENOMEM, "tenants: no memory for their prefixes");
	for (size_t i = 0; i < config->tenant_prefixes_count; i++)
		if (config->tenant_prefixes[i].prefix.ipv4 != ipv6)
			prefixes[count++] = &config->tenant_prefixes[i];
	qsort(prefixes, count, sizeof(*prefixes), compare_prefixes);

	builder->tasks[builder->tasks_count++] = (struct task){
		.prefixes = prefixes, .count = count, .byte = ipv6 ? 0 : IPV4_BYTE, .place = PLACE_ROOT(ipv6)};
	while (builder->tasks_count) {
		int failure = make(builder, builder->tasks[--builder->tasks_count], err);
		if (failure)
			return failure;
	}
	return 0;
}

static void tenant_fill(struct tenant *tenant, const struct config_tenant *from)
{
	static const __u8 classes[] = {[CONFIG_SHEDDABLE] = CLASS_SHEDDABLE,
	                               [CONFIG_NORMAL] = CLASS_NORMAL,
	                               [CONFIG_CRITICAL] = CLASS_CRITICAL};

	tenant->key = from->key;
	tenant->share = (__u32)lround(SHARE_ONE / from->weight);
	tenant->class = from->class_given ? classes[from->class] : CLASSES;
}

static int compile(struct builder *builder, const struct config *config, struct error *err)
{
	size_t first;

	int failure = lines_new(builder, config->tenants_count / TENANTS_IN_LINE + 1, &first, err);
	if (failure)
		return failure;
	assert(builder->image.lines);
	for (size_t i = 0; i < config->tenants_count; i++)
		tenant_fill(&builder->image.lines[(i + 1) / TENANTS_IN_LINE].tenants[(i + 1) % TENANTS_IN_LINE],
		            &config->tenants[i]);
	for (int ipv6 = 0; ipv6 < 2 && !failure; ipv6++)
		failure = make_family(builder, config, ipv6, err);
	return failure;
}

int tenants_compile(const struct config *config, struct tenants_image *out, struct error *err)
{
	struct builder builder = {0};

	*out = (struct tenants_image){0};
	if (!config->tenants_count)
		return 0;
	/* Each task that waits has prefixes that no other has. */
	_cleanup_free_ struct task *tasks = calloc(config->tenant_prefixes_count + 1, sizeof(*tasks));
	if (!tasks)
		return error_set(err, -ENOMEM, "tenants: no memory for %zu prefixes", config->tenant_prefixes_count);
	builder.tasks = tasks;
	int failure = compile(&builder, config, err);
	if (failure)
		tenants_image_release(&builder.image);
	else
		*out = builder.image;
	return failure;
}

void tenants_image_release(struct tenants_image *image)
{
	free(image->lines);
	*image = (struct tenants_image){0};
}

static __u32 sparse_lookup(const union tenant_line *line, __u8 value)
{
	const __u8 *ends = (const __u8 *)line->sparse.ends;
	unsigned run = 0;

	while (ends[run] < value)
		run++;
	return line->sparse.leaves[run];
}

static __u32 pair_lookup(const union tenant_line *line, unsigned value)
{
	const __u16 *ends = (const __u16 *)line->pair.ends;
	unsigned run = 0;

	while (ends[run] < value)
		run++;
	return line->pair.leaves[run];
}

static bool compare_same(const union tenant_line *line, const __u8 address[16])
{
	__u64 halves[2];

	memcpy(halves, address, sizeof(halves));
	return !(((halves[0] ^ line->compare.value[0]) & line->compare.mask[0]) |
	         ((halves[1] ^ line->compare.value[1]) & line->compare.mask[1]));
}

unsigned tenants_lookup(const struct tenants_image *image, bool ipv6, const __u8 address[16])
{
	__u32 leaf = image->roots[ipv6];

	for (unsigned byte = ipv6 ? 0 : IPV4_BYTE; LEAF_KIND(leaf) != LEAF_TENANT;) {
		const union tenant_line *line = &image->lines[LEAF_AT(leaf)];
		if (LEAF_KIND(leaf) == LEAF_COMPARE) {
			leaf = compare_same(line, address) ? line->compare.same : line->compare.other;
			byte = line->compare.byte;
			continue;
		}
		if (LEAF_KIND(leaf) == LEAF_PAIR) {
			leaf = pair_lookup(line, (unsigned)address[byte] << 8 | address[byte + 1]);
			byte += 2;
			continue;
		}
		__u8 value = address[byte++];
		leaf = LEAF_KIND(leaf) == LEAF_SPARSE ? sparse_lookup(line, value)
		                                      : line[value / DENSE_LEAVES].dense[value % DENSE_LEAVES];
	}
	return leaf;
}
