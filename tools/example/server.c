/* SPDX-License-Identifier: GPL-2.0-only */
/* An example of a server that tells Spillway who its users are: it echoes lines over TCP, and a line "LOGIN N" says
 * that account N is at the other end. A real one would ask for a password first. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <spillway.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 256
#define STACK_BYTES    65536

/* Answers a login: the account is known from here on, and what Spillway does with it is no reason to fail. */
static int login(int fd, const char *account)
{
	char *end;
	uint64_t user = strtoull(account, &end, 10);

	if (end == account || *end != '\n')
		return dprintf(fd, "ERROR a login is LOGIN NUMBER\n");
	if (spillway_set_user(fd, user) == 0)
		return dprintf(fd, "WELCOME %llu\n", (unsigned long long)user);
	return dprintf(fd, "WELCOME %llu untold: %s\n", (unsigned long long)user, strerror(errno));
}

static void *serve(void *argument)
{
	static const char word[] = "LOGIN ";
	int fd = (int)(intptr_t)argument, one = 1;
	FILE *lines = fdopen(fd, "r");
	char line[LINE_BYTES_MAX];

	if (!lines) {
		close(fd);
		return NULL;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (fgets(line, sizeof(line), lines)) {
		bool is_login = strncmp(line, word, strlen(word)) == 0;
		if ((is_login ? login(fd, line + strlen(word)) : dprintf(fd, "%s", line)) < 0)
			break;
	}
	fclose(lines); /* the last descriptor: the connection is nobody's any more */
	return NULL;
}

/* Listens for both families on every address. */
static int listen_on(uint16_t port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, zero = 0;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	unsigned long port = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	pthread_attr_t small;
	pthread_t thread;

	if (port < 1 || port > UINT16_MAX) {
		fprintf(stderr, "usage: spillway-example PORT\n");
		return 2;
	}
	int listener = listen_on((uint16_t)port);
	if (listener < 0) {
		fprintf(stderr, "spillway-example: port %lu: %s\n", port, strerror(errno));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN); /* a client that has gone is its own thread's end, and nobody else's */
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && pthread_create(&thread, &small, serve, (void *)(intptr_t)fd) != 0)
			close(fd);
	}
}
