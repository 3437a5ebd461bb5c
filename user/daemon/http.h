/* SPDX-License-Identifier: GPL-2.0-only */
/* Answers over HTTP, as both servers give them: what is refused, which headers go along, and how much may be owed to
 * clients that do not read. */
#pragma once

#include <event2/http.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Bytes of answers that clients have not taken yet, all together: beyond, requests are refused with 503 until some have
 * been taken or their connections have timed out. */
#define HTTP_OWED_BYTES_MAX ((size_t)64 << 20)

#define HTTP_TIMEOUT_S 5 /* for a client, between two bytes */

/* A page elsewhere must not read this host through a browser by a name of its own (DNS rebinding), and what is read
 * changes nothing. Answers 403 or 405 and returns false where either does not hold. */
bool http_only_reads(struct evhttp_request *request);

/* Answers with a copy of `body`. */
void http_reply(struct evhttp_request *request, int code, const char *type, const char *body);

/* Answers with `bytes` of malloc(), which are the answer's from now on: freed when sent, or when the client has gone.
 */
void http_reply_taking(struct evhttp_request *request, int code, const char *type, char *bytes, size_t size);

/* Answers with bytes that stay. */
void http_reply_constant(struct evhttp_request *request, int code, const char *type, const void *bytes, size_t size);

/* Takes over the reference to `document`; NULL is no memory. Compressed for who says that it takes that. */
void http_reply_json(struct evhttp_request *request, int code, json_t *document);

/* {"error": words}. */
void http_reply_error(struct evhttp_request *request, int code, const struct error *err);

/* Whether the client takes gzip. */
bool http_takes_gzip(struct evhttp_request *request);
