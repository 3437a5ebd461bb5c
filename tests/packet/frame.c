/* SPDX-License-Identifier: GPL-2.0-only */
#include "packet/frame.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct writer {
	unsigned char *frame;
	size_t length;
	size_t next; /* where the number of the following layer goes; 0: an EtherType at `type` */
	size_t type;
	size_t ip; /* the IP header, 0 before */
	bool ipv6, fixed_length;
	size_t udp; /* a UDP header whose length is yet to be filled in */
};

static const char *argument(const char *layer, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = strchr(layer, ':'); at; at = strchr(at + 1, ','))
		if (strncmp(at + 1, name, length) == 0 &&
		    (at[1 + length] == '=' || at[1 + length] == ',' || !at[1 + length]))
			return at[1 + length] == '=' ? at + 2 + length : at + 1 + length;
	return NULL;
}

static unsigned number(const char *layer, const char *name, unsigned otherwise)
{
	const char *text = argument(layer, name);

	return text ? (unsigned)strtoul(text, NULL, 0) : otherwise;
}

static unsigned first_number(const char *layer)
{
	const char *colon = strchr(layer, ':');

	return colon ? (unsigned)strtoul(colon + 1, NULL, 0) : 0;
}

static void address(const char *layer, const char *name, const char *otherwise, int family, unsigned char *out)
{
	const char *text = argument(layer, name);
	char bare[64];

	snprintf(bare, sizeof(bare), "%s", text ? text : otherwise);
	bare[strcspn(bare, ",")] = '\0';
	if (inet_pton(family, bare, out) != 1) {
		fprintf(stderr, "frame: '%s' is no address\n", bare);
		exit(2);
	}
}

static void put16(unsigned char *at, unsigned value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static unsigned char *grow(struct writer *writer, size_t bytes)
{
	unsigned char *at = writer->frame + writer->length;

	if (writer->length + bytes > FRAME_MAX) {
		fprintf(stderr, "frame: longer than %d bytes\n", FRAME_MAX);
		exit(2);
	}
	memset(at, 0, bytes);
	writer->length += bytes;
	return at;
}

/* Tells the layer before which one follows. */
static void link_protocol(struct writer *writer, unsigned protocol)
{
	if (writer->next)
		writer->frame[writer->next] = (unsigned char)protocol;
}

static void write_tag(struct writer *writer, unsigned ethertype)
{
	put16(writer->frame + writer->type, ethertype);
	unsigned char *tag = grow(writer, 4);
	put16(tag, 7);
	writer->type = writer->length - 2;
}

static void write_ipv4(struct writer *writer, const char *layer)
{
	unsigned options = number(layer, "opt", 0);

	put16(writer->frame + writer->type, 0x0800);
	writer->ip = writer->length;
	unsigned char *ip = grow(writer, 20 + options);
	ip[0] = (unsigned char)(number(layer, "version", 4) << 4 | number(layer, "ihl", 5 + options / 4));
	put16(ip + 2, number(layer, "total", 0));
	writer->fixed_length = argument(layer, "total") != NULL;
	put16(ip + 4, number(layer, "id", 1));
	put16(ip + 6, number(layer, "off", 0) / 8 | (argument(layer, "mf") ? 0x2000U : 0));
	ip[8] = 64;
	ip[9] = (unsigned char)number(layer, "protocol", 0);
	address(layer, "src", "198.51.100.7", AF_INET, ip + 12);
	address(layer, "dst", "192.0.2.1", AF_INET, ip + 16);
	writer->next = argument(layer, "protocol") ? 0 : writer->ip + 9;
}

static void write_ipv6(struct writer *writer, const char *layer)
{
	put16(writer->frame + writer->type, 0x86dd);
	writer->ip = writer->length;
	writer->ipv6 = true;
	unsigned char *ip = grow(writer, 40);
	ip[0] = (unsigned char)(number(layer, "version", 6) << 4);
	put16(ip + 4, number(layer, "payload", 0));
	writer->fixed_length = argument(layer, "payload") != NULL;
	ip[6] = 59;
	ip[7] = 64;
	address(layer, "src", "2001:db8:1:2::7", AF_INET6, ip + 8);
	address(layer, "dst", "2001:db8::1", AF_INET6, ip + 24);
	writer->next = writer->ip + 6;
}

static void write_extension(struct writer *writer, const char *layer, unsigned protocol, unsigned unit, unsigned least)
{
	unsigned length = number(layer, "len", least);

	link_protocol(writer, protocol);
	writer->next = writer->length;
	unsigned bytes = protocol == 51 ? (length + 2) * unit : (length + 1) * unit;
	unsigned char *header = grow(writer, bytes);
	header[0] = 59;
	header[1] = (unsigned char)number(layer, "claim", length);
}

static void write_fragment(struct writer *writer, const char *layer)
{
	link_protocol(writer, 44);
	writer->next = writer->length;
	unsigned char *header = grow(writer, 8);
	header[0] = 59;
	put16(header + 2, number(layer, "off", 0) | (argument(layer, "mf") ? 1U : 0));
	put16(header + 6, number(layer, "id", 1));
}

static void put32(unsigned char *at, unsigned value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static void write_tcp(struct writer *writer, const char *layer)
{
	link_protocol(writer, 6);
	unsigned char *tcp = grow(writer, 20);
	put16(tcp, number(layer, "from", 40000));
	put16(tcp + 2, first_number(layer));
	put32(tcp + 4, number(layer, "seq", 0));
	put32(tcp + 8, number(layer, "ack", 0));
	tcp[12] = (unsigned char)(number(layer, "doff", 5) << 4);
	tcp[13] = (unsigned char)number(layer, "flags", 2);
}

static void write_udp(struct writer *writer, const char *layer)
{
	link_protocol(writer, 17);
	size_t at = writer->length;
	unsigned char *udp = grow(writer, 8);
	put16(udp, number(layer, "from", 40000));
	put16(udp + 2, first_number(layer));
	put16(udp + 4, number(layer, "len", 0));
	writer->udp = argument(layer, "len") ? 0 : at;
}

static void write_plain(struct writer *writer, unsigned protocol, unsigned bytes, unsigned port)
{
	link_protocol(writer, protocol);
	unsigned char *header = grow(writer, bytes);
	if (protocol == 132)
		put16(header + 2, port);
}

static void write_hex(struct writer *writer, const char *digits)
{
	for (size_t i = 0; digits[i] && digits[i + 1]; i += 2) {
		const char pair[] = {digits[i], digits[i + 1], '\0'};
		*grow(writer, 1) = (unsigned char)strtoul(pair, NULL, 16);
	}
}

static void finish_lengths(struct writer *writer)
{
	if (writer->udp)
		put16(writer->frame + writer->udp + 4, (unsigned)(writer->length - writer->udp));
	if (!writer->ip || writer->fixed_length)
		return;
	if (writer->ipv6)
		put16(writer->frame + writer->ip + 4, (unsigned)(writer->length - writer->ip - 40));
	else
		put16(writer->frame + writer->ip + 2, (unsigned)(writer->length - writer->ip));
}

static bool is(const char *layer, const char *name)
{
	size_t length = strlen(name);

	return strncmp(layer, name, length) == 0 && (layer[length] == ':' || !layer[length]);
}

static bool write_layer(struct writer *writer, const char *layer)
{
	if (is(layer, "q"))
		write_tag(writer, 0x8100);
	else if (is(layer, "ad"))
		write_tag(writer, 0x88a8);
	else if (is(layer, "type"))
		put16(writer->frame + writer->type, first_number(layer));
	else if (is(layer, "4"))
		write_ipv4(writer, layer);
	else if (is(layer, "6"))
		write_ipv6(writer, layer);
	else if (is(layer, "hbh"))
		write_extension(writer, layer, 0, 8, 0);
	else if (is(layer, "rt"))
		write_extension(writer, layer, 43, 8, 0);
	else if (is(layer, "dst"))
		write_extension(writer, layer, 60, 8, 0);
	else if (is(layer, "ah"))
		write_extension(writer, layer, 51, 4, 4);
	else if (is(layer, "frag"))
		write_fragment(writer, layer);
	else if (is(layer, "tcp"))
		write_tcp(writer, layer);
	else if (is(layer, "udp"))
		write_udp(writer, layer);
	else if (is(layer, "sctp"))
		write_plain(writer, 132, 12, first_number(layer));
	else if (is(layer, "icmp"))
		write_plain(writer, 1, 8, 0);
	else if (is(layer, "icmp6"))
		write_plain(writer, 58, 8, 0);
	else if (is(layer, "none"))
		link_protocol(writer, first_number(layer));
	else if (is(layer, "raw"))
		grow(writer, first_number(layer));
	else if (is(layer, "hex"))
		write_hex(writer, layer + strlen("hex:"));
	else
		return false;
	return true;
}

size_t frame_write(const char *words, unsigned char out[FRAME_MAX])
{
	struct writer writer = {.frame = out, .type = 12};
	_cleanup_free_ char *copy = strdup(words);
	char *rest = copy;
	size_t pad = 0, cut = FRAME_MAX;

	unsigned char *ethernet = grow(&writer, 14);
	static const unsigned char addresses[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	memcpy(ethernet, addresses, sizeof(addresses));
	for (char *layer = strsep(&rest, " "); layer; layer = strsep(&rest, " ")) {
		if (is(layer, "cut"))
			cut = first_number(layer);
		else if (is(layer, "pad"))
			pad = first_number(layer);
		else if (*layer && !write_layer(&writer, layer)) {
			fprintf(stderr, "frame: '%s' is no layer\n", layer);
			exit(2);
		}
	}
	finish_lengths(&writer);
	grow(&writer, pad);
	return writer.length < cut ? writer.length : cut;
}

size_t frame_write_padded(const char *words, unsigned char out[FRAME_MAX])
{
	size_t length = frame_write(words, out);

	if (length >= FRAME_MIN)
		return length;
	memset(out + length, 0, FRAME_MIN - length);
	return FRAME_MIN;
}
