#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The directory of pins and the file system below it: missing, closed, somebody else's, emptied, of another version.

load common

setup_file() {
	world_up
	start
	pinned >"$DIR/whole"
	kill "$daemon"
	wait "$daemon" || true
	"$SPILLWAY" unload
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
}

teardown() {
	chmod 700 "$SPILLWAY_PINS" 2>/dev/null || true
	finish
	rm -rf "$SPILLWAY_PINS"
}

pinned() {
	find "$SPILLWAY_PINS" -mindepth 1 2>/dev/null | sort
}

# Whether all is pinned that a start pins.
whole() {
	[ "$(pinned)" = "$(cat "$DIR/whole")" ]
}

kill_daemon() {
	kill -9 "$daemon"
	wait "$daemon" || true
	daemon=
}

# Runs a script in a mount namespace of its own, where /sys/fs/bpf may be changed, and waits for its end there.
in_own_mounts() {
	run unshare -m bash -c "$1"
}

@test "F06: a second daemon is refused by the first's pins and by its socket, and disturbs neither" {
	start
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "$SPILLWAY_PINS: another spillway daemon runs on these pins: stop it, or name others"
	local other="$SPILLWAY_PINS-other"
	ip link add "o$IFACE" type veth peer name "p$IFACE"
	run -1 "$SPILLWAY" run --interface "o$IFACE" --pins "$other"
	ip link del "o$IFACE"
	assert_output --partial "another daemon answers there: name another with --socket"
	assert [ ! -e "$other" ]
	attached
	assert_counts
}

@test "F11: without a BPF file system the daemon mounts one" {
	in_own_mounts '
		umount -A /sys/fs/bpf
		"$SPILLWAY" run --config "$CONFIG" 2>&1 &
		for _ in {1..3000}; do "$SPILLWAY" status >/dev/null 2>&1 && break; sleep 0.02; done
		findmnt -no FSTYPE,OPTIONS /sys/fs/bpf
		ls "$SPILLWAY_PINS" | wc -l
		"$SPILLWAY" unload && wait'
	assert_success
	assert_line --regexp "^bpf .*mode=700"
	assert_line "$(wc -l <"$DIR/whole")"
}

@test "F11: what cannot hold pins is refused with the cause" {
	in_own_mounts 'mount -o remount,bind,ro /sys/fs/bpf && "$SPILLWAY" run --config "$CONFIG"'
	assert_failure 1
	assert_output --partial "$SPILLWAY_PINS: cannot make the directory of pins: Read-only file system"
	in_own_mounts 'umount -A /sys/fs/bpf && exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin \
		"$SPILLWAY" run --config "$CONFIG"'
	assert_failure 1
	assert_output --partial "/sys/fs/bpf: cannot mount the BPF file system: Operation not permitted"
	run -1 "$SPILLWAY" run --config "$CONFIG" --pins "$SPILLWAY_PINS/missing/below"
	assert_output --partial "$SPILLWAY_PINS/missing/below: cannot make the directory of pins: No such file"
	assert_equal "$(findmnt -no TARGET /sys/fs/bpf | wc -l)" 1
	run -1 "$SPILLWAY" run --config "$CONFIG" --pins "$DIR/pins"
	assert_output --partial "$DIR/pins: not on a BPF file system: name a directory below /sys/fs/bpf"
	assert [ ! -e "$DIR/pins" ]
}

@test "F11: a directory that others could change is not used, and not touched" {
	mkdir "$SPILLWAY_PINS"
	chmod 777 "$SPILLWAY_PINS"
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "$SPILLWAY_PINS: belongs to user 0 with mode 777: others could change what is pinned there"
	chmod 700 "$SPILLWAY_PINS"
	chown nobody "$SPILLWAY_PINS"
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "belongs to user $(id -u nobody) with mode 700"
	assert_equal "$(stat -c %U "$SPILLWAY_PINS")" nobody
	chown root "$SPILLWAY_PINS"
	rmdir "$SPILLWAY_PINS"
	ln -s /sys/fs/bpf "$SPILLWAY_PINS"
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "$SPILLWAY_PINS: cannot open the directory of pins: "
	rm "$SPILLWAY_PINS"
}

@test "F12: pins removed under a running daemon are pinned again, and the packet path never notices" {
	start
	rm "$SPILLWAY_PINS"/state "$SPILLWAY_PINS"/link_*
	within 60 whole
	assert_counts
	rm -r "$SPILLWAY_PINS"
	within 60 whole
	assert_counts
	run cat "$DIR/log"
	assert_output --partial "$SPILLWAY_PINS: 2 pins were removed: pinned again"
	assert_output --partial "$SPILLWAY_PINS: $(wc -l <"$DIR/whole") pins were removed: pinned again"
	assert_equal "$(told recovery)" 2
	# The new directory is locked as the old one was, and what it holds is adopted.
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "another spillway daemon runs on these pins"
	kill_daemon
	start
	assert_equal "$(received)" 6
}

# told EVENT: how many of these have been told.
told() {
	curl -s --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics |
		sed -n "s/^spillway_events_total{event=\"$1\"} //p"
}

faulty() {
	[ "$(told fault)" = 1 ]
}

@test "F12: the BPF file system mounted anew under a running daemon: pinned again, which is told" {
	in_own_mounts '
		"$SPILLWAY" run --config "$CONFIG" 2>"$DIR/remounted" 3>&- &
		for _ in {1..200}; do "$SPILLWAY" status >/dev/null 2>&1 && break; sleep 0.02; done
		umount -l /sys/fs/bpf && mount -t bpf -o mode=700 bpf /sys/fs/bpf
		for _ in {1..150}; do [ "$(ls "$SPILLWAY_PINS" 2>/dev/null | wc -l)" -ge "$(wc -l <"$DIR/whole")" ] && break; sleep 0.02; done
		ls "$SPILLWAY_PINS" | wc -l
		curl -s --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics | grep "spillway_events_total{"
		"$SPILLWAY" unload && wait'
	assert_success
	assert_line "$(wc -l <"$DIR/whole")"
	assert_line 'spillway_events_total{event="recovery"} 1'
	run cat "$DIR/remounted"
	assert_output --partial "pins were removed: pinned again"
}

@test "F12: pins that cannot be kept are a fault, and it is told when it ends" {
	start
	rm -r "$SPILLWAY_PINS"
	mkdir -m 777 "$SPILLWAY_PINS"
	chmod 777 "$SPILLWAY_PINS"
	within 5 faulty
	rmdir "$SPILLWAY_PINS"
	within 5 whole
	within 5 grep -q "no longer so: $SPILLWAY_PINS" "$DIR/log"
	assert_counts
}

@test "F12: any map's pin missing at start is recovered from the program at work, with all counters" {
	local pin count=0
	start
	for pin in $(grep -v link_ "$DIR/whole"); do
		kill_daemon
		rm "$pin"
		start
		whole
		assert_equal "$(received)" "$count"
		assert_counts
		run cat "$DIR/log"
		assert_output --partial "$pin: was removed: recovered from the program at work"
		count=$((count + 3))
	done
	assert_equal "$count" $((3 * $(grep -vc link_ "$DIR/whole")))
}

@test "F12: where nothing holds the maps any more, a missing pin begins all anew, and says so" {
	local pin
	for pin in meter_sets meter_details meter_gauges state catalogues; do
		start
		assert_counts
		kill_daemon
		rm "$SPILLWAY_PINS"/*link_* "$SPILLWAY_PINS/$pin"
		start
		attached
		assert_equal "$(received)" 0
		assert_counts
		unload
	done
	start
	kill_daemon
	rm "$SPILLWAY_PINS"/*link_* "$SPILLWAY_PINS/tallies"
	start
	run cat "$DIR/log"
	assert_output --partial "counters and users begin anew"
}

@test "F12: a link's pin missing at start: attached again, counters kept" {
	start
	assert_counts
	kill_daemon
	rm "$SPILLWAY_PINS"/link_*
	start
	attached
	assert_equal "$(received)" 3
	assert_counts
}

@test "F13: pinned state of another version is refused by name and left as it is" {
	local abi
	start
	assert_counts
	kill_daemon
	abi=$(set_abi 77)
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output --partial "$SPILLWAY_PINS: state of another spillway version (this is $abi) is pinned"
	assert_output --partial "'spillway unload' removes it"
	whole
	run ip link show "$IFACE"
	assert_output --partial xdp
	set_abi "$abi"
	start
	assert_equal "$(received)" 3
}

# Writes a version into the pinned state, the second word of `struct live`, and prints the one that was there.
set_abi() {
	PYTHONPATH="$BATS_TEST_DIRNAME/.." python3 - "$SPILLWAY_PINS/state" "$1" <<-'END'
		import struct, sys
		from pinned_map import pinned_map
		state = pinned_map(sys.argv[1])
		print(struct.unpack_from("I", state, 4)[0])
		struct.pack_into("I", state, 4, int(sys.argv[2]))
	END
}
