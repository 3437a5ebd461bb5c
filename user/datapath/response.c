/* SPDX-License-Identifier: GPL-2.0-only */
/* The program that meets replies on their way out: loaded around the packet path's maps, on the same devices, by a link
 * where the kernel has such links (6.6), else as a filter of the device's clsact qdisc. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "datapath/internal.h"
#include "datapath/pins.h"

#define LINK_EGRESS 47 /* enum bpf_attach_type: BPF_TCX_EGRESS, which older headers do not have */

/* Where our filter lies among those of the device: anywhere will do, as long as it is found again. */
#define FILTER_HANDLE   1
#define FILTER_PRIORITY 21335

static const struct {
	const char *prefix;
	bool filter;
} pins[] = {{PIN_RESPONSE_LINK_PREFIX, false}, {PIN_RESPONSE_FILTER_PREFIX, true}};

/* The device that a pin's name speaks of, and how the program is on it; 0 where it is no pin of these. */
static unsigned pin_device(const char *name, bool *filter)
{
	for (size_t i = 0; i < sizeof(pins) / sizeof(*pins); i++)
		if (strncmp(name, pins[i].prefix, strlen(pins[i].prefix)) == 0) {
			*filter = pins[i].filter;
			return (unsigned)strtoul(name + strlen(pins[i].prefix), NULL, 10);
		}
	return 0;
}

static void pin_path(const char *dir, unsigned device, bool filter, char out[PATH_MAX])
{
	char name[PIN_LINK_NAME_MAX + sizeof(PIN_RESPONSE_FILTER_PREFIX)];

	snprintf(name, sizeof(name), "%s%u", pins[filter].prefix, device);
	pins_path(dir, name, out);
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info program = {0};
	uint32_t size = sizeof(program);

	return bpf_obj_get_info_by_fd(fd, &program, &size) < 0 ? 0 : program.id;
}

/* Takes the filter off the device, if it is still the program that is pinned. The qdisc stays: others may use it. A
 * device in another network namespace is not to be reached; links are, from anywhere. */
static void filter_drop(unsigned device, const char *path)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)device, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, there, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	LIBBPF_OPTS(bpf_tc_opts, place, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	_cleanup_close_ int fd = bpf_obj_get(path);

	libbpf_set_print(NULL); /* it tells the terminal of a device that is gone */
	if (fd >= 0 && bpf_tc_query(&hook, &there) == 0 && there.prog_id == program_id(fd))
		bpf_tc_detach(&hook, &place);
}

void response_unpin(const char *dir, const char *name)
{
	char path[PATH_MAX];
	bool filter;
	unsigned device = pin_device(name, &filter);

	if (!device)
		return;
	pins_path(dir, name, path);
	if (filter) {
		filter_drop(device, path);
	} else {
		_cleanup_close_ int fd = bpf_obj_get(path);
		if (fd >= 0)
			bpf_link_detach(fd);
	}
	unlink(path);
}

bool response_load(struct keeper *keeper)
{
	struct responder *responder = &keeper->responder;
	_cleanup_(response_bpf__destroyp) struct response_bpf *skeleton = NULL;

	if (responder->skeleton)
		return true;
	skeleton = response_bpf__open();
	int failure = skeleton ? 0 : -errno;
	if (!failure)
		failure = bpf_map__reuse_fd(skeleton->maps.bss, bpf_map__fd(keeper->skeleton->maps.bss));
	if (!failure)
		failure = bpf_map__reuse_fd(skeleton->maps.responses, bpf_map__fd(keeper->skeleton->maps.responses));
	if (!failure)
		failure = bpf_map__reuse_fd(skeleton->maps.samples, bpf_map__fd(keeper->skeleton->maps.samples));
	if (!failure)
		failure = response_bpf__load(skeleton);
	if (failure) {
		error_set(&responder->why, failure, "the kernel refuses the program that meets replies: %s: %s",
		          strerror(-failure), program_remedy(failure));
		log_warning("response times are not measured: %s", responder->why.text);
		return false;
	}
	responder->skeleton = TAKE_PTR(skeleton);
	responder->why = (struct error){0};
	return true;
}

/* Puts the program on the device by a link: the one that is pinned, or a new one. Returns its descriptor, or -errno. */
static int link_put(const struct keeper *keeper, unsigned device, int program, struct error *err)
{
	char path[PATH_MAX];

	pin_path(keeper->pins, device, false, path);
	_cleanup_close_ int fd = access(path, F_OK) == 0 ? bpf_obj_get(path) : -1;
	if (fd >= 0) {
		struct bpf_link_info link = {0};
		uint32_t size = sizeof(link);
		/* The device lies at the same place for XDP, of which older headers know as well. */
		if (bpf_obj_get_info_by_fd(fd, &link, &size) == 0 && link.xdp.ifindex == device &&
		    bpf_link_update(fd, program, NULL) == 0)
			return TAKE_FD(fd);
		bpf_link_detach(fd);
		close(fd);
	}
	unlink(path);
	/* NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): of a newer header's enum */
	fd = bpf_link_create(program, (int)device, (enum bpf_attach_type)LINK_EGRESS, NULL);
	if (fd < 0)
		return error_set(err, -errno, "%s", strerror(errno));
	if (bpf_obj_pin(fd, path) < 0)
		return error_set(err, -errno, "%s: cannot pin: %s", path, strerror(errno));
	return TAKE_FD(fd);
}

/* The same as a filter of the device's qdisc, in place of the one that is there. */
static int filter_put(const struct keeper *keeper, unsigned device, int program, struct error *err)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)device, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, place, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY, .prog_fd = program,
	            .flags = BPF_TC_F_REPLACE);
	char path[PATH_MAX];

	int failure = bpf_tc_hook_create(&hook);
	if (!failure || failure == -EEXIST)
		failure = bpf_tc_attach(&hook, &place);
	if (failure)
		return error_set(err, failure, "%s", strerror(-failure));
	pin_path(keeper->pins, device, true, path);
	unlink(path);
	if (bpf_obj_pin(program, path) < 0) {
		failure = -errno;
		LIBBPF_OPTS(bpf_tc_opts, again, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
		bpf_tc_detach(&hook, &again);
		return error_set(err, failure, "%s: cannot pin: %s", path, strerror(-failure));
	}
	return 0;
}

static void device_attach(struct keeper *keeper, const struct datapath_link *link)
{
	struct responder *responder = &keeper->responder;
	int program = bpf_program__fd(responder->skeleton->progs.response);
	struct error by_link, by_filter;

	int fd = link_put(keeper, link->index, program, &by_link);
	if (fd < 0 && filter_put(keeper, link->index, program, &by_filter) < 0) {
		error_set(&responder->why, fd, "interface %s: no program on its way out: by a link: %s; by a qdisc: %s",
		          link->name, by_link.text, by_filter.text);
		log_warning("response times are not measured there: %s", responder->why.text);
		return;
	}
	responder->attached[responder->attached_count].device = link->index;
	responder->attached[responder->attached_count++].fd = fd < 0 ? -1 : fd;
}

static bool wanted_on(const struct keeper *keeper, unsigned device)
{
	for (size_t i = 0; i < keeper->links_count && keeper->responder.skeleton; i++)
		if (keeper->links[i].index == device)
			return true;
	return false;
}

/* At a start, the program that an earlier daemon has left is there before the interfaces are: it stays where theirs is.
 */
static bool expected_on(const struct keeper *keeper, unsigned device)
{
	char name[PIN_LINK_NAME_MAX], path[PATH_MAX];

	pins_link_name(device, name);
	pins_path(keeper->pins, name, path);
	return keeper->responder.skeleton && access(path, F_OK) == 0;
}

static void drop_unwanted(const char *dir, const char *name, void *argument)
{
	bool filter;
	unsigned device = pin_device(name, &filter);

	if (device && !wanted_on(argument, device) && !expected_on(argument, device))
		response_unpin(dir, name);
}

static bool is_on(const struct responder *responder, unsigned device)
{
	for (size_t i = 0; i < responder->attached_count; i++)
		if (responder->attached[i].device == device)
			return true;
	return false;
}

void response_follow(struct keeper *keeper)
{
	struct responder *responder = &keeper->responder;

	if (!(keeper->state->live.features & FEATURE_RESPONSE)) {
		response_bpf__destroy(responder->skeleton);
		responder->skeleton = NULL;
	}
	pins_each(keeper->pins, drop_unwanted, keeper, NULL);
	for (size_t i = responder->attached_count; i-- > 0;) {
		if (wanted_on(keeper, responder->attached[i].device))
			continue;
		if (responder->attached[i].fd >= 0)
			close(responder->attached[i].fd);
		responder->attached[i] = responder->attached[--responder->attached_count];
	}
	for (size_t i = 0; responder->skeleton && i < keeper->links_count; i++)
		if (keeper->links[i].index && !is_on(responder, keeper->links[i].index))
			device_attach(keeper, &keeper->links[i]);
}

int response_keep_pins(struct keeper *keeper, struct error *err)
{
	struct responder *responder = &keeper->responder;
	int count = 0;

	for (size_t i = 0; i < responder->attached_count; i++) {
		char path[PATH_MAX];
		bool filter = responder->attached[i].fd < 0;
		int fd = filter ? bpf_program__fd(responder->skeleton->progs.response) : responder->attached[i].fd;
		pin_path(keeper->pins, responder->attached[i].device, filter, path);
		if (access(path, F_OK) == 0)
			continue;
		if (bpf_obj_pin(fd, path) < 0)
			return error_set(err, -errno, "%s: was removed, and cannot be pinned again: %s", path,
			                 strerror(errno));
		count++;
	}
	return count;
}

void response_close(struct keeper *keeper)
{
	struct responder *responder = &keeper->responder;

	for (size_t i = 0; i < responder->attached_count; i++)
		if (responder->attached[i].fd >= 0)
			close(responder->attached[i].fd);
	responder->attached_count = 0;
	response_bpf__destroy(responder->skeleton);
	responder->skeleton = NULL;
}

bool response_on_everywhere(const struct keeper *keeper)
{
	for (size_t i = 0; i < keeper->links_count; i++)
		if (keeper->links[i].index && !is_on(&keeper->responder, keeper->links[i].index))
			return false;
	return keeper->responder.skeleton != NULL;
}
