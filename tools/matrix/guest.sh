#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# Init of the guest whose initramfs run.sh makes: mounts what Spillway needs, runs check.sh for the build, and ends.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1 # an initramfs has none before
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
ip link set lo up
for module in /modules/*.ko; do
	insmod "$module"
done
# MATRIX_SECONDS and EMULATED come from the kernel's command line.
for build in /builds/*; do
	KERNEL_CONFIG=/boot/config-$(uname -r) bash /check.sh "${build##*/}" "$build"
done
reboot -f
