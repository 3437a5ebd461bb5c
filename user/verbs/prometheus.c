/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/prometheus.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define ANSWER_BYTES_MAX (64U << 20)
#define CONNECT_S        10L
#define TIMEOUT_S        60L

struct answer {
	char *text;
	size_t size;
	bool too_large;
};

static inline void release_curl(CURL **curl)
{
	curl_easy_cleanup(*curl);
}

static inline void release_json(json_t **document)
{
	json_decref(*document);
}

static inline void release_answer(struct answer *answer)
{
	free(answer->text);
}

static size_t take(char *bytes, size_t one, size_t count, void *argument)
{
	struct answer *answer = argument;
	(void)one;

	answer->too_large = answer->size + count > ANSWER_BYTES_MAX;
	char *grown = answer->too_large ? NULL : realloc(answer->text, answer->size + count + 1);
	if (!grown)
		return 0;
	memcpy(grown + answer->size, bytes, count);
	answer->text = grown;
	answer->size += count;
	answer->text[answer->size] = '\0';
	return count;
}

static int nonsense(const char *url, const char *what, struct error *err)
{
	return error_set(err, -EPROTO, "%s: the answer is not a Prometheus server's: %s: is the address right?", url,
	                 what);
}

/* Everything goes into the body: a query may be longer than an address. */
static int request(const char *url, const char *query, int64_t start_s, int64_t end_s, unsigned step_s,
                   struct answer *answer, long *code, struct error *err)
{
	_cleanup_(release_curl) CURL *curl = curl_easy_init();
	char address[1024], body[4096], why[CURL_ERROR_SIZE] = "";
	size_t length = strlen(url);
	if (!curl)
		return error_set(err, -ENOMEM, "%s: no memory", url);
	char *escaped = curl_easy_escape(curl, query, 0);

	while (length && url[length - 1] == '/')
		length--;
	if (length > sizeof(address) - 32 || !escaped || strlen(escaped) > sizeof(body) - 128) {
		curl_free(escaped);
		return error_set(err, -E2BIG, "%.60s...: the address or the name of the service is too long", url);
	}
	snprintf(address, sizeof(address), "%.*s/api/v1/query_range", (int)length, url);
	snprintf(body, sizeof(body), "query=%s&start=%lld&end=%lld&step=%u", escaped, (long long)start_s,
	         (long long)end_s, step_s);
	curl_free(escaped);
	curl_easy_setopt(curl, CURLOPT_URL, address);
	if (curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK)
		return error_set(err, -EINVAL, "%s: no HTTP in this build of libcurl", url);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	CURLcode result = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
	if (answer->too_large)
		return error_set(err, -EFBIG, "%s: the answer is larger than 64 MiB: name a coarser --step", url);
	if (result != CURLE_OK)
		return error_set(err, -EIO, "%s: no Prometheus server answers: %s", url,
		                 *why ? why : curl_easy_strerror(result));
	return 0;
}

/* A pair of a time and a number as text: "NaN" and "+Inf" are no rates. */
static bool read_pair(const json_t *pair, int64_t start_s, unsigned step_s, double *values, size_t count)
{
	const json_t *time = json_array_get(pair, 0);
	const char *text = json_string_value(json_array_get(pair, 1));
	char *end;

	if (json_array_size(pair) != 2 || !json_is_number(time) || !text || !*text)
		return false;
	double value = strtod(text, &end), place = (json_number_value(time) - (double)start_s) / step_s;
	if (*end || !(place > -0.5) || !(place < (double)count - 0.5))
		return false;
	size_t at = (size_t)(place + 0.5);
	if (isfinite(value))
		values[at] = isnan(values[at]) ? value : values[at] + value;
	return true;
}

static int read_answer(const char *url, const json_t *document, int64_t start_s, unsigned step_s, double *values,
                       size_t count, struct error *err)
{
	const json_t *data = json_object_get(document, "data"), *series, *pair;
	const json_t *result = json_object_get(data, "result");
	const char *kind = json_string_value(json_object_get(data, "resultType"));
	size_t i, j;

	if (!kind || strcmp(kind, "matrix") != 0 || !json_is_array(result))
		return nonsense(url, "its data is no range of values", err);
	json_array_foreach(result, i, series)
	{
		const json_t *pairs = json_object_get(series, "values");
		if (!json_is_array(pairs))
			return nonsense(url, "a series has no values", err);
		json_array_foreach(pairs, j, pair)
		{
			if (!read_pair(pair, start_s, step_s, values, count))
				return nonsense(
					url, "a value is no time and number, or of a time that was not asked for", err);
		}
	}
	return 0;
}

static int range_once(const char *url, const char *query, int64_t start_s, unsigned step_s, double *values,
                      size_t count, struct error *err)
{
	_cleanup_(release_answer) struct answer answer = {0};
	long code = 0;
	char status[64];
	int failure =
		request(url, query, start_s, start_s + (int64_t)(count - 1) * step_s, step_s, &answer, &code, err);
	if (failure)
		return failure;

	_cleanup_(release_json) json_t *document = answer.text ? json_loads(answer.text, 0, NULL) : NULL;
	const char *said = json_string_value(json_object_get(document, "status"));
	const char *error = json_string_value(json_object_get(document, "error"));
	if (said && strcmp(said, "error") == 0)
		return error_set(err, -EIO, "%s: Prometheus says: %.300s", url, error ? error : "an error");
	if (code != 200) {
		snprintf(status, sizeof(status), "HTTP status %ld", code);
		return nonsense(url, status, err);
	}
	if (!document)
		return nonsense(url, "it is no JSON", err);
	if (!said || strcmp(said, "success") != 0)
		return nonsense(url, "it has no status", err);
	return read_answer(url, document, start_s, step_s, values, count, err);
}

int prometheus_range(const char *url, const char *query, int64_t start_s, unsigned step_s, double *values, size_t count,
                     struct error *err)
{
	for (size_t i = 0; i < count; i++)
		values[i] = NAN;
	for (size_t done = 0; done < count; done += PROMETHEUS_POINTS_MOST) {
		size_t part = count - done < PROMETHEUS_POINTS_MOST ? count - done : PROMETHEUS_POINTS_MOST;
		int failure =
			range_once(url, query, start_s + (int64_t)(done * step_s), step_s, values + done, part, err);
		if (failure)
			return failure;
	}
	return 0;
}

void prometheus_quote(const char *text, char *out, size_t size)
{
	size_t written = 0;

	for (; *text && written + 3 < size; text++) {
		if (*text == '\n') /* which no quotes hold */
			continue;
		if (*text == '"' || *text == '\\')
			out[written++] = '\\';
		out[written++] = *text;
	}
	out[written] = '\0';
}
