# SPDX-License-Identifier: GPL-2.0-only
# Spillway on other kernels, built by the oldest compiler that will do and by the one that is wanted.
MATRIX_CLANGS := clang-14 clang-19
# Each a kernel package, or one that depends on the current kernel of its line.
MATRIX_KERNELS := linux-image-cloud-amd64 linux-image-6.12-cloud-amd64

.PHONY: matrix matrix-build
matrix: ensure-deps ## load and test on Debian 12's kernels 6.1 and 6.12, under qemu, and on this one; clang 14 and 19
	$(Q)tools/deps.sh --if-missing $(MATRIX_PACKAGES)
	$(Q)for clang in $(MATRIX_CLANGS); do \
		$(MAKE) --no-print-directory O=$(abspath $O)/matrix/builds/$$clang CLANG=$$clang matrix-build || exit; \
	done
	$(Q)tools/matrix/run.sh $(abspath $O)/matrix/builds $(MATRIX_KERNELS)

matrix-build: $(SPILLWAY) $(TRAFFIC) $(PACKET_TESTS)
	@:
