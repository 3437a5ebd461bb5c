# SPDX-License-Identifier: GPL-2.0-only
# The fuzzers: tests/fuzz/NAME_fuzz.c is a program each, by libFuzzer, which comes with clang. They belong to the build with
# sanitizers, whose objects say which ways they take.
FUZZERS := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZ_PARTS := $O/tests/fuzz/served.o $O/tools/traffic/capture.o
FUZZ_SEEDS := $O/tests/fuzz/seeds_writer
READINGS := $O/tests/fuzz/readings
FUZZ_SECONDS := 60

$O/tests/fuzz/%.o: tests/fuzz/%.c $(SKELETONS)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -Itools -Itests $(PKG_CFLAGS) -c $< -o $@

# The kernel program's headers are in the dialect of the compiler.
$O/tests/fuzz/parser_fuzz.o: override CFLAGS += $(UNALIGNED) -Wno-language-extension-token
$(FUZZERS): $O/tests/fuzz/%_fuzz: $O/tests/fuzz/%_fuzz.o $(FUZZ_PARTS) $(TESTED_OBJECTS)
	$(call say,FUZZ,$@)$(CC) -fsanitize=fuzzer $(SANITIZE) $(LDFLAGS) $(filter %.o,$^) $(PKG_LIBS) $(shell pkg-config --libs libpcap) -o $@

$(FUZZ_SEEDS) $(READINGS): $O/tests/fuzz/%: tests/fuzz/%.c $(addprefix $O/tests/packet/,cases.o corpus.o frame.o)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) $(UNALIGNED) -Itests $(filter %.c %.o,$^) $(LDFLAGS) -o $@

tests: $(FUZZ_SEEDS) $(READINGS)
tests-parts: $(READINGS)

.PHONY: fuzz fuzzers
fuzzers: $(FUZZERS)
fuzz: ensure-deps ## fuzz (all, or those in FUZZ) whatever reads what others write, for SECONDS (60) each
	$(Q)$(MAKE) --no-print-directory $(FUZZ_SEEDS)
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined fuzzers
	$(Q)O=$(abspath $O) SECONDS_TO_RUN=$(or $(SECONDS),$(FUZZ_SECONDS)) tests/fuzz/run.sh $(FUZZ)
