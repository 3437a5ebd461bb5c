#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What can happen to an interface while it is judged, and before: it is attached again, and never another in its place.

load common

setup_file() {
	world_up
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
	other="o$IFACE"
	foreign="/sys/fs/bpf/foreign-fault-$$"
}

teardown() {
	ip link set dev "$IFACE" xdpdrv off 2>/dev/null || true
	rm -rf "$foreign"
	finish
	ip link del "$other" 2>/dev/null || true
	ip link del "$IFACE" 2>/dev/null || true
	pair_up "$IFACE"
}

has_xdp() {
	ip -d link show dev "$1" | grep -q xdp
}

has_no_xdp() {
	! has_xdp "$1"
}

detached() {
	"$SPILLWAY" status --json | jq -e '.interfaces[0] | (.attached or .index != null) | not' >/dev/null
}

# `drop` of another program, loaded and attached as another owner would.
attach_foreign() {
	mkdir -p "$foreign"
	bpftool prog loadall "$O/tools/bench/receivers.bpf.o" "$foreign"
	bpftool net attach xdpdrv pinned "$foreign/drop" dev "$IFACE"
}

@test "F09: a foreign program is named, and stays; when it goes, the next start attaches" {
	attach_foreign
	run -1 "$SPILLWAY" run --config "$CONFIG"
	assert_output "spillway: error: interface $IFACE: another XDP program is attached (drop): detach it with 'ip link \
set dev $IFACE xdp off' or by its owner"
	assert [ ! -e "$SPILLWAY_PINS" ]
	run bpftool net show dev "$IFACE"
	assert_output --partial "$IFACE("
	ip link set dev "$IFACE" xdpdrv off
	start
	assert_counts
}

@test "F09: a foreign program on an interface that comes back is said once, and outlasted" {
	start
	ip link set "$IFACE" name "$other"
	ip link del "$other"
	within 60 detached
	kill -STOP "$daemon"
	pair_up "$IFACE"
	attach_foreign
	kill -CONT "$daemon"
	within 60 grep -q "another XDP program is attached (drop)" "$DIR/log"
	sleep 2.2 # two looks
	assert_equal "$(grep -c "another XDP program" "$DIR/log")" 1
	ip link set dev "$IFACE" xdpdrv off
	within 60 attached
	assert_counts
}

@test "F10: jumbo frames, set before the start or while it runs, and counted" {
	local mtu
	for mtu in 9000 1500; do
		ip -n "$NS" link set attack mtu "$mtu"
		ip link set "$IFACE" mtu "$mtu"
		start
		assert_counts
		ip -n "$NS" link set attack mtu $((10500 - mtu))
		ip link set "$IFACE" mtu $((10500 - mtu))
		attached
		assert_counts
		unload
	done
}

@test "F17: down and up" {
	start
	ip link set "$IFACE" down
	ip link set "$IFACE" up
	within 60 attached
	assert_counts
}

@test "F17: deleted and made again, over and over" {
	start
	for _ in 1 2 3; do
		ip link del "$IFACE"
		within 60 detached
		run curl -sS --unix-socket "$SPILLWAY_SOCKET" -o /dev/null -w '%{http_code}' http://localhost/-/ready
		assert_output 503
		pair_up "$IFACE"
		within 60 attached
		assert_counts
	done
	assert_equal "$(find "$SPILLWAY_PINS" -name 'link_*' | wc -l)" 1
}

@test "F17: renamed, it stays protected; when another takes the name, that one is judged instead" {
	start
	ip link set "$IFACE" name "$other"
	sleep 1.5
	has_xdp "$other"
	assert_counts
	ip link add "$IFACE" type veth peer name "p$IFACE"
	within 60 attached
	within 60 has_no_xdp "$other"
	assert_equal "$(find "$SPILLWAY_PINS" -name 'link_*' | wc -l)" 1
	# The other way round: the first one takes its name back.
	ip link del "$IFACE"
	within 60 detached
	ip link set "$other" name "$IFACE"
	within 60 attached
	assert_counts
}

@test "F17: two interfaces that swap their names" {
	start
	ip link add "$other" type veth peer name "p$IFACE"
	ip link set "$IFACE" name "t$IFACE"
	ip link set "$other" name "$IFACE"
	ip link set "t$IFACE" name "$other"
	within 60 attached
	within 60 has_no_xdp "$other"
	ip link set "$IFACE" name "t$IFACE"
	ip link set "$other" name "$IFACE"
	ip link set "t$IFACE" name "$other"
	within 60 attached
	within 60 has_no_xdp "$other"
	assert_counts
}

@test "F17: moved to another namespace and back" {
	start
	ip link set "$IFACE" netns "$NS"
	within 60 detached
	run ip -n "$NS" -d link show dev "$IFACE"
	refute_output --partial xdp
	ip -n "$NS" link set "$IFACE" netns $$
	ip link set "$IFACE" up
	within 60 attached
	assert_counts
}

@test "F17: changes while the daemon was away are found at the start" {
	start
	kill -9 "$daemon"
	wait "$daemon" || true
	ip link set "$IFACE" name "$other"
	ip link add "$IFACE" type veth peer name "p$IFACE"
	start
	attached
	has_no_xdp "$other"
	kill -9 "$daemon"
	wait "$daemon" || true
	ip link del "$IFACE"
	ip link set "$other" name "$IFACE"
	start
	attached
	assert_counts
	unload
}
