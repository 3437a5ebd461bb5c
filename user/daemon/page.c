/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/page.h"

#include <event2/http.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/http.h"
#include "page/assets.h"

/* Nothing but what this daemon serves: no script or style in the document itself, no other host, no frame around it. */
#define CONTENT_SECURITY_POLICY                                                                               \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " \
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/* Of the content alone (FNV-1a), so that it is the same after a restart. */
static void entity_tag(const char *bytes, const char *end, char out[24])
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; bytes < end; bytes++)
		hash = (hash ^ (uint8_t)*bytes) * 0x100000001b3;
	snprintf(out, 24, "\"%016llx\"", (unsigned long long)hash);
}

/* [packed]; made when first asked for. */
static char tags[PAGE_ASSETS][2][24];

static const char *tag_of(const struct page_asset *asset, bool packed)
{
	char *tag = tags[asset - page_assets][packed];

	if (!*tag)
		entity_tag(packed ? asset->packed : asset->bytes, packed ? asset->packed_end : asset->bytes_end, tag);
	return tag;
}

static void answer(struct evhttp_request *request, const struct page_asset *asset)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	const char *known = evhttp_find_header(evhttp_request_get_input_headers(request), "If-None-Match");
	bool packed = http_takes_gzip(request);
	const char *bytes = packed ? asset->packed : asset->bytes;
	const char *end = packed ? asset->packed_end : asset->bytes_end;
	const char *tag = tag_of(asset, packed);

	if (!http_only_reads(request))
		return;
	evhttp_add_header(headers, "ETag", tag);
	evhttp_add_header(headers, "Vary", "Accept-Encoding");
	evhttp_add_header(headers, "Cache-Control", "no-cache"); /* asked again each time, for a tag */
	evhttp_add_header(headers, "Content-Security-Policy", CONTENT_SECURITY_POLICY);
	evhttp_add_header(headers, "Referrer-Policy", "no-referrer");
	if (known && strstr(known, tag)) {
		evhttp_send_reply(request, 304, "Not Modified", NULL);
		return;
	}
	if (packed)
		evhttp_add_header(headers, "Content-Encoding", "gzip");
	http_reply_constant(request, 200, asset->type, bytes, (size_t)(end - bytes));
}

bool page_serve(struct evhttp_request *request, const char *path)
{
	for (size_t i = 0; i < PAGE_ASSETS; i++) {
		if (!path || strcmp(path, page_assets[i].path) != 0)
			continue;
		answer(request, &page_assets[i]);
		return true;
	}
	return false;
}
