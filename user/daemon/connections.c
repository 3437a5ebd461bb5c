/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/connections.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define SWEEP_S 1
/* Accepted in one round of the loop while those that make room for them have not been let go of. */
#define SLACK 128

struct connection {
	struct bufferevent *wire; /* a reference of our own: libevent does not say when it has let go of its */
	double heard_s;           /* monotonic */
	bool stays;
	bool ending;
};

struct connections {
	struct event_base *loop;
	struct event *sweep;
	size_t most, count;
	unsigned idle_s;
	struct connection held[];
};

static double clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* libevent takes its callbacks away when it frees a connection. */
static bool let_go(const struct connection *connection)
{
	bufferevent_event_cb heard;

	bufferevent_getcb(connection->wire, NULL, NULL, &heard, NULL);
	return !heard && bufferevent_getfd(connection->wire) >= 0;
}

/* libevent finds the connection ended by its peer, and does the rest. */
static void end(struct connection *connection)
{
	int fd = bufferevent_getfd(connection->wire);

	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	connection->ending = true;
}

/* Forgets those that are gone, and ends those that have asked nothing for too long. */
static void tidy(struct connections *connections)
{
	double now_s = clock_s();
	size_t kept = 0;

	for (size_t i = 0; i < connections->count; i++) {
		struct connection *connection = &connections->held[i];
		if (let_go(connection)) {
			bufferevent_decref(connection->wire);
			continue;
		}
		if (!connection->stays && !connection->ending && now_s - connection->heard_s > connections->idle_s)
			end(connection);
		connections->held[kept++] = *connection;
	}
	connections->count = kept;
}

static void on_sweep(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	tidy(argument);
}

static void make_room(struct connections *connections)
{
	struct connection *silent = NULL;

	for (size_t i = 0; i < connections->count; i++) {
		struct connection *connection = &connections->held[i];
		if (!connection->stays && !connection->ending && (!silent || connection->heard_s < silent->heard_s))
			silent = connection;
	}
	if (silent)
		end(silent);
}

/* Called for each connection that is accepted, before it has its descriptor. */
static struct bufferevent *on_accept(struct event_base *loop, void *argument)
{
	struct connections *connections = argument;

	if (connections->count >= connections->most)
		tidy(connections);
	if (connections->count >= connections->most)
		make_room(connections);
	struct bufferevent *wire = bufferevent_socket_new(loop, -1, 0);
	if (wire && connections->count < connections->most + SLACK) {
		bufferevent_incref(wire);
		connections->held[connections->count++] = (struct connection){.wire = wire, .heard_s = clock_s()};
	}
	return wire;
}

int connections_new(struct connections **out, struct event_base *loop, struct evhttp *http, size_t most,
                    unsigned idle_s, struct error *err)
{
	static const struct timeval pause = {.tv_sec = SWEEP_S};
	struct connections *connections = calloc(1, sizeof(*connections) + (most + SLACK) * sizeof(*connections->held));
	if (!connections)
		return error_set(err, -ENOMEM, "server: no memory for %zu connections", most);

	connections->loop = loop;
	connections->most = most;
	connections->idle_s = idle_s;
	connections->sweep = event_new(loop, -1, EV_PERSIST, on_sweep, connections);
	if (!connections->sweep || event_add(connections->sweep, &pause) < 0) {
		connections_free(connections);
		return error_set(err, -ENOMEM, "server: no memory");
	}
	evhttp_set_bevcb(http, on_accept, connections);
	*out = connections;
	return 0;
}

void connections_free(struct connections *connections)
{
	for (size_t i = 0; i < connections->count; i++)
		bufferevent_decref(connections->held[i].wire);
	if (connections->sweep)
		event_free(connections->sweep);
	free(connections);
}

void connections_heard(struct connections *connections, struct evhttp_request *request, bool stays)
{
	const struct bufferevent *wire = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));

	for (size_t i = 0; i < connections->count; i++) {
		if (connections->held[i].wire != wire)
			continue;
		connections->held[i].heard_s = clock_s();
		connections->held[i].stays = stays;
		return;
	}
}
