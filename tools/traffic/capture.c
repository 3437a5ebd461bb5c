/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames out of a recording, by libpcap. Must not know where they go or how fast. */
#include <errno.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "traffic.h"

#define ETHERNET_HEADER_BYTES 14

struct capture {
	pcap_t *reader;
	const char *path;
	bool repeat;
	bool has_frames; /* some frame was read: to begin again is not in vain */
};

DEFINE_CLEANUP(pcap_t, pcap_close)

static int open_reader(const char *path, pcap_t **out, struct error *err)
{
	char why[PCAP_ERRBUF_SIZE] = "";
	_cleanup_(pcap_closep) pcap_t *reader = pcap_open_offline(path, why);

	if (!reader) {
		size_t named = strlen(path);
		bool repeats = strncmp(why, path, named) == 0 && strncmp(why + named, ": ", 2) == 0;

		return error_set(err, -EINVAL, "recording %s: cannot be read: %s: give a pcap or pcapng file", path,
		                 repeats ? why + named + 2 : why);
	}
	if (pcap_datalink(reader) != DLT_EN10MB) {
		const char *name = pcap_datalink_val_to_name(pcap_datalink(reader));

		return error_set(err, -EINVAL,
		                 "recording %s: link type is %s, not Ethernet: record again on an Ethernet interface",
		                 path, name ? name : "unknown");
	}
	*out = TAKE_PTR(reader);
	return 0;
}

int capture_open(const char *path, bool repeat, struct capture **out, struct error *err)
{
	_cleanup_free_ struct capture *capture = calloc(1, sizeof(*capture));

	if (!capture)
		return error_set(err, -ENOMEM, "recording %s: out of memory: free some", path);
	capture->path = path;
	capture->repeat = repeat;

	int code = open_reader(path, &capture->reader, err);

	if (code < 0)
		return code;
	*out = TAKE_PTR(capture);
	return 0;
}

void capture_close(struct capture *capture)
{
	pcap_close(capture->reader);
	free(capture);
}

static int rewind_reader(struct capture *capture, struct error *err)
{
	pcap_t *reader;
	int code = open_reader(capture->path, &reader, err);

	if (code < 0)
		return code;
	pcap_close(capture->reader);
	capture->reader = reader;
	capture->has_frames = false;
	return 0;
}

int capture_next(void *context, uint8_t *bytes, uint32_t *length, struct error *err)
{
	struct capture *capture = context;
	struct pcap_pkthdr *header;
	const uint8_t *recorded;
	int code = pcap_next_ex(capture->reader, &header, &recorded);

	if (code == PCAP_ERROR_BREAK && capture->repeat && capture->has_frames) {
		code = rewind_reader(capture, err);
		if (code < 0)
			return code;
		code = pcap_next_ex(capture->reader, &header, &recorded);
	}
	if (code == PCAP_ERROR_BREAK)
		return 0;
	if (code != 1)
		return error_set(err, -EIO, "recording %s: cannot be read on: %s: record it again", capture->path,
		                 pcap_geterr(capture->reader));
	if (header->caplen < ETHERNET_HEADER_BYTES || header->len > TRAFFIC_BYTES_MAX || header->caplen > header->len)
		return error_set(err, -EINVAL,
		                 "recording %s: a frame has %u of %u bytes: give one with %d to %d bytes a frame",
		                 capture->path, header->caplen, header->len, ETHERNET_HEADER_BYTES, TRAFFIC_BYTES_MAX);

	/* What a short snap length cut off goes out as zeros: the frame keeps its length on the wire. */
	memcpy(bytes, recorded, header->caplen);
	memset(bytes + header->caplen, 0, header->len - header->caplen);
	*length = header->len;
	capture->has_frames = true;
	return 1;
}
