/* SPDX-License-Identifier: GPL-2.0-only */
/* What listeners have dropped, out of the running kernel: sockets of the test's own on the loopback device. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "observe/listeners.h"

#define CONNECTS 20
#define SEGMENTS 100

/* What was told of the listener at a port. */
struct told {
	uint16_t port;
	uint32_t dropped;
	struct listener last;
};

static void hear(const struct listener *listener, uint32_t dropped, void *argument)
{
	struct told *told = argument;

	if (listener->port != told->port)
		return;
	told->dropped += dropped;
	told->last = *listener;
}

/* A listener with room for one connection, at `address` or everywhere. */
static int listen_at(const char *address, uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		abort();
	if (address)
		assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

/* More connections than it has room for; nobody accepts any. */
static void overflow(uint16_t port, int fds[CONNECTS])
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	for (int i = 0; i < CONNECTS; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fds[i] < 0)
			abort();
		assert_true(connect(fds[i], (struct sockaddr *)&at, sizeof(at)) == 0 || errno == EINPROGRESS);
	}
}

static void close_all(int fds[CONNECTS])
{
	for (int i = 0; i < CONNECTS; i++)
		close(fds[i]);
}

/* Looks until what is there is known: of a listener that is new since the last look all is believed. */
static struct listeners *look_around(struct told *told)
{
	struct listeners *listeners;
	struct error err;

	assert_int_equal(listeners_new(&listeners, &err), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(listeners_look(listeners, hear, told, &err), 0);
	assert_int_equal(told->dropped, 0);
	return listeners;
}

static void test_a_full_queue(void **state)
{
	struct told told = {0};
	int fds[CONNECTS];
	struct error err;
	(void)state;

	int fd = listen_at("127.0.0.1", &told.port);
	struct listeners *listeners = look_around(&told);
	overflow(told.port, fds);
	assert_int_equal(listeners_look(listeners, hear, &told, &err), 0);
	assert_in_range(told.dropped, CONNECTS - 3, 2 * CONNECTS); /* who was dropped may have asked again */
	assert_false(told.last.any);
	assert_false(told.last.ipv6);
	assert_memory_equal(told.last.address, ((const unsigned char[16]){[10] = 255, 255, 127, 0, 0, 1}), 16);
	close_all(fds);
	close(fd);
	listeners_free(listeners);
}

/* TCP segments without a flag, which no listener takes, and which the kernel counts as dropped by it. */
static void send_flagless(uint16_t port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct tcphdr segment = {.source = htons(9), .dest = htons(port), .doff = sizeof(segment) / 4};
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP), checksum_at = offsetof(struct tcphdr, check);

	if (fd < 0)
		abort();
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &checksum_at, sizeof(checksum_at)), 0);
	for (int i = 0; i < SEGMENTS; i++)
		assert_int_equal(sendto(fd, &segment, sizeof(segment), 0, (struct sockaddr *)&at, sizeof(at)),
		                 sizeof(segment));
	close(fd);
}

/* The kernel's account has more than what met a full queue: it is believed only of a queue that was full. */
static void test_an_empty_queue_drops_nothing(void **state)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
	socklen_t size = sizeof(at);
	struct told told = {0};
	int fds[CONNECTS];
	struct error err;
	(void)state;

	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		abort();
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, CONNECTS), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	told.port = ntohs(at.sin6_port);
	struct listeners *listeners = look_around(&told);
	send_flagless(told.port);
	assert_int_equal(listeners_look(listeners, hear, &told, &err), 0);
	assert_int_equal(told.dropped, 0);

	overflow(told.port, fds);
	send_flagless(told.port);
	assert_int_equal(listeners_look(listeners, hear, &told, &err), 0);
	assert_int_equal(told.dropped, SEGMENTS);
	close_all(fds);
	close(fd);
	listeners_free(listeners);
}

/* One that comes between two looks has dropped all that it has; what was dropped before the first look is past. */
static void test_which_looks_tell(void **state)
{
	struct listeners *listeners;
	struct told before = {0}, between = {0};
	int fds[2][CONNECTS];
	struct error err;
	(void)state;

	assert_int_equal(listeners_new(&listeners, &err), 0);
	int first = listen_at(NULL, &before.port);
	overflow(before.port, fds[0]);
	assert_int_equal(listeners_look(listeners, hear, &before, &err), 0);
	assert_int_equal(before.dropped, 0);
	int second = listen_at(NULL, &between.port);
	overflow(between.port, fds[1]);
	assert_int_equal(listeners_look(listeners, hear, &between, &err), 0);
	assert_true(between.dropped >= CONNECTS - 3);
	assert_true(between.last.any);
	/* It is told once. */
	close_all(fds[0]);
	close_all(fds[1]);
	between.dropped = 0;
	close(second);
	assert_int_equal(listeners_look(listeners, hear, &between, &err), 0);
	assert_int_equal(between.dropped, 0);
	close(first);
	listeners_free(listeners);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_full_queue),
		cmocka_unit_test(test_an_empty_queue_drops_nothing),
		cmocka_unit_test(test_which_looks_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
