/* SPDX-License-Identifier: GPL-2.0-only */
/* What whoever takes the daemon over can still do: each is tried, in a process that has given up its privileges by the
 * daemon's own code. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "privilege/broker.h"
#include "privilege/protections.h"

static char own[] = "/tmp/spillway-protections-XXXXXX";

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(own) && chmod(own, 0777) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
	char path[sizeof(own) + 16];
	(void)state;

	snprintf(path, sizeof(path), "%s/file", own);
	unlink(path);
	return rmdir(own);
}

/* An attempt: 0 where it succeeds, else errno. */
static int result_of(long result)
{
	return result < 0 ? errno : 0;
}

static int try_bpf(unsigned command)
{
	union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	return result_of(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

static int try_map_create(void)
{
	return try_bpf(BPF_MAP_CREATE);
}

static int try_program_load(void)
{
	return try_bpf(BPF_PROG_LOAD);
}

static int try_link_create(void)
{
	return try_bpf(BPF_LINK_CREATE);
}

static int try_find_program(void)
{
	return try_bpf(BPF_PROG_GET_NEXT_ID);
}

static int try_execute(void)
{
	return result_of(execl("/bin/true", "true", (char *)NULL));
}

static int try_fork(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (child == 0)
		_exit(0);
	return result_of(child);
}

static int try_packet_socket(void)
{
	return result_of(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_root(void)
{
	return result_of(syscall(SYS_setuid, 0));
}

static int try_namespace(void)
{
	return result_of(unshare(CLONE_NEWUSER));
}

static int try_trace(void)
{
	return result_of(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int try_signal(void)
{
	return result_of(kill(getppid(), 0));
}

static int try_mount(void)
{
	return result_of(syscall(SYS_mount, "none", own, "tmpfs", 0, NULL));
}

/* Of the files that everybody may read. */
static int try_read(void)
{
	return result_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_write(void)
{
	return result_of(open("/tmp/spillway-protections-elsewhere", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int try_connect(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : result_of(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

/* What it is there for. */
static int try_own_file(void)
{
	char path[sizeof(own) + 16];

	snprintf(path, sizeof(path), "%s/file", own);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0 || ftruncate(fd, 0) < 0 ? errno : 0;
}

static int try_figures(void)
{
	return result_of(open("/proc/stat", O_RDONLY | O_CLOEXEC));
}

static const struct attempt {
	const char *what;
	int (*try)(void);
	int expected;
	bool by_landlock; /* refused by it alone; from its version on */
	int version;
} attempts[] = {
	{"make a map", try_map_create, EPERM, false, 0},
	{"load a program", try_program_load, EPERM, false, 0},
	{"attach a program", try_link_create, EPERM, false, 0},
	{"find others' programs", try_find_program, EPERM, false, 0},
	{"execute", try_execute, EPERM, false, 0},
	{"make a process", try_fork, EPERM, false, 0},
	{"see packets", try_packet_socket, EPERM, false, 0},
	{"become root", try_root, EPERM, false, 0},
	{"make a namespace", try_namespace, EPERM, false, 0},
	{"trace another process", try_trace, EPERM, false, 0},
	{"signal another process", try_signal, EPERM, false, 0},
	{"mount", try_mount, EPERM, false, 0},
	{"read a file elsewhere", try_read, EACCES, true, 1},
	{"write a file elsewhere", try_write, EACCES, true, 1},
	{"connect to a server", try_connect, EACCES, true, 4},
	{"write its own file", try_own_file, 0, false, 0},
	{"read the kernel's figures", try_figures, 0, false, 0},
};

/* Returns how many attempts did not end as expected; their words are on standard error. */
static int attempt_all(void)
{
	struct protections protections = {0};
	const struct identity nobody = {.change = geteuid() == 0, .uid = 65534, .gid = 65534, .name = "nobody"};
	const struct protected_path paths[] = {{.path = own, .make_files = true}};
	struct error err;
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1), wrong = 0;

	if (protections_drop_rights(&protections, &nobody, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	protections_limit_syscalls(&protections);
	protections_limit_files(&protections, paths, 1);
	for (int which = PROTECTION_CAPABILITIES; which < PROTECTIONS; which++) {
		const struct protection_state *state = &protections.states[which];
		bool may_be_off = which == PROTECTION_FILES && version < 0;
		if (!state->on && !may_be_off) {
			fprintf(stderr, "%s is off: %s\n", protection_names[which], state->text.text);
			wrong++;
		}
	}
	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		const struct attempt *attempt = &attempts[i];
		if (attempt->by_landlock && version < attempt->version) {
			fprintf(stderr, "SKIPPED: to %s: Landlock here is version %d\n", attempt->what, version);
			continue;
		}
		int result = attempt->try();
		if (result == attempt->expected)
			continue;
		fprintf(stderr, "to %s: '%s', expected '%s'\n", attempt->what, strerror(result),
		        strerror(attempt->expected));
		wrong++;
	}
	return wrong;
}

static void test_nothing_is_left_to_whoever_takes_it_over(void **state)
{
	int status;
	(void)state;

	pid_t child = fork();
	assert_int_not_equal(child, -1);
	if (child == 0)
		_exit(attempt_all());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_the_broker_opens_nothing_else(void **state)
{
	_cleanup_(broker_freep) struct broker *broker = NULL;
	char config[sizeof(own) + 16];
	struct error err;
	gid_t group;
	(void)state;

	snprintf(config, sizeof(config), "%s/file", own);
	_cleanup_close_ int made = open(config, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(made >= 0);
	assert_int_equal(broker_start(&broker, config, "/sys/fs/bpf/spillway-unit", &err), 0);
	_cleanup_close_ int fd = broker_open(broker, NULL);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	_cleanup_close_ int again = broker_open(broker, config);
	assert_true(again >= 0);
	assert_int_equal(broker_open(broker, "/etc/passwd"), -EXDEV);
	assert_int_equal(broker_open(broker, "../../etc/passwd"), -EXDEV);
	assert_int_equal(broker_open(broker, "missing"), -ENOENT);
	assert_int_equal(broker_group(broker, "root", &group), 0);
	assert_int_equal(group, 0);
	assert_int_equal(broker_group(broker, "12345", &group), 0);
	assert_int_equal(group, 12345);
	assert_int_equal(broker_group(broker, "no-such-group", &group), -ENOENT);
}

static void test_a_broker_that_is_spoken_to_otherwise_ends(void **state)
{
	_cleanup_(broker_freep) struct broker *broker = NULL;
	struct error err;
	char byte;
	(void)state;

	assert_int_equal(broker_start(&broker, NULL, "/sys/fs/bpf/spillway-unit", &err), 0);
	assert_int_equal(send(broker_descriptor(broker), "x", 1, 0), 1);
	assert_int_equal(recv(broker_descriptor(broker), &byte, 1, 0), 0);
	assert_int_equal(broker_open(broker, NULL), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_left_to_whoever_takes_it_over),
		cmocka_unit_test(test_the_broker_opens_nothing_else),
		cmocka_unit_test(test_a_broker_that_is_spoken_to_otherwise_ends),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
