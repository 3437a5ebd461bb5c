/* SPDX-License-Identifier: GPL-2.0-only */
/* Attaching to interfaces, and keeping the right ones. A link is pinned by its device's index: names change, and may
 * hold characters that bpffs refuses. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "datapath/internal.h"
#include "datapath/pins.h"

#define BUSY_TRIES    50 /* a link of a process that just died is released late */
#define BUSY_PAUSE_NS 20000000

/* The device that a link is attached to; 0 where it is gone. */
static unsigned link_device(int fd)
{
	struct bpf_link_info link = {0};
	uint32_t size = sizeof(link);

	return bpf_obj_get_info_by_fd(fd, &link, &size) < 0 ? 0 : link.xdp.ifindex;
}

static void link_path(const struct keeper *keeper, unsigned device, char out[PATH_MAX])
{
	char name[PIN_LINK_NAME_MAX];

	pins_link_name(device, name);
	pins_path(keeper->pins, name, out);
}

static bool attached_generic(unsigned device)
{
	struct bpf_xdp_query_opts query = {.sz = sizeof(query)};

	return bpf_xdp_query((int)device, 0, &query) == 0 && query.attach_mode == XDP_ATTACHED_SKB;
}

/* The name of the program that holds a device; empty where none does. */
static void occupant(unsigned device, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info program = {0};
	uint32_t id = 0, size = sizeof(program);

	out[0] = '\0';
	if (bpf_xdp_query_id((int)device, 0, &id) < 0 || !id)
		return;
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &program, &size) < 0)
		snprintf(out, BPF_OBJ_NAME_LEN, "program %u", id);
	else
		snprintf(out, BPF_OBJ_NAME_LEN, "%s", program.name[0] ? program.name : "without a name");
}

static int link_create(const struct keeper *keeper, unsigned device, unsigned mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = mode);
	int program = bpf_program__fd(keeper->skeleton->progs.spillway);
	char holder[BPF_OBJ_NAME_LEN];

	for (int try = 0;; try++) {
		int fd = bpf_link_create(program, (int)device, BPF_XDP, &options);
		if (fd >= 0 || errno != EBUSY || try == BUSY_TRIES)
			return fd >= 0 ? fd : -errno;
		occupant(device, holder);
		if (holder[0] && strcmp(holder, "spillway") != 0)
			return -EBUSY;
		nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
	}
}

static int attach_new(struct keeper *keeper, const char *name, unsigned device, struct error *err)
{
	char path[PATH_MAX], holder[BPF_OBJ_NAME_LEN];
	_cleanup_close_ int fd = link_create(keeper, device, XDP_FLAGS_DRV_MODE);

	if ((fd == -EOPNOTSUPP || fd == -EINVAL) && keeper->allow_generic) {
		fd = link_create(keeper, device, XDP_FLAGS_SKB_MODE);
		if (fd >= 0)
			log_warning("interface %s: its driver has no native XDP: attached in generic mode, several "
			            "times slower",
			            name);
	}
	if (fd == -EBUSY) {
		occupant(device, holder);
		return error_set(err, -EBUSY,
		                 "interface %s: another XDP program is attached (%s): detach it with 'ip link set "
		                 "dev %s xdp off' or by its owner",
		                 name, holder, name);
	}
	if (fd == -EOPNOTSUPP || fd == -EINVAL)
		return error_set(err, fd,
		                 "interface %s: its driver has no native XDP: set 'allow_generic: true' to attach in "
		                 "generic mode",
		                 name);
	if (fd < 0)
		return error_set(err, fd, "interface %s: cannot attach: %s", name, strerror(-fd));

	link_path(keeper, device, path);
	if (bpf_obj_pin(fd, path) < 0)
		return error_set(err, -errno, "%s: cannot pin the link to interface %s: %s", path, name,
		                 strerror(errno));
	return TAKE_FD(fd);
}

/* Takes over a link that an earlier daemon pinned: the program is swapped under it, no packet passes between. */
static int attach_adopt(struct keeper *keeper, unsigned device)
{
	char path[PATH_MAX];

	link_path(keeper, device, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	if (fd < 0)
		return -ENOENT;
	if (link_device(fd) == device &&
	    bpf_link_update(fd, bpf_program__fd(keeper->skeleton->progs.spillway), NULL) == 0)
		return TAKE_FD(fd);
	unlink(path);
	return -ENOENT;
}

static struct datapath_link *link_slot(struct keeper *keeper, const char *name)
{
	for (size_t i = 0; i < keeper->links_count; i++)
		if (strcmp(keeper->links[i].name, name) == 0)
			return &keeper->links[i];
	if (keeper->links_count == CONFIG_INTERFACES_MAX)
		return NULL;
	struct datapath_link *link = &keeper->links[keeper->links_count];
	keeper->link_fds[keeper->links_count++] = -1;
	*link = (struct datapath_link){0};
	snprintf(link->name, sizeof(link->name), "%s", name);
	return link;
}

int keeper_attach(struct keeper *keeper, const char *name, struct error *err)
{
	struct datapath_link *link = link_slot(keeper, name);
	if (!link)
		return error_set(err, -E2BIG, "interface %s: more than %d interfaces", name, CONFIG_INTERFACES_MAX);
	if (link->index)
		return 0;
	unsigned device = if_nametoindex(name);
	if (!device)
		return error_set(err, -ENODEV, "interface %s: not found: name one that 'ip link' shows", name);

	int fd = attach_adopt(keeper, device);
	if (fd < 0)
		fd = attach_new(keeper, name, device, err);
	if (fd < 0)
		return fd;
	keeper->link_fds[link - keeper->links] = fd;
	link->index = device;
	link->generic = attached_generic(device);
	link->since_s = time(NULL);
	response_follow(keeper);
	return 0;
}

/* Lets go of a link: detached at once, not when the kernel gets round to it. */
static void link_drop(struct keeper *keeper, size_t i)
{
	char path[PATH_MAX];

	link_path(keeper, keeper->links[i].index, path);
	bpf_link_detach(keeper->link_fds[i]); /* fails where the device is gone: then it is detached */
	unlink(path);
	close(keeper->link_fds[i]);
	keeper->link_fds[i] = -1;
	keeper->links[i].index = 0;
}

void keeper_detach(struct keeper *keeper, const char *name)
{
	for (size_t i = 0; i < keeper->links_count; i++) {
		if (strcmp(keeper->links[i].name, name) != 0)
			continue;
		if (keeper->links[i].index)
			link_drop(keeper, i);
		keeper->links_count--;
		keeper->links[i] = keeper->links[keeper->links_count];
		keeper->link_fds[i] = keeper->link_fds[keeper->links_count];
		response_follow(keeper);
		return;
	}
}

/* Whether a link still is where the configuration wants it. A device that was merely renamed stays protected until
 * another bears its name, and so does one of which nothing can be learnt: both questions need a descriptor. */
static bool link_holds(const struct datapath_link *link, int fd)
{
	char now[IF_NAMESIZE];

	if (link_device(fd) != link->index)
		return false;
	unsigned named = if_nametoindex(link->name);
	if (named)
		return named == link->index;
	return errno != ENODEV || if_indextoname(link->index, now) || errno != ENXIO;
}

bool keeper_drop_stale_links(struct keeper *keeper)
{
	bool dropped = false;

	for (size_t i = 0; i < keeper->links_count; i++) {
		if (!keeper->links[i].index || link_holds(&keeper->links[i], keeper->link_fds[i]))
			continue;
		link_drop(keeper, i);
		dropped = true;
	}
	if (dropped)
		response_follow(keeper);
	return dropped;
}

static void drop_stranger(const char *dir, const char *name, void *argument)
{
	struct keeper *keeper = argument;
	char path[PATH_MAX];

	if (strncmp(name, PIN_LINK_PREFIX, strlen(PIN_LINK_PREFIX)) != 0)
		return;
	unsigned device = (unsigned)strtoul(name + strlen(PIN_LINK_PREFIX), NULL, 10);
	for (size_t i = 0; i < keeper->links_count; i++)
		if (keeper->links[i].index == device)
			return;
	pins_path(dir, name, path);
	_cleanup_close_ int fd = bpf_obj_get(path);
	if (fd >= 0)
		bpf_link_detach(fd);
	unlink(path);
}

void keeper_drop_strangers(struct keeper *keeper)
{
	pins_each(keeper->pins, drop_stranger, keeper, NULL);
	response_follow(keeper);
}

static void unload_one(const char *dir, const char *name, void *argument)
{
	char path[PATH_MAX];
	(void)argument;

	pins_path(dir, name, path);
	if (strncmp(name, PIN_LINK_PREFIX, strlen(PIN_LINK_PREFIX)) == 0 ||
	    strncmp(name, PIN_TAG_LINK_PREFIX, strlen(PIN_TAG_LINK_PREFIX)) == 0) {
		_cleanup_close_ int fd = bpf_obj_get(path);
		if (fd >= 0)
			bpf_link_detach(fd);
	}
	response_unpin(dir, name);
	unlink(path);
}

int datapath_unpin_all(const char *pins, struct error *err)
{
	int failure = pins_each(pins, unload_one, NULL, err);
	if (failure)
		return failure;
	if (rmdir(pins) < 0)
		return error_set(err, -errno, "%s: cannot remove: %s: remove what else is in it", pins,
		                 strerror(errno));
	return 0;
}

int datapath_unload(const char *pins, struct error *err)
{
	_cleanup_close_ int lock = pins_lock_existing(pins, err);
	if (lock == -ENOENT)
		return 0;
	return lock < 0 ? lock : datapath_unpin_all(pins, err);
}
