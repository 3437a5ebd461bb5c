/* SPDX-License-Identifier: GPL-2.0-only */
#include "page/assets.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): names, not expressions */
/* A file of $O/page/, and its gzip beside it; the assembler finds them by -I. */
#define INCLUDED(name, file)                                                                     \
	extern const char name[], name##_end[], name##_gz[], name##_gz_end[];                    \
	__asm__(".pushsection .rodata\n" #name ":\n.incbin \"" file "\"\n" #name "_end:\n" #name \
	        "_gz:\n.incbin \"" file ".gz\"\n" #name "_gz_end:\n.popsection\n")
/* NOLINTEND(bugprone-macro-parentheses) */

INCLUDED(page_index_html, "page/index.html");
INCLUDED(page_page_css, "page/page.css");
INCLUDED(page_page_js, "page/page.js");
INCLUDED(page_dygraph_css, "page/dygraph.css");
INCLUDED(page_dygraph_js, "page/dygraph.js");

#define ASSET(path, type, name) {path, type, name, name##_end, name##_gz, name##_gz_end}

const struct page_asset page_assets[PAGE_ASSETS] = {
	ASSET("/", "text/html; charset=utf-8", page_index_html),
	ASSET("/page.css", "text/css; charset=utf-8", page_page_css),
	ASSET("/page.js", "text/javascript; charset=utf-8", page_page_js),
	ASSET("/dygraph.css", "text/css; charset=utf-8", page_dygraph_css),
	ASSET("/dygraph.js", "text/javascript; charset=utf-8", page_dygraph_js),
};
