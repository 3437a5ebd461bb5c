#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes vmlinux/ARCH/vmlinux.h: the kernel types that bpf/ uses, and what those need, out of a kernel's BTF. The result
# is committed, so that a build host needs no BTF.
#   vmlinux/make.sh [BTF-FILE] >vmlinux/$(uname -m)/vmlinux.h
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
btf=${1:-/sys/kernel/btf/vmlinux}

bpftool btf dump file "$btf" format c | python3 "$here/reduce.py" "$here/types.txt"
