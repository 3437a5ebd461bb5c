/* SPDX-License-Identifier: GPL-2.0-only */
/* The laboratory's well-behaved users: many addresses on one host, each asking a web and a DNS server at a steady rate,
 * and what they got for it. Requests leave on time whether or not earlier ones were answered, as those of independent
 * people do. It must not know Spillway: it sees only what a user sees. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
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
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"

#define ANSWER_WITHIN_NS 1000000000ULL
#define SECOND_NS        1000000000ULL
#define TICK_US          1000
#define USERS_MAX        10000
#define RATE_MAX         10000.0
#define SECONDS_MAX      86400.0
#define ANSWER_BYTES     512 /* as much of an answer as is looked at */

/* A recursive query for the A record of www.lab.test (RFC 1035 section 4.1); every exchange has a socket and so a port
 * of its own, which is what tells answers apart: the identifier can be fixed. */
static const uint8_t dns_request[] = {0x53, 0x57, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
                                      0x00, 0x00, 3,    'w',  'w',  'w',  3,    'l',  'a',  'b',
                                      4,    't',  'e',  's',  't',  0,    0x00, 0x01, 0x00, 0x01};
static const char http_request[] = "GET / HTTP/1.1\r\nHost: www.lab.test\r\nConnection: close\r\n\r\n";

enum progress { ANSWER_PARTIAL, ANSWER_GOOD, ANSWER_BAD };

/* One way of asking: a line of the table below. */
struct protocol {
	const char *name;
	int socket_type;
	uint16_t port;
	const void *request;
	size_t request_bytes;
	enum progress (*judge)(const uint8_t *answer, size_t bytes, bool ended);
};

struct counts {
	uint64_t sent;
	uint64_t answered;
	uint64_t lost;
};

/* Everything asked over one protocol. */
struct stream {
	const struct protocol *protocol;
	struct client *client;
	double rate_pps; /* requests a second and user */
	struct counts counts;
	struct counts reported; /* the counts when the last line of progress was written */
	double *latencies_ms;   /* one an answer, in the order of their arrival */
	size_t latencies_room;
};

/* One request on its way: a socket that is closed at the answer or at the deadline. */
struct exchange {
	TAILQ_ENTRY(exchange) waiting;
	struct event event;
	struct stream *stream;
	uint64_t sent_ns;
	size_t answer_bytes;
	uint8_t answer[ANSWER_BYTES];
	bool asked;
};

enum { STREAM_HTTP, STREAM_DNS, STREAMS };

struct client {
	struct event_base *base;
	struct event *tick;
	TAILQ_HEAD(, exchange) waiting; /* in the order of their deadlines, since all wait equally long */
	struct stream streams[STREAMS];
	struct sockaddr_storage server;
	struct sockaddr_storage first;
	uint32_t users;
	double seconds;
	uint64_t start_ns;
	uint64_t progress_lines;
	bool progress;
	bool json;
};

/* What a set of latencies comes to; meaningful only where `answered` is not zero. */
struct summary {
	struct counts counts;
	double p50_ms;
	double p99_ms;
	double max_ms;
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static enum progress http_judge(const uint8_t *answer, size_t bytes, bool ended)
{
	static const char good[] = "HTTP/1.1 200 ";

	if (bytes >= sizeof(good) - 1 && memcmp(answer, good, sizeof(good) - 1) != 0)
		return ANSWER_BAD;
	if (!ended)
		return ANSWER_PARTIAL;
	return bytes >= sizeof(good) - 1 ? ANSWER_GOOD : ANSWER_BAD;
}

static enum progress dns_judge(const uint8_t *answer, size_t bytes, bool ended)
{
	(void)ended;
	if (bytes < 12 || memcmp(answer, dns_request, 2) != 0)
		return ANSWER_BAD;
	/* A response, without error, that has an answer in it. */
	bool good = (answer[2] & 0x80) && (answer[3] & 0x0f) == 0 && (answer[6] || answer[7]);
	return good ? ANSWER_GOOD : ANSWER_BAD;
}

static const struct protocol protocols[STREAMS] = {
	[STREAM_HTTP] = {"http", SOCK_STREAM, 80, http_request, sizeof(http_request) - 1, http_judge},
	[STREAM_DNS] = {"dns", SOCK_DGRAM, 53, dns_request, sizeof(dns_request), dns_judge},
};

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static struct sockaddr_storage address_with_port(const struct sockaddr_storage *address, uint16_t port)
{
	struct sockaddr_storage result = *address;

	/* The port lies at the same place in both families. */
	((struct sockaddr_in *)&result)->sin_port = htons(port);
	return result;
}

/* The address of user number `user`, counted up from the first one's. */
static struct sockaddr_storage address_of_user(const struct sockaddr_storage *first, uint32_t user)
{
	struct sockaddr_storage result = *first;

	if (first->ss_family == AF_INET) {
		struct sockaddr_in *ipv4 = (struct sockaddr_in *)&result;
		ipv4->sin_addr.s_addr = htonl(ntohl(ipv4->sin_addr.s_addr) + user);
		return result;
	}
	uint32_t *low = &((struct sockaddr_in6 *)&result)->sin6_addr.s6_addr32[3];
	*low = htonl(ntohl(*low) + user);
	return result;
}

static bool address_parse(const char *text, struct sockaddr_storage *out)
{
	struct sockaddr_storage address = {0};

	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr) == 1)
		address.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&address)->sin6_addr) == 1)
		address.ss_family = AF_INET6;
	else
		return false;
	*out = address;
	return true;
}

static void stream_add_latency(struct stream *stream, double latency_ms)
{
	if (stream->counts.answered == stream->latencies_room) {
		stream->latencies_room = stream->latencies_room ? 2 * stream->latencies_room : 1024;
		stream->latencies_ms =
			reallocarray(stream->latencies_ms, stream->latencies_room, sizeof(*stream->latencies_ms));
		if (!stream->latencies_ms)
			err(EXIT_FAILURE, "latencies");
	}
	stream->latencies_ms[stream->counts.answered++] = latency_ms;
}

static void exchange_close(struct client *client, struct exchange *exchange)
{
	TAILQ_REMOVE(&client->waiting, exchange, waiting);
	event_del(&exchange->event);
	close(event_get_fd(&exchange->event));
	free(exchange);
}

static void exchange_end(struct exchange *exchange, bool answered)
{
	struct stream *stream = exchange->stream;
	double latency_ms = (double)(now_ns() - exchange->sent_ns) / 1e6;

	if (answered && latency_ms <= ANSWER_WITHIN_NS / 1e6)
		stream_add_latency(stream, latency_ms);
	else
		stream->counts.lost++;
	exchange_close(stream->client, exchange);
}

static void exchange_read(struct exchange *exchange, int fd)
{
	const struct protocol *protocol = exchange->stream->protocol;

	for (;;) {
		uint8_t scratch[4096];
		ssize_t count = recv(fd, scratch, sizeof(scratch), 0);
		if (count < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (count < 0) {
			exchange_end(exchange, false);
			return;
		}

		size_t room = sizeof(exchange->answer) - exchange->answer_bytes;
		size_t kept = (size_t)count < room ? (size_t)count : room;
		memcpy(exchange->answer + exchange->answer_bytes, scratch, kept);
		exchange->answer_bytes += kept;

		enum progress progress = protocol->judge(exchange->answer, exchange->answer_bytes, count == 0);
		if (progress != ANSWER_PARTIAL) {
			exchange_end(exchange, progress == ANSWER_GOOD);
			return;
		}
	}
}

static void exchange_ready(evutil_socket_t fd, short what, void *argument)
{
	struct exchange *exchange = argument;
	const struct protocol *protocol = exchange->stream->protocol;

	if (exchange->asked) {
		exchange_read(exchange, fd);
		return;
	}
	(void)what;
	/* A request fits the empty send buffer of a new socket whole. */
	ssize_t count = send(fd, protocol->request, protocol->request_bytes, MSG_NOSIGNAL);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count != (ssize_t)protocol->request_bytes) {
		exchange_end(exchange, false);
		return;
	}
	exchange->asked = true;
	event_del(&exchange->event);
	event_assign(&exchange->event, exchange->stream->client->base, fd, EV_READ | EV_PERSIST, exchange_ready,
	             exchange);
	event_add(&exchange->event, NULL);
}

/* Opens a socket of user `user`, on the way to the server. Ends the program where that fails on this host: figures
 * that blame the server for it would be worse than none. Returns -1 where the network refused at once. */
static int user_connect(const struct client *client, const struct protocol *protocol, uint32_t user)
{
	struct sockaddr_storage source = address_of_user(&client->first, user);
	struct sockaddr_storage server = address_with_port(&client->server, protocol->port);
	const int on = 1;
	_cleanup_close_ int fd = socket(server.ss_family, protocol->socket_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(EXIT_FAILURE, "socket: raise 'ulimit -n' or lower the rates");
	/* The port is chosen at connect, so that one port serves several destinations. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&source, address_bytes(&source)) < 0)
		err(EXIT_FAILURE,
		    "bind the address of user %" PRIu32 ": is it on this host? See --first-ipv4, --first-ipv6", user);
	if (connect(fd, (const struct sockaddr *)&server, address_bytes(&server)) < 0 && errno != EINPROGRESS)
		return -1;
	return TAKE_FD(fd);
}

static void stream_ask(struct stream *stream, uint32_t user)
{
	struct client *client = stream->client;
	uint64_t sent_ns = now_ns();
	int fd = user_connect(client, stream->protocol, user);

	stream->counts.sent++;
	if (fd < 0) {
		stream->counts.lost++;
		return;
	}
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	if (!exchange)
		err(EXIT_FAILURE, "request");
	exchange->stream = stream;
	exchange->sent_ns = sent_ns;
	event_assign(&exchange->event, client->base, fd, EV_WRITE | EV_PERSIST, exchange_ready, exchange);
	event_add(&exchange->event, NULL);
	TAILQ_INSERT_TAIL(&client->waiting, exchange, waiting);
}

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left;
	double b = *(const double *)right;

	return (a > b) - (a < b);
}

/* The nearest-rank percentile of `count` > 0 sorted values: always one that was measured. */
static double percentile(const double *sorted, size_t count, double part)
{
	size_t rank = (size_t)ceil(part * (double)count);

	return sorted[rank ? rank - 1 : 0];
}

/* Sums up streams `from` to `to`, since the last line of progress or since the start. */
static struct summary summarize(const struct client *client, int from, int to, bool since_reported)
{
	struct summary summary = {0};

	for (int i = from; i <= to; i++) {
		const struct stream *stream = &client->streams[i];
		struct counts base = since_reported ? stream->reported : (struct counts){0};
		summary.counts.sent += stream->counts.sent - base.sent;
		summary.counts.answered += stream->counts.answered - base.answered;
		summary.counts.lost += stream->counts.lost - base.lost;
	}
	if (!summary.counts.answered)
		return summary;

	_cleanup_free_ double *sorted = calloc(summary.counts.answered, sizeof(*sorted));
	if (!sorted)
		err(EXIT_FAILURE, "percentiles");
	size_t count = 0;
	for (int i = from; i <= to; i++) {
		const struct stream *stream = &client->streams[i];
		uint64_t first = since_reported ? stream->reported.answered : 0;
		for (uint64_t j = first; j < stream->counts.answered; j++)
			sorted[count++] = stream->latencies_ms[j];
	}
	qsort(sorted, count, sizeof(*sorted), compare_doubles);
	summary.p50_ms = percentile(sorted, count, 0.50);
	summary.p99_ms = percentile(sorted, count, 0.99);
	summary.max_ms = sorted[count - 1];
	return summary;
}

static void print_json_summary(const char *name, struct summary summary)
{
	printf(",\"%s\":{\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"lost\":%" PRIu64, name, summary.counts.sent,
	       summary.counts.answered, summary.counts.lost);
	if (summary.counts.answered)
		printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}", summary.p50_ms, summary.p99_ms,
		       summary.max_ms);
	else
		printf(",\"p50_ms\":null,\"p99_ms\":null,\"max_ms\":null}");
}

static void print_json(const struct client *client, bool since_reported)
{
	for (int i = 0; i < STREAMS; i++)
		print_json_summary(protocols[i].name, summarize(client, i, i, since_reported));
	print_json_summary("total", summarize(client, 0, STREAMS - 1, since_reported));
	printf("}\n");
	fflush(stdout);
}

static void print_row(const char *name, struct summary summary)
{
	printf("%-6s %9" PRIu64 " %9" PRIu64 " %9" PRIu64, name, summary.counts.sent, summary.counts.answered,
	       summary.counts.lost);
	if (summary.counts.answered)
		printf(" %9.3f %9.3f %9.3f\n", summary.p50_ms, summary.p99_ms, summary.max_ms);
	else
		printf(" %9s %9s %9s\n", "-", "-", "-");
}

static void print_table(const struct client *client)
{
	printf("%-6s %9s %9s %9s %9s %9s %9s\n", "", "sent", "answered", "lost", "p50_ms", "p99_ms", "max_ms");
	for (int i = 0; i < STREAMS; i++)
		print_row(protocols[i].name, summarize(client, i, i, false));
	print_row("total", summarize(client, 0, STREAMS - 1, false));
}

/* One line for the second that has passed: what was sent, answered and given up in it. */
static void client_report(struct client *client)
{
	printf("{\"second\":%" PRIu64, ++client->progress_lines);
	print_json(client, true);
	for (int i = 0; i < STREAMS; i++)
		client->streams[i].reported = client->streams[i].counts;
}

static void client_expire(struct client *client, uint64_t at_ns)
{
	struct exchange *oldest;

	while ((oldest = TAILQ_FIRST(&client->waiting)) && at_ns - oldest->sent_ns > ANSWER_WITHIN_NS)
		exchange_end(oldest, false);
}

static void client_tick(evutil_socket_t fd, short what, void *argument)
{
	struct client *client = argument;
	uint64_t at_ns = now_ns();
	double elapsed_s = (double)(at_ns - client->start_ns) / 1e9;
	bool over = elapsed_s >= client->seconds || interrupted;

	(void)fd;
	(void)what;
	for (int i = 0; i < STREAMS && !interrupted; i++) {
		struct stream *stream = &client->streams[i];
		/* Users take turns, so that each has the same rate and no two ask at once. */
		double asking_s = fmin(elapsed_s, client->seconds);
		uint64_t due = (uint64_t)llround(asking_s * stream->rate_pps * client->users);
		while (stream->counts.sent < due)
			stream_ask(stream, (uint32_t)(stream->counts.sent % client->users));
	}
	client_expire(client, at_ns > now_ns() ? at_ns : now_ns());
	if (client->progress && elapsed_s >= (double)(client->progress_lines + 1))
		client_report(client);
	if (over && (TAILQ_EMPTY(&client->waiting) || interrupted))
		event_base_loopbreak(client->base);
}

static void client_run(struct client *client)
{
	const struct timeval tick = {.tv_usec = TICK_US};

	TAILQ_INIT(&client->waiting);
	client->base = event_base_new();
	if (!client->base)
		errx(EXIT_FAILURE, "no event loop");
	client->tick = event_new(client->base, -1, EV_PERSIST, client_tick, client);
	if (!client->tick || event_add(client->tick, &tick) < 0)
		errx(EXIT_FAILURE, "no timer");

	client->start_ns = now_ns();
	event_base_dispatch(client->base);

	/* Only a signal leaves any: they were neither answered nor refused, and count as lost. */
	while (!TAILQ_EMPTY(&client->waiting))
		exchange_end(TAILQ_FIRST(&client->waiting), false);
	event_free(client->tick);
	event_base_free(client->base);
}

static double number_option(const char *name, const char *text, double least, double most)
{
	char *end;

	errno = 0;
	double value = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(value) || value < least || value > most)
		errx(2, "--%s %s: not a number from %g to %g", name, text, least, most);
	return value;
}

static void address_option(const char *name, const char *text, int family, struct sockaddr_storage *out)
{
	struct sockaddr_storage address;

	if (!address_parse(text, &address) || (family != AF_UNSPEC && address.ss_family != family))
		errx(2, "--%s %s: not such an address", name, text);
	*out = address;
}

static const char usage[] = "usage: spillway-client [options]\n"
			    "Well-behaved users: HTTP and DNS requests at steady rates, and what became of them.\n"
			    "  --server ADDRESS      who is asked (10.99.0.1; IPv4 or IPv6)\n"
			    "  --users N             how many users (20)\n"
			    "  --first-ipv4 ADDRESS  the first user's address, the others follow it (10.99.1.1)\n"
			    "  --first-ipv6 ADDRESS  the same where the server's is IPv6 (fd00:99::1:1)\n"
			    "  --http RATE           HTTP requests a second and user, a connection each (1)\n"
			    "  --dns RATE            DNS queries a second and user (1)\n"
			    "  --seconds S           for how long (5)\n"
			    "  --json                the result as one JSON object\n"
			    "  --progress            a JSON object each second\n"
			    "A request is lost when it is refused or has no answer within a second. Exit status: 0 it "
			    "ran, 1 it could not,\n"
			    "2 wrong usage.\n";

static void client_parse(struct client *client, int argc, char **argv)
{
	enum { SERVER = 1, USERS, FIRST_IPV4, FIRST_IPV6, HTTP, DNS, SECONDS, JSON, PROGRESS, HELP };
	static const struct option options[] = {
		{"server", required_argument, NULL, SERVER},
		{"users", required_argument, NULL, USERS},
		{"first-ipv4", required_argument, NULL, FIRST_IPV4},
		{"first-ipv6", required_argument, NULL, FIRST_IPV6},
		{"http", required_argument, NULL, HTTP},
		{"dns", required_argument, NULL, DNS},
		{"seconds", required_argument, NULL, SECONDS},
		{"json", no_argument, NULL, JSON},
		{"progress", no_argument, NULL, PROGRESS},
		{"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	const char *values[HELP + 1] = {
		[SERVER] = "10.99.0.1",
		[USERS] = "20",
		[FIRST_IPV4] = "10.99.1.1",
		[FIRST_IPV6] = "fd00:99::1:1",
		[HTTP] = "1",
		[DNS] = "1",
		[SECONDS] = "5",
	};
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
	address_option("server", values[SERVER], AF_UNSPEC, &client->server);
	bool ipv4 = client->server.ss_family == AF_INET;
	address_option(ipv4 ? "first-ipv4" : "first-ipv6", values[ipv4 ? FIRST_IPV4 : FIRST_IPV6],
	               client->server.ss_family, &client->first);
	client->users = (uint32_t)number_option("users", values[USERS], 1, USERS_MAX);
	client->streams[STREAM_HTTP].rate_pps = number_option("http", values[HTTP], 0, RATE_MAX);
	client->streams[STREAM_DNS].rate_pps = number_option("dns", values[DNS], 0, RATE_MAX);
	client->seconds = number_option("seconds", values[SECONDS], 0.001, SECONDS_MAX);
	client->json = values[JSON];
	client->progress = values[PROGRESS];
}

int main(int argc, char **argv)
{
	struct client client = {0};
	struct rlimit files;
	const struct sigaction stop = {.sa_handler = note_signal};

	for (int i = 0; i < STREAMS; i++)
		client.streams[i] = (struct stream){.protocol = &protocols[i], .client = &client};
	client_parse(&client, argc, argv);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	/* Where nothing is answered, a second's worth of requests is open at once. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}

	client_run(&client);
	if (client.json) {
		printf("{\"users\":%" PRIu32 ",\"seconds\":%g", client.users, client.seconds);
		print_json(&client, false);
	} else {
		print_table(&client);
	}
	for (int i = 0; i < STREAMS; i++)
		free(client.streams[i].latencies_ms);
	return EXIT_SUCCESS;
}
