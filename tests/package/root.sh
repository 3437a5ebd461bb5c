#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A clean Debian to install the package in.
#   root.sh base WORK DEB     a root with systemd and what DEB depends on, made once; prints its archive's path
#   root.sh boot ROOT PIDFILE its service manager, in namespaces and a cgroup of its own, until it is killed
# In it the network is two ends of a wire, edge0 and users0.
set -euo pipefail
readonly INCLUDED=(systemd systemd-sysv dbus iproute2 man-db bash-completion)

make_base() {
	local work=$1 depends list archive
	depends=$(dpkg-deb -f "$2" Depends | sed -E 's/ *\([^)]*\)//g; s/ *\|[^,]*//g; s/ //g')
	list=$(printf '%s,' "${INCLUDED[@]}")$depends
	archive=$work/base-$(cksum <<<"$list" | cut -d' ' -f1).tar
	if [ ! -e "$archive" ]; then
		mmdebstrap --quiet --variant=minbase --include="$list" "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
			"$archive.new.tar" >&2
		mv "$archive.new.tar" "$archive"
	fi
	echo "$archive"
}

# In the new namespaces: what a container's init finds, and then init.
enter() {
	local root=$1 device
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sys "$root/sys"
	mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
	mount -t bpf -o mode=0700 bpf "$root/sys/fs/bpf"
	mount -t tmpfs run "$root/run"
	mount -t tmpfs dev "$root/dev"
	mkdir "$root/dev/pts" "$root/dev/shm"
	for device in null zero full random urandom tty; do
		touch "$root/dev/$device"
		mount --bind "/dev/$device" "$root/dev/$device"
	done
	ln -s pts/ptmx "$root/dev/ptmx"
	ip link add edge0 address 02:00:00:00:00:01 type veth peer name users0 address 02:00:00:00:00:02
	ip link set edge0 up
	ip link set users0 up
	ip link set lo up
	cd "$root"
	mkdir -p old
	pivot_root . old
	umount -l old
	exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init --show-status=false
}

boot() {
	local cgroup
	cgroup=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)/spillway-package-$$
	mkdir "$cgroup"
	echo $$ >"$cgroup/cgroup.procs"
	echo "$$ $cgroup" >"$2"
	exec unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup "$0" enter "$1" </dev/null
}

verb=$1
shift
case $verb in
base) make_base "$@" ;;
boot) boot "$@" ;;
enter) enter "$@" ;;
esac
