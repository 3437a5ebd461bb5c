/* SPDX-License-Identifier: GPL-2.0-only */
/* Recordings (pcap, pcapng) as the traffic generator reads them: every frame fits where it is put, or the file is
 * refused in words. */
#include "base/cleanup.h"
#include "fuzz/memory_file.h"
#include "traffic/traffic.h"

#define FRAMES_MOST 64 /* of one that is repeated */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char path[MEMORY_FILE_PATH_MAX];
	_cleanup_close_ int fd = memory_file(bytes, size, path);
	_cleanup_free_ uint8_t *frame = malloc(TRAFFIC_BYTES_MAX); /* a block: a byte beyond is caught */
	bool repeat = size && bytes[size - 1] & 1;
	struct error err = {0};
	struct capture *capture = NULL;

	REQUIRE(frame);
	if (capture_open(path, repeat, &capture, &err) < 0) {
		REQUIRE(!capture && err.text[0]);
		return 0;
	}
	for (int i = 0; i < FRAMES_MOST; i++) {
		uint32_t length = 0;
		int code = capture_next(capture, frame, &length, &err);
		REQUIRE(code >= 0 || err.text[0]);
		if (code != 1)
			break;
		REQUIRE(length >= 14 && length <= TRAFFIC_BYTES_MAX);
	}
	capture_close(capture);
	return 0;
}
