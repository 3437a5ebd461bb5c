# SPDX-License-Identifier: GPL-2.0-only
# The live page: user/page/ and the charts of Debian's libjs-dygraphs, each file beside its gzip, put into the program by
# user/page/assets.c.
DYGRAPHS ?= /usr/share/javascript/dygraphs
PAGE_FILES := $(addprefix $O/page/,index.html page.css page.js dygraph.css dygraph.js)

$O/page/%: user/page/% | $O/page/
	$(Q)cp $< $@

# Without the comment that names its source map, which is not there.
$O/page/dygraph.%: $(DYGRAPHS)/dygraph.min.% | $O/page/
	$(Q)sed '/[#@] sourceMappingURL=/d' $< >$@

$(DYGRAPHS)/dygraph.min.%:
	@echo "the live page: no $@: 'make deps' installs libjs-dygraphs, or name its directory: DYGRAPHS=DIR" >&2; false

$O/page/%.gz: $O/page/%
	$(call say,GZIP,$@)gzip -9nc $< >$@

$O/user/page/assets.o: override CFLAGS += -Wa,-I$O
$O/user/page/assets.o: $(PAGE_FILES) $(PAGE_FILES:=.gz)
