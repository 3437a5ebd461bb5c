/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes the packet tests' cases as files, one frame each: what the fuzzer starts from. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "packet/cases.h"
#include "packet/frame.h"

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: seeds_writer DIRECTORY\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < packet_cases_count; i++) {
		unsigned char frame[FRAME_MAX];
		size_t length = frame_write(packet_cases[i].frame, frame);
		char path[4096];

		snprintf(path, sizeof(path), "%s/%03zu", argv[1], i);
		FILE *file = fopen(path, "w");
		if (!file || fwrite(frame, 1, length, file) != length || fclose(file) != 0) {
			fprintf(stderr, "seeds: %s: %s\n", path, strerror(errno));
			return 1;
		}
	}
	return 0;
}
