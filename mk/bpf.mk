# SPDX-License-Identifier: GPL-2.0-only
# The kernel half: bpf/*.bpf.c to an object, and the object to a skeleton that user/ includes as "bpf/NAME.skel.h".
BPF_ARCH := $(shell uname -m)
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -std=gnu11 -Wall -Wextra -Werror -Ivmlinux/$(BPF_ARCH) -Ibpf -Iinclude -MMD -MP
SKELETONS := $O/bpf/spillway.skel.h $O/bpf/tag.skel.h $O/bpf/response.skel.h $O/bpf/drops.skel.h

ifeq ($(COVERAGE),)
$O/bpf/%.bpf.o: bpf/%.bpf.c | $O/bpf/
	$(call say,BPF,$@)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
else
# With clang's counters, and beside it NAME.map.o, which says what they count.
$O/bpf/%.bpf.o: bpf/%.bpf.c tests/bpf_coverage.py | $O/bpf/
	$(call say,BPF,$@)$(CLANG) $(BPF_CFLAGS) -fprofile-instr-generate -fcoverage-mapping -S -emit-llvm -c $< -o $O/bpf/$*.ll
	$(Q)tests/bpf_coverage.py instrument $O/bpf/$*.ll $O/bpf/$*.counted.ll $O/bpf/$*.json
	$(Q)$(CLANG) $(filter-out -M%,$(BPF_CFLAGS)) -Xclang -disable-llvm-passes -Wno-unused-command-line-argument -c $O/bpf/$*.counted.ll -o $@
	$(Q)$(CLANG) $(filter-out -M%,$(BPF_CFLAGS)) -Xclang -disable-llvm-passes -Wno-unused-command-line-argument -c $O/bpf/$*.ll -o $O/bpf/$*.map.o
endif

$O/bpf/%.skel.h: $O/bpf/%.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf >$@ || { rm -f $@; exit 1; }

.SECONDARY:
.PRECIOUS: %/
%/:
	@mkdir -p $@

-include $(wildcard $O/bpf/*.d)
