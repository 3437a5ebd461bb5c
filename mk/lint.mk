# SPDX-License-Identifier: GPL-2.0-only
# Format, layering and static analysis.
C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h' | grep -v '^vmlinux/')

format: ## format every C file in place
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

lint: ## formatting, forbidden includes, cppcheck
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
	$(Q)! grep -rnE '#include "(datapath|daemon|verbs)/' user/control user/base user/config
	$(Q)! grep -rnE '#include "(user|base|config|datapath|daemon)/' bpf
	$(Q)! grep -rnE '#include "(datapath|daemon)/' user/verbs | grep -v 'verbs/run.c\|verbs/unload.c'
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --suppress=missingIncludeSystem -Iuser -I. user tools tests
