/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "config/config.h"
#include "daemon/api.h"
#include "daemon/connections.h"
#include "daemon/daemon.h"
#include "daemon/feed.h"
#include "daemon/http.h"
#include "daemon/lists.h"
#include "daemon/metrics.h"
#include "daemon/minutes.h"
#include "daemon/page.h"
#include "daemon/peers.h"

#define REQUEST_BYTES_MAX 65536
#define HEADER_BYTES_MAX  16384
#define IDLE_TIMEOUT_S    30 /* between two whole requests */
#define USERS_DEFAULT     20
#define LISTEN_BACKLOG    128
/* Fewer where the process may not have so many descriptors. */
#define WEB_CONNECTIONS      1024
#define CONTROL_CONNECTIONS  2048
#define DESCRIPTORS_RESERVED 256 /* for all that is no client's */

/* One of the two ways in. */
struct door {
	struct server *server;
	struct evhttp *http;
	struct connections *connections;
	bool changes; /* what changes something may be asked here */
};

struct server {
	struct daemon *daemon;
	struct door control;                  /* the UNIX socket */
	struct door web;                      /* TCP */
	struct evhttp_bound_socket *listener; /* of `web`; NULL where it is off */
	struct config_listen listen_on;
	struct peers peers;
	struct feed *feed;
	struct minutes *minutes;
	char socket[108];
};

static void on_metrics(struct evhttp_request *request, void *argument)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
	bool open_metrics = accept && strstr(accept, "application/openmetrics-text");
	struct server *server = argument;
	struct error err;
	size_t size;
	char *text;

	if (!http_only_reads(request))
		return;
	if (metrics_text(server->daemon, open_metrics, &text, &size, &err) < 0)
		http_reply_error(request, 500, &err);
	else
		http_reply_taking(request, 200,
		                  open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		                               : "text/plain; version=0.0.4; charset=utf-8",
		                  text, size);
}

static void on_healthy(struct evhttp_request *request, void *argument)
{
	(void)argument;
	if (http_only_reads(request))
		http_reply(request, 200, "text/plain", "healthy\n");
}

static void on_ready(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;

	if (!http_only_reads(request))
		return;
	if (api_ready(server->daemon))
		http_reply(request, 200, "text/plain", "ready\n");
	else
		http_reply(request, 503, "text/plain", "an interface is not attached\n");
}

static void answer(struct evhttp_request *request, json_t *document, const struct error *err)
{
	if (document)
		http_reply_json(request, 200, document);
	else
		http_reply_error(request, 500, err);
}

static void on_status(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct error err;

	if (http_only_reads(request))
		answer(request, api_status(server->daemon, &err), &err);
}

static void on_services(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct error err;

	if (http_only_reads(request))
		answer(request, api_services(server->daemon, &err), &err);
}

/* Fills `*query` with what stands behind the '?' of the address: nothing where nothing does, or it cannot be read. For
 * evhttp_clear_headers(). */
static void query_read(struct evhttp_request *request, struct evkeyvalq *query)
{
	const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));

	*query = (struct evkeyvalq){0};
	if (text)
		evhttp_parse_query_str(text, query);
}

/* A number too large is the largest: there are never as many users. */
static bool digits_parse(const char *text, size_t *out)
{
	if (!*text || text[strspn(text, "0123456789")])
		return false;
	*out = strtoul(text, NULL, 10);
	return true;
}

static void answer_users(struct daemon *daemon, struct evhttp_request *request, const struct evkeyvalq *query)
{
	const char *service = evhttp_find_header(query, "service"), *limit = evhttp_find_header(query, "limit");
	size_t count = USERS_DEFAULT;
	struct error err;

	if (service && api_service_number(daemon, service) < 0) {
		error_set(&err, 0, "service %s: there is none of that name: 'spillway services' lists them", service);
		http_reply_error(request, 404, &err);
	} else if (limit && !digits_parse(limit, &count)) {
		error_set(&err, 0, "limit=%s: a whole number was expected", limit);
		http_reply_error(request, 400, &err);
	} else {
		answer(request, api_users(daemon, service, count, &err), &err);
	}
}

static void on_users(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct evkeyvalq query;

	if (!http_only_reads(request))
		return;
	query_read(request, &query);
	answer_users(server->daemon, request, &query);
	evhttp_clear_headers(&query);
}

static void on_recent(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct evkeyvalq query;
	struct error err;

	if (!http_only_reads(request))
		return;
	query_read(request, &query);
	const char *name = evhttp_find_header(&query, "service");
	int service = name ? api_service_number(server->daemon, name) : -1;
	if (service >= 0) {
		http_reply_json(request, 200, minutes_document(server->minutes, (unsigned)service));
	} else {
		error_set(&err, 0,
		          name ? "service %s: there is none of that name: 'spillway services' lists them"
		               : "service=%s: which service?",
		          name ? name : "");
		http_reply_error(request, name ? 404 : 400, &err);
	}
	evhttp_clear_headers(&query);
}

static void serve_events(struct server *server, struct evhttp_request *request, const struct evkeyvalq *query)
{
	const char *service = evhttp_find_header(query, "service"), *recent = evhttp_find_header(query, "recent");
	size_t count = 0;
	struct error err;

	if (service && api_service_number(server->daemon, service) < 0) {
		error_set(&err, 0, "service %s: there is none of that name: 'spillway services' lists them", service);
		http_reply_error(request, 404, &err);
	} else if (recent && !digits_parse(recent, &count)) {
		error_set(&err, 0, "recent=%s: a whole number was expected", recent);
		http_reply_error(request, 400, &err);
	} else {
		feed_serve(server->feed, request, service, count);
	}
}

static void on_events(struct evhttp_request *request, void *argument)
{
	struct evkeyvalq query;

	if (!http_only_reads(request))
		return;
	query_read(request, &query);
	serve_events(argument, request, &query);
	evhttp_clear_headers(&query);
}

static void on_lists(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct evkeyvalq query;
	size_t count = 0;
	struct error err;

	if (!http_only_reads(request))
		return;
	query_read(request, &query);
	const char *after = evhttp_find_header(&query, "after");
	const char *limit = evhttp_find_header(&query, "limit");
	if (limit && !digits_parse(limit, &count)) {
		error_set(&err, 0, "limit=%s: a whole number was expected", limit);
		http_reply_error(request, 400, &err);
	} else {
		json_t *page = api_lists(server->daemon, after, count, &err);
		if (page)
			http_reply_json(request, 200, page);
		else /* what to go on after is no prefix, or is there no more */
			http_reply_error(request, after ? 400 : 500, &err);
	}
	evhttp_clear_headers(&query);
}

static bool is_post(struct evhttp_request *request)
{
	if (evhttp_request_get_command(request) == EVHTTP_REQ_POST)
		return true;
	evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "POST");
	http_reply(request, 405, "text/plain", "this changes something: POST it\n");
	return false;
}

static void on_reload(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct error err;

	if (!is_post(request))
		return;
	if (daemon_reload(server->daemon, &err) < 0)
		http_reply_error(request, 400, &err);
	else
		http_reply_json(request, 200, json_pack("{s:b}", "reloaded", 1));
}

/* The document that was posted; NULL where it is no JSON. */
static json_t *posted(struct evhttp_request *request)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t size = evbuffer_get_length(body);

	return json_loadb((const char *)evbuffer_pullup(body, -1), size, 0, NULL);
}

static void on_set(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	struct error err;

	if (!is_post(request))
		return;
	json_t *wish = posted(request);
	int failure = api_set(server->daemon, wish, &err);
	json_decref(wish);
	if (failure)
		http_reply_error(request, 400, &err);
	else
		http_reply_json(request, 200, json_pack("{s:b}", "set", 1));
}

static void change_lists(struct evhttp_request *request, struct server *server, enum list list)
{
	struct error err;

	if (!is_post(request))
		return;
	json_t *wish = posted(request);
	json_t *done = api_lists_change(server->daemon, list, wish, &err);
	json_decref(wish);
	if (done)
		http_reply_json(request, 200, done);
	else
		http_reply_error(request, 400, &err);
}

static void on_allow(struct evhttp_request *request, void *argument)
{
	change_lists(request, argument, LIST_ALLOW);
}

static void on_deny(struct evhttp_request *request, void *argument)
{
	change_lists(request, argument, LIST_DENY);
}

static void on_forget(struct evhttp_request *request, void *argument)
{
	change_lists(request, argument, LIST_NONE);
}

static void stop_now(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;
	(void)request;
	daemon_stop(server->daemon);
}

static void on_stop(struct evhttp_request *request, void *argument)
{
	struct server *server = argument;

	if (!is_post(request))
		return;
	json_t *wish = posted(request);
	if (json_is_true(json_object_get(wish, "takeover")))
		server->daemon->options.detach_on_exit = false;
	json_decref(wish);
	evhttp_request_set_on_complete_cb(request, stop_now, argument); /* whoever asked has the answer first */
	http_reply_json(request, 200, json_pack("{s:b}", "stopping", 1));
}

static void answer_nothing(struct evhttp_request *request)
{
	struct error err;

	error_set(&err, 0,
	          "nothing is at this path: / is the live page, /metrics for Prometheus, and there are /-/healthy, "
	          "/-/ready and /api/v1/status, services, users, lists, events");
	http_reply_error(request, 404, &err);
}

static const struct route {
	const char *path;
	void (*serve)(struct evhttp_request *request, void *argument);
	bool changes; /* on the UNIX socket alone */
	bool stays;   /* the answer goes on until the client goes */
} routes[] = {
	{"/metrics", on_metrics, false, false},
	{"/-/healthy", on_healthy, false, false},
	{"/-/ready", on_ready, false, false},
	{"/api/v1/status", on_status, false, false},
	{"/api/v1/services", on_services, false, false},
	{"/api/v1/users", on_users, false, false},
	{"/api/v1/lists", on_lists, false, false},
	{"/api/v1/recent", on_recent, false, false},
	{"/api/v1/events", on_events, false, true},
	{"/api/v1/reload", on_reload, true, false},
	{"/api/v1/set", on_set, true, false},
	{"/api/v1/allow", on_allow, true, false},
	{"/api/v1/deny", on_deny, true, false},
	{"/api/v1/forget", on_forget, true, false},
	{"/api/v1/stop", on_stop, true, false},
};

static const struct route *route_find(const char *path, bool changes)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
		if (path && (changes || !routes[i].changes) && strcmp(path, routes[i].path) == 0)
			return &routes[i];
	return NULL;
}

static int request_descriptor(struct evhttp_request *request)
{
	return bufferevent_getfd(evhttp_connection_get_bufferevent(evhttp_request_get_connection(request)));
}

/* Whether whoever asks on the control socket may: answers 403 where not. */
static bool peer_may(const struct server *server, struct evhttp_request *request, bool changes)
{
	const char *group = server->peers.group_name;
	struct error err;
	uid_t user;
	enum peer_right right = peers_right_of(&server->peers, request_descriptor(request), &user);

	if (right >= (changes ? PEER_CHANGES : PEER_READS))
		return true;
	if (right == PEER_READS)
		error_set(&err, 0,
		          "not permitted: user %d is a viewer, and may only read: root and the group %s may change "
		          "(control.group)",
		          (int)user, group);
	else
		error_set(&err, 0,
		          "not permitted: user %d: root and the group %s may ask here, and the viewers' group may read "
		          "(control.group, control.viewers)",
		          (int)user, group);
	http_reply_error(request, 403, &err);
	return false;
}

static void on_request(struct evhttp_request *request, void *argument)
{
	const struct door *door = argument;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	const struct route *route = route_find(path, door->changes);

	connections_heard(door->connections, request, route && route->stays);
	if (door->changes && !peer_may(door->server, request, route && route->changes))
		return;
	if (route)
		route->serve(request, door->server);
	else if (!page_serve(request, path))
		answer_nothing(request);
}

/* Asks for as many descriptors as are wanted, and says which part of them clients may have: a connection is one. */
static double descriptors_share(void)
{
	const rlim_t wanted = WEB_CONNECTIONS + CONTROL_CONNECTIONS + DESCRIPTORS_RESERVED;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0.1;
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= wanted)
		return 1;
	return limit.rlim_cur > 2UL * DESCRIPTORS_RESERVED
	               ? (double)(limit.rlim_cur - DESCRIPTORS_RESERVED) / (double)wanted
	               : 0.05;
}

static int door_open(struct door *door, struct server *server, bool changes, size_t connections, struct error *err)
{
	door->server = server;
	door->changes = changes;
	door->http = evhttp_new(server->daemon->loop);
	if (!door->http)
		return error_set(err, -ENOMEM, "server: no memory");
	evhttp_set_timeout(door->http, HTTP_TIMEOUT_S);
	evhttp_set_max_body_size(door->http, REQUEST_BYTES_MAX);
	evhttp_set_max_headers_size(door->http, HEADER_BYTES_MAX);
	evhttp_set_allowed_methods(door->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD);
	evhttp_set_gencb(door->http, on_request, door);
	return connections_new(&door->connections, server->daemon->loop, door->http, connections, IDLE_TIMEOUT_S, err);
}

static void door_close(struct door *door)
{
	if (door->http)
		evhttp_free(door->http);
	if (door->connections)
		connections_free(door->connections);
}

/* The socket's mode comes by umask before bind: there is no moment at which others may connect. */
static int listen_unix(struct server *server, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = server->daemon->options.socket;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG, "socket %s: longer than %zu bytes: name another with --socket",
		                 path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Ours by the lock on the pins, so that a socket that lies here is a dead daemon's; one that answers is not. */
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return error_set(err, -EADDRINUSE,
		                 "socket %s: another daemon answers there: name another with --socket", path);
	struct stat there;
	if (lstat(path, &there) == 0 && !S_ISSOCK(there.st_mode))
		return error_set(err, -EEXIST,
		                 "socket %s: a file that is no socket lies there: name another with --socket", path);
	unlink(path);
	mode_t mask = umask(0117);
	int bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return error_set(err, -errno,
		                 "socket %s: cannot listen: %s: name another with --socket, in a directory where user "
		                 "%u may make files",
		                 path, strerror(errno), geteuid());
	int failure = peers_find(server->daemon->broker, &server->daemon->config->control, &server->peers, err);
	if (!failure)
		failure = peers_admit(&server->peers, path, err);
	if (failure) {
		unlink(path);
		return failure;
	}
	if (evhttp_accept_socket(server->control.http, fd) < 0)
		return error_set(err, -ENOMEM, "socket %s: cannot accept", path);
	memcpy(server->socket, path, strlen(path) + 1);
	TAKE_FD(fd);
	return 0;
}

/* evhttp_bind_socket() would ask getaddrinfo(3), which refuses 127.0.0.1 on a host that has no other address yet. */
static int tcp_socket(const struct config_listen *listen_on)
{
	union {
		struct sockaddr any;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	} address = {0};
	const int on = 1;
	socklen_t size = sizeof(address.ipv4);

	if (inet_pton(AF_INET, listen_on->host, &address.ipv4.sin_addr) == 1) {
		address.ipv4.sin_family = AF_INET;
		address.ipv4.sin_port = htons(listen_on->port);
	} else if (inet_pton(AF_INET6, listen_on->host, &address.ipv6.sin6_addr) == 1) {
		address.ipv6.sin6_family = AF_INET6;
		address.ipv6.sin6_port = htons(listen_on->port);
		size = sizeof(address.ipv6);
	}
	_cleanup_close_ int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, &address.any, size) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static bool listens_at(const struct server *server, const struct config_listen *listen_on)
{
	return server->listener && listen_on->on && listen_on->port == server->listen_on.port &&
	       strcmp(listen_on->host, server->listen_on.host) == 0;
}

int server_open(struct server *server, const struct config_listen *listen_on, struct evhttp_bound_socket **out,
                struct error *err)
{
	struct evhttp_bound_socket *opened = NULL;

	if (listens_at(server, listen_on)) {
		opened = server->listener;
	} else if (listen_on->on) {
		_cleanup_close_ int fd = tcp_socket(listen_on);
		if (fd == -EADDRINUSE && server->listener && listen_on->port == server->listen_on.port)
			return error_set(err, fd,
			                 "listen %s:%u: the port is in use by this daemon itself, at %s: name another "
			                 "port, or 'null' and reload in between",
			                 listen_on->host, listen_on->port, server->listen_on.host);
		if (fd < 0)
			return error_set(err, fd,
			                 "listen %s:%u: cannot listen: %s: name another address under 'listen:', or "
			                 "null",
			                 listen_on->host, listen_on->port, strerror(-fd));
		opened = evhttp_accept_socket_with_handle(server->web.http, fd);
		if (!opened)
			return error_set(err, -ENOMEM, "listen: no memory");
		TAKE_FD(fd);
	}
	*out = opened;
	return 0;
}

void server_abandon(struct server *server, struct evhttp_bound_socket *opened)
{
	if (opened && opened != server->listener)
		evhttp_del_accept_socket(server->web.http, opened);
}

void server_settle(struct server *server, const struct config_listen *listen_on, struct evhttp_bound_socket *opened)
{
	if (server->listener && server->listener != opened)
		evhttp_del_accept_socket(server->web.http, server->listener);
	server->listener = opened;
	server->listen_on = *listen_on;
}

int server_new(struct server **out, struct daemon *daemon, struct error *err)
{
	struct evhttp_bound_socket *opened;
	_cleanup_(server_freep) struct server *server = calloc(1, sizeof(*server));
	if (!server)
		return error_set(err, -ENOMEM, "server: no memory");
	server->daemon = daemon;
	int failure = feed_new(&server->feed, daemon->loop, daemon->events, err);
	if (failure)
		return failure;
	failure = minutes_new(&server->minutes, daemon, err);
	if (failure)
		return failure;
	double share = descriptors_share();
	failure = door_open(&server->control, server, true, (size_t)(CONTROL_CONNECTIONS * share), err);
	if (!failure)
		failure = door_open(&server->web, server, false, (size_t)(WEB_CONNECTIONS * share), err);
	if (!failure)
		failure = listen_unix(server, err);
	if (!failure)
		failure = server_open(server, &daemon->config->listen, &opened, err);
	if (failure)
		return failure;
	server_settle(server, &daemon->config->listen, opened);
	*out = TAKE_PTR(server);
	return 0;
}

void server_admit(struct server *server, const struct peers *peers)
{
	struct error err;

	server->peers = *peers;
	if (peers_admit(peers, server->socket, &err) < 0)
		log_error("%s", err.text);
}

const struct feed *server_feed(const struct server *server)
{
	return server->feed;
}

void server_free(struct server *server)
{
	door_close(&server->control);
	door_close(&server->web);
	if (server->minutes)
		minutes_free(server->minutes);
	if (server->feed)
		feed_free(server->feed);
	if (server->socket[0])
		unlink(server->socket);
	free(server);
}
