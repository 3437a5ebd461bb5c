/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/http.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define GZIP_BYTES_LEAST 2048 /* below, a packet or two carry the text as it is */

static size_t bytes_owed;

static void paid(const void *bytes, size_t size, void *taken)
{
	(void)bytes;
	bytes_owed -= size;
	free(taken);
}

/* The time that the daemon took to answer is not the client's: what it has for its next bytes begins now. The loop
 * itself knows no other time than that at which it began to work on the request. */
static void restart_timeout(struct evhttp_request *request)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(request);

	event_base_update_cache_time(evhttp_connection_get_base(connection));
	evhttp_connection_set_timeout(connection, HTTP_TIMEOUT_S);
}

/* `taken` is freed in any case. */
static void reply_with(struct evhttp_request *request, int code, const char *type, const void *bytes, size_t size,
                       void *taken)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *buffer = evbuffer_new();
	bool with_body = buffer && evhttp_request_get_command(request) != EVHTTP_REQ_HEAD;
	char length[24];

	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	/* libevent would send the body of an answer to HEAD, and not its length (RFC 9110 section 9.3.2). */
	snprintf(length, sizeof(length), "%zu", size);
	evhttp_add_header(headers, "Content-Length", length);
	bytes_owed += size;
	if (!with_body || evbuffer_add_reference(buffer, bytes, size, paid, taken) < 0)
		paid(bytes, size, taken);
	restart_timeout(request);
	evhttp_send_reply(request, code, code < 400 ? "OK" : "Error", buffer);
	if (buffer)
		evbuffer_free(buffer);
}

static void refuse_busy(struct evhttp_request *request)
{
	static const char busy[] = "too much is waiting to be read by other clients: try again\n";

	evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", "5");
	reply_with(request, 503, "text/plain", busy, sizeof(busy) - 1, NULL);
}

void http_reply_taking(struct evhttp_request *request, int code, const char *type, char *bytes, size_t size)
{
	if (bytes_owed + size > HTTP_OWED_BYTES_MAX) {
		free(bytes);
		refuse_busy(request);
		return;
	}
	reply_with(request, code, type, bytes, size, bytes);
}

void http_reply_constant(struct evhttp_request *request, int code, const char *type, const void *bytes, size_t size)
{
	reply_with(request, code, type, bytes, size, NULL);
}

void http_reply(struct evhttp_request *request, int code, const char *type, const char *body)
{
	char *copy = strdup(body);

	if (copy)
		http_reply_taking(request, code, type, copy, strlen(copy));
	else
		http_reply_constant(request, 500, "text/plain", "", 0);
}

bool http_takes_gzip(struct evhttp_request *request)
{
	const char *accepted = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept-Encoding");

	return accepted && strstr(accepted, "gzip") && !strstr(accepted, "gzip;q=0");
}

/* Returns a new text of `*size` bytes, or NULL where it cannot be had. Level 1: ten times smaller at a tenth of the
 * time that the document took to make. */
static char *compressed(const char *text, size_t *size)
{
	z_stream stream = {0};

	if (deflateInit2(&stream, 1, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	size_t bound = deflateBound(&stream, *size);
	char *out = malloc(bound);
	union {
		const char *text;
		unsigned char *bytes; /* zlib does not write there */
	} in = {.text = text};
	stream.next_in = in.bytes;
	stream.avail_in = (unsigned)*size;
	stream.next_out = (unsigned char *)out;
	stream.avail_out = (unsigned)bound;
	bool whole = out && deflate(&stream, Z_FINISH) == Z_STREAM_END;
	*size = stream.total_out;
	deflateEnd(&stream);
	if (whole)
		return out;
	free(out);
	return NULL;
}

void http_reply_json(struct evhttp_request *request, int code, json_t *document)
{
	char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
	size_t size = text ? strlen(text) : 0;

	json_decref(document);
	if (!text) {
		http_reply(request, 500, "text/plain", "out of memory\n");
		return;
	}
	if (size >= GZIP_BYTES_LEAST && http_takes_gzip(request)) {
		size_t smaller = size;
		char *packed = compressed(text, &smaller);
		if (packed) {
			free(text);
			text = packed;
			size = smaller;
			evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Encoding", "gzip");
		}
	}
	http_reply_taking(request, code, "application/json", text, size);
}

void http_reply_error(struct evhttp_request *request, int code, const struct error *err)
{
	http_reply_json(request, code, json_pack("{s:s}", "error", err->text));
}

/* Nothing but an address, as an authority writes one (RFC 3986 section 3.2.2), or the one name that is this host's
 * everywhere. */
static bool host_allowed(struct evhttp_request *request)
{
	const char *host = evhttp_request_get_host(request);
	struct in6_addr address;
	char inner[INET6_ADDRSTRLEN];

	if (!host || strcasecmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &address) == 1)
		return true;
	size_t length = strlen(host);
	if (length < 2 || length - 2 >= sizeof(inner) || host[0] != '[' || host[length - 1] != ']')
		return false;
	memcpy(inner, host + 1, length - 2);
	inner[length - 2] = '\0';
	return inet_pton(AF_INET6, inner, &address) == 1;
}

bool http_only_reads(struct evhttp_request *request)
{
	enum evhttp_cmd_type command = evhttp_request_get_command(request);
	struct error err;

	if (!host_allowed(request)) {
		error_set(&err, 0, "Host: ask by an address or 'localhost'");
		http_reply_error(request, 403, &err);
		return false;
	}
	if (command != EVHTTP_REQ_GET && command != EVHTTP_REQ_HEAD) {
		error_set(&err, 0, "this can only be read: GET it");
		evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
		http_reply_error(request, 405, &err);
		return false;
	}
	return true;
}
