/* SPDX-License-Identifier: GPL-2.0-only */
/* Which system calls each half may make. Any other fails with EPERM and is logged, rather than killing the process: a C
 * library that comes to use a new call then costs what the call was for, and a flood cannot be helped by ending the
 * controller. */
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "privilege/protections.h"

#define TCGETS_REQUEST 0x5401 /* isatty(3); <asm/termbits.h> does not go with the C library's headers */

/* What both halves do: memory, time, threads, files by the paths that they may open. Names that an architecture does
 * not have are passed over. */
static const char *const common[] = {
	/* descriptors */
	"read",
	"write",
	"readv",
	"writev",
	"pread64",
	"pwrite64",
	"preadv",
	"pwritev",
	"close",
	"close_range",
	"lseek",
	"dup",
	"dup2",
	"dup3",
	"fcntl",
	"fcntl64",
	"pipe",
	"pipe2",
	"eventfd2",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"poll",
	"ppoll",
	"select",
	"pselect6",
	"timerfd_create",
	"timerfd_settime",
	/* files */
	"open",
	"openat",
	"stat",
	"fstat",
	"lstat",
	"newfstatat",
	"fstatat64",
	"statx",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getcwd",
	"getdents64",
	"statfs",
	"fstatfs",
	"flock",
	"fsync",
	"fdatasync",
	"ftruncate",
	"fallocate",
	"fadvise64",
	"unlink",
	"unlinkat",
	"rename",
	"renameat",
	"renameat2",
	"mkdir",
	"mkdirat",
	"rmdir",
	"umask",
	"fchmod",
	"fchown",
	"chmod",
	"getxattr",
	"setxattr",
	"removexattr",
	/* sockets that are there */
	"connect",
	"bind",
	"listen",
	"accept",
	"accept4",
	"getsockname",
	"getpeername",
	"getsockopt",
	"setsockopt",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"shutdown",
	"socketpair",
	/* memory */
	"brk",
	"mmap",
	"munmap",
	"mremap",
	"mprotect",
	"madvise",
	"mincore",
	"membarrier",
	"get_mempolicy",
	/* time, chance, identity */
	"clock_gettime",
	"clock_getres",
	"clock_nanosleep",
	"nanosleep",
	"gettimeofday",
	"time",
	"times",
	"getrandom",
	"getpid",
	"getppid",
	"gettid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getgroups",
	"uname",
	"sysinfo",
	"getrusage",
	"getrlimit",
	"setrlimit",
	"prlimit64",
	/* threads and signals */
	"futex",
	"futex_waitv",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"set_tid_address",
	"arch_prctl",
	"prctl",
	"sched_yield",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigsuspend",
	"rt_sigtimedwait",
	"sigaltstack",
	"restart_syscall",
	"exit",
	"exit_group",
	"wait4",
	"waitid",
};

/* What the privileged half does besides. */
static const char *const keepers[] = {"bpf", "mount", "openat2", "perf_event_open", "socket", "ioctl", "capget"};

/* Landlock comes after this filter. */
static const char *const daemons[] = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"};

/* Map contents and test runs, through descriptors that it holds: nothing can be loaded, made or found with these. */
static const unsigned bpf_commands[] = {
	BPF_MAP_LOOKUP_ELEM,  BPF_MAP_UPDATE_ELEM,  BPF_MAP_DELETE_ELEM,  BPF_MAP_GET_NEXT_KEY,
	BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_PROG_TEST_RUN,
};

static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
static const unsigned long requests[] = {FIONREAD, FIONBIO, TCGETS_REQUEST};

static void release(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

static int allow(scmp_filter_ctx filter, const char *const *names, size_t count)
{
	int failure = 0;

	for (size_t i = 0; i < count && !failure; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);
		if (number < 0) /* not on this architecture, or newer than the library */
			continue;
		failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
	return failure;
}

/* Threads may be made, processes may not. What clone3(2) is to make lies in memory, where a filter cannot look: the C
 * library makes do without it. */
static int allow_threads(scmp_filter_ctx filter)
{
	int failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
	                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

	return failure ? failure : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* A failed assertion ends the process, and signals nobody else. */
static int allow_abort(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
	                        SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
}

static int allow_daemon(scmp_filter_ctx filter)
{
	int failure = allow(filter, daemons, sizeof(daemons) / sizeof(*daemons));

	for (size_t i = 0; i < sizeof(bpf_commands) / sizeof(*bpf_commands) && !failure; i++)
		failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1,
		                           SCMP_A0(SCMP_CMP_EQ, bpf_commands[i], 0));
	for (size_t i = 0; i < sizeof(families) / sizeof(*families) && !failure; i++)
		failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
		                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests) && !failure; i++)
		failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
		                           SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, requests[i]));
	return failure;
}

static int limit(bool keeper)
{
	_cleanup_(release) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return -ENOMEM;

	seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1); /* kernel 4.14; without it refusals are not logged */
	int failure = allow(filter, common, sizeof(common) / sizeof(*common));
	if (!failure)
		failure = allow_threads(filter);
	if (!failure)
		failure = allow_abort(filter);
	if (!failure)
		failure = keeper ? allow(filter, keepers, sizeof(keepers) / sizeof(*keepers)) : allow_daemon(filter);
	return failure ? failure : seccomp_load(filter);
}

void protections_limit_syscalls(struct protections *protections)
{
	int failure = limit(false);

	if (failure)
		protection_is_off(protections, PROTECTION_SYSCALLS, "the kernel refuses the filter: %s",
		                  strerror(-failure));
	else
		protection_is_on(protections, PROTECTION_SYSCALLS,
		                 "only the system calls that it uses: it can neither load programs nor execute any");
}

void protections_limit_keeper_syscalls(void)
{
	int failure = limit(true);

	if (failure)
		log_warning("the privileged part runs without a filter of system calls: %s", strerror(-failure));
}
