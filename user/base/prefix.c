/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IPV4_OFFSET 12 /* bytes before the IPv4 address in its mapped form */

static const uint8_t ipv4_mapped[IPV4_OFFSET] = {[10] = 0xff, [11] = 0xff};

static bool parse_address(const char *text, struct prefix *prefix)
{
	memset(prefix, 0, sizeof(*prefix));
	prefix->length = 128;
	prefix->ipv4 = inet_pton(AF_INET, text, prefix->address + IPV4_OFFSET) == 1;
	if (!prefix->ipv4)
		return inet_pton(AF_INET6, text, prefix->address) == 1 &&
		       memcmp(prefix->address, ipv4_mapped, IPV4_OFFSET) != 0;
	memcpy(prefix->address, ipv4_mapped, IPV4_OFFSET);
	return true;
}

static bool parse_length(const char *text, unsigned bound, uint8_t *out)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	unsigned long length = strtoul(text, &end, 10);
	if (*end || end - text > 3 || length > bound)
		return false;
	*out = (uint8_t)length;
	return true;
}

static void clear_host_bits(struct prefix *prefix)
{
	for (unsigned bit = prefix->length; bit < 128; bit++)
		prefix->address[bit / 8] &= (uint8_t)~(0x80U >> (bit % 8));
}

int prefix_parse(const char *text, struct prefix *out, struct error *err)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t address_length = slash ? (size_t)(slash - text) : strlen(text);
	struct prefix prefix;

	if (address_length >= sizeof(address))
		return error_set(err, -EINVAL, "'%.60s' is no address or prefix", text);
	memcpy(address, text, address_length);
	address[address_length] = '\0';
	if (!parse_address(address, &prefix))
		return error_set(err, -EINVAL, "'%s' is no IPv4 or IPv6 address or prefix", text);

	unsigned bound = prefix.ipv4 ? 32 : 128;
	if (slash) {
		uint8_t length;
		if (!parse_length(slash + 1, bound, &length))
			return error_set(err, -EINVAL, "'%s' has no prefix length of 0 to %u", text, bound);
		prefix.length = (uint8_t)(128 - bound + length);
	}

	struct prefix cut = prefix;
	clear_host_bits(&cut);
	if (memcmp(cut.address, prefix.address, sizeof(cut.address)) != 0) {
		char meant[PREFIX_TEXT_MAX];
		prefix_format(&cut, meant);
		return error_set(err, -EINVAL, "'%s' has bits set beyond its length; did you mean %s?", text, meant);
	}
	*out = prefix;
	return 0;
}

void prefix_format(const struct prefix *prefix, char out[PREFIX_TEXT_MAX])
{
	int family = prefix->ipv4 ? AF_INET : AF_INET6;
	const uint8_t *address = prefix->ipv4 ? prefix->address + IPV4_OFFSET : prefix->address;

	inet_ntop(family, address, out, PREFIX_TEXT_MAX);
	if (prefix->length == 128)
		return;
	unsigned length = prefix->ipv4 ? prefix->length - 8U * IPV4_OFFSET : prefix->length;
	size_t written = strlen(out);
	snprintf(out + written, PREFIX_TEXT_MAX - written, "/%u", length);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	if (a->ipv4 != b->ipv4)
		return false;

	unsigned shared = a->length < b->length ? a->length : b->length;
	if (memcmp(a->address, b->address, shared / 8) != 0)
		return false;
	if (shared % 8 == 0)
		return true;
	uint8_t mask = (uint8_t)(0xff00U >> (shared % 8));
	return ((a->address[shared / 8] ^ b->address[shared / 8]) & mask) == 0;
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
	int order = memcmp(a->address, b->address, sizeof(a->address));

	return order ? order : (int)a->length - (int)b->length;
}
