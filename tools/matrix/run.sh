#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# F33. usage: run.sh BUILDS [KERNEL...]: Spillway on the running kernel and on each KERNEL, the name of a Debian package or of
# one that depends on it, booted by qemu without hardware virtualisation. BUILDS is a directory of build directories, one
# for each compiler, named like it. Kernels are unpacked below BUILDS/../kernels and never installed. Prints tables, and
# fails where anything did, or had no time.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
builds=$(readlink -f "$1")
shift
work=$(dirname "$builds")
readonly GUEST_MEMORY=1536M
# How long a build's packet tests may take; and a guest, with them, its start and what else check.sh does there.
export MATRIX_SECONDS=${MATRIX_SECONDS:-2400}
readonly GUEST_WITHIN_S=$((MATRIX_SECONDS + 1200))
# Beside the packet path's own: what the program on the way out hangs on before kernel 6.6, and what listeners are asked by.
readonly MODULES=(veth sch_ingress cls_bpf tcp_diag)
# A clock that is read without a way through qemu. And none of the fast string instructions (REP_GOOD, ERMS, FSRM), which
# are emulated step by step: verifier_test took some 55 s of processor time without and 95 with them, one run each.
readonly GUEST_KERNEL="tsc=reliable clearcpuid=112,297,580"
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

# copy_program ROOT FILE [AS]: without its symbols, and with the shared libraries that it needs, where it looks for them.
copy_program() {
	local library
	install -s -D "$2" "$1/${3:-$2}"
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

# The initramfs for the unpacked kernel in $1 and the build $2, as $3.
make_initramfs() {
	local root=$work/root program module build=$2
	rm -rf "$root"
	mkdir -p "$root"/{bin,boot,builds,dev,modules,proc,run,sys,tmp}
	install /bin/busybox "$root/bin/busybox"
	install "$here/guest.sh" "$root/init"
	install "$here/check.sh" "$root/check.sh"
	cp "$1"/boot/config-* "$root/boot/"
	for module in "${MODULES[@]}"; do
		copy_module "$root" "$1" "$module"
	done
	for program in "${PROGRAMS[@]}"; do
		copy_program "$root" "$(command -v "$program")" "bin/$program"
	done
	for program in "$build"/spillway "$build"/spillway-traffic "$build"/tests/packet/*_test; do
		copy_program "$root" "$program" "builds/$(basename "$build")/${program#"$build/"}"
	done
	(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$3"
	rm -rf "$root"
}

# collect LOG: the row and the words of one build on one kernel.
collect() {
	sed -i 's/\r$//' "$1" # as the serial console has it
	grep '^matrix: ' "$1" || true
	grep '^row|' "$1" >>"$rows" && return
	fail "no result: the end of $1:"
	tail -n 40 "$1" >&2
}

# boot PACKAGE BUILD: a guest for each, so that one that hangs takes nothing else along.
boot() {
	local tree=$work/kernels/$1 log
	log=$work/$1.$(basename "$2").log
	make_initramfs "$tree" "$2" "$work/initramfs"
	# Not microvm, which boots a second faster: on a busy host its guests hang before they find their clock.
	nice timeout --foreground $GUEST_WITHIN_S qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 \
		-m $GUEST_MEMORY -nodefaults -no-user-config -no-reboot -display none -serial stdio \
		-kernel "$tree"/boot/vmlinuz-* -initrd "$work/initramfs" \
		-append "console=ttyS0 quiet panic=-1 reboot=t rdinit=/init $GUEST_KERNEL EMULATED=1 MATRIX_SECONDS=$MATRIX_SECONDS" \
		</dev/null >"$log" 2>&1 || fail "$1: qemu ended with status $?"
	collect "$log"
}

# here_and_now BUILD
here_and_now() {
	local log
	log=$work/running.$(basename "$1").log
	# A bpffs and a network of its own, gone with it.
	unshare --mount --net bash -c 'mount -t bpf bpf /sys/fs/bpf && ip link set lo up && exec bash "$@"' - \
		"$here/check.sh" "$(basename "$1")" "$1" >"$log" 2>&1 || true
	collect "$log"
}

# A row for each kernel and compiler, and below it the programs beside the packet path.
print_table() {
	awk -F'|' -v form='%-28s %-10s %-8s %-34s %7s %7s\n' '
		BEGIN {printf form, "KERNEL", "CLANG", "LOADED", "VERIFIED INSTRUCTIONS", "PASSED", "FAILED"}
		{
			path = beside = $5
			sub(/\).*/, ")", path)
			sub(/.*\) /, "", beside)
			printf form, $2, $3, $4, path, $6, $7
			printf "%29s%s\n", "", beside
		}' "$rows"
}

# The tests that passed, a row for each program of them and a column for each kernel and compiler.
print_tests() {
	awk -F'|' '
		{
			columns++
			match($2, /^[0-9]+\.[0-9]+/)
			heading = heading sprintf(" %14s", substr($2, 1, RLENGTH) "/" $3)
			count = split($8, results, " ")
			for (i = 1; i <= count; i++) {
				split(results[i], result, "=")
				if (!(result[1] in seen)) names[++rows] = result[1]
				seen[result[1]]
				passed[result[1], columns] = result[2]
			}
		}
		END {
			printf "%-16s%s\n", "TESTS PASSED", heading
			for (row = 1; row <= rows; row++) {
				printf "%-16s", names[row]
				for (column = 1; column <= columns; column++) printf " %14s", passed[names[row], column]
				print ""
			}
		}' "$rows"
}

: >"$rows"
for build in "$builds"/*; do
	here_and_now "$build"
done
for kernel in "$@"; do
	package=$(kernel_package "$kernel")
	if ! fetch_kernel "$package"; then
		fail "$kernel: cannot be had from the package sources of this machine"
		continue
	fi
	for build in "$builds"/*; do
		boot "$package" "$build"
	done
done
print_table
print_tests
awk -F'|' '$7 != 0 || $6 == 0 || $8 ~ /=late/ {bad = 1} END {exit bad || NR == 0}' "$rows" || failed=true
! $failed
