/* SPDX-License-Identifier: GPL-2.0-only */
#include "datapath/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "base/cleanup.h"

#define BPFFS "/sys/fs/bpf"

#define LOCK_TRIES    25
#define LOCK_PAUSE_NS 20000000

static bool on_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

/* bpffs is mounted by the service manager on most hosts, and by us where it is not. */
static int bpffs_mount(const char *dir, struct error *err)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", dir);
	if (on_bpffs(dirname(parent)))
		return 0;
	if (strncmp(dir, BPFFS "/", strlen(BPFFS "/")) != 0)
		return error_set(err, -EINVAL, "%s: not on a BPF file system: name a directory below " BPFFS, dir);
	if (on_bpffs(BPFFS)) /* a directory between is missing: mounting again would hide what others have pinned */
		return 0;
	if (mount("bpf", BPFFS, "bpf", 0, "mode=0700") < 0)
		return error_set(err, -errno, BPFFS ": cannot mount the BPF file system: %s: mount it, or run as root",
		                 strerror(errno));
	return 0;
}

static int check_ours(int fd, const char *dir, struct error *err)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set(err, -errno, "%s: %s", dir, strerror(errno));
	if (status.st_uid != geteuid() || status.st_mode & 022)
		return error_set(
			err, -EPERM,
			"%s: belongs to user %u with mode %03o: others could change what is pinned there: remove it, "
			"or name another with --pins",
			dir, status.st_uid, status.st_mode & 0777);
	return 0;
}

/* A process that was killed lets go of its lock when the kernel gets round to it. */
static int lock_soon(int fd)
{
	for (int try = 0;; try++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK || try == LOCK_TRIES)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
	}
}

int pins_lock_existing(const char *dir, struct error *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, -errno,
		                 "%s: cannot open the directory of pins: %s: run as root, or name another with --pins",
		                 dir, strerror(errno));
	int failure = lock_soon(fd);
	if (failure)
		return error_set(err, failure == -EWOULDBLOCK ? -EBUSY : failure,
		                 "%s: another spillway daemon runs on these pins: stop it, or name others with --pins",
		                 dir);
	return TAKE_FD(fd);
}

int pins_lock(const char *dir, struct error *err)
{
	int failure = bpffs_mount(dir, err);
	if (failure)
		return failure;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s: cannot make the directory of pins: %s: run as root, or mount " BPFFS,
		                 dir, strerror(errno));
	if (!on_bpffs(dir))
		return error_set(err, -EINVAL, "%s: not on a BPF file system: name a directory below " BPFFS, dir);

	_cleanup_close_ int fd = pins_lock_existing(dir, err);
	if (fd < 0)
		return fd;
	failure = check_ours(fd, dir, err);
	if (failure)
		return failure;
	return TAKE_FD(fd);
}

void pins_link_name(unsigned device, char out[PIN_LINK_NAME_MAX])
{
	snprintf(out, PIN_LINK_NAME_MAX, PIN_LINK_PREFIX "%u", device);
}

const char *pins_map_name(const char *map)
{
	const char *dot = strchr(map, '.');

	if (!dot)
		return map;
	return strcmp(dot, ".bss") == 0 ? PIN_STATE : NULL;
}

void pins_path(const char *dir, const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

int pins_each(const char *dir, void (*visit)(const char *dir, const char *name, void *argument), void *argument,
              struct error *err)
{
	_cleanup_closedir_ DIR *directory = opendir(dir);
	if (!directory)
		return error_set(err, -errno, "%s: cannot list: %s", dir, strerror(errno));

	for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
		if (entry->d_name[0] != '.')
			visit(dir, entry->d_name, argument);
	return 0;
}
