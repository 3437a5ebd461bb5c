/* SPDX-License-Identifier: GPL-2.0-only */
/* The work behind the laboratory's web server: so many workers, each of which takes a request, spends so much processor
 * time on it, and answers. Listens on a UNIX socket, where nginx finds it. */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG     511 /* nginx's and PHP-FPM's own */
#define WORKERS_MAX 64

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n"
			     "Connection: close\r\n\r\nspillway laboratory\n";

static uint64_t worked_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Spends processor time, not time: a worker that is not let run gets nothing done. */
static void work(uint64_t ns)
{
	uint64_t until = worked_ns() + ns;
	volatile uint64_t hash = 14695981039346656037ULL;

	while (worked_ns() < until)
		for (int i = 0; i < 1000; i++)
			hash = (hash ^ (uint64_t)i) * 1099511628211ULL;
}

/* Answers one request. A client that has left is no reason to end, nor to have worked less. */
static void serve(int fd, uint64_t work_ns)
{
	char request[4096];
	size_t bytes = 0;
	ssize_t count;

	while ((count = read(fd, request + bytes, sizeof(request) - 1 - bytes)) > 0) {
		bytes += (size_t)count;
		request[bytes] = '\0';
		if (strstr(request, "\r\n\r\n")) {
			work(work_ns);
			(void)!send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
			return;
		}
	}
}

static void work_for_good(int listener, uint64_t work_ns)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			err(EXIT_FAILURE, "accept");
		serve(fd, work_ns);
		close(fd);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		errx(2, "%s: too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		err(EXIT_FAILURE, "%s", path);
	return fd;
}

int main(int argc, char **argv)
{
	unsigned long workers = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long work_us = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;

	if (workers < 1 || workers > WORKERS_MAX || work_us < 1 || work_us > 1000000) {
		fprintf(stderr, "usage: spillway-backend SOCKET WORKERS MICROSECONDS\n");
		return 2;
	}
	int listener = listen_at(argv[1]);
	for (unsigned long i = 1; i < workers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(EXIT_FAILURE, "fork");
		if (pid == 0)
			break;
	}
	work_for_good(listener, work_us * 1000);
	return EXIT_SUCCESS;
}
