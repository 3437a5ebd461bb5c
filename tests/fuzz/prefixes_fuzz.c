/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of prefixes, as the verbs read them (`deny --file`) and as the configuration does (`prefixes_file`): the
 * former takes whatever the latter takes, and finds the same number in it. */
#include <string.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "fuzz/memory_file.h"
#include "verbs/prefix_file.h"

static void require_sound(const struct prefix *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char text[PREFIX_TEXT_MAX];
		struct prefix again;
		prefix_format(&prefixes[i], text);
		REQUIRE(prefix_parse(text, &again, NULL) == 0 && prefix_compare(&again, &prefixes[i]) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct config_faults faults;
	char path[MEMORY_FILE_PATH_MAX], yaml[128];
	_cleanup_close_ int fd = memory_file(bytes, size, path);
	_cleanup_free_ struct prefix *prefixes = NULL;
	struct config *config = NULL;
	struct error err = {0};
	size_t count = 0;

	int failure = prefix_file_read(path, &prefixes, &count, &err);
	REQUIRE(failure ? !prefixes && err.text[0] : count > 0);
	require_sound(prefixes, count);

	faults.count = 0;
	int length = snprintf(yaml, sizeof(yaml), "services: []\ntenants: [{name: t, prefixes_file: %s}]\n", path);
	if (config_parse(yaml, (size_t)length, &config, &faults) < 0) {
		REQUIRE(!config && faults.count > 0);
		return 0;
	}
	REQUIRE(!failure && config->tenant_prefixes_count == count);
	config_free(config);
	return 0;
}
