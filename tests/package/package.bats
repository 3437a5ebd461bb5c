#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The life of the package in a clean Debian whose service manager runs: installed, configured, reloaded, killed, hung,
# upgraded, removed, purged. Each test goes on from the one before.

setup_file() {
	((EUID == 0)) || { echo "needs root: sudo make check-package" >&2; return 1; }
	bats_require_minimum_version 1.5.0
	export PATH="$PATH:/usr/sbin" DIR="$BATS_FILE_TMPDIR" WORK="$O/package"
	export DEB ROOT="$DIR/root" BOOT="$DIR/boot"
	DEB=$(ls "$WORK"/spillway_*_amd64.deb)
	mkdir "$ROOT"
	tar -xf "$("$BATS_TEST_DIRNAME/root.sh" base "$WORK" "$DEB")" -C "$ROOT" --exclude='./dev/*'
	cp "$DEB" "$ROOT/root/spillway.deb"
	"$BATS_TEST_DIRNAME/root.sh" boot "$ROOT" "$BOOT" >"$DIR/console" 2>&1 3>&- &
	within 10 test -s "$BOOT"
	within 60 inside systemctl --quiet is-active multi-user.target
	files >"$DIR/before"
}

teardown_file() {
	local pid cgroup
	read -r pid cgroup <"$BOOT"
	kill -KILL "$pid"
	within 20 no_processes "$cgroup"
	find "$cgroup" -depth -type d -exec rmdir {} \;
}

setup() {
	export BATS_LIB_PATH="${BATS_LIB_PATH:-/usr/lib/bats}"
	bats_load_library bats-support
	bats_load_library bats-assert
}

no_processes() {
	! grep -q '' "$1"/cgroup.procs "$1"/*/cgroup.procs "$1"/*/*/cgroup.procs 2>/dev/null
}

# within SECONDS COMMAND...
within() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		((SECONDS < deadline)) || { echo "not in time: $*" >&2; return 1; }
		sleep 0.1
	done
}

init_pid() {
	pgrep -P "$(cut -d' ' -f1 "$BOOT")"
}

inside() {
	nsenter --target "$(init_pid)" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

# What lies in the root, but for what is kept of every package's life and of every boot.
files() {
	(cd "$ROOT" && find etc usr var opt root srv home lib bin sbin boot mnt -xdev \
		\( -path var/log -o -path var/cache -o -path var/lib/dpkg -o -path var/lib/systemd -o -path 'var/tmp' \
		-o -path etc/passwd- -o -path etc/group- -o -path etc/shadow- -o -path etc/gshadow- \
		-o -path root -o -path etc/.pwd.lock \) -prune -o -print | sort)
	cat "$ROOT/etc/passwd" "$ROOT/etc/group" "$ROOT/etc/gshadow"
}

show() {
	inside systemctl show --value -p "$1" spillway.service
}

is() {
	[ "$(show "$1")" = "$2" ]
}

configure() {
	sed -i 's/^#\?interfaces:.*/interfaces: [edge0]/' "$ROOT/etc/spillway/spillway.yaml"
	cat >>"$ROOT/etc/spillway/spillway.yaml" <<-END
		  - {name: shop, protocol: tcp, ports: [8443], user: {kind: tag}, limit: {packets_per_second: 100}}
	END
}

packets() {
	nsenter --target "$(init_pid)" --net "$O/spillway-traffic" --interface users0 --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --protocol udp --size 64 --sources 10.0.0.1/32 --rate 1000 --count 100 >/dev/null
}

received() {
	inside spillway services --json | jq '.[] | select(.name == "dns") | .received_packets'
}

attached() {
	inside ip -d link show edge0 | grep -q 'prog/xdp'
}

@test "lintian has nothing to say" {
	run -0 lintian --allow-root --display-info --fail-on error,warning,info "$WORK"/spillway_*.changes
	assert_output ""
}

@test "it installs, starts nothing, and says what to do" {
	run -0 inside dpkg -i /root/spillway.deb
	assert_output --partial "name an interface in /etc/spillway/spillway.yaml, then 'systemctl enable --now spillway'"
	assert_equal "$(inside systemctl is-enabled spillway.service || true)" disabled
	is ActiveState inactive
	inside getent group spillway
	assert_equal "$(inside stat -c '%a %U:%G' /run/spillway)" "755 spillway:spillway"
	inside getent group spillway-viewers
	run -0 inside systemd-analyze verify spillway.service
	assert_output ""
	run -0 inside spillway check /etc/spillway/spillway.yaml
}

@test "without an interface it fails once, with the cause in the journal, and is not tried again" {
	run -1 inside systemctl start spillway.service
	sleep 1
	is ActiveState failed
	is NRestarts 0
	run -0 inside journalctl -u spillway --no-pager
	assert_output --partial "no interface: name one"
	inside systemctl reset-failed spillway.service
}

@test "with one it starts in its sandbox, and observes" {
	configure
	# Shorter than those that the unit comes with, for the tests below.
	mkdir -p "$ROOT/run/systemd/system" "$ROOT/etc/systemd/system/spillway.service.d"
	printf '[Service]\nRestartSec=100ms\nWatchdogSec=3s\n' >"$ROOT/etc/systemd/system/spillway.service.d/test.conf"
	inside systemctl daemon-reload
	inside systemctl enable --now spillway
	is ActiveState active
	attached
	inside spillway status
	inside spillway status --json >"$DIR/status"
	assert_equal "$(jq -r .mode "$DIR/status")" observe
	assert_equal "$(jq -r '.interfaces[0] | "\(.name) \(.mode)"' "$DIR/status")" "edge0 native"
	packets
	assert_equal "$(received)" 100
	# What listens has none, and is the user spillway; the broker has CAP_NET_ADMIN (12), CAP_PERFMON (38), CAP_BPF (39).
	run -0 inside grep -E '^(Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp|Uid):' "/proc/$(show MainPID)/status"
	assert_line --regexp 'CapEff:.*0000000000000000'
	assert_line --regexp 'CapPrm:.*0000000000000000'
	assert_line --regexp 'CapBnd:.*0000000000000000'
	assert_line --regexp 'NoNewPrivs:.*1'
	assert_line --regexp 'Seccomp:.*2'
	assert_line --regexp "^Uid:	$(inside id -u spillway)	"
	run -0 inside grep -E '^Cap(Eff|Bnd):' "/proc/$(jq .processes.broker "$DIR/status")/status"
	assert_line --regexp 'CapEff:.*000000c000001000'
	assert_line --regexp 'CapBnd:.*0000000000000000'
	assert_equal "$(jq -c '[.protections[] | select(.name != "landlock") | .on] | all' "$DIR/status")" true
}

# features FILE: which are on. The history is one process's at a time.
features() {
	jq -c '[.features[] | select(.name != "history") | [.name, .on]]' "$1"
}

@test "what the sandbox takes away is no feature" {
	assert_equal "$(jq '.features[] | select(.name == "history") | .on' "$DIR/status")" true
	assert_equal "$(jq '.features[] | select(.name == "tags") | .on' "$DIR/status")" true
	# Beside it, at the other end of the wire, one that has no sandbox.
	inside sh -c 'sed "s/^listen:.*/listen: null/" /etc/spillway/spillway.yaml >/root/bare.yaml'
	inside systemd-run --quiet --unit=bare --service-type=notify spillway run --config /root/bare.yaml \
		--interface users0 --socket /run/bare/s --pins /sys/fs/bpf/bare
	inside spillway status --json --socket /run/bare/s >"$DIR/bare"
	inside systemctl stop bare.service
	inside spillway unload --socket /run/bare/s --pins /sys/fs/bpf/bare
	assert_equal "$(features "$DIR/status")" "$(features "$DIR/bare")"
}

@test "the group may control it, others may not" {
	assert_equal "$(inside stat -c '%a %U:%G' /run/spillway/spillway.sock)" "660 spillway:spillway"
	local group
	group=$(inside getent group spillway | cut -d: -f3)
	run -0 inside setpriv --reuid=65534 --regid=65534 --groups="$group" spillway status
	run -3 inside setpriv --reuid=65534 --regid=65534 --clear-groups spillway status
	assert_output --partial "not permitted"
}

@test "systemctl reload applies the file, or fails and changes nothing" {
	sed -i 's/packets_per_second: 500,/packets_per_second: 700,/' "$ROOT/etc/spillway/spillway.yaml"
	inside systemctl reload spillway
	assert_equal "$(inside spillway services --json | jq '.[] | select(.name == "dns") | .level_packets_per_second | round')" 700
	echo 'speed: 9' >>"$ROOT/etc/spillway/spillway.yaml"
	run -1 inside systemctl reload spillway.service
	is ActiveState active
	assert_equal "$(inside spillway services --json | jq '.[] | select(.name == "dns") | .level_packets_per_second | round')" 700
	sed -i '/^speed/d' "$ROOT/etc/spillway/spillway.yaml"
}

@test "killed, it is started again, and goes on with its counters" {
	local before
	before=$(show MainPID)
	inside sh -c "kill -KILL $before"
	attached
	within 20 is NRestarts 1
	within 20 is ActiveState active
	packets
	assert_equal "$(received)" 200
}

@test "hung, the watchdog ends it, and it is started again" {
	inside sh -c "kill -STOP $(show MainPID)"
	within 30 is NRestarts 2
	within 20 is ActiveState active
	run -0 inside journalctl -u spillway --no-pager
	assert_output --partial "Watchdog timeout"
	assert_equal "$(received)" 200
}

@test "an upgrade restarts it under the packets, and keeps what the operator wrote" {
	local before
	before=$(show MainPID)
	dpkg-deb -R "$DEB" "$DIR/newer"
	sed -i 's/^Version: .*/&+newer/' "$DIR/newer/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$DIR/newer" "$ROOT/root/newer.deb" >/dev/null
	run -0 inside dpkg -i /root/newer.deb
	refute_output --partial "name an interface"
	is ActiveState active
	within 20 inside spillway status
	refute [ "$(show MainPID)" = "$before" ]
	grep -q 'packets_per_second: 700,' "$ROOT/etc/spillway/spillway.yaml"
	attached
	packets
	assert_equal "$(received)" 300
}

@test "what was is in the history" {
	within 20 inside spillway history --service dns --from -2h --format chart # written in batches
	run inside spillway forecast --service dns --horizon 14d
	assert_output --partial "history"
}

@test "stopped, it sheds on; started again, it goes on" {
	inside systemctl stop spillway
	attached
	packets
	inside systemctl start spillway
	assert_equal "$(received)" 400
}

@test "removed, nothing sheds any more; the configuration stays" {
	run -0 inside dpkg -r spillway
	run inside systemctl is-active spillway.service
	refute_output active
	run ! attached
	run ! inside test -e /sys/fs/bpf/spillway
	assert [ -e "$ROOT/etc/spillway/spillway.yaml" ]
	assert [ ! -e "$ROOT/usr/sbin/spillway" ]
}

@test "purged, nothing of it is left" {
	rm -r "$ROOT/etc/systemd/system/spillway.service.d"
	run -0 inside dpkg -P spillway
	files >"$DIR/after"
	diff "$DIR/before" "$DIR/after"
	run ! inside dpkg -s spillway
	assert [ ! -e "$ROOT/var/lib/spillway" ]
	run ! inside test -e /run/spillway
}

@test "make install puts all where it is told, and make uninstall takes all of it" {
	local where="$DIR/installed"
	run -0 make -C "$BATS_TEST_DIRNAME/../.." --no-print-directory O="$O" install DESTDIR="$where" PREFIX=/opt/spillway
	assert [ -x "$where/opt/spillway/sbin/spillway" ]
	assert [ -e "$where/opt/spillway/include/spillway.h" ]
	assert [ -e "$where/opt/spillway/share/man/man8/spillway-run.8" ]
	grep -q '^ExecStart=!/opt/spillway/sbin/spillway run --config /opt/spillway/etc/spillway/spillway.yaml$' \
		"$where/opt/spillway/lib/systemd/system/spillway.service"
	run -0 make -C "$BATS_TEST_DIRNAME/../.." --no-print-directory O="$O" uninstall DESTDIR="$where" PREFIX=/opt/spillway
	assert_equal "$(find "$where" ! -type d)" ""
}
