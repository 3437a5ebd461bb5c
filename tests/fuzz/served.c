/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuzz/served.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/adaptive.h"
#include "daemon/hotspots.h"
#include "daemon/recorder.h"
#include "daemon/server.h"
#include "daemon/silences.h"
#include "datapath/image.h"
#include "datapath/lists.h"
#include "fuzz/require.h"

#define QUIET_ROUNDS 2  /* of the loop in which nothing comes: all is answered */
#define STATUS_BYTES 24 /* that hold any version and status, and no more than any answer has: a 100 has 25 */

/* Entries on the lists, so that those that come and go do not swap the kernel's program. */
static const char configuration[] =
	"services:\n"
	"  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 1000}, capacity: 10000}\n"
	"  - {name: dns, protocol: udp, ports: [53], adaptive: {minimum: 20, maximum: 100000}, class: critical}\n"
	"  - {name: bulk, protocol: udp, ports: [4000], class: sheddable,\n"
	"     adaptive: {minimum_bytes: 10kB, maximum_bytes: 1GB}}\n"
	"deny: [192.0.2.99, \"2001:db8:99::/48\"]\n"
	"history: null\n"
	"listen: 127.0.0.1:9469\n";

static struct daemon daemon_served;
static char directory[64], pins[128], socket_path[128];

static void stop(void)
{
	struct error err;

	server_free(daemon_served.server);
	datapath_close(daemon_served.datapath);
	if (datapath_unload(pins, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	rmdir(directory);
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	REQUIRE(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0);
	close(fd);
}

static int data_path(struct daemon *daemon, struct error *err)
{
	struct datapath_options options = {
		.pins = pins, .table_users = 1000, .list_entries = 1000, .features = image_features(daemon->config)};

	int failure = datapath_open(&daemon->datapath, &options, err);
	if (!failure)
		failure = lists_file(daemon->datapath, &daemon->config->lists, err);
	return failure ? failure : datapath_apply(daemon->datapath, daemon->config, err);
}

static int parts(struct daemon *daemon, struct error *err)
{
	int failure = events_new(&daemon->events, err);
	if (!failure)
		failure = data_path(daemon, err);
	if (!failure)
		failure = signals_new(&daemon->signals, daemon->datapath, err);
	if (!failure)
		failure = observer_new(&daemon->observer, daemon->datapath, err);
	if (!failure)
		failure = heat_new(&daemon->heat, daemon, err);
	if (!failure)
		failure = silences_new(&daemon->silences, daemon, err);
	if (!failure)
		failure = adaptive_new(&daemon->adaptive, daemon, err);
	if (!failure)
		failure = recorder_new(&daemon->recorder, daemon, err);
	return failure ? failure : server_new(&daemon->server, daemon, err);
}

struct daemon *served_start(void)
{
	struct config_faults faults = {0};
	struct error err;

	snprintf(directory, sizeof(directory), "/dev/shm/spillway-fuzz-%d", getpid());
	REQUIRE(mkdir(directory, 0700) == 0);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
	snprintf(pins, sizeof(pins), "/sys/fs/bpf/spillway-fuzz-%d", getpid());
	signal(SIGPIPE, SIG_IGN);
	REQUIRE(unshare(CLONE_NEWNET) == 0);
	loopback_up();
	daemon_served.options = (struct daemon_options){.socket = socket_path, .pins = pins};
	daemon_served.started_s = daemon_clock_s();
	if (config_parse(configuration, sizeof(configuration) - 1, &daemon_served.config, &faults) < 0)
		fprintf(stderr, "line %u: %s\n", faults.faults[0].mark.line, faults.faults[0].text);
	REQUIRE(daemon_served.config);
	daemon_served.loop = event_base_new();
	REQUIRE(daemon_served.loop);
	if (parts(&daemon_served, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	atexit(stop);
	return &daemon_served;
}

static int dial(enum served_door door)
{
	struct sockaddr_un control = {.sun_family = AF_UNIX};
	const struct sockaddr_in web = {
		.sin_family = AF_INET, .sin_port = htons(9469), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(door == SERVED_WEB ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(control.sun_path, socket_path, strlen(socket_path) + 1);
	const void *address = door == SERVED_WEB ? (const void *)&web : (const void *)&control;
	REQUIRE(fd >= 0);
	REQUIRE(connect(fd, address, door == SERVED_WEB ? sizeof(web) : sizeof(control)) == 0);
	return fd;
}

/* So that no thousands of ended connections wait for packets that might still come. */
static void hang_up(int fd)
{
	const struct linger at_once = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

static int status_of(const char *answer, size_t size)
{
	if (!size)
		return 0;
	/* Of the version that was asked in, and be it 0.1. */
	const char *status = strchr(answer, ' ');
	REQUIRE(size >= STATUS_BYTES && memcmp(answer, "HTTP/", 5) == 0 && status);
	return (int)strtol(status, NULL, 10);
}

int served_ask(enum served_door door, const void *bytes, size_t size, bool *stopped)
{
	char answer[STATUS_BYTES + 1] = "", rest[65536];
	size_t sent = 0, answered = 0;
	int fd = dial(door);

	*stopped = false;
	for (int quiet = 0; quiet < QUIET_ROUNDS; quiet++) {
		ssize_t put = send(fd, (const char *)bytes + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += put > 0 ? (size_t)put : 0;
		event_base_loop(daemon_served.loop, EVLOOP_NONBLOCK);
		*stopped |= event_base_got_break(daemon_served.loop);
		bool heading = answered < STATUS_BYTES;
		ssize_t got = heading ? recv(fd, answer + answered, STATUS_BYTES - answered, MSG_DONTWAIT)
		                      : recv(fd, rest, sizeof(rest), MSG_DONTWAIT);
		if (got > 0) {
			answered += (size_t)got;
			quiet = -1;
		}
	}
	hang_up(fd);
	for (int round = 0; round < QUIET_ROUNDS; round++)
		event_base_loop(daemon_served.loop, EVLOOP_NONBLOCK);
	return status_of(answer, answered < STATUS_BYTES ? answered : STATUS_BYTES);
}
