/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes frames to a capture file, and what the parser reads in each of them to standard output: a line a frame, with
 * tabs between kind, malformation, IP version, source, destination, protocol, port, fragment, bytes and the words of
 * the case that the frame was made from. What the kind leaves without meaning is "-". */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/parser.h"

#include "packet/corpus.h"

#define LONG_BYTES 400 /* a truncation longer than that cuts payload, and is left out */

static const char *const kinds[] = {"placed", "stray", "not-ip", "malformed"};
static const char *const malformations[] = {"ethernet", "ip", "extension", "transport"};
static const char *const fragments[] = {"none", "first", "later"};
static const char *const protocols[] = {"tcp", "udp", "sctp", "none", "unknown"};

struct capture_header {
	uint32_t magic;
	uint16_t version_major, version_minor;
	uint32_t zone, accuracy, longest, link_type;
};

struct capture_record {
	uint32_t seconds, microseconds, captured_bytes, bytes;
};

static void print_addresses(const struct packet *packet)
{
	char text[INET6_ADDRSTRLEN];
	const __u64 *const both[] = {packet->source, packet->destination};

	for (int i = 0; i < 2; i++) {
		if (packet->ipv6)
			inet_ntop(AF_INET6, both[i], text, sizeof(text));
		else
			inet_ntop(AF_INET, (const char *)both[i] + 12, text, sizeof(text));
		printf("\t%s", text);
	}
}

static void print_reading(const struct corpus_frame *frame)
{
	struct packet packet;
	enum packet_kind kind = parse_frame(frame->bytes, frame->length, frame->length, &packet);

	if (kind == PACKET_MALFORMED || kind == PACKET_NOT_IP) {
		printf("%s\t%s\t-\t-\t-\t-\t-\t-", kinds[kind],
		       kind == PACKET_MALFORMED ? malformations[packet.malformation] : "-");
	} else {
		printf("%s\t-\t%d", kinds[kind], packet.ipv6 ? 6 : 4);
		print_addresses(&packet);
		printf("\t%s\t%u\t%s", protocols[packet.table], packet.port, fragments[packet.fragment]);
	}
	printf("\t%u\t%s\n", packet.bytes, frame->words);
}

static bool write_record(FILE *capture, const struct corpus_frame *frame)
{
	struct capture_record record = {.captured_bytes = (uint32_t)frame->length, .bytes = (uint32_t)frame->length};

	return fwrite(&record, sizeof(record), 1, capture) == 1 && fwrite(frame->bytes, frame->length, 1, capture) == 1;
}

int main(int argc, char **argv)
{
	const struct capture_header header = {
		.magic = 0xa1b2c3d4, .version_major = 2, .version_minor = 4, .longest = FRAME_MAX, .link_type = 1};
	struct corpus corpus = corpus_make();
	FILE *capture = argc == 2 ? fopen(argv[1], "w") : NULL;
	bool written = capture && fwrite(&header, sizeof(header), 1, capture) == 1;

	for (size_t i = 0; written && i < corpus.count; i++) {
		bool truncation = i + 1 < corpus.count - CORPUS_MUTATIONS &&
		                  corpus.frames[i + 1].length == corpus.frames[i].length + 1;
		if (truncation && corpus.frames[i].length > LONG_BYTES)
			continue;
		written = write_record(capture, &corpus.frames[i]);
		print_reading(&corpus.frames[i]);
	}
	corpus_free(&corpus);
	if (!written || fclose(capture) != 0 || fflush(stdout) != 0) {
		fprintf(stderr, "readings: %s: %s\n", argc == 2 ? argv[1] : "usage: readings FILE", strerror(errno));
		return 1;
	}
	return 0;
}
