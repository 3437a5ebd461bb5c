/* SPDX-License-Identifier: GPL-2.0-only */
/* A server with four places, and clients beside it in the same loop. */
#include "daemon/connections.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PLACES 4
#define IDLE_S 1

static struct event_base *loop;
static struct evhttp *http;
static struct connections *connections;
static struct evhttp_request *streamed;
static struct sockaddr_in address;

static void on_request(struct evhttp_request *request, void *argument)
{
	bool stays = strcmp(evhttp_request_get_uri(request), "/stream") == 0;
	(void)argument;

	connections_heard(connections, request, stays);
	if (stays) {
		evhttp_send_reply_start(request, 200, "OK");
		streamed = request;
		return;
	}
	evhttp_send_reply(request, 200, "OK", NULL);
}

static int serve(unsigned idle_s)
{
	socklen_t size = sizeof(address);
	struct error err;

	loop = event_base_new();
	http = evhttp_new(loop);
	evhttp_set_gencb(http, on_request, NULL);
	evhttp_set_timeout(http, 60);
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
	if (!bound || getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &size) < 0)
		return -1;
	return connections_new(&connections, loop, http, PLACES, idle_s, &err);
}

static int setup(void **state)
{
	(void)state;
	return serve(IDLE_S);
}

/* For a machine on which a second is nothing. */
static int setup_patient(void **state)
{
	(void)state;
	return serve(600);
}

static int teardown(void **state)
{
	(void)state;
	evhttp_free(http);
	connections_free(connections);
	event_base_free(loop);
	return 0;
}

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void turn(double seconds)
{
	double until_s = clock_s() + seconds;

	do {
		event_base_loop(loop, EVLOOP_NONBLOCK);
		usleep(2000);
	} while (clock_s() < until_s);
}

static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		abort();
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn(0.05);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_true(send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0);
}

/* Whether the server has closed the connection; what it sent before is passed over. */
static bool ended(int fd)
{
	char bytes[4096];
	ssize_t got;

	while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return got == 0;
}

static bool answered(int fd)
{
	char bytes[4096] = "";

	say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	for (int i = 0; i < 500 && recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT) <= 0; i++)
		turn(0.005);
	return strncmp(bytes, "HTTP/1.1 200", 12) == 0;
}

static void who_is_silent_for_longest_makes_room(void **state)
{
	int fds[PLACES];
	(void)state;

	for (int i = 0; i < PLACES; i++)
		fds[i] = client();
	assert_true(answered(fds[0]));
	int newcomer = client();
	assert_true(answered(newcomer));
	assert_false(ended(fds[0]));
	int gone = 0;
	for (int i = 1; i < PLACES; i++)
		gone += ended(fds[i]);
	assert_int_equal(gone, 1);
	for (int i = 0; i < PLACES; i++)
		close(fds[i]);
	close(newcomer);
	turn(0.1);
}

static void a_byte_at_a_time_holds_no_place(void **state)
{
	double began_s = clock_s();
	int slow = client(), steady = client();
	(void)state;

	say(slow, "GET / HTTP/1.1\r\nX: ");
	while (!ended(slow)) {
		assert_true(clock_s() - began_s < 30);
		send(slow, "x", 1, MSG_NOSIGNAL);
		assert_true(answered(steady));
		turn(0.1);
	}
	assert_true(clock_s() - began_s >= IDLE_S);
	assert_true(answered(steady));
	close(slow);
	close(steady);
	turn(0.1);
}

static void who_is_being_answered_stays(void **state)
{
	int reader = client(), others[PLACES + 1];
	(void)state;

	say(reader, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	turn(0.1);
	assert_non_null(streamed);
	turn(IDLE_S + 2.2); /* an age and a sweep */
	for (int i = 0; i <= PLACES; i++)
		others[i] = client();
	assert_true(answered(others[PLACES]));
	assert_false(ended(reader));
	evhttp_send_reply_end(streamed);
	for (int i = 0; i <= PLACES; i++)
		close(others[i]);
	turn(0.1);
	close(reader);
	turn(0.1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_is_silent_for_longest_makes_room, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(a_byte_at_a_time_holds_no_place, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_being_answered_stays, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
