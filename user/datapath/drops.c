/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs that count what the host itself dropped: loaded around the packet path's classifier, attached to the
 * kernel's own functions, their links pinned. Each is optional. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "datapath/classifier.h"
#include "datapath/internal.h"
#include "datapath/pins.h"

#define REASON_PREFIX "SKB_DROP_REASON_"

/* Of the tracepoint, with the one before all that BTF gives them: packet, place, reason, socket. */
#define ARGUMENTS_WITH_REASON 4
#define ARGUMENTS_WITH_SOCKET 5

DEFINE_CLEANUP(struct btf, btf__free)

static const char *const link_pins[DROP_PROGRAMS] = {
	[DROP_SEEN] = PIN_DROP_LINK_PREFIX "seen",
	[DROP_LISTENER] = PIN_DROP_LINK_PREFIX "listener",
};

/* How many arguments the tracepoint has in the running kernel; 0 where it is not described. */
static unsigned tracepoint_arguments(const struct btf *kernel)
{
	int id = btf__find_by_name_kind(kernel, "btf_trace_kfree_skb", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(kernel, btf__type_by_id(kernel, (__u32)id)->type);

	if (type && btf_is_ptr(type))
		type = btf__type_by_id(kernel, type->type);
	return type && btf_is_func_proto(type) ? btf_vlen(type) : 0;
}

uint32_t drops_reason_called(const struct drop_names *reasons, const char *name)
{
	for (uint32_t reason = 0; reason < DROP_REASONS; reason++)
		if (strcmp(reasons->texts[reason], name) == 0)
			return reason;
	return UINT32_MAX;
}

/* Takes over the kernel's names of reasons. */
static void read_reasons(const struct btf *kernel, struct drops *drops)
{
	int id = btf__find_by_name_kind(kernel, "skb_drop_reason", BTF_KIND_ENUM);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(kernel, (__u32)id);

	for (unsigned i = 0; type && i < btf_vlen(type); i++) {
		const struct btf_enum *reason = &btf_enum(type)[i];
		const char *name = btf__name_by_offset(kernel, reason->name_off);
		if (reason->val < 0 || reason->val >= DROP_OTHER || !name)
			continue;
		if (strncmp(name, REASON_PREFIX, strlen(REASON_PREFIX)) == 0)
			name += strlen(REASON_PREFIX);
		snprintf(drops->reasons.texts[reason->val], DROP_NAME_MAX, "%s", name);
	}
	snprintf(drops->reasons.texts[DROP_OTHER], DROP_NAME_MAX, "OTHER");
	if (drops_reason_called(&drops->reasons, LISTEN_OVERFLOW) == UINT32_MAX)
		snprintf(drops->reasons.texts[DROP_LISTEN_OVERFLOW], DROP_NAME_MAX, LISTEN_OVERFLOW);
}

static int learn_kernel(struct drops *drops, struct drops_bpf *skeleton, struct error *err)
{
	_cleanup_(btf__freep) struct btf *kernel = btf__load_vmlinux_btf();
	struct stat here;
	if (!kernel)
		return error_set(err, -errno, "the kernel does not describe its types (BTF)");

	unsigned arguments = tracepoint_arguments(kernel);
	if (arguments < ARGUMENTS_WITH_REASON)
		return error_set(err, -EOPNOTSUPP,
		                 "the kernel does not say why it drops packets (5.17 is the first that does)");
	if (stat("/proc/self/ns/net", &here) < 0)
		return error_set(err, -errno, "/proc/self/ns/net: %s", strerror(errno));
	read_reasons(kernel, drops);
	skeleton->rodata->own_namespace = (uint32_t)here.st_ino;
	skeleton->rodata->has_socket = arguments >= ARGUMENTS_WITH_SOCKET;
	skeleton->rodata->reason_spilled = drops_reason_called(&drops->reasons, "XDP");
	skeleton->rodata->reason_listener = drops_reason_called(&drops->reasons, LISTEN_OVERFLOW);
	return 0;
}

static int load_with(struct keeper *keeper, bool listener, struct drops_bpf **out, struct error *err)
{
	char path[PATH_MAX];
	_cleanup_(drops_bpf__destroyp) struct drops_bpf *skeleton = drops_bpf__open();
	if (!skeleton)
		return error_set(err, -errno, "the programs cannot be opened: %s", strerror(errno));

	int failure = learn_kernel(&keeper->drops, skeleton, err);
	if (failure)
		return failure;
	pins_path(keeper->pins, PIN_HOST_DROPS, path);
	failure = bpf_map__set_pin_path(skeleton->maps.host_drops, path);
	if (!failure)
		failure = bpf_map__reuse_fd(skeleton->maps.bss, bpf_map__fd(keeper->skeleton->maps.bss));
	if (!failure)
		failure = bpf_program__set_autoload(skeleton->progs.listener_asked, listener);
	if (!failure)
		failure = drops_bpf__load(skeleton);
	if (failure)
		return error_set(err, failure, "the kernel refuses the program: %s", strerror(-failure));
	*out = TAKE_PTR(skeleton);
	return 0;
}

/* Attaches the program in the place of the one that an earlier daemon has left at work. */
static int attach(struct keeper *keeper, enum drop_program which, const struct bpf_program *program, struct error *err)
{
	char path[PATH_MAX];

	pins_path(keeper->pins, link_pins[which], path);
	unlink(path);
	struct bpf_link *link = bpf_program__attach_trace(program);
	if (!link)
		return error_set(err, -errno, "the kernel does not attach the program: %s", strerror(errno));
	if (bpf_obj_pin(bpf_link__fd(link), path) < 0) {
		int failure = error_set(err, -errno, "%s: cannot pin: %s", path, strerror(errno));
		bpf_link__destroy(link);
		return failure;
	}
	keeper->drops.links[which] = link;
	return 0;
}

static void remove_pin(const struct keeper *keeper, const char *name)
{
	char path[PATH_MAX];

	pins_path(keeper->pins, name, path);
	unlink(path);
}

static void turn_off(struct keeper *keeper)
{
	drops_close(keeper);
	for (int which = 0; which < DROP_PROGRAMS; which++)
		remove_pin(keeper, link_pins[which]);
	remove_pin(keeper, PIN_HOST_DROPS);
}

/* A SYN that finds its listener's queue full is seen by a program of its own, which not every host grants. */
static int bring_up(struct keeper *keeper)
{
	struct drops *drops = &keeper->drops;
	struct error *why = &drops->why[DROP_SEEN], *why_listener = &drops->why[DROP_LISTENER];
	bool listener = true;

	int failure = load_with(keeper, true, &drops->skeleton, why_listener);
	if (failure) {
		listener = false;
		failure = load_with(keeper, false, &drops->skeleton, why);
	}
	if (!failure)
		failure = attach(keeper, DROP_SEEN, drops->skeleton->progs.drop_seen, why);
	if (failure)
		return failure;
	if (listener && attach(keeper, DROP_LISTENER, drops->skeleton->progs.listener_asked, why_listener) < 0)
		listener = false;
	if (!listener)
		remove_pin(keeper, link_pins[DROP_LISTENER]);
	return 0;
}

void drops_start(struct keeper *keeper)
{
	if (bring_up(keeper) == 0)
		return;
	log_warning("what the host drops is not counted: %s", keeper->drops.why[DROP_SEEN].text);
	turn_off(keeper);
}

int drops_keep_pins(struct keeper *keeper, struct error *err)
{
	int count = 0;

	for (int which = 0; which <= DROP_PROGRAMS && keeper->drops.skeleton; which++) {
		bool map = which == DROP_PROGRAMS;
		char path[PATH_MAX];
		if (!map && !keeper->drops.links[which])
			continue;
		int fd = map ? bpf_map__fd(keeper->drops.skeleton->maps.host_drops)
		             : bpf_link__fd(keeper->drops.links[which]);
		pins_path(keeper->pins, map ? PIN_HOST_DROPS : link_pins[which], path);
		if (access(path, F_OK) == 0)
			continue;
		if (bpf_obj_pin(fd, path) < 0)
			return error_set(err, -errno, "%s: was removed, and cannot be pinned again: %s", path,
			                 strerror(errno));
		count++;
	}
	return count;
}

void drops_close(struct keeper *keeper)
{
	struct drops *drops = &keeper->drops;

	for (int which = 0; which < DROP_PROGRAMS; which++) {
		if (drops->links[which]) {
			bpf_link__disconnect(drops->links[which]);
			bpf_link__destroy(drops->links[which]);
		}
		drops->links[which] = NULL;
	}
	drops_bpf__destroy(drops->skeleton);
	drops->skeleton = NULL;
}

int drops_map(const struct keeper *keeper)
{
	return keeper->drops.skeleton ? bpf_map__fd(keeper->drops.skeleton->maps.host_drops) : -1;
}
