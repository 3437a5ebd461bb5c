#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The allow and deny lists, end to end: the verbs, the file, time, restarts, and a million entries under traffic.

load common

setup_file() {
	bats_require_minimum_version 1.5.0
	export PATH="$PATH:/usr/sbin"
	export NS="swl-$$" IFACE="swl$$" DIR="$BATS_FILE_TMPDIR"
	export SPILLWAY_SOCKET="$DIR/spillway.sock" SPILLWAY_PINS="/sys/fs/bpf/spillway-lists-$$"
	export SPILLWAY="$O/spillway" TRAFFIC="$O/spillway-traffic"
	ip netns add "$NS"
	ip link add "$IFACE" type veth peer name attack netns "$NS"
	ip link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack address 02:00:00:00:00:02 up
	sysctl -qw "net.ipv6.conf.$IFACE.disable_ipv6=1"
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip link del "$IFACE" 2>/dev/null || true
	ip netns del "$NS" || true
}

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	config
}

teardown() {
	[ -z "${traffic:-}" ] || kill "$traffic"
	"$SPILLWAY" unload
	[ -z "${daemon:-}" ] || wait "$daemon" || true
	daemon=
}

# config [LINE...]: the configuration with more lines at its end.
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: null
		table: {users: 1000}
		services:
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 1, burst: 1}}
	END
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$DIR/spillway.yaml"
}

answers() {
	"$SPILLWAY" status >/dev/null 2>&1
}

start() {
	"$SPILLWAY" run --config "$DIR/spillway.yaml" >"$DIR/log" 2>&1 3>&- &
	daemon=$!
	until answers; do
		kill -0 "$daemon" 2>/dev/null || { cat "$DIR/log" >&2; return 1; }
		sleep 0.05
	done
}

# send SOURCE COUNT [OPTION...]: packets to the service dns. With EXEC=exec, in the background, its process is $!.
send() {
	${EXEC:-} nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --protocol udp --size 64 --rate 1000 --json --sources "$1" --count "$2" \
		"${@:3}"
}

# One number of the service dns: dns KEY.
dns() {
	"$SPILLWAY" services --json | jq ".[] | select(.name == \"dns\") | .$1"
}

lists() {
	"$SPILLWAY" status --json | jq ".lists.$1"
}

# fate SOURCE: what became of 50 packets from there.
fate() {
	local passed denied received
	received=$(dns received_packets) passed=$(dns passed_packets) denied=$(dns spilled_by_reason.denied)
	send "$1/32" 50 >/dev/null
	until_true 60 arrived $((received + 50))
	passed=$(($(dns passed_packets) - passed)) denied=$(($(dns spilled_by_reason.denied) - denied))
	case $passed-$denied in
	50-0) echo allowed ;;
	0-50) echo denied ;;
	*-0) echo metered ;;
	*) echo "$passed passed, $denied denied" ;;
	esac
}

arrived() {
	[ "$(dns received_packets)" -eq "$1" ]
}

@test "allow, deny and forget by hand, by the longest prefix; both lists are shown with what is left of their time" {
	start
	run -0 "$SPILLWAY" deny 10.0.0.0/8 2001:db8::/32
	run -0 "$SPILLWAY" allow 10.1.0.0/16 --for 1h
	assert_equal "$(fate 10.0.0.1)" denied
	assert_equal "$(fate 10.1.0.1)" allowed
	assert_equal "$(fate 172.16.0.1)" metered
	run -0 "$SPILLWAY" deny
	assert_line --regexp '^10\.0\.0\.0/8 +deny +- +verb$'
	assert_line --regexp '^2001:db8::/32 +deny +- +verb$'
	refute_output --partial 10.1.0.0/16
	run -0 "$SPILLWAY" allow --list
	assert_line --regexp '^10\.1\.0\.0/16 +allow +5[0-9]m [0-9]+s +verb$'
	run -0 "$SPILLWAY" forget --list --json
	assert_equal "$(jq length <<<"$output")" 3
	assert_equal "$(jq -c '.[] | select(.list == "allow") | [.prefix, .by, .left_seconds > 3000 and .left_seconds <= 3600]' \
		<<<"$output")" '["10.1.0.0/16","verb",true]'
	assert_equal "$(lists allowed)$(lists denied)" 12
	run -0 "$SPILLWAY" forget 10.0.0.0/8 10.1.0.0/16
	assert_equal "$(fate 10.0.0.1)" metered
	run -0 "$SPILLWAY" forget 2001:db8::/32
	run -0 "$SPILLWAY" deny --json
	assert_output "[]"
}

@test "what is wrong is said, and nothing is done" {
	start
	run -1 "$SPILLWAY" forget 10.0.0.0/8
	assert_output --partial "10.0.0.0/8: is on no list"
	run -2 "$SPILLWAY" deny 10.0.0.1/8
	assert_output --partial "did you mean 10.0.0.0/8?"
	run -2 "$SPILLWAY" deny 10.0.0.0/8 nobody
	local time
	for time in 0s -5m yesterday 10 ""; do
		run -2 "$SPILLWAY" deny 10.0.0.0/8 --for "$time"
		assert_output --partial "spillway: --for: "
	done
	run -1 "$SPILLWAY" deny 10.0.0.0/8 --for 101000d
	assert_output --partial "100 years"
	run -2 "$SPILLWAY" forget
	run -2 "$SPILLWAY" forget 10.0.0.0/8 --for 10m
	run -3 "$SPILLWAY" deny 10.0.0.0/8 --socket "$DIR/nobody.sock"
	run curl -s --unix-socket "$SPILLWAY_SOCKET" http://localhost/api/v1/deny -d '{"prefixes": ["10.0.0.0/8", 7]}'
	assert_output --partial "prefix 2 is no text"
	run curl -s --unix-socket "$SPILLWAY_SOCKET" http://localhost/api/v1/deny -d 'nonsense'
	assert_output --partial "no prefixes"
	assert_equal "$(lists denied)" 0
}

@test "an entry lapses to the second, also while the daemon is gone, and stays through a restart until then" {
	start
	"$SPILLWAY" deny 10.0.0.0/8
	"$SPILLWAY" deny 10.0.0.1 --for 1h
	local time began found
	# So long that a new daemon is there before: how long that is depends on the machine.
	for time in 6 20 60; do
		began=$SECONDS
		"$SPILLWAY" allow 10.0.0.0/16 --for "${time}s"
		kill -9 "$daemon"
		wait "$daemon" || true
		start
		found=$(fate 10.0.0.2)
		((SECONDS - began >= time - 1)) || break
	done
	assert_equal "$found" allowed
	kill -9 "$daemon"
	wait "$daemon" || true
	sleep $((time + 1 - (SECONDS - began)))
	start
	assert_equal "$(fate 10.0.0.2)" denied
	assert_equal "$(fate 10.0.0.1)" denied
	until_true 60 eval '[ "$(lists allowed)$(lists denied)" = 02 ]'
}

@test "the file's entries come and go with it; what a verb has set stays" {
	config "deny: [10.0.0.0/8]" "allow: [10.1.0.0/16]"
	start
	assert_equal "$(fate 10.0.0.1)" denied
	assert_equal "$(fate 10.1.0.1)" allowed
	"$SPILLWAY" deny 10.2.0.0/16
	"$SPILLWAY" deny 10.1.0.1
	config "deny: [10.0.0.0/16]"
	run -0 "$SPILLWAY" reload
	assert_equal "$(fate 10.0.0.1)" denied
	assert_equal "$(fate 10.3.0.1)" metered
	assert_equal "$(fate 10.1.0.2)" metered
	assert_equal "$(fate 10.1.0.1)" denied
	assert_equal "$(fate 10.2.0.1)" denied
	run -0 "$SPILLWAY" deny
	assert_line --regexp '^10\.0\.0\.0/16 +deny +- +file$'
	# A file that is refused changes nothing; nor does one whose services are.
	config "deny: [10.9.0.0/16]" "allow: [10.9.0.0/16]"
	run -1 "$SPILLWAY" reload
	assert_output --partial "spillway.yaml:8:9: prefix 10.9.0.0/16 is denied at line 7, column 8, and allowed here"
	assert_equal "$(fate 10.0.0.1)" denied
	# A file that is edited while no daemon runs.
	kill -9 "$daemon"
	wait "$daemon" || true
	config
	start
	assert_equal "$(fate 10.0.0.1)" metered
	assert_equal "$(fate 10.2.0.1)" denied
}

@test "F27: forged allowed sources are bounded by the list's own limit" {
	config "lists: {allowed_packets_per_second: 100}" "allow: [10.0.0.0/8]"
	start
	local sent passed
	send 10.0.0.1/32 4000 --rate 2000 >"$DIR/sent"
	sent=$(jq .sent "$DIR/sent")
	until_true 60 arrived "$sent"
	passed=$(dns passed_packets)
	# Two seconds at 100 a second, a burst of 10, and what the user's own limit lets through: 1 a second.
	assert [ "$passed" -ge 150 ]
	assert [ "$passed" -le "$(jq '.seconds * 110 + 50 | floor' "$DIR/sent")" ]
	assert_equal "$((passed + $(dns spilled_packets)))" "$sent"
	assert [ "$(lists over_packets)" -ge $((sent - passed)) ]
}

@test "F34: a million entries under traffic; a file with one bad line is refused whole" {
	local sent line
	start
	# Addresses from 64.0.0.0 on, spread as a real list is, each once.
	awk 'BEGIN {for (i = 0; i < 1000000; i++) {a = (i * 1048583) % 1073741824; printf "%d.%d.%d.%d\n",
		64 + int(a / 16777216), int(a / 65536) % 256, int(a / 256) % 256, a % 256}}' >"$DIR/million"
	sed '777777s/$/.9/' "$DIR/million" >"$DIR/bad"
	run -1 "$SPILLWAY" deny --file "$DIR/bad"
	assert_output --partial "$DIR/bad:777777: "
	assert_equal "$(lists denied)" 0

	EXEC="exec" send 10.0.0.0/16 10000000 --users 1000 --rate 10000 --seconds 900 >"$DIR/sent" 3>&- &
	traffic=$!
	"$SPILLWAY" deny --file "$DIR/million" 3>&- &
	local verb=$! slowest=0 asked=0 began took
	# The daemon answers all the while: nothing in its loop waits for the list.
	while kill -0 "$verb" 2>/dev/null; do
		began=${EPOCHREALTIME/./}
		"$SPILLWAY" status >/dev/null
		took=$((${EPOCHREALTIME/./} - began)) asked=$((asked + 1))
		slowest=$((took > slowest ? took : slowest))
		sleep 0.2
	done
	wait "$verb"
	echo "# $asked questions while a million entries went in, the slowest answer took $((slowest / 1000)) ms" >&3
	assert_equal "$(lists denied)" 1000000
	line=$(sed -n 123456p "$DIR/million")
	assert_equal "$("$SPILLWAY" forget "$line" && lists denied)" 999999
	"$SPILLWAY" deny "$line"
	# A new daemon has them all.
	kill -9 "$daemon"
	wait "$daemon" || true
	start
	assert_equal "$(lists denied)" 1000000
	run -1 "$SPILLWAY" forget --file <(cat "$DIR/million"; echo 1.2.3.4)
	assert_output --partial "1.2.3.4: is on no list"
	assert_equal "$(lists denied)" 1000000
	"$SPILLWAY" forget --file "$DIR/million"
	assert_equal "$(lists denied)" 0
	kill "$traffic"
	wait "$traffic"
	traffic=
	# The packet path lost nothing in all that time: every packet was counted once, and none was denied.
	sent=$(jq .sent "$DIR/sent")
	assert [ "$sent" -ge 50000 ]
	until_true 60 arrived "$sent"
	assert_equal "$(dns spilled_by_reason.denied)" 0
}
