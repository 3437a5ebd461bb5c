/* SPDX-License-Identifier: GPL-2.0-only */
/* Users and capabilities. */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "privilege/protections.h"

#define USER_DEFAULT "spillway"

/* What the privileged half works with; the last two only where it has them: the kernel names foreign programs, and
 * finds what has lost its pin, for CAP_SYS_ADMIN alone; and a configuration may be another user's than root's. */
static const unsigned kept[] = {CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH};

int identity_find(const char *name, struct identity *out, struct error *err)
{
	*out = (struct identity){0};
	errno = 0;
	const struct passwd *user = getpwnam(name ? name : USER_DEFAULT);
	if (!user && name)
		return error_set(err, -ENOENT, "user %s: %s: name another with --user", name,
		                 errno ? strerror(errno) : "there is none of that name");
	if (geteuid() != 0)
		snprintf(out->why, sizeof(out->why), "it was started as user %u, not as root", geteuid());
	else if (!user)
		snprintf(out->why, sizeof(out->why),
		         "this host has no user '" USER_DEFAULT "': make it (useradd --system " USER_DEFAULT
		         "), or name another with --user");
	if (out->why[0] || !user)
		return 0;
	out->change = true;
	out->uid = user->pw_uid;
	out->gid = user->pw_gid;
	snprintf(out->name, sizeof(out->name), "%s", user->pw_name);
	return 0;
}

int identity_suit(struct identity *identity, const char *directory, struct error *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (!identity->change)
		return 0;

	if (setegid(identity->gid) < 0 || seteuid(identity->uid) < 0)
		return error_set(err, -errno,
		                 "user %s: cannot become that user: %s: start as root with CAP_SETUID and "
		                 "CAP_SETGID",
		                 identity->name, strerror(errno));
	bool suits = faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0;
	if (seteuid(uid) < 0 || setegid(gid) < 0)
		return error_set(err, -errno, "user %u: cannot become that user again: %s", uid, strerror(errno));
	if (suits)
		return 0;
	snprintf(identity->why, sizeof(identity->why),
	         "user %s may not make files in %.100s, where the socket is: chown it, or insist with --user",
	         identity->name, directory);
	identity->change = false;
	return 0;
}

/* The bounding set can be cleared only by who has CAP_SETPCAP. */
static bool may_clear_bounds(void)
{
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
}

static int become(const struct identity *identity, struct error *err)
{
	unsigned bounds = may_clear_bounds() ? CAPNG_CLEAR_BOUNDING : CAPNG_NO_FLAG;

	capng_clear(CAPNG_SELECT_ALL);
	/* NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): flags to be or-ed, as its manual has it */
	capng_flags_t flags = (capng_flags_t)(CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_AMBIENT | bounds);
	int failure = capng_change_id((int)identity->uid, (int)identity->gid, flags);
	if (failure)
		return error_set(err, -EPERM,
		                 "user %s: cannot become that user (%d): start as root with CAP_SETUID and CAP_SETGID",
		                 identity->name, failure);
	return 0;
}

static void drop_capabilities(struct protections *protections)
{
	capng_get_caps_process();
	bool bounds = may_clear_bounds();
	capng_clear(CAPNG_SELECT_ALL);
	if (bounds)
		capng_apply(CAPNG_SELECT_BOUNDS);
	capng_apply(CAPNG_SELECT_CAPS);
	capng_apply(CAPNG_SELECT_AMBIENT);
	capng_get_caps_process();
	if (capng_have_permitted_capabilities() > CAPNG_NONE || capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE)
		protection_is_off(protections, PROTECTION_CAPABILITIES, "the kernel does not let go of them");
	else if (capng_have_capabilities(CAPNG_SELECT_BOUNDS) > CAPNG_NONE)
		protection_is_on(protections, PROTECTION_CAPABILITIES,
		                 "it has none; the bounding set stays, since it was started without CAP_SETPCAP");
	else
		protection_is_on(protections, PROTECTION_CAPABILITIES, "it has none, and the bounding set is empty");
}

int protections_drop_rights(struct protections *protections, const struct identity *identity, struct error *err)
{
	capng_get_caps_process();
	int failure = identity->change ? become(identity, err) : 0;
	if (failure)
		return failure;
	if (identity->change)
		protection_is_on(protections, PROTECTION_USER, "it is user %s (%u), group %u", identity->name,
		                 identity->uid, identity->gid);
	else if (geteuid() != 0)
		protection_is_on(protections, PROTECTION_USER, "%s", identity->why);
	else
		protection_is_off(protections, PROTECTION_USER, "%s", identity->why);
	drop_capabilities(protections);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		protection_is_off(protections, PROTECTION_NO_PRIVILEGES, "the kernel refuses: %s", strerror(errno));
	else
		protection_is_on(protections, PROTECTION_NO_PRIVILEGES, "no program that it could execute gains any");
	return 0;
}

void protections_keep_rights(void)
{
	bool has[sizeof(kept) / sizeof(*kept)];

	capng_get_caps_process();
	bool bounds = may_clear_bounds();
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		has[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]) == 1;
	capng_clear(CAPNG_SELECT_ALL);
	if (bounds)
		capng_apply(CAPNG_SELECT_BOUNDS);
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (has[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
	capng_apply(CAPNG_SELECT_CAPS);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
