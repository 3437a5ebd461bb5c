/* SPDX-License-Identifier: GPL-2.0-only */
/* What may come over a connection: the first byte says how the rest goes in. `w`: as it is, over TCP; `c`: as it is, to
 * the control socket; `h`: as the host that a request over TCP names. Nothing that comes over TCP changes anything, no
 * host by a name is answered, and no request is answered with a fault of the daemon's own. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "datapath/lists.h"
#include "fuzz/require.h"
#include "fuzz/served.h"

#define HOST_MOST 512

static struct daemon *served;

/* What requests may change. */
struct in_force {
	struct lists_totals lists;
	size_t overrides;
};

static struct in_force in_force(void)
{
	return (struct in_force){.lists = lists_totals(served->datapath), .overrides = served->overrides_count};
}

static void require_unchanged(const struct in_force *before)
{
	struct in_force after = in_force();

	REQUIRE(after.overrides == before->overrides);
	REQUIRE(after.lists.allowed == before->lists.allowed && after.lists.denied == before->lists.denied);
}

static bool is_address(const char *host)
{
	struct in6_addr address;
	char inner[HOST_MOST + 1] = "";
	size_t length = strlen(host);

	if (host[0] == '[' && host[length - 1] == ']')
		memcpy(inner, host + 1, length - 2);
	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1 ||
	       inet_pton(AF_INET6, inner, &address) == 1;
}

/* The name in a Host header, without blanks around it and a port behind it (RFC 9110 section 7.2). */
static void host_name(char *host)
{
	size_t blanks = strspn(host, " \t"), length;

	memmove(host, host + blanks, strlen(host) - blanks + 1);
	length = strlen(host);
	while (length && strchr(" \t", host[length - 1]))
		host[--length] = '\0';
	size_t digits = length;
	while (digits && strchr("0123456789", host[digits - 1]))
		digits--;
	if (digits && host[digits - 1] == ':')
		host[digits - 1] = '\0';
}

static void ask_host(const uint8_t *bytes, size_t size)
{
	char host[HOST_MOST + 1] = "", request[HOST_MOST + 64];
	bool stopped;

	memcpy(host, bytes, size < HOST_MOST ? size : HOST_MOST);
	host[strcspn(host, "\r\n")] = '\0';
	int length = snprintf(request, sizeof(request), "GET /-/healthy HTTP/1.1\r\nHost: %s\r\n\r\n", host);
	int status = served_ask(SERVED_WEB, request, (size_t)length, &stopped);
	host_name(host);
	REQUIRE(status != 200 || !*host || strcasecmp(host, "localhost") == 0 || is_address(host));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	bool stopped;

	if (!served)
		served = served_start();
	if (!size)
		return 0;
	if (bytes[0] == 'h') {
		ask_host(bytes + 1, size - 1);
		return 0;
	}
	struct in_force before = in_force();
	enum served_door door = bytes[0] == 'c' ? SERVED_CONTROL : SERVED_WEB;
	int status = served_ask(door, bytes + 1, size - 1, &stopped);
	REQUIRE(!status || (status >= 100 && status < 600 && status != 500));
	if (door == SERVED_WEB) {
		REQUIRE(!stopped);
		require_unchanged(&before);
	}
	return 0;
}
