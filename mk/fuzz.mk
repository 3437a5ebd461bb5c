# SPDX-License-Identifier: GPL-2.0-only
# The fuzzers of the packet parser and of the configuration's reader: libFuzzer, which comes with clang.
FUZZ_CLANG ?= $(shell command -v clang-19 || echo $(CLANG))
FUZZER := $O/tests/fuzz/parser_fuzz $O/tests/fuzz/config_fuzz
FUZZ_FLAGS := -O1 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -Iuser -Itests -MMD -MP \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(UNALIGNED)
CONFIG_SOURCES := $(wildcard user/config/*.c) $(addprefix user/base/,error.c prefix.c units.c utf8.c) \
	$(addprefix user/datapath/,image.c classifier.c tenants.c)
FUZZ_SEEDS := $O/tests/fuzz/seeds_writer
READINGS := $O/tests/fuzz/readings
FUZZ_SECONDS := 60

$O/tests/fuzz/parser_fuzz: tests/fuzz/parser_fuzz.c
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)$(FUZZ_CLANG) $(FUZZ_FLAGS) $< -o $@

$O/tests/fuzz/config_fuzz: tests/fuzz/config_fuzz.c $(CONFIG_SOURCES)
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)$(FUZZ_CLANG) $(FUZZ_FLAGS) $(filter %.c,$^) $(shell pkg-config --libs yaml-0.1 libbpf) -lm -o $@

$(FUZZ_SEEDS) $(READINGS): $O/tests/fuzz/%: tests/fuzz/%.c $(addprefix $O/tests/packet/,cases.o corpus.o frame.o)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) $(UNALIGNED) -Itests $(filter %.c %.o,$^) $(LDFLAGS) -o $@

.PHONY: fuzz
fuzz: ensure-deps ## fuzz the packet parser and the configuration for SECONDS (60) each
	$(Q)$(MAKE) --no-print-directory $(FUZZER) $(FUZZ_SEEDS)
	$(Q)O=$(abspath $O) SECONDS_TO_RUN=$(or $(SECONDS),$(FUZZ_SECONDS)) tests/fuzz/run.sh
