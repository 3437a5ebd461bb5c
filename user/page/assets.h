/* SPDX-License-Identifier: GPL-2.0-only */
/* The files of the live page, as the build has put them into the program. */
#pragma once

#include <stddef.h>

struct page_asset {
	const char *path, *type;
	const char *bytes, *bytes_end;   /* as it is */
	const char *packed, *packed_end; /* the same through gzip */
};

#define PAGE_ASSETS 5
extern const struct page_asset page_assets[PAGE_ASSETS];
