# SPDX-License-Identifier: GPL-2.0-only
# Test programs: tests/unit/NAME_test.c and tests/packet/NAME_test.c are a program each, linked with what they test.
UNIT_TESTS := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/unit/*_test.c))
PACKET_TESTS := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/packet/*_test.c))
TESTED_OBJECTS := $(filter-out $O/user/main.o,$(USER_OBJECTS))
TRAFFIC_PURE := $(addprefix $O/tools/traffic/,frame.o sources.o)

# Somebody else's XDP program, for the fault tests.
FOREIGN := $O/tools/bench/receivers.bpf.o

.PHONY: tests unit-tests packet-tests
tests: unit-tests packet-tests $(LOAD) $(BACKEND) $(FOREIGN) ## build the test programs
unit-tests: $(UNIT_TESTS)
packet-tests: $(PACKET_TESTS)
tests-parts: $(FOREIGN) $(if $(COVERAGE),$O/bpf_counters.so)

$O/bpf_counters.so: tests/bpf_counters.c | $O/
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(filter-out $(SANITIZE),$(CFLAGS)) -shared -fPIC $< -o $@

$O/tests/unit/traffic_test: $(TRAFFIC_PURE)
$O/tests/unit/arrivals_test: $O/tools/overload/arrivals.o

PACKET_PARTS := $(addprefix $O/tests/packet/,cases.o corpus.o frame.o hammer.o world.o)
$(PACKET_TESTS): $(PACKET_PARTS)
$O/tests/packet/agreement_test: override CFLAGS += $(UNALIGNED)
$(PACKET_PARTS): $O/%.o: %.c $(SKELETONS)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -Itests $(PKG_CFLAGS) -c $< -o $@

$O/tests/%: tests/%.c $(TESTED_OBJECTS)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -Itools -Itests $(PKG_CFLAGS) $(filter %.c %.o,$^) $(LDFLAGS) $(PKG_LIBS) -lcmocka -o $@

-include $(wildcard $O/tests/*/*.d)

# SECONDS and SEED: how long, and in which order of chance.
.PHONY: soak
soak: ensure-deps ## floods, kills, reloads and link flaps mixed, for SECONDS (3600) from SEED (1)
	$(Q)$(MAKE) --no-print-directory all
	$(Q)O=$(abspath $O) BATS_LIB_PATH=/usr/lib/bats SOAK_SECONDS=$(or $(SECONDS),3600) SEED=$(or $(SEED),1) bats tests/soak/soak.bats
