/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs on sockets, through which applications name users: loaded around the packet path's map of tags, attached
 * to cgroups, their links pinned and adopted like those to interfaces. */
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "datapath/internal.h"
#include "datapath/pins.h"

static_assert(CONFIG_TAG_UIDS_MAX <= TAG_UIDS_MAX, "every configured uid has its place in the program");

static const struct {
	const char *pin;
	enum bpf_attach_type hook;
} programs[TAG_PROGRAMS] = {
	[TAG_SET] = {PIN_TAG_LINK_PREFIX "set", BPF_CGROUP_SETSOCKOPT},
	[TAG_SET_TRUSTED] = {PIN_TAG_LINK_PREFIX "set_trusted", BPF_CGROUP_SETSOCKOPT},
	[TAG_END] = {PIN_TAG_LINK_PREFIX "end", BPF_CGROUP_INET_SOCK_RELEASE},
};

const char *tags_link_name(enum tag_program program)
{
	return programs[program].pin;
}

static int program_fd(const struct tags *tags, enum tag_program program)
{
	const struct bpf_program *const loaded[TAG_PROGRAMS] = {
		[TAG_SET] = tags->skeleton->progs.tag_set,
		[TAG_SET_TRUSTED] = tags->skeleton->progs.tag_set_trusted,
		[TAG_END] = tags->skeleton->progs.tag_end,
	};

	return bpf_program__fd(loaded[program]);
}

/* Opens a cgroup: /sys/fs/cgroup is where version 2 is mounted on most hosts, and below it on those that have both. */
static int cgroup_open(const char *cgroup, struct error *err)
{
	char path[PATH_MAX] = "";
	struct mntent *mount, entry;
	char words[PATH_MAX];
	FILE *mounts _cleanup_fclose_ = setmntent("/proc/self/mounts", "re");

	while (mounts && !path[0] && (mount = getmntent_r(mounts, &entry, words, sizeof(words))))
		if (strcmp(mount->mnt_type, "cgroup2") == 0)
			snprintf(path, sizeof(path), "%s%s", mount->mnt_dir, cgroup);
	if (!path[0])
		return error_set(err, -ENOENT, "no cgroup file system of version 2 is mounted");
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, -errno, "cgroup %s: %s", path, strerror(errno));
	return fd;
}

/* Whether a link is still attached, and to this very cgroup: a new one may have come under the same name. */
static bool link_is_on(int link_fd, int cgroup_fd)
{
	struct bpf_link_info link = {0};
	uint32_t size = sizeof(link);
	struct stat cgroup;

	return bpf_obj_get_info_by_fd(link_fd, &link, &size) == 0 && fstat(cgroup_fd, &cgroup) == 0 &&
	       link.cgroup.cgroup_id == cgroup.st_ino;
}

static void pin_remove(const char *pins, const char *name)
{
	char path[PATH_MAX];

	pins_path(pins, name, path);
	if (access(path, F_OK) < 0)
		return;
	_cleanup_close_ int fd = bpf_obj_get(path);
	if (fd >= 0)
		bpf_link_detach(fd); /* fails where it is a map: that goes with its last user */
	unlink(path);
}

static void link_drop(struct keeper *keeper, enum tag_program program)
{
	int *fd = &keeper->tags.link_fds[program];

	pin_remove(keeper->pins, programs[program].pin);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Puts the program on the cgroup: into the link that an earlier daemon, or an earlier configuration, has left there, or
 * into a new one. */
static int link_put(struct keeper *keeper, enum tag_program program, int cgroup_fd, struct error *err)
{
	char path[PATH_MAX];
	int new_program = program_fd(&keeper->tags, program);

	pins_path(keeper->pins, programs[program].pin, path);
	_cleanup_close_ int fd = access(path, F_OK) == 0 ? bpf_obj_get(path) : -1;
	if (fd < 0 || !link_is_on(fd, cgroup_fd) || bpf_link_update(fd, new_program, NULL) < 0) {
		link_drop(keeper, program);
		if (fd >= 0)
			close(fd);
		fd = bpf_link_create(new_program, cgroup_fd, programs[program].hook, NULL);
		if (fd < 0)
			return error_set(err, -errno, "the kernel does not attach a program to a cgroup: %s",
			                 strerror(errno));
		if (bpf_obj_pin(fd, path) < 0)
			return error_set(err, -errno, "%s: cannot pin: %s", path, strerror(errno));
	}
	if (keeper->tags.link_fds[program] >= 0)
		close(keeper->tags.link_fds[program]);
	keeper->tags.link_fds[program] = TAKE_FD(fd);
	return 0;
}

static int load(struct keeper *keeper, const struct config_tags *config, struct error *err)
{
	char path[PATH_MAX];
	_cleanup_(tag_bpf__destroyp) struct tag_bpf *skeleton = tag_bpf__open();
	if (!skeleton)
		return error_set(err, -errno, "the programs cannot be opened: %s", strerror(errno));

	for (size_t i = 0; i < config->uids_count; i++)
		skeleton->rodata->allowed_uids[i] = config->uids[i];
	skeleton->rodata->allowed_uids_count = (uint32_t)config->uids_count;
	pins_path(keeper->pins, PIN_TAG_SOCKETS, path);
	int failure = bpf_map__set_pin_path(skeleton->maps.tag_sockets, path);
	if (!failure)
		failure = bpf_map__reuse_fd(skeleton->maps.tags, bpf_map__fd(keeper->skeleton->maps.tags));
	if (!failure)
		failure = tag_bpf__load(skeleton);
	if (failure)
		return error_set(err, failure, "the kernel refuses the programs: %s", strerror(-failure));
	tags_close(&keeper->tags); /* the links are pinned, and adopted from there */
	keeper->tags.skeleton = TAKE_PTR(skeleton);
	return 0;
}

/* The end of connections is watched before their begin. */
static int attach(struct keeper *keeper, struct error *err)
{
	_cleanup_close_ int root = cgroup_open("", err);
	if (root < 0)
		return root;
	int failure = link_put(keeper, TAG_END, root, err);
	return failure ? failure : link_put(keeper, TAG_SET, root, err);
}

void tags_close(struct tags *tags)
{
	tag_bpf__destroy(tags->skeleton);
	tags->skeleton = NULL;
	for (int program = 0; program < TAG_PROGRAMS; program++) {
		if (tags->link_fds[program] >= 0)
			close(tags->link_fds[program]);
		tags->link_fds[program] = -1;
	}
}

static void forget_all(const struct keeper *keeper)
{
	int map = bpf_map__fd(keeper->skeleton->maps.tags);
	struct tag_key key;

	while (map >= 0 && bpf_map_get_next_key(map, NULL, &key) == 0 && bpf_map_delete_elem(map, &key) == 0)
		;
}

/* Without those who end them, tags would outlive their connections: so all of them go. */
static void turn_off(struct keeper *keeper)
{
	for (int program = 0; program < TAG_PROGRAMS; program++)
		link_drop(keeper, program);
	tags_close(&keeper->tags);
	pin_remove(keeper->pins, PIN_TAG_SOCKETS);
	forget_all(keeper);
}

void tags_follow_cgroup(struct keeper *keeper)
{
	struct error err;

	if (!keeper->tags.skeleton)
		return;
	_cleanup_close_ int cgroup = keeper->tags.config.cgroup[0] ? cgroup_open(keeper->tags.config.cgroup, &err) : -1;
	int *link = &keeper->tags.link_fds[TAG_SET_TRUSTED];
	if (cgroup < 0)
		link_drop(keeper, TAG_SET_TRUSTED);
	else if ((*link < 0 || !link_is_on(*link, cgroup)) && link_put(keeper, TAG_SET_TRUSTED, cgroup, &err) < 0)
		log_warning("tags.cgroup: %s: its processes cannot name users", err.text);
}

void tags_apply(struct keeper *keeper, const struct config_tags *config)
{
	struct tags *tags = &keeper->tags;

	if (!(keeper->state->live.features & FEATURE_TAGS)) {
		turn_off(keeper);
		pin_remove(keeper->pins, PIN_TAGS);
		return;
	}
	if (tags->skeleton && memcmp(&tags->config, config, sizeof(*config)) == 0)
		return;
	tags->config = *config;
	int failure = load(keeper, config, &tags->why);
	if (!failure)
		failure = attach(keeper, &tags->why);
	if (failure) {
		log_warning("users of kind 'tag' count for their sources: %s", tags->why.text);
		turn_off(keeper);
		return;
	}
	tags_follow_cgroup(keeper);
}
