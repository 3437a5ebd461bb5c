# SPDX-License-Identifier: GPL-2.0-only
# What can be made, in one screen; how it is made is in mk/.
#   O=DIR        builds there instead of build/
#   V=1          shows the commands
#   SAN=address,undefined   builds with sanitizers, in a directory of its own
#   COVERAGE=1   builds to count which lines and branches run, likewise
.DEFAULT_GOAL := all

include mk/toolchain.mk
include mk/deps.mk
include mk/bpf.mk
include mk/user.mk
include mk/page.mk
include mk/tools.mk
include mk/tests.mk
include mk/fuzz.mk
include mk/matrix.mk
include mk/package.mk
include mk/lint.mk

.PHONY: all run check coverage bench bench-heaviest bench-overload lint format clean help deps

all: $(SPILLWAY) $(TRAFFIC) $(CLIENT) $(EXAMPLE) $(SIMULATOR) ## build the spillway program and its tools

run: ensure-run-deps ## show it at work: a laboratory, a flood, the live view (IFACE=eth0: on a real interface)
	$(Q)$(MAKE) --no-print-directory all
	$(Q)O=$(abspath $O) tools/run.sh

check: ensure-deps ## lint, and build and run every test: unit (with sanitizers too), packet, end to end
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) all tests
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) SAN=address,undefined unit-tests fuzzers
	$(Q)O=$(abspath $O) tests/run.sh

coverage: ensure-deps ## lines and branches that the tests run, file by file
	$(Q)$(MAKE) --no-print-directory COVERAGE=1 all packet-tests unit-tests tests-parts
	$(Q)O=$(abspath $O)/coverage tests/coverage.sh

bench: ensure-deps ## nanoseconds a packet above the floor, and beside other limiters
	$(Q)$(MAKE) --no-print-directory all bench-tools
	$(Q)O=$(abspath $O) tools/bench/run.sh

bench-heaviest: ensure-deps ## who is heaviest of a million users, and how exactly that is known, in a forged flood
	$(Q)$(MAKE) --no-print-directory $(TRAFFIC) $O/tests/packet/heaviest_test
	$(Q)O=$(abspath $O) tools/bench/heaviest.sh

bench-overload: ensure-deps ## what users feel under floods: nothing, nftables by hand, Spillway (SECONDS_PER_CASE=60)
	$(Q)$(MAKE) --no-print-directory all overload-tools
	$(Q)O=$(abspath $O) tools/overload/run.sh

clean: ## remove what was built
	rm -rf $O

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12
