/* SPDX-License-Identifier: GPL-2.0-only */
/* Rows of the history, as they are unpacked from its database: refused, or something that packs and unpacks again to
 * the same. The first byte says what the rest is to be. */
#include <string.h>

#include "fuzz/require.h"
#include "observe/samples.h"

static void samples_run(const uint8_t *bytes, size_t size, size_t count)
{
	static struct sample first[SAMPLES_MAX], second[SAMPLES_MAX], folded;
	static uint8_t packed[SAMPLES_PACKED_MAX];

	if (samples_unpack(bytes, size, first, count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (!first[i].values[SAMPLE_SECONDS]) /* it is none, and is not kept */
			first[i] = (struct sample){0};
	size_t length = samples_pack(first, count, packed);
	REQUIRE(length <= sizeof(packed));
	if (length) {
		REQUIRE(samples_unpack(packed, length, second, count) == 0);
		REQUIRE(memcmp(first, second, count * sizeof(*first)) == 0);
	}
	samples_fold(first, count, &folded);
	for (size_t i = 0; i < count; i++)
		sample_add(&folded, &first[i]);
}

static void distribution_run(const uint8_t *bytes, size_t size)
{
	static struct distribution first, second;
	static uint8_t packed[DISTRIBUTION_PACKED_MAX];

	if (distribution_unpack(bytes, size, &first) < 0)
		return;
	size_t length = distribution_pack(&first, packed);
	REQUIRE(length <= sizeof(packed));
	REQUIRE(distribution_unpack(packed, length, &second) == 0);
	REQUIRE(memcmp(&first, &second, sizeof(first)) == 0);
	distribution_add(&second, &first);
}

static void users_run(const uint8_t *bytes, size_t size)
{
	static struct sampled_user first[SAMPLED_USERS_MAX], second[SAMPLED_USERS_MAX];
	static uint8_t packed[SAMPLED_USERS_PACKED_MAX];
	int count = sampled_users_unpack(bytes, size, first);

	if (count < 0)
		return;
	REQUIRE(count <= SAMPLED_USERS_MAX);
	size_t length = sampled_users_pack(first, (size_t)count, packed);
	REQUIRE(length <= sizeof(packed));
	REQUIRE(sampled_users_unpack(packed, length, second) == count);
	for (int i = 0; i < count; i++) {
		REQUIRE(strcmp(first[i].user, second[i].user) == 0);
		REQUIRE(first[i].packets == second[i].packets && first[i].bytes == second[i].bytes &&
		        first[i].spilled == second[i].spilled);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (!size)
		return 0;
	if (bytes[0] % 4 == 0)
		samples_run(bytes + 1, size - 1, history_steps[STEP_SECOND].samples);
	else if (bytes[0] % 4 == 1)
		samples_run(bytes + 1, size - 1, history_steps[STEP_QUARTER].samples);
	else if (bytes[0] % 4 == 2)
		distribution_run(bytes + 1, size - 1);
	else
		users_run(bytes + 1, size - 1);
	return 0;
}
