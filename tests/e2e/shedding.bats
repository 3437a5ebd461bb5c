#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The main job, end to end: a daemon of its own on a veth pair of its own, real packets, real limits.

load common

setup_file() {
	make_wire
	config 'limit: {packets_per_second: 1000, burst: 1000}'
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
}

teardown() {
	stop
}

config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: ${MODE:-enforce}
		listen: null
		table: {users: 100000}
		services:
		  - name: dns
		    protocol: udp
		    ports: [53]
		    $1
	END
}

# One number of the service dns.
dns() {
	number dns "$1"
}

arrived() {
	[ "$(dns received_packets)" -eq "$1" ]
}

attached() {
	[ "$("$SPILLWAY" status --json | jq '.interfaces[0].attached')" = "$1" ]
}

level_is() {
	[ "$(dns level_packets_per_second)" = "$1" ]
}

@test "observe decides all and drops nothing" {
	"$SPILLWAY" unload
	start --observe
	local sent
	flood --sources 10.0.0.1/32 --users 1 --rate 5000 --seconds 2 >"$DIR/flood"
	sent=$(jq .sent "$DIR/flood")
	until_true 60 arrived "$sent"
	assert_equal "$(dns passed_packets)" "$sent"
	assert_equal "$(dns spilled_packets)" 0
	near "$(dns shadow_packets)" "$(jq '.sent - (.seconds + 1) * 1000' "$DIR/flood")" 3
}

@test "shedding goes on without the daemon, and a new one adopts counters and users" {
	"$SPILLWAY" unload
	start
	flood --sources 10.0.0.1/32 --users 1 --rate 5000 --seconds 1 >"$DIR/flood"
	kill -9 "$(cat "$DIR/pid")"
	rm "$DIR/pid"
	flood --sources 10.0.0.1/32 --users 1 --rate 5000 --seconds 2 >>"$DIR/flood"
	start
	run cat "$DIR/log"
	assert_output --partial "state adopted"
	until_true 60 arrived "$(jq -s 'map(.sent) | add' "$DIR/flood")"
	# The level and a burst passed of each at the most.
	assert [ "$(dns spilled_packets)" -ge "$(jq -s 'map(.sent - (.seconds + 1) * 1000) | add | floor' "$DIR/flood")" ]
}

@test "F05: SIGTERM leaves shedding, --detach-on-exit does not" {
	start
	stop
	run ip -j link show "$IFACE"
	assert_output --partial xdp
	start --detach-on-exit
	stop
	run ip -j link show "$IFACE"
	refute_output --partial '"xdp"'
	assert [ ! -e "$SPILLWAY_PINS" ]
}

@test "F06: a second daemon on the same pins is refused, the first untouched" {
	start
	run -1 "$SPILLWAY" run --config "$DIR/spillway.yaml" --socket "$DIR/second.sock"
	assert_output --partial "another spillway daemon runs on these pins"
	run -0 "$SPILLWAY" status
}

@test "F09: another program on the interface is not detached" {
	"$SPILLWAY" unload
	local other="/sys/fs/bpf/spillway-e2e-other-$$"
	SPILLWAY_PINS="$other" SPILLWAY_SOCKET="$DIR/other.sock" "$SPILLWAY" run --config "$DIR/spillway.yaml" \
		>"$DIR/other.log" 2>&1 3>&- &
	local pid=$!
	SPILLWAY_SOCKET="$DIR/other.sock" until_true 60 answers
	run -1 timeout 60 "$SPILLWAY" run --config "$DIR/spillway.yaml"
	assert_output --partial "another XDP program is attached"
	SPILLWAY_PINS="$other" SPILLWAY_SOCKET="$DIR/other.sock" run -0 "$SPILLWAY" status
	kill "$pid"
	wait "$pid" || true
	SPILLWAY_PINS="$other" "$SPILLWAY" unload
	assert [ ! -e "$SPILLWAY_PINS" ]
}

@test "F17: an interface that goes and comes back is attached again" {
	start
	ip link del "$IFACE"
	until_true 60 attached false
	lay_wire
	until_true 60 attached true
}

@test "reload is all or nothing" {
	start
	echo "  - {name: dns, protocol: udp, ports: [70000]}" >>"$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	assert_output --partial "spillway.yaml:"
	assert_equal "$(dns level_packets_per_second)" 1000
	config 'limit: {packets_per_second: 2000, burst: 1000}'
	run -0 "$SPILLWAY" reload
	assert_equal "$(dns level_packets_per_second)" 2000
	config 'limit: {packets_per_second: 1000, burst: 1000}'
}

@test "set overrides for a while" {
	start
	run -0 "$SPILLWAY" set dns level=50 mode=observe --for 1h
	assert_equal "$(dns level_packets_per_second)" 50
	assert_equal "$(dns mode)" '"observe"'
	# Each lapses at its own time.
	run -0 "$SPILLWAY" set dns level=60 --for 1s
	until_true 60 level_is 1000
	assert_equal "$(dns mode)" '"observe"'
	run -0 "$SPILLWAY" set dns mode=observe --for 1s
	until_true 60 eval '[ "$(dns mode)" = "\"enforce\"" ]'
	run -1 "$SPILLWAY" set nosuch level=50
	assert_output --partial "none of that name"
	run -2 "$SPILLWAY" set dns speed=50
}

@test "errors: one clear line and the documented exit status" {
	run -3 "$SPILLWAY" status --socket "$DIR/nobody.sock"
	assert_output --partial "no daemon answers"
	run -2 "$SPILLWAY" nonsense
	run -1 "$SPILLWAY" run --interface nosuch0 --pins "$SPILLWAY_PINS-x" --socket "$DIR/x.sock"
	assert_output --partial "interface nosuch0: not found"
	assert [ ! -e "$SPILLWAY_PINS-x" ]
	run -1 "$SPILLWAY" run --interface lo --pins "$DIR/not-bpffs" --socket "$DIR/x.sock"
	assert_output --partial "BPF file system"
	run -4 "$SPILLWAY" check <(echo "services: [{name: a, protocol: tcp, ports: [65536]}]")
	run -0 "$SPILLWAY" version
}

@test "unload leaves nothing, whatever it finds" {
	start
	run -0 "$SPILLWAY" unload
	assert [ ! -e "$SPILLWAY_PINS" ]
	run ip -j link show "$IFACE"
	refute_output --partial '"xdp"'
	run -0 "$SPILLWAY" unload
}
