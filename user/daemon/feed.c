/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/feed.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "config/config.h"
#include "daemon/http.h"
#include "observe/events.h"

struct reader {
	struct feed *feed;
	struct evhttp_request *request;
	struct bufferevent *wire;
	char service[CONFIG_NAME_MAX]; /* empty: all */
	uint64_t lost;                 /* not told yet */
};

struct feed {
	struct events *events;
	struct event *heartbeat;
	struct reader *readers[FEED_READERS_MAX];
	size_t count;
	uint64_t lost;
	long long started; /* before the number in an event's id, so that another daemon's ids mean nothing here */
};

static void on_taken(struct evhttp_connection *connection, void *argument);

/* Returns whether there was room. */
static bool reader_send(struct reader *reader, const char *text, size_t size)
{
	struct evbuffer *piece;

	if (evbuffer_get_length(bufferevent_get_output(reader->wire)) + size > FEED_QUEUE_BYTES)
		return false;
	piece = evbuffer_new();
	if (!piece)
		return false;
	evbuffer_add(piece, text, size);
	evhttp_send_reply_chunk_with_cb(reader->request, piece, on_taken, reader);
	evbuffer_free(piece);
	return true;
}

/* An id of 0: none. */
static bool reader_send_event(struct reader *reader, uint64_t number, const char *line)
{
	_cleanup_free_ char *text = NULL;
	int size = number ? asprintf(&text, "id: %lld-%" PRIu64 "\ndata: %s\n\n", reader->feed->started, number, line)
	                  : asprintf(&text, "data: %s\n\n", line);

	if (size < 0) {
		text = NULL; /* which is undefined then */
		return false;
	}
	return reader_send(reader, text, (size_t)size);
}

/* Returns whether there is nothing that the reader does not know of. */
static bool reader_tell_lost(struct reader *reader)
{
	if (!reader->lost)
		return true;
	_cleanup_free_ char *line =
		events_line(json_pack("{s:s,s:I,s:s}", "event", "lost", "count", (json_int_t)reader->lost, "why",
	                              "this reader is too slow, or was away: so many events were not kept for it"));
	if (!line || !reader_send_event(reader, 0, line))
		return false;
	reader->lost = 0;
	return true;
}

static void reader_tell(struct reader *reader, uint64_t number, const json_t *event, const char *line)
{
	const char *service = json_string_value(json_object_get(event, "service"));

	if (reader->service[0] && (!service || strcmp(service, reader->service) != 0))
		return;
	if (reader_tell_lost(reader) && reader_send_event(reader, number, line))
		return;
	reader->lost++;
	reader->feed->lost++;
}

/* All that waited has gone: now there is room for a word about what could not wait. */
static void on_taken(struct evhttp_connection *connection, void *argument)
{
	(void)connection;
	reader_tell_lost(argument);
}

static void on_event(const json_t *event, const char *line, void *argument)
{
	struct feed *feed = argument;

	for (size_t i = 0; i < feed->count; i++)
		reader_tell(feed->readers[i], events_number(feed->events), event, line);
}

static void on_heartbeat(evutil_socket_t fd, short what, void *argument)
{
	static const char comment[] = ": nothing new\n\n";
	struct feed *feed = argument;
	(void)fd, (void)what;

	for (size_t i = 0; i < feed->count; i++)
		if (!evbuffer_get_length(bufferevent_get_output(feed->readers[i]->wire)))
			reader_send(feed->readers[i], comment, sizeof(comment) - 1);
}

static void on_closed(struct evhttp_connection *connection, void *argument)
{
	struct reader *reader = argument;
	struct feed *feed = reader->feed;
	size_t place = 0;
	(void)connection;

	while (feed->readers[place] != reader)
		place++;
	feed->readers[place] = feed->readers[--feed->count];
	/* libevent has let go of a request that was being answered when its connection failed: this frees it. */
	if (!evhttp_request_get_connection(reader->request))
		evhttp_send_reply_end(reader->request);
	free(reader);
}

int feed_new(struct feed **out, struct event_base *loop, struct events *events, struct error *err)
{
	static const struct timeval pause = {.tv_sec = FEED_HEARTBEAT_S};
	_cleanup_(feed_freep) struct feed *feed = calloc(1, sizeof(*feed));

	if (!feed)
		return error_set(err, -ENOMEM, "events: no memory");
	feed->events = events;
	feed->started = (long long)time(NULL);
	feed->heartbeat = event_new(loop, -1, EV_PERSIST, on_heartbeat, feed);
	if (!feed->heartbeat || event_add(feed->heartbeat, &pause) < 0 || events_listen(events, on_event, feed) < 0)
		return error_set(err, -ENOMEM, "events: cannot tell them to readers");
	*out = TAKE_PTR(feed);
	return 0;
}

void feed_free(struct feed *feed)
{
	events_unlisten(feed->events, on_event, feed);
	if (feed->heartbeat)
		event_free(feed->heartbeat);
	free(feed);
}

/* The number of the last event that the client has seen of this daemon; the newest where it says nothing of it. */
static uint64_t last_seen(const struct feed *feed, struct evhttp_request *request)
{
	const char *id = evhttp_find_header(evhttp_request_get_input_headers(request), "Last-Event-ID");
	uint64_t newest = events_number(feed->events);
	char *end;

	if (!id || strtoll(id, &end, 10) != feed->started || *end != '-')
		return newest;
	uint64_t number = strtoull(end + 1, &end, 10);
	return *end || number > newest ? newest : number;
}

/* What happened before the reader came, as far as it asked for it and it is kept. */
static void catch_up(struct reader *reader, uint64_t seen, size_t recent)
{
	struct feed *feed = reader->feed;
	uint64_t missed = events_number(feed->events) - seen;
	_cleanup_free_ struct events_told *told = calloc(EVENTS_RECENT, sizeof(*told));
	size_t count = told ? events_recent(feed->events, told, EVENTS_RECENT) : 0;

	for (size_t i = 0; i < count; i++)
		missed -= told[i].number > seen;
	reader->lost += missed;
	for (size_t i = 0; i < count; i++)
		if (told[i].number > seen || count - i <= recent)
			reader_tell(reader, told[i].number, told[i].event, told[i].line);
}

static void refuse(struct evhttp_request *request)
{
	struct error err;

	error_set(&err, 0, "events: %d readers are being served, which is all that there may be: try later",
	          FEED_READERS_MAX);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", "10");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
	http_reply_error(request, 503, &err);
}

static struct reader *reader_new(struct feed *feed, struct evhttp_request *request, const char *service)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return NULL;
	struct evhttp_connection *connection = evhttp_request_get_connection(request);

	reader->feed = feed;
	reader->request = request;
	reader->wire = evhttp_connection_get_bufferevent(connection);
	snprintf(reader->service, sizeof(reader->service), "%s", service ? service : "");
	feed->readers[feed->count++] = reader;
	evhttp_connection_set_closecb(connection, on_closed, reader);
	return reader;
}

void feed_serve(struct feed *feed, struct evhttp_request *request, const char *service, size_t recent)
{
	static const char greeting[] = "retry: 2000\n: events as they happen\n\n";
	static const struct timeval stuck = {.tv_sec = FEED_STUCK_S};
	const int queue = FEED_QUEUE_BYTES;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD && feed->count >= FEED_READERS_MAX) {
		refuse(request);
		return;
	}
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD) {
		evhttp_add_header(headers, "Content-Type", "text/event-stream");
		evhttp_send_reply(request, 200, "OK", NULL);
		return;
	}
	uint64_t seen = last_seen(feed, request);
	struct reader *reader = reader_new(feed, request, service);
	if (!reader) {
		http_reply(request, 500, "text/plain", "out of memory\n");
		return;
	}
	evhttp_add_header(headers, "Content-Type", "text/event-stream");
	/* What the kernel keeps for the reader beside our queue is bounded, too. */
	setsockopt(bufferevent_getfd(reader->wire), SOL_SOCKET, SO_SNDBUF, &queue, sizeof(queue));
	evhttp_send_reply_start(request, 200, "OK");
	bufferevent_set_timeouts(reader->wire, NULL, &stuck); /* it has nothing to say, and need not */
	reader_send(reader, greeting, sizeof(greeting) - 1);
	catch_up(reader, seen, recent);
}

size_t feed_readers(const struct feed *feed)
{
	return feed->count;
}

uint64_t feed_lost(const struct feed *feed)
{
	return feed->lost;
}
