#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# F33. usage: run.sh BUILDS [KERNEL...]: Spillway on the running kernel and on each KERNEL, the name of a Debian package or of
# one that depends on it, booted by qemu without hardware virtualisation. BUILDS is a directory of build directories, one
# for each compiler, named like it. Kernels are unpacked below BUILDS/../kernels and never installed. Prints a table, and
# fails where anything did.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
builds=$(readlink -f "$1")
shift
work=$(dirname "$builds")
readonly GUEST_WITHIN_S=300 GUEST_MEMORY=1536M
# What check.sh calls beside busybox.
readonly PROGRAMS=(bash ip jq bpftool)
export PATH="$PATH:/usr/sbin:/sbin"
rows=$work/rows
failed=false

fail() {
	printf 'matrix: %s\n' "$*" >&2
	failed=true
}

# The kernel package that $1 is or stands for.
kernel_package() {
	local named
	named=$(apt-cache depends --important "$1" 2>/dev/null | sed -nE 's/^ +Depends: (linux-image-[0-9].*)/\1/p' | head -n 1)
	printf '%s\n' "${named:-$1}"
}

# Downloads and unpacks kernel package $1, once.
fetch_kernel() {
	local into=$work/kernels/$1 aside=$work/kernels/aside
	[ -d "$into" ] && return
	rm -rf "$aside"
	mkdir -p "$aside"
	(cd "$aside" && apt-get download -qq -o APT::Sandbox::User=root "$1" && dpkg -x ./*.deb . && rm ./*.deb) &&
		mv "$aside" "$into"
}

# copy_program ROOT FILE [AS]: with the shared libraries that it needs, where it looks for them.
copy_program() {
	local library
	install -D "$2" "$1/${3:-$2}"
	for library in $(ldd "$2" | grep -oE '/[^ ]+'); do
		[ -e "$1/$library" ] || install -D "$library" "$1/$library"
	done
}

# copy_module ROOT TREE NAME: module NAME of the unpacked kernel, after those that it depends on.
copy_module() {
	local file dependency count
	file=$(find "$2/lib/modules" -name "$3.ko*" | head -n 1)
	[ -n "$file" ] || return 0 # built in
	for dependency in $(modinfo -F depends "$file" | tr ',' ' '); do
		copy_module "$1" "$2" "$dependency"
	done
	count=$(find "$1/modules" -type f | wc -l)
	case $file in
	*.xz) xz -dc "$file" ;;
	*) cat "$file" ;;
	esac >"$1/modules/$count-$3.ko"
}

# The initramfs for the unpacked kernel in $1, as $2.
make_initramfs() {
	local root=$work/root program build
	rm -rf "$root"
	mkdir -p "$root"/{bin,boot,builds,dev,modules,proc,run,sys,tmp}
	install /bin/busybox "$root/bin/busybox"
	install "$here/guest.sh" "$root/init"
	install "$here/check.sh" "$root/check.sh"
	cp "$1"/boot/config-* "$root/boot/"
	copy_module "$root" "$1" veth
	for program in "${PROGRAMS[@]}"; do
		copy_program "$root" "$(command -v "$program")" "bin/$program"
	done
	for build in "$builds"/*; do
		for program in "$build"/spillway "$build"/spillway-traffic "$build"/tests/packet/*_test; do
			copy_program "$root" "$program" "builds/$(basename "$build")/${program#"$build/"}"
		done
	done
	(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$2"
	rm -rf "$root"
}

# collect LOG COUNT: the rows and words of one kernel; every build must have left a row.
collect() {
	sed -i 's/\r$//' "$1" # as the serial console has it
	grep '^row|' "$1" >>"$rows" || true
	grep '^matrix: ' "$1" || true
	[ "$2" -gt 0 ] && [ "$(grep -c '^row|' "$1")" -eq "$2" ] && return
	fail "not every build has a result: the end of $1:"
	tail -n 40 "$1" >&2
}

boot() {
	local tree=$work/kernels/$1 log=$work/$1.log
	make_initramfs "$tree" "$work/initramfs"
	# Not microvm, which boots a second faster: on a busy host its guests hang before they find their clock.
	timeout --foreground $GUEST_WITHIN_S qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 \
		-m $GUEST_MEMORY -nodefaults -no-user-config -no-reboot -display none -serial stdio \
		-kernel "$tree"/boot/vmlinuz-* -initrd "$work/initramfs" \
		-append 'console=ttyS0 quiet panic=-1 reboot=t rdinit=/init' </dev/null >"$log" 2>&1 ||
		fail "$1: qemu ended with status $?"
	collect "$log" "$2"
}

here_and_now() {
	local log=$work/running.log build
	for build in "$builds"/*; do
		# A bpffs and a network of its own, gone with it.
		unshare --mount --net bash -c 'mount -t bpf bpf /sys/fs/bpf && ip link set lo up && exec bash "$@"' - \
			"$here/check.sh" "$(basename "$build")" "$build"
	done >"$log" 2>&1 || true
	collect "$log" "$1"
}

print_table() {
	{
		echo 'row|KERNEL|CLANG|LOADED|VERIFIED INSTRUCTIONS|TESTS PASSED|FAILED'
		cat "$rows"
	} | awk -F'|' '{printf "%-28s %-10s %-8s %-34s %12s %7s\n", $2, $3, $4, $5, $6, $7}'
}

count=$(find "$builds" -mindepth 1 -maxdepth 1 -type d | wc -l)
: >"$rows"
here_and_now "$count"
for kernel in "$@"; do
	package=$(kernel_package "$kernel")
	if fetch_kernel "$package"; then
		boot "$package" "$count"
	else
		fail "$kernel: cannot be had from the package sources of this machine"
	fi
done
print_table
awk -F'|' '$7 != 0 || $6 == 0 {bad = 1} END {exit bad || NR == 0}' "$rows" || failed=true
! $failed
