/* SPDX-License-Identifier: GPL-2.0-only */
/* What stands between this process and the host, should somebody take it over through what it listens to. Each
 * protection that the host does not have is off, and says why; the rest goes on without it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

enum protection {
	PROTECTION_SPLIT,         /* what needs capabilities is another process */
	PROTECTION_USER,          /* not root's user */
	PROTECTION_CAPABILITIES,  /* none, and none to be had */
	PROTECTION_NO_PRIVILEGES, /* nothing that is executed gains any */
	PROTECTION_SYSCALLS,      /* seccomp: only the system calls that are used */
	PROTECTION_FILES,         /* Landlock: only the files that are used */
	PROTECTIONS,
};

/* The state of one: `text` says what it does where it is on, and why it is not where it is off. */
struct protection_state {
	bool on;
	struct error text;
};

struct protections {
	struct protection_state states[PROTECTIONS];
};

extern const char *const protection_names[PROTECTIONS];

/* Notes that a protection is on, or off. */
__attribute__((format(printf, 3, 4))) void protection_is_on(struct protections *protections, enum protection which,
                                                            const char *format, ...);
__attribute__((format(printf, 3, 4))) void protection_is_off(struct protections *protections, enum protection which,
                                                             const char *format, ...);

/* Whom the daemon is to be. */
struct identity {
	bool change; /* else whoever started it */
	uid_t uid;
	gid_t gid;
	char name[64]; /* of the user; empty where it is not changed */
	char why[320]; /* it is not changed */
};

/* Who that is: the user called `name`; NULL: "spillway", where there is such a one. Returns 0, or -ENOENT where there
 * is no user called `name`. */
int identity_find(const char *name, struct identity *out, struct error *err);

/* Stays who it is where that user could not make files in `directory`: it lies where only root's may, and then so does
 * what the daemon is to work with. Returns 0, or -errno where the kernel does not let it look. */
int identity_suit(struct identity *identity, const char *directory, struct error *err);

/* Becomes that user, gives up every capability and the way to any, for good. What the host refuses is noted as off:
 * only a change of user that fails is a failure, since files would then be made for the wrong one. */
int protections_drop_rights(struct protections *protections, const struct identity *identity, struct error *err);

/* The privileged half keeps what loading and attaching need, and no more of what it has. */
void protections_keep_rights(void);

/* From here on only the listed system calls; any other fails with EPERM, and the kernel's audit log has it. */
void protections_limit_syscalls(struct protections *protections);

/* The same for the privileged half, which may load and attach besides. */
void protections_limit_keeper_syscalls(void);

/* From here on only these directories: files in each may be read, written, made and removed as the flags say. */
struct protected_path {
	const char *path;
	bool make_files; /* read, write, make and remove files in it */
	bool make_directories;
	bool make_sockets; /* make and remove sockets in it */
};
void protections_limit_files(struct protections *protections, const struct protected_path *paths, size_t count);
