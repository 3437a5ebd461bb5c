/* SPDX-License-Identifier: GPL-2.0-only */
/* Users who ask an HTTP or DNS server from addresses of their own, and a record of every request. Open loop: a request
 * is due when it is due, and its response time counts from then, however late this program is and however earlier ones
 * fared, so that nothing that was held up goes unmeasured. Or closed loop: so many at once, to find what a server
 * can do. It must not know Spillway. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "overload/arrivals.h"

#define SECOND_NS   1000000000ULL
#define EVENTS      256
#define ANSWER_KEPT 16
#define UNANSWERED  UINT32_MAX
#define AT_ONCE_MAX 19000 /* requests on their way, a socket each: one more is not sent and counts as unanswered */

/* With an EDNS option that asks for signatures (RFC 6891, RFC 3225). */
static const uint8_t dns_request[] = {0x53, 0x57, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
                                      0x01, 3,    'w',  'w',  'w',  3,    'l',  'a',  'b',  4,    't',
                                      'e',  's',  't',  0,    0x00, 0x01, 0x00, 0x01, 0,    0x00, 0x29,
                                      0x05, 0x80, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00};
static const char http_request[] = "GET / HTTP/1.1\r\nHost: www.lab.test\r\nConnection: close\r\n\r\n";

enum { PROTOCOL_HTTP, PROTOCOL_DNS, PROTOCOLS };

static const struct protocol {
	const char *name;
	int socket_type;
	const void *request;
	size_t request_bytes;
} protocols[PROTOCOLS] = {
	[PROTOCOL_HTTP] = {"http", SOCK_STREAM, http_request, sizeof(http_request) - 1},
	[PROTOCOL_DNS] = {"dns", SOCK_DGRAM, dns_request, sizeof(dns_request)},
};

/* What --records holds, in the host's byte order, in the order in which requests ended. */
struct record {
	uint64_t due_ns;      /* CLOCK_MONOTONIC */
	uint32_t response_us; /* from when it was due, over all attempts; UNANSWERED */
	uint16_t user;
	uint8_t attempts;
	uint8_t unused;
};

/* One request on its way. */
struct exchange {
	TAILQ_ENTRY(exchange) waiting; /* in the order of their deadlines: all wait equally long */
	uint64_t due_ns, attempt_ns;
	uint32_t user;
	int fd;
	uint8_t attempts;
	bool asked;
	uint8_t answer_bytes;
	uint8_t answer[ANSWER_KEPT];
};

struct load {
	const struct protocol *protocol;
	struct sockaddr_in server, first;
	struct arrivals arrivals;
	uint64_t start_ns, end_ns, timeout_ns;
	unsigned at_once; /* of a closed loop; 0: open */
	unsigned attempts_max;
	unsigned open;
	int epoll;
	FILE *records;
	TAILQ_HEAD(, exchange) waiting;
	uint64_t sent, answered;
	uint64_t late_ns; /* the furthest that this program was behind its schedule */
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	stopped = number;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void record(struct load *load, const struct exchange *exchange, bool answered)
{
	uint64_t response_us = (now_ns() - exchange->due_ns) / 1000;
	struct record record = {.due_ns = exchange->due_ns,
	                        .response_us = answered ? (uint32_t)response_us : UNANSWERED,
	                        .user = (uint16_t)exchange->user,
	                        .attempts = exchange->attempts};

	load->answered += answered;
	if (load->records && fwrite(&record, sizeof(record), 1, load->records) != 1)
		err(EXIT_FAILURE, "records");
}

/* A new socket of the user, on its way to the server. Failing on this host ends the program: figures that blame the
 * server for it would be worse than none. */
static int user_connect(const struct load *load, uint32_t user)
{
	static const int on = 1;
	/* Whoever gives up leaves nothing behind in the kernel that would go on sending. */
	static const struct linger at_once = {.l_onoff = 1};
	struct sockaddr_in source = load->first;
	_cleanup_close_ int fd = socket(AF_INET, load->protocol->socket_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(EXIT_FAILURE, "socket");
	source.sin_addr.s_addr = htonl(ntohl(source.sin_addr.s_addr) + user);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (bind(fd, (const struct sockaddr *)&source, sizeof(source)) < 0)
		err(EXIT_FAILURE, "bind user %" PRIu32 ": is its address on this host?", user);
	if (connect(fd, (const struct sockaddr *)&load->server, sizeof(load->server)) < 0 && errno != EINPROGRESS)
		return -1;
	return TAKE_FD(fd);
}

static void exchange_end(struct load *load, struct exchange *exchange, bool answered)
{
	record(load, exchange, answered);
	if (exchange->fd >= 0)
		close(exchange->fd);
	load->open--;
	free(exchange);
}

/* Begins an attempt; its socket tells when it can be written to. */
static void exchange_attempt(struct load *load, struct exchange *exchange)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = exchange};

	exchange->attempts++;
	exchange->asked = false;
	exchange->answer_bytes = 0;
	exchange->attempt_ns = now_ns();
	exchange->fd = user_connect(load, exchange->user);
	if (exchange->fd >= 0 && epoll_ctl(load->epoll, EPOLL_CTL_ADD, exchange->fd, &event) < 0)
		err(EXIT_FAILURE, "epoll_ctl");
	TAILQ_INSERT_TAIL(&load->waiting, exchange, waiting);
}

/* An attempt came to nothing: the next, or the end. */
static void exchange_fail(struct load *load, struct exchange *exchange)
{
	TAILQ_REMOVE(&load->waiting, exchange, waiting);
	if (exchange->attempts >= load->attempts_max) {
		exchange_end(load, exchange, false);
		return;
	}
	if (exchange->fd >= 0)
		close(exchange->fd);
	exchange_attempt(load, exchange);
}

static void exchange_answered(struct load *load, struct exchange *exchange)
{
	static const char good[] = "HTTP/1.1 200";
	const uint8_t *answer = exchange->answer;
	bool is_good =
		load->protocol->socket_type == SOCK_STREAM
			? exchange->answer_bytes >= sizeof(good) - 1 && memcmp(answer, good, sizeof(good) - 1) == 0
			: exchange->answer_bytes >= 12 && (answer[2] & 0x80) && !(answer[3] & 0x0f);

	if (!is_good) {
		exchange_fail(load, exchange);
		return;
	}
	TAILQ_REMOVE(&load->waiting, exchange, waiting);
	exchange_end(load, exchange, true);
}

static void exchange_ask(struct load *load, struct exchange *exchange)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = exchange};
	ssize_t count = send(exchange->fd, load->protocol->request, load->protocol->request_bytes, MSG_NOSIGNAL);

	if (count < 0 && errno == EAGAIN)
		return;
	if (count != (ssize_t)load->protocol->request_bytes) {
		exchange_fail(load, exchange);
		return;
	}
	exchange->asked = true;
	if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, exchange->fd, &event) < 0)
		err(EXIT_FAILURE, "epoll_ctl");
}

/* A datagram is an answer; a stream's answer is whole when it ends. */
static void exchange_read(struct load *load, struct exchange *exchange)
{
	uint8_t scratch[4096];
	ssize_t count;

	while ((count = recv(exchange->fd, scratch, sizeof(scratch), 0)) > 0) {
		size_t room = sizeof(exchange->answer) - exchange->answer_bytes;
		size_t kept = (size_t)count < room ? (size_t)count : room;

		memcpy(exchange->answer + exchange->answer_bytes, scratch, kept);
		exchange->answer_bytes = (uint8_t)(exchange->answer_bytes + kept);
		if (load->protocol->socket_type == SOCK_DGRAM)
			break;
	}
	if (count < 0 && errno == EAGAIN)
		return;
	if (count < 0)
		exchange_fail(load, exchange);
	else
		exchange_answered(load, exchange);
}

static void request_begin(struct load *load, uint64_t due_ns, uint32_t user)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		err(EXIT_FAILURE, "request");
	exchange->due_ns = due_ns;
	exchange->user = user;
	exchange->fd = -1;
	load->sent++;
	load->open++;
	if (load->open > AT_ONCE_MAX)
		exchange_end(load, exchange, false);
	else
		exchange_attempt(load, exchange);
}

/* Sends what is due by now. Returns when the next is. */
static uint64_t send_due(struct load *load, struct arrival *next)
{
	uint64_t now = now_ns();

	while (load->at_once && load->open < load->at_once && now < load->end_ns)
		request_begin(load, now_ns(), (uint32_t)(load->sent % load->arrivals.users));
	if (load->at_once)
		return load->end_ns;
	for (;;) {
		uint64_t due_ns = load->start_ns + (uint64_t)(next->due_s * 1e9);

		if (due_ns > now || due_ns >= load->end_ns)
			return due_ns;
		load->late_ns = now - due_ns > load->late_ns ? now - due_ns : load->late_ns;
		request_begin(load, due_ns, next->user);
		*next = arrivals_next(&load->arrivals);
	}
}

/* Gives up on what has waited too long. Returns when the next will have. */
static uint64_t expire(struct load *load)
{
	uint64_t now = now_ns();
	struct exchange *oldest;

	/* One that was refused at once waits as well, or attempts would not end. */
	while ((oldest = TAILQ_FIRST(&load->waiting))) {
		if (now < oldest->attempt_ns + load->timeout_ns)
			return oldest->attempt_ns + load->timeout_ns;
		exchange_fail(load, oldest);
	}
	return UINT64_MAX;
}

static void await_events(struct load *load, uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t now = now_ns(), wait_ns = until_ns > now ? until_ns - now : 0;
	struct timespec wait = {.tv_sec = (time_t)(wait_ns / SECOND_NS), .tv_nsec = (long)(wait_ns % SECOND_NS)};
	int count = epoll_pwait2(load->epoll, events, EVENTS, &wait, NULL);

	for (int i = 0; i < count; i++) {
		struct exchange *exchange = events[i].data.ptr;

		if (exchange->asked)
			exchange_read(load, exchange);
		else
			exchange_ask(load, exchange);
	}
}

static void load_run(struct load *load)
{
	struct arrival next = arrivals_next(&load->arrivals);

	while (!stopped) {
		uint64_t due_ns = send_due(load, &next), expires_ns = expire(load);

		if (now_ns() >= load->end_ns && !load->open)
			break;
		if (due_ns >= load->end_ns)
			due_ns = now_ns() < load->end_ns ? load->end_ns : UINT64_MAX;
		await_events(load, due_ns < expires_ns ? due_ns : expires_ns);
	}
	while (!TAILQ_EMPTY(&load->waiting)) {
		struct exchange *exchange = TAILQ_FIRST(&load->waiting);

		TAILQ_REMOVE(&load->waiting, exchange, waiting);
		exchange_end(load, exchange, false);
	}
}

static const char usage[] = "usage: spillway-load --records FILE [options]\n"
			    "Users who ask a server from addresses of their own, and a record of every request.\n"
			    "  --protocol P        http (default) or dns\n"
			    "  --server ADDRESS    IPv4 (10.99.0.1)\n"
			    "  --port PORT         (80)\n"
			    "  --first ADDRESS     the first user's, the others follow it (10.99.1.1)\n"
			    "  --users N           (50)\n"
			    "  --rate R            requests a second of all together, as a Poisson process (100)\n"
			    "  --wave HZ           only in the first half of each period\n"
			    "  --at-once N         N requests at any time instead: as fast as the server answers\n"
			    "  --timeout MS        after which an attempt is given up (1000)\n"
			    "  --attempts N        how often a request is tried (1)\n"
			    "  --seconds S         for how long, or until SIGTERM (5)\n"
			    "  --seed N            another order of users (1)\n"
			    "A record is 16 bytes: when it was due (64 bits of CLOCK_MONOTONIC's ns), the response "
			    "time in us (32; all ones: "
			    "unanswered),\nthe user (16), attempts (8), 8 unused.\n";

static double number(const char *name, const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value) || value < least || value > most)
		errx(2, "--%s %s: not a number from %g to %g", name, text, least, most);
	return value;
}

static const struct protocol *protocol_named(const char *name)
{
	for (int i = 0; i < PROTOCOLS; i++)
		if (strcmp(name, protocols[i].name) == 0)
			return &protocols[i];
	errx(2, "--protocol %s: http or dns", name);
}

static struct sockaddr_in address(const char *name, const char *text)
{
	struct sockaddr_in result = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, text, &result.sin_addr) != 1)
		errx(2, "--%s %s: not an IPv4 address", name, text);
	return result;
}

static void load_parse(struct load *load, int argc, char **argv)
{
	enum {
		PROTOCOL,
		SERVER,
		PORT,
		FIRST,
		USERS,
		RATE,
		WAVE,
		AT_ONCE,
		TIMEOUT,
		ATTEMPTS,
		SECONDS,
		SEED,
		RECORDS,
		HELP
	};
	static const struct option options[] = {
		{"protocol", required_argument, NULL, PROTOCOL},
		{"server", required_argument, NULL, SERVER},
		{"port", required_argument, NULL, PORT},
		{"first", required_argument, NULL, FIRST},
		{"users", required_argument, NULL, USERS},
		{"rate", required_argument, NULL, RATE},
		{"wave", required_argument, NULL, WAVE},
		{"at-once", required_argument, NULL, AT_ONCE},
		{"timeout", required_argument, NULL, TIMEOUT},
		{"attempts", required_argument, NULL, ATTEMPTS},
		{"seconds", required_argument, NULL, SECONDS},
		{"seed", required_argument, NULL, SEED},
		{"records", required_argument, NULL, RECORDS},
		{"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	const char *values[HELP + 1] = {"http", "10.99.0.1", "80", "10.99.1.1", "50", "100", "0",
	                                "0",    "1000",      "1",  "5",         "1",  NULL,  NULL};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			errx(2, "see --help");
		values[option] = optarg ? optarg : "";
	}
	if (optind < argc)
		errx(2, "%s: no such argument: see --help", argv[optind]);
	if (values[HELP]) {
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	}
	load->protocol = protocol_named(values[PROTOCOL]);
	load->server = address("server", values[SERVER]);
	load->server.sin_port = htons((uint16_t)number("port", values[PORT], 1, UINT16_MAX));
	load->first = address("first", values[FIRST]);
	load->arrivals =
		(struct arrivals){.users = (uint32_t)number("users", values[USERS], 1, UINT16_MAX),
	                          .rate = number("rate", values[RATE], 0.001, 1e6),
	                          .wave_hz = number("wave", values[WAVE], 0, 100),
	                          .random = 0x9e3779b97f4a7c15ULL * (uint64_t)number("seed", values[SEED], 1, 1e9)};
	load->at_once = (unsigned)number("at-once", values[AT_ONCE], 0, AT_ONCE_MAX);
	load->timeout_ns = (uint64_t)(1e6 * number("timeout", values[TIMEOUT], 1, 60000));
	load->attempts_max = (unsigned)number("attempts", values[ATTEMPTS], 1, 100);
	load->start_ns = now_ns();
	load->end_ns = load->start_ns + (uint64_t)(1e9 * number("seconds", values[SECONDS], 0.01, 86400));
	load->records = values[RECORDS] ? fopen(values[RECORDS], "we") : NULL;
	if (values[RECORDS] && !load->records)
		err(EXIT_FAILURE, "%s", values[RECORDS]);
}

int main(int argc, char **argv)
{
	struct load load = {0};
	struct rlimit files;
	const struct sigaction action = {.sa_handler = stop};

	TAILQ_INIT(&load.waiting);
	load_parse(&load, argc, argv);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	prctl(PR_SET_TIMERSLACK, 1);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll < 0)
		err(EXIT_FAILURE, "epoll_create1");

	load_run(&load);

	if (load.records && fclose(load.records) != 0)
		err(EXIT_FAILURE, "records");
	close(load.epoll);
	printf("{\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"late_milliseconds\":%.3f}\n", load.sent, load.answered,
	       (double)load.late_ns / 1e6);
	return EXIT_SUCCESS;
}
