# SPDX-License-Identifier: GPL-2.0-only
# What a machine needs, from the distribution's packages. `make deps` installs it on Debian 12 and later.
BUILD_PACKAGES := make gcc clang-19 bpftool pkg-config libbpf-dev libelf-dev zlib1g-dev libevent-dev libyaml-dev \
	libjansson-dev libcurl4-openssl-dev libsystemd-dev libmnl-dev libncurses-dev libpcap-dev libsqlite3-dev libjs-dygraphs \
	libseccomp-dev libcap-ng-dev libacl1-dev
# The laboratory's.
RUN_PACKAGES := $(BUILD_PACKAGES) jq nginx-light unbound iproute2 ethtool procps util-linux
TEST_PACKAGES := llvm-19 libcmocka-dev bats bats-assert bats-support curl dnsperf \
	nftables iptables prometheus tcpdump python3 clang-format-19 clang-tidy-19 cppcheck shellcheck valgrind strace faketime python3-unbound tmux libclang-rt-19-dev tshark \
	chromium-headless-shell python3-prometheus-client \
	mandoc groff-base man-db systemd bash-completion zsh fish debhelper dpkg-dev fakeroot lintian mmdebstrap gcovr acl
PACKAGES := $(RUN_PACKAGES) $(TEST_PACKAGES)
# Only for `make matrix`, which wants Debian 12: later ones have neither this compiler nor the older kernel.
MATRIX_PACKAGES := clang-14 qemu-system-x86 busybox-static kmod xz-utils

deps: ## install what building and testing need (Debian packages)
	$(Q)tools/deps.sh $(PACKAGES)

.PHONY: ensure-deps ensure-run-deps
ensure-deps:
	$(Q)tools/deps.sh --if-missing $(PACKAGES)

# A third of what the tests need.
ensure-run-deps:
	$(Q)tools/deps.sh --if-missing $(RUN_PACKAGES)
