/* SPDX-License-Identifier: GPL-2.0-only */
/* F15. Feeds the configuration's reader whatever comes: it refuses with faults that have a place and words, or gives a
 * configuration that compiles into the kernel's slots. */
#include <assert.h>
#include <stdlib.h>

#include "config/config.h"
#include "datapath/image.h"

#define JIFFY_NS 4000000

static void check_faults(const struct config_faults *faults)
{
	assert(faults->count > 0);
	for (size_t i = 0; i < faults->count && i < CONFIG_FAULTS_MAX; i++)
		assert(faults->faults[i].text[0]);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size)
{
	static struct config_faults faults;
	struct config *config = NULL;

	faults.count = 0;
	if (config_parse((const char *)bytes, size, &config, &faults) < 0) {
		assert(!config);
		check_faults(&faults);
		return 0;
	}
	assert(config);
	struct image_context context = {.jiffy_ns = JIFFY_NS};
	struct image *image = NULL;
	struct error err;
	if (image_compile(config, &context, &image, &err) < 0)
		assert(!image && err.text[0]);
	else
		image_free(image);
	config_free(config);
	return 0;
}
