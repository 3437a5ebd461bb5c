# SPDX-License-Identifier: GPL-2.0-only
# Format, layering and static analysis. clang-tidy leaves a stamp for each file that it found clean, so that only what
# changed is looked at again.
C_FILES = $(shell find bpf include user tools tests -name '*.[ch]')
HEADERS = $(filter %.h,$(C_FILES))
TIDY_FILES = $(filter-out %.bpf.c,$(filter user/%.c tools/%.c tests/%.c,$(C_FILES)))
TIDY_STAMPS = $(TIDY_FILES:%.c=$O/lint/%.tidy)
# Leaks are left to those who know __attribute__((cleanup)).
CPPCHECK_FLAGS = --quiet -j$(shell nproc) --error-exitcode=1 --enable=warning,portability --include=mk/cppcheck.h \
	--suppress=missingIncludeSystem --suppress=memleak --suppress=resourceLeak \
	--suppress=arithOperationsOnVoidPointer:bpf/* -Iuser -Itools -Itests -I.
# bats fills and reads variables of its own (SC2034, SC2154).
SHELL_SCRIPTS = .ci/run $(shell find tools tests -name '*.sh' -o -name '*.bats')

.PHONY: tidy
tidy: $(TIDY_STAMPS)

# Findings are on standard output; standard error counts those in system headers, and matters only when it fails.
$O/lint/%.tidy: %.c .clang-tidy $(HEADERS) $(SKELETONS) $(TRAFFIC_SKELETON) $(RECEIVERS_SKELETON)
	@mkdir -p $(@D)
	$(call say,TIDY,$<)$(CLANG_TIDY) --quiet $< -- $(CPPFLAGS) $(filter-out $(WARNINGS) -MMD -MP,$(CFLAGS)) -Itools -Itests \
		-DSPILLWAY_VERSION='"$(VERSION)"' $(PKG_CFLAGS) 2>$@.log || { cat $@.log >&2; exit 1; }
	@touch $@

format: ## format every C file in place
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

lint: ## formatting, forbidden includes, clang-tidy, cppcheck, shellcheck
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
	$(Q)! grep -rnE '#include "(datapath|daemon|verbs)/' $(wildcard user/control) user/base user/config
	$(Q)! grep -rnE '#include "(user|base|config|datapath|daemon)/' bpf
	$(Q)! grep -rnE '#include "(daemon|verbs|observe|control)/' user/privilege user/datapath
	$(Q)! grep -rnE '#include "(datapath|daemon)/' user/verbs | grep -v 'verbs/run.c\|verbs/unload.c'
	$(Q)shellcheck --severity=warning --exclude=SC2034,SC2154 $(SHELL_SCRIPTS)
	$(Q)cppcheck $(CPPCHECK_FLAGS) $(TIDY_FILES)
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) tidy
