# SPDX-License-Identifier: GPL-2.0-only
# Compilers, flags and the quiet form of a command line.
O ?= build
SAN ?=
ifneq ($(SAN),)
override O := $O/san
# libFuzzer comes with clang, and wants its sanitizers.
CC := $(shell command -v clang-19 || echo clang)
endif
COVERAGE ?=
ifneq ($(COVERAGE),)
override O := $O/coverage
endif

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

CC ?= cc
# The BPF half wants the newest clang there is; the oldest that will do is 14.
CLANG ?= $(shell for v in 22 21 20 19 18 17 16 15 14; do command -v clang-$$v && exit; done; echo clang)
BPFTOOL ?= $(or $(shell command -v bpftool 2>/dev/null),/usr/sbin/bpftool)
CLANG_FORMAT ?= $(shell command -v clang-format-19 || echo clang-format)
CLANG_TIDY ?= $(shell command -v clang-tidy-19 || echo clang-tidy)

# The last is of LIBBPF_OPTS(), and clang's alone.
WARNINGS := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wcast-align -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough -Wold-style-definition \
	-Wno-gnu-statement-expression-from-macro-expansion
# For tests that hold bpf/packet.h: headers lie where the frame puts them, as in the kernel.
UNALIGNED := -fno-sanitize=alignment
SANITIZE := $(if $(SAN),-fsanitize=$(SAN) -fsanitize=fuzzer-no-link -fno-sanitize-recover=all -fno-omit-frame-pointer) \
	$(if $(COVERAGE),--coverage -fprofile-update=atomic)

CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(SANITIZE) -MMD -MP
LIBRARIES := libbpf libevent jansson yaml-0.1 libcurl sqlite3 libsystemd libmnl zlib ncursesw libseccomp libcap-ng libacl
# A build that counts writes its counts when it ends, and needs a place for them.
CPPFLAGS += -Iuser -Iinclude -I. -isystem $O $(if $(COVERAGE),-DCOVERAGE_DIRECTORY='"$(abspath $O)"')
