/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/ask.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "verbs/verbs.h"

#define ANSWER_BYTES_MAX (64U << 20)
#define TIMEOUT_S        10L
#define LINE_BYTES_MAX   65536U
#define SILENCE_S        30L /* the daemon says something each ten seconds, be it that there is nothing */

struct answer {
	char *text;
	size_t size;
};

static size_t take(char *bytes, size_t one, size_t count, void *argument)
{
	struct answer *answer = argument;
	(void)one;

	if (answer->size + count > ANSWER_BYTES_MAX)
		return 0;
	char *grown = realloc(answer->text, answer->size + count + 1);
	if (!grown)
		return 0;
	memcpy(grown + answer->size, bytes, count);
	answer->text = grown;
	answer->size += count;
	answer->text[answer->size] = '\0';
	return count;
}

static CURL *request_new(const char *socket, const char *path)
{
	char url[512];
	CURL *curl = curl_easy_init();
	if (!curl)
		return NULL;

	snprintf(url, sizeof(url), "http://localhost%s", path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	return curl;
}

static CURLcode transfer(const char *socket, const char *path, const char *body, struct answer *answer, long *code)
{
	CURL *curl = request_new(socket, path);
	if (!curl)
		return CURLE_OUT_OF_MEMORY;

	curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	CURLcode result = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
	curl_easy_cleanup(curl);
	return result;
}

/* A daemon that cannot be spoken to, in words. */
static int refuse_socket(const char *socket, CURLcode result, struct error *err)
{
	const char *why = curl_easy_strerror(result);

	if (result == CURLE_COULDNT_CONNECT)
		why = access(socket, R_OK | W_OK) < 0 && errno == EACCES
		              ? "not permitted: run as root, or name the socket of your daemon with --socket"
		              : "no daemon answers: start it with 'spillway run', or name its socket with --socket";
	error_set(err, -ENOTCONN, "%s: %s", socket, why);
	return EXIT_NO_DAEMON;
}

/* An answer that is a refusal says what and why by itself. */
static int refuse_answer(const char *path, const json_t *document, struct error *err)
{
	const char *error = json_string_value(json_object_get(document, "error"));

	if (error)
		error_set(err, -EIO, "%s", error);
	else
		error_set(err, -EIO, "%s: the daemon refused", path);
	return EXIT_FAILED;
}

static int say(int status, const struct error *err)
{
	fprintf(stderr, "spillway: %s\n", err->text);
	return status;
}

int ask_quietly(const char *socket, const char *path, const json_t *body, json_t **out, struct error *err)
{
	struct answer answer = {0};
	long code = 0;
	char *text = body ? json_dumps(body, 0) : NULL;

	CURLcode result = transfer(socket, path, text, &answer, &code);
	free(text);
	_cleanup_free_ char *received = answer.text;
	if (result != CURLE_OK)
		return refuse_socket(socket, result, err);

	json_t *document = json_loads(received ? received : "", JSON_DECODE_ANY, NULL);
	if (code != 200) {
		int status = refuse_answer(path, document, err);
		json_decref(document);
		return status;
	}
	if (!document) {
		error_set(err, -EPROTO, "%s: the daemon's answer is no JSON", path);
		return EXIT_FAILED;
	}
	*out = document;
	return EXIT_DONE;
}

int ask(const char *socket, const char *path, const json_t *body, json_t **out)
{
	struct error err;
	int status = ask_quietly(socket, path, body, out, &err);

	return status == EXIT_DONE ? status : say(status, &err);
}

struct following {
	struct answer line; /* so far; the whole answer where it is a refusal */
	ask_line *take;
	void *argument;
	CURL *curl;
	bool stopped;
};

/* Lines of server-sent events that are data; comments, ids and the empty line between two are not. */
static void line_end(struct following *following)
{
	static const char data[] = "data: ";
	const char *line = following->line.text;

	if (line && strncmp(line, data, sizeof(data) - 1) == 0)
		following->stopped = !following->take(line + sizeof(data) - 1, following->argument);
	following->line.size = 0;
	if (following->line.text)
		following->line.text[0] = '\0';
}

static size_t follow_bytes(char *bytes, size_t one, size_t count, void *argument)
{
	struct following *following = argument;
	long code = 0;

	curl_easy_getinfo(following->curl, CURLINFO_RESPONSE_CODE, &code);
	for (size_t i = 0; i < count && !following->stopped;) {
		char *end = code == 200 ? memchr(bytes + i, '\n', count - i) : NULL;
		size_t piece = end ? (size_t)(end - (bytes + i)) : count - i;
		if (following->line.size + piece > LINE_BYTES_MAX ||
		    take(bytes + i, one, piece, &following->line) != piece)
			return 0;
		i += piece;
		if (end) {
			line_end(following);
			i++;
		}
	}
	return following->stopped ? 0 : count;
}

int ask_follow(const char *socket, const char *path, ask_line *line, void *argument)
{
	struct following following = {.take = line, .argument = argument};
	struct error err;
	long code = 0;

	following.curl = request_new(socket, path);
	if (!following.curl) {
		error_set(&err, -ENOMEM, "%s: out of memory", path);
		return say(EXIT_FAILED, &err);
	}
	curl_easy_setopt(following.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(following.curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
	curl_easy_setopt(following.curl, CURLOPT_WRITEFUNCTION, follow_bytes);
	curl_easy_setopt(following.curl, CURLOPT_WRITEDATA, &following);
	CURLcode result = curl_easy_perform(following.curl);
	curl_easy_getinfo(following.curl, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_cleanup(following.curl);
	_cleanup_free_ char *rest = following.line.text;

	if (following.stopped)
		return EXIT_DONE;
	if (code && code != 200) {
		json_t *document = json_loads(rest ? rest : "", 0, NULL);
		int status = refuse_answer(path, document, &err);
		json_decref(document);
		return say(status, &err);
	}
	if (!code)
		return say(refuse_socket(socket, result, &err), &err);
	error_set(&err, -ENOTCONN, "%s: %s", socket,
	          result == CURLE_OPERATION_TIMEDOUT
	                  ? "the daemon has said nothing for half a minute: see whether it still answers 'spillway "
	                    "status'"
	                  : "the daemon has gone: 'spillway run' starts it, shedding goes on without it");
	return say(EXIT_NO_DAEMON, &err);
}
