/* SPDX-License-Identifier: GPL-2.0-only */
/* Landlock (Documentation/userspace-api/landlock.rst), by system calls: the C library knows nothing of it, and headers
 * are older than kernels. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "privilege/protections.h"

/* Of later versions of the interface than this header's. */
#define FS_TRUNCATE     (1ULL << 14) /* version 3, kernel 6.2 */
#define FS_IOCTL_DEVICE (1ULL << 15) /* 5, 6.10 */
#define NET_CONNECT_TCP (1ULL << 1)  /* 4, 6.7 */
#define SCOPE_ABSTRACT  (1ULL << 0)  /* 6, 6.12 */
#define SCOPE_SIGNAL    (1ULL << 1)

#define FS_OF_VERSION_1 (LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1)) /* all up to that bit */
#define FS_OF_FILES                                                                                   \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_DIR | \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | FS_TRUNCATE)
#define FS_OF_SOCKETS (LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)

struct ruleset {
	uint64_t fs, net, scoped;
};

/* What the libraries read: the kernel's figures, how many processors there are, random numbers. */
static const char *const read_paths[] = {"/proc", "/sys/devices/system/cpu", "/dev/urandom"};

static int ask_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* The service manager's socket may be of the kind that has no path. */
static bool notifies_abstractly(void)
{
	const char *socket = getenv("NOTIFY_SOCKET");

	return socket && socket[0] == '@';
}

static struct ruleset ruleset_of(int version)
{
	struct ruleset rules = {.fs = FS_OF_VERSION_1};

	if (version >= 2)
		rules.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		rules.fs |= FS_TRUNCATE;
	if (version >= 4)
		rules.net = NET_CONNECT_TCP;
	if (version >= 5)
		rules.fs |= FS_IOCTL_DEVICE;
	if (version >= 6)
		rules.scoped = SCOPE_SIGNAL | (notifies_abstractly() ? 0 : SCOPE_ABSTRACT);
	return rules;
}

static int ruleset_create(const struct ruleset *rules, int version)
{
	size_t size = version >= 6 ? sizeof(*rules) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

	return (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);
}

/* What is not there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t access)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

	if (fd < 0)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int restrict_files(const struct protected_path *paths, size_t count, int version)
{
	struct ruleset rules = ruleset_of(version);
	_cleanup_close_ int ruleset = ruleset_create(&rules, version);
	if (ruleset < 0)
		return -errno;

	int failure = 0;
	for (size_t i = 0; i < sizeof(read_paths) / sizeof(*read_paths) && !failure; i++)
		failure = allow(ruleset, read_paths[i],
		                LANDLOCK_ACCESS_FS_READ_FILE |
		                        (strncmp(read_paths[i], "/dev/", 5) ? LANDLOCK_ACCESS_FS_READ_DIR : 0));
	for (size_t i = 0; i < count && !failure; i++)
		failure = allow(ruleset, paths[i].path,
		                rules.fs & ((paths[i].make_files ? FS_OF_FILES : 0) |
		                            (paths[i].make_directories ? LANDLOCK_ACCESS_FS_MAKE_DIR : 0) |
		                            (paths[i].make_sockets ? FS_OF_SOCKETS : 0)));
#ifdef COVERAGE_DIRECTORY
	if (!failure) /* where the counts of a build that counts are written */
		failure = allow(ruleset, COVERAGE_DIRECTORY, rules.fs & FS_OF_FILES);
#endif
	if (failure)
		return failure;
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}

void protections_limit_files(struct protections *protections, const struct protected_path *paths, size_t count)
{
	int version = ask_version();

	if (version < 0) {
		protection_is_off(protections, PROTECTION_FILES,
		                  errno == EOPNOTSUPP ? "Landlock is not among this kernel's security modules (lsm=)"
		                                      : "the kernel has no Landlock (5.13 brought it)");
		return;
	}
	int failure = restrict_files(paths, count, version);
	if (failure)
		protection_is_off(protections, PROTECTION_FILES, "the kernel refuses: %s", strerror(-failure));
	else
		protection_is_on(protections, PROTECTION_FILES,
		                 "Landlock version %d: its own directories and the kernel's figures, nothing else%s%s",
		                 version, version >= 4 ? "; no TCP connection to anywhere" : "",
		                 version >= 6 ? "; no signal to another process" : "");
}
