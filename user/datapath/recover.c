/* SPDX-License-Identifier: GPL-2.0-only */
/* Pins that somebody removed: a daemon pins again what it holds; a start finds the maps through the program that still
 * works with them. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "datapath/internal.h"
#include "datapath/pins.h"

#define PROGRAM_MAPS_MAX 64

/* Returns 1 where it was missing and is pinned again, 0 where it is there, or -errno. */
static int pin_missing(const char *dir, const char *name, int fd, struct error *err)
{
	char path[PATH_MAX];

	pins_path(dir, name, path);
	if (access(path, F_OK) == 0)
		return 0;
	if (bpf_obj_pin(fd, path) < 0)
		return error_set(err, -errno,
		                 "%s: was removed, and cannot be pinned again: %s: 'spillway unload' ends it", path,
		                 strerror(errno));
	return 1;
}

static void recover_map(const char *dir, uint32_t id)
{
	struct bpf_map_info map = {0};
	uint32_t size = sizeof(map);
	struct error err;

	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &map, &size) < 0)
		return;
	const char *name = pins_map_name(map.name);
	int pinned = name ? pin_missing(dir, name, fd, &err) : 0;
	if (pinned < 0)
		log_warning("%s", err.text);
	else if (pinned)
		log_warning("%s/%s: was removed: recovered from the program at work", dir, name);
}

static void recover_from_link(const char *dir, const char *name, void *argument)
{
	uint32_t ids[PROGRAM_MAPS_MAX] = {0}, size = sizeof(struct bpf_link_info);
	struct bpf_prog_info program = {.nr_map_ids = PROGRAM_MAPS_MAX, .map_ids = (uintptr_t)ids};
	struct bpf_link_info link = {0};
	char path[PATH_MAX];
	(void)argument;

	if (strncmp(name, PIN_LINK_PREFIX, strlen(PIN_LINK_PREFIX)) != 0 &&
	    strncmp(name, PIN_TAG_LINK_PREFIX, strlen(PIN_TAG_LINK_PREFIX)) != 0 &&
	    strncmp(name, PIN_RESPONSE_LINK_PREFIX, strlen(PIN_RESPONSE_LINK_PREFIX)) != 0 &&
	    strncmp(name, PIN_DROP_LINK_PREFIX, strlen(PIN_DROP_LINK_PREFIX)) != 0)
		return;
	pins_path(dir, name, path);
	_cleanup_close_ int link_fd = bpf_obj_get(path);
	if (link_fd < 0 || bpf_obj_get_info_by_fd(link_fd, &link, &size) < 0)
		return;
	_cleanup_close_ int program_fd = bpf_prog_get_fd_by_id(link.prog_id);
	size = sizeof(program);
	if (program_fd < 0 || bpf_obj_get_info_by_fd(program_fd, &program, &size) < 0)
		return;
	for (uint32_t i = 0; i < program.nr_map_ids && i < PROGRAM_MAPS_MAX; i++)
		recover_map(dir, ids[i]);
}

void keeper_recover(struct keeper *keeper)
{
	pins_each(keeper->pins, recover_from_link, NULL, NULL);
}

/* The directory itself may have been removed, and the lock lies on it. */
static int keep_directory(struct keeper *keeper, struct error *err)
{
	struct stat locked, there;

	if (fstat(keeper->lock, &locked) == 0 && stat(keeper->pins, &there) == 0 && locked.st_ino == there.st_ino &&
	    locked.st_dev == there.st_dev)
		return 0;
	int lock = pins_lock(keeper->pins, err);
	if (lock < 0)
		return lock;
	close(keeper->lock);
	keeper->lock = lock;
	return 0;
}

int keeper_keep_pins(struct keeper *keeper, struct error *err)
{
	struct bpf_map *map;
	int count = 0, pinned = keep_directory(keeper, err);

	bpf_object__for_each_map(map, keeper->skeleton->obj)
	{
		if (pinned < 0)
			return pinned;
		const char *name = pins_map_name(bpf_map__name(map));
		if (!name || !bpf_map__autocreate(map))
			continue;
		pinned = pin_missing(keeper->pins, name, bpf_map__fd(map), err);
		count += pinned > 0;
	}
	for (size_t i = 0; i < keeper->links_count && pinned >= 0; i++) {
		char name[PIN_LINK_NAME_MAX];
		if (!keeper->links[i].index)
			continue;
		pins_link_name(keeper->links[i].index, name);
		pinned = pin_missing(keeper->pins, name, keeper->link_fds[i], err);
		count += pinned > 0;
	}
	if (keeper->tags.skeleton && pinned >= 0) {
		pinned = pin_missing(keeper->pins, PIN_TAG_SOCKETS,
		                     bpf_map__fd(keeper->tags.skeleton->maps.tag_sockets), err);
		count += pinned > 0;
	}
	for (int program = 0; program < TAG_PROGRAMS && pinned >= 0; program++) {
		if (keeper->tags.link_fds[program] < 0)
			continue;
		pinned = pin_missing(keeper->pins, tags_link_name(program), keeper->tags.link_fds[program], err);
		count += pinned > 0;
	}
	tags_follow_cgroup(keeper);
	if (pinned >= 0) {
		pinned = response_keep_pins(keeper, err);
		count += pinned > 0 ? pinned : 0;
	}
	if (pinned >= 0) {
		pinned = drops_keep_pins(keeper, err);
		count += pinned > 0 ? pinned : 0;
	}
	return pinned < 0 ? pinned : count;
}
