/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/ask.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "verbs/verbs.h"

#define ANSWER_BYTES_MAX (64U << 20)
#define TIMEOUT_S        10L

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

static int complain(const char *what, const char *why, int status)
{
	fprintf(stderr, "spillway: %s: %s\n", what, why);
	return status;
}

static CURLcode transfer(const char *socket, const char *path, const char *body, struct answer *answer, long *code)
{
	char url[512];
	CURL *curl = curl_easy_init();
	if (!curl)
		return CURLE_OUT_OF_MEMORY;

	snprintf(url, sizeof(url), "http://localhost%s", path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	CURLcode result = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
	curl_easy_cleanup(curl);
	return result;
}

int ask(const char *socket, const char *path, const json_t *body, json_t **out)
{
	struct answer answer = {0};
	long code = 0;
	char *text = body ? json_dumps(body, 0) : NULL;

	CURLcode result = transfer(socket, path, text, &answer, &code);
	free(text);
	_cleanup_free_ char *received = answer.text;
	if (result == CURLE_COULDNT_CONNECT && access(socket, R_OK | W_OK) < 0 && errno == EACCES)
		return complain(socket, "not permitted: run as root, or name the socket of your daemon with --socket",
		                EXIT_NO_DAEMON);
	if (result == CURLE_COULDNT_CONNECT)
		return complain(socket,
		                "no daemon answers: start it with 'spillway run', or name its socket with --socket",
		                EXIT_NO_DAEMON);
	if (result != CURLE_OK)
		return complain(socket, curl_easy_strerror(result), EXIT_NO_DAEMON);

	json_error_t fault;
	json_t *document = json_loads(received ? received : "", JSON_DECODE_ANY, &fault);
	const char *error = json_string_value(json_object_get(document, "error"));
	if (code != 200) {
		if (error) /* says what and why by itself */
			fprintf(stderr, "spillway: %s\n", error);
		else
			complain(path, "the daemon refused", EXIT_FAILED);
		json_decref(document);
		return EXIT_FAILED;
	}
	if (!document)
		return complain(path, "the daemon's answer is no JSON", EXIT_FAILED);
	*out = document;
	return EXIT_DONE;
}
