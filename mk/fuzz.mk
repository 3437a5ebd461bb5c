# SPDX-License-Identifier: GPL-2.0-only
# The fuzzer of the packet parser: libFuzzer, which comes with clang.
FUZZ_CLANG ?= $(shell command -v clang-19 || echo $(CLANG))
FUZZER := $O/tests/fuzz/parser_fuzz
FUZZ_SEEDS := $O/tests/fuzz/seeds_writer
READINGS := $O/tests/fuzz/readings
FUZZ_SECONDS := 60

$(FUZZER): tests/fuzz/parser_fuzz.c
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)$(FUZZ_CLANG) -O1 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -Itests -MMD -MP \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(UNALIGNED) $< -o $@

$(FUZZ_SEEDS) $(READINGS): $O/tests/fuzz/%: tests/fuzz/%.c $(addprefix $O/tests/packet/,cases.o corpus.o frame.o)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) $(UNALIGNED) -Itests $(filter %.c %.o,$^) $(LDFLAGS) -o $@

.PHONY: fuzz
fuzz: ensure-deps ## fuzz the packet parser for SECONDS (60)
	$(Q)$(MAKE) --no-print-directory $(FUZZER) $(FUZZ_SEEDS)
	$(Q)O=$(abspath $O) SECONDS_TO_RUN=$(or $(SECONDS),$(FUZZ_SECONDS)) tests/fuzz/run.sh
