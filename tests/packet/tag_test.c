/* SPDX-License-Identifier: GPL-2.0-only */
/* Users of kind `tag`: real connections in a namespace of the test's own, named by setsockopt(2), and frames with their
 * addresses and ports through the real program. Frames come from port 40000. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <mntent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <spillway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "datapath/internal.h"
#include "packet/frame.h"
#include "packet/world.h"

#define REMOTE_PORT 40000
#define SHOP(tags)                                                                 \
	"mode: enforce\n" tags "services:\n"                                       \
	"  - {name: shop, protocol: tcp, ports: [7777-7779], user: {kind: tag},\n" \
	"     limit: {packets_per_second: 1, burst: 50}}\n"                        \
	"  - {name: game, protocol: udp, ports: [7777], user: {kind: tag},\n"      \
	"     limit: {packets_per_second: 1, burst: 50}}\n"

static struct world world;

/* Both ends of a connection. */
struct wire {
	int client, server;
};

static union {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
} address;

static socklen_t address_set(const char *text, uint16_t port)
{
	memset(&address, 0, sizeof(address));
	if (strchr(text, ':')) {
		address.ipv6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		assert_int_equal(inet_pton(AF_INET6, text, &address.ipv6.sin6_addr), 1);
		return sizeof(address.ipv6);
	}
	address.ipv4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	assert_int_equal(inet_pton(AF_INET, text, &address.ipv4.sin_addr), 1);
	return sizeof(address.ipv4);
}

static int socket_at(int type, const char *text, uint16_t port)
{
	socklen_t size = address_set(text, port);
	int fd = socket(address.any.sa_family, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		abort();
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, &address.any, size), 0);
	return fd;
}

static int listen_at(const char *text, uint16_t port)
{
	int fd = socket_at(SOCK_STREAM, text, port);

	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* A connection from `remote` to `local`, through `listener`. */
static struct wire connect_wire(int listener, const char *remote, const char *local, uint16_t port)
{
	struct wire wire = {.client = socket_at(SOCK_STREAM, remote, REMOTE_PORT)};
	socklen_t size = address_set(local, port);

	assert_int_equal(connect(wire.client, &address.any, size), 0);
	wire.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(wire.server >= 0);
	return wire;
}

/* The peer is gone without a goodbye: its port is free at once, and the server's end is still open. */
static void reset(struct wire *wire)
{
	static const struct linger at_once = {.l_onoff = 1};

	assert_int_equal(setsockopt(wire->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(wire->client);
	wire->client = -1;
}

static void hang_up(struct wire *wire)
{
	if (wire->client >= 0)
		reset(wire);
	close(wire->server);
}

static unsigned run(const char *words, unsigned repeat)
{
	unsigned char frame[FRAME_MAX];
	size_t length = frame_write_padded(words, frame);

	return world_run(&world, frame, length, repeat);
}

static unsigned tags_count(void)
{
	int map = bpf_map__fd(world.datapath->keeper->skeleton->maps.tags);
	struct tag_key key, *last = NULL;
	unsigned count = 0;

	for (; bpf_map_get_next_key(map, last, &key) == 0; count++)
		last = &key;
	return count;
}

static __u64 passed(const char *service)
{
	return world_tallies(&world, service).outcomes[OUTCOME_PASSED].packets;
}

static void begin(void)
{
	world_apply(&world, SHOP(""));
	world_reset(&world);
	assert_int_equal(tags_count(), 0);
}

static void test_one_user_of_many_addresses(void **state)
{
	int listener = listen_at("0.0.0.0", 7777);
	struct wire wires[20];
	char words[80];
	(void)state;

	begin();
	for (int i = 0; i < 20; i++) {
		snprintf(words, sizeof(words), "127.0.0.%d", i + 1);
		wires[i] = connect_wire(listener, words, "127.0.0.99", 7777);
		assert_int_equal(spillway_set_user(wires[i].server, 4711), 0);
	}
	assert_int_equal(tags_count(), 20);
	for (int i = 0; i < 20; i++) {
		snprintf(words, sizeof(words), "4:src=127.0.0.%d,dst=127.0.0.99 tcp:7777,flags=16", i + 1);
		run(words, 10);
	}
	assert_in_range(passed("shop"), 50, 51);
	/* An address that nobody has named a user of is one, and so is one of those at another port. */
	assert_int_equal(run("4:src=127.0.0.50,dst=127.0.0.99 tcp:7777,flags=16", 1), XDP_PASS);
	assert_int_equal(run("4:src=127.0.0.1,dst=127.0.0.99 tcp:7778,flags=16", 1), XDP_PASS);
	for (int i = 0; i < 20; i++)
		hang_up(&wires[i]);
	assert_int_equal(tags_count(), 0);
	close(listener);
}

static void test_many_users_of_one_address(void **state)
{
	char words[80];
	(void)state;

	begin();
	for (uint16_t port = 7777; port <= 7779; port++) {
		int listener = listen_at("127.0.0.99", port);
		struct wire wire = connect_wire(listener, "127.0.0.1", "127.0.0.99", port);
		assert_int_equal(spillway_set_user(wire.server, port), 0);
		snprintf(words, sizeof(words), "4:src=127.0.0.1,dst=127.0.0.99 tcp:%u,flags=16", port);
		run(words, 100);
		hang_up(&wire);
		close(listener);
	}
	assert_in_range(passed("shop"), 3 * 50, 3 * 51);
}

/* What the application sees of a connection and what the packet says are the same, in every family. */
static void test_families(void **state)
{
	static const struct {
		const char *listens, *remote, *local, *words;
	} cases[] = {
		{"0.0.0.0", "127.0.0.1", "127.0.0.99", "4:src=127.0.0.1,dst=127.0.0.99 tcp:7777,flags=16"},
		{"::", "127.0.0.2", "127.0.0.99", "4:src=127.0.0.2,dst=127.0.0.99 tcp:7777,flags=16"},
		{"::", "::1", "::1", "6:src=::1,dst=::1 tcp:7777,flags=16"},
	};
	__u64 packets, bytes;
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin();
		int listener = listen_at(cases[i].listens, 7777);
		struct wire wire = connect_wire(listener, cases[i].remote, cases[i].local, 7777);
		assert_int_equal(spillway_set_user(wire.server, 1ULL << 63 | i), 0);
		run(cases[i].words, 2);
		const struct user_detail *user = world_only_user(&world, &packets, &bytes);
		assert_non_null(user);
		assert_int_equal(user->kind, USER_TAG);
		assert_int_equal(user->key[0], 0);
		assert_int_equal(user->key[1], 1ULL << 63 | i);
		hang_up(&wire);
		close(listener);
	}
}

static void test_udp(void **state)
{
	static const char words[] = "4:src=127.0.0.1,dst=127.0.0.99 udp:7777";
	uint64_t user = 7;
	(void)state;

	begin();
	int fd = socket_at(SOCK_DGRAM, "127.0.0.99", 7777);
	assert_int_equal(spillway_set_user(fd, user), -1);
	assert_int_equal(errno, ENOTCONN);
	socklen_t size = address_set("127.0.0.1", REMOTE_PORT);
	assert_int_equal(connect(fd, &address.any, size), 0);
	assert_int_equal(spillway_set_user(fd, user), 0);
	run(words, 100);
	/* It goes elsewhere, and the tag with it when it is said again. */
	size = address_set("127.0.0.2", REMOTE_PORT);
	assert_int_equal(connect(fd, &address.any, size), 0);
	assert_int_equal(spillway_set_user(fd, user), 0);
	assert_int_equal(tags_count(), 1);
	assert_int_equal(run(words, 1), XDP_PASS);
	assert_int_equal(run("4:src=127.0.0.2,dst=127.0.0.99 udp:7777", 1), XDP_DROP);
	close(fd);
	assert_int_equal(tags_count(), 0);
	assert_int_equal(run("4:src=127.0.0.2,dst=127.0.0.99 udp:7777", 1), XDP_PASS);
}

static void test_another_user_goes_on(void **state)
{
	static const char words[] = "4:src=127.0.0.1,dst=127.0.0.99 tcp:7777,flags=16";
	(void)state;

	begin();
	int listener = listen_at("0.0.0.0", 7777);
	struct wire wire = connect_wire(listener, "127.0.0.1", "127.0.0.99", 7777);
	for (uint64_t user = 1; user <= 3; user++) {
		assert_int_equal(spillway_set_user(wire.server, user), 0);
		assert_int_equal(run(words, 100), XDP_DROP);
	}
	assert_in_range(passed("shop"), 3 * 50, 3 * 51);
	assert_int_equal(tags_count(), 1);
	hang_up(&wire);
	close(listener);
}

static void test_what_is_refused(void **state)
{
	unsigned char value[16] = {1};
	(void)state;

	begin();
	int listener = listen_at("0.0.0.0", 7777), not_inet = socket(AF_UNIX, SOCK_STREAM, 0);
	struct wire wire = connect_wire(listener, "127.0.0.1", "127.0.0.99", 7777);
	for (socklen_t size = 0; size <= sizeof(value); size++) {
		int answer = setsockopt(wire.server, SOL_SPILLWAY, SPILLWAY_USER, value, size);
		assert_int_equal(answer, size == 8 ? 0 : -1);
		if (answer < 0)
			assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(spillway_set_user(listener, 1), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(spillway_set_user(not_inet, 1), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	reset(&wire);
	assert_int_equal(spillway_set_user(wire.server, 1), -1);
	assert_int_equal(errno, ENOTCONN);
	close(wire.server);
	close(not_inet);
	close(listener);
}

/* Everything else that is set on a socket is the kernel's: other options of our level, and values beyond a page, of
 * which a program sees only the beginning. */
static void test_other_options_go_on(void **state)
{
	int sizes[4096] = {65536}, got;
	socklen_t length = sizeof(got);
	(void)state;

	begin();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(setsockopt(fd, SOL_SPILLWAY, SPILLWAY_USER + 1, sizes, 8), -1);
	assert_int_equal(errno, ENOPROTOOPT);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, sizes, sizeof(sizes)), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &length), 0);
	assert_int_equal(got, 2 * 65536);
	close(fd);
}

/* A SYN on a living connection changes nothing there: neither does its sender get rid of its account by it. */
static void test_a_syn_shakes_no_tag_off(void **state)
{
	(void)state;

	begin();
	int listener = listen_at("::", 7777);
	struct wire wires[] = {connect_wire(listener, "127.0.0.1", "127.0.0.99", 7777),
	                       connect_wire(listener, "::1", "::1", 7777)};
	for (int i = 0; i < 2; i++)
		assert_int_equal(spillway_set_user(wires[i].server, 1), 0);
	run("4:src=127.0.0.1,dst=127.0.0.99 tcp:7777,flags=2", 1);
	run("6:src=::1,dst=::1 tcp:7777,flags=2", 1);
	assert_int_equal(tags_count(), 2);
	for (int i = 0; i < 2; i++)
		hang_up(&wires[i]);
	close(listener);
}

/* A connection that its peer has reset, and the application has not closed yet: the next one from the same port is not
 * that user, and is not untagged when the old one is closed. */
static void test_a_tag_is_not_inherited(void **state)
{
	static const char *const remotes[] = {"127.0.0.1", "::1"}, *const locals[] = {"127.0.0.99", "::1"};
	static const char *const syns[] = {"4:src=127.0.0.1,dst=127.0.0.99 tcp:7777,flags=2",
	                                   "6:src=::1,dst=::1 tcp:7777,flags=2"};
	(void)state;

	for (int i = 0; i < 2; i++) {
		begin();
		int listener = listen_at("::", 7777);
		struct wire old = connect_wire(listener, remotes[i], locals[i], 7777);
		assert_int_equal(spillway_set_user(old.server, 1), 0);
		reset(&old);
		assert_int_equal(tags_count(), 1);
		run(syns[i], 1);
		assert_int_equal(tags_count(), 0);
		struct wire new = connect_wire(listener, remotes[i], locals[i], 7777);
		assert_int_equal(spillway_set_user(new.server, 2), 0);
		close(old.server);
		assert_int_equal(tags_count(), 1);
		hang_up(&new);
		assert_int_equal(tags_count(), 0);
		close(listener);
	}
}

/* Moves this process to the cgroup of version 2 with that path, which is made. */
static void join(const char *path)
{
	char words[32], procs[PATH_MAX];

	assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	int fd = open(procs, O_WRONLY | O_CLOEXEC);
	int length = snprintf(words, sizeof(words), "%d", getpid());
	assert_int_equal(write(fd, words, (size_t)length), length);
	close(fd);
}

/* What a process of that uid, and of that cgroup where one is given, is answered. */
static int answer_to(uid_t uid, const char *cgroup)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (cgroup)
			join(cgroup);
		if (setresuid(uid, uid, uid) < 0)
			_exit(255);
		int listener = listen_at("127.0.0.99", 7778);
		struct wire wire = connect_wire(listener, "127.0.0.1", "127.0.0.99", 7778);
		int answer = spillway_set_user(wire.server, 5) == 0 ? 0 : errno;
		reset(&wire);
		_exit(answer);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_who_may(void **state)
{
	(void)state;
	begin();
	assert_int_equal(answer_to(0, NULL), 0);
	assert_int_equal(answer_to(33, NULL), EPERM);
	world_apply(&world, SHOP("tags: {allow_uids: [1000, 33]}\n"));
	assert_int_equal(answer_to(33, NULL), 0);
	assert_int_equal(answer_to(34, NULL), EPERM);
	world_apply(&world, SHOP(""));
	assert_int_equal(answer_to(33, NULL), EPERM);
	assert_int_equal(tags_count(), 0);
}

static void find_cgroups(char out[200])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount;

	if (!mounts)
		abort();
	do
		mount = getmntent(mounts);
	while (mount && strcmp(mount->mnt_type, "cgroup2") != 0);
	if (!mount)
		abort();
	snprintf(out, 200, "%s", mount->mnt_dir);
	endmntent(mounts);
}

/* The trusted cgroup is there or not, and another one under the same name the next time. */
static void test_the_trusted_cgroup_comes_and_goes(void **state)
{
	char mount[200], path[256], other[256], yaml[1024];
	struct error err;
	(void)state;

	find_cgroups(mount);
	snprintf(path, sizeof(path), "%s/spillway-test-%d", mount, getpid());
	snprintf(other, sizeof(other), "%s/spillway-test-%d-other", mount, getpid());
	snprintf(yaml, sizeof(yaml), SHOP("tags: {cgroup: /spillway-test-%d}\n"), getpid());
	begin();
	world_apply(&world, yaml);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(mkdir(path, 0755), 0);
		assert_true(datapath_keep_pins(world.datapath, &err) >= 0);
		assert_int_equal(answer_to(33, path), 0);
		assert_int_equal(answer_to(33, other), EPERM);
		assert_int_equal(answer_to(33, NULL), EPERM);
		assert_int_equal(rmdir(path), 0);
		assert_true(datapath_keep_pins(world.datapath, &err) >= 0);
	}
	assert_int_equal(rmdir(other), 0);
}

/* Tags go with the last service that has such users, and nothing of them is left to come back. */
static void test_off(void **state)
{
	char path[PATH_MAX];
	(void)state;

	begin();
	int listener = listen_at("0.0.0.0", 7777);
	struct wire wire = connect_wire(listener, "127.0.0.1", "127.0.0.99", 7777);
	assert_int_equal(spillway_set_user(wire.server, 1), 0);
	assert_true(datapath_tags(world.datapath).on);
	world_apply(&world, "mode: enforce\nservices:\n  - {name: shop, protocol: tcp, ports: [7777]}\n");
	assert_false(datapath_tags(world.datapath).used);
	assert_int_equal(world.datapath->features & FEATURE_TAGS, 0);
	assert_int_equal(spillway_set_user(wire.server, 1), -1);
	assert_int_equal(errno, ENOPROTOOPT);
	for (int program = 0; program < TAG_PROGRAMS; program++) {
		snprintf(path, sizeof(path), "%s/%s", world.pins, tags_link_name(program));
		assert_int_equal(access(path, F_OK), -1);
	}
	begin();
	hang_up(&wire);
	close(listener);
}

static int make(void **state)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	(void)state;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &loopback) < 0)
		return -1;
	close(fd);
	world_make(&world, SHOP(""));
	return 0;
}

static int remove_world(void **state)
{
	(void)state;
	world_remove(&world);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_user_of_many_addresses),
		cmocka_unit_test(test_many_users_of_one_address),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_another_user_goes_on),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_other_options_go_on),
		cmocka_unit_test(test_a_syn_shakes_no_tag_off),
		cmocka_unit_test(test_a_tag_is_not_inherited),
		cmocka_unit_test(test_who_may),
		cmocka_unit_test(test_the_trusted_cgroup_comes_and_goes),
		cmocka_unit_test(test_off),
	};

	return cmocka_run_group_tests(tests, make, remove_world);
}
