#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The laboratory itself: it serves what it promises, and nothing of it stays, however it ends.

bats_require_minimum_version 1.5.0

setup_file() {
	((EUID == 0)) || skip "needs root"
	export LAB_SH="$BATS_TEST_DIRNAME/../../tools/lab.sh"
	export CLIENT="${O:-$BATS_TEST_DIRNAME/../../build}/spillway-client"
	[[ -x $CLIENT ]] || {
		echo "no $CLIENT: run 'make', or name the build directory in O" >&2
		return 1
	}
}

setup() {
	export BATS_LIB_PATH="${BATS_LIB_PATH:-/usr/lib/bats}"
	bats_load_library bats-support
	bats_load_library bats-assert
	# The pid keeps two runs of the tests out of each other's way.
	lab="t$$-$BATS_TEST_NUMBER"
	other="b$lab"
}

teardown() {
	"$LAB_SH" down --name "$lab"
	"$LAB_SH" down --name "$other"
}

# assert_nothing_left NAME
assert_nothing_left() {
	run ip netns list
	refute_output --partial "swl-$1-"
	assert [ ! -e "/run/spillway-lab-$1" ]
	run pgrep -f "/run/spillway-lab-$1/"
	assert_failure 1
}

# assert_ended PID: gone, or waiting for nothing but its parent to take note.
assert_ended() {
	run grep -q '^State:.[^ZX]' "/proc/$1/status"
	assert_failure
}

# assert_all_answered NAME SERVER: HTTP and DNS, from every one of four users.
assert_all_answered() {
	run --separate-stderr "$LAB_SH" exec "$1" users -- \
		"$CLIENT" --server "$2" --users 4 --http 10 --dns 20 --seconds 0.5 --json
	assert_success
	assert_equal "$(jq -c '[.http, .dns, .total | .sent, .answered, .lost]' <<<"$output")" \
		'[20,20,0,40,40,0,60,60,0]'
}

# until_true SECONDS COMMAND...
until_true() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.05
	done
}

@test "web and DNS answer over both families, again after down and up" {
	for _ in 1 2; do
		"$LAB_SH" up --name "$lab" --users 4
		assert_all_answered "$lab" 10.99.0.1
		assert_all_answered "$lab" fd00:99::1
		"$LAB_SH" down --name "$lab"
		assert_nothing_left "$lab"
	done
}

@test "down is idempotent, and up refuses a name that is taken without harming it" {
	"$LAB_SH" down --name "$lab"
	"$LAB_SH" up --name "$lab" --users 4
	run "$LAB_SH" up --name "$lab"
	assert_failure 1
	assert_output --partial "there already"
	assert_all_answered "$lab" 10.99.0.1
	"$LAB_SH" down --name "$lab"
	"$LAB_SH" down --name "$lab"
	assert_nothing_left "$lab"
}

@test "two laboratories stand beside each other" {
	"$LAB_SH" up --name "$lab" --users 4
	"$LAB_SH" up --name "$other" --users 4
	assert_all_answered "$lab" 10.99.0.1
	assert_all_answered "$other" 10.99.0.1
	"$LAB_SH" down --name "$other"
	assert_nothing_left "$other"
	assert_all_answered "$lab" fd00:99::1
}

@test "with --vlan frames reach the edge tagged, and are answered" {
	"$LAB_SH" up --name "$lab" --users 4 --vlan 7
	assert_all_answered "$lab" 10.99.0.1
	assert_all_answered "$lab" fd00:99::1
	# The kernel takes the tag out of the frame for packet sockets, and tells it beside (PACKET_AUXDATA, packet(7)).
	"$LAB_SH" exec "$lab" edge -- python3 - >"$BATS_TEST_TMPDIR/tag" 3>&- <<-'END' &
		import socket, struct
		listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
		listener.bind(("edge0", 0))
		listener.setsockopt(263, 8, 1)
		listener.settimeout(60)
		print("listening", flush=True)
		while True:
		    _, extra, _, sender = listener.recvmsg(2048, 256)
		    if sender[2] != 4:
		        print("tag", struct.unpack_from("=IIIHHHH", extra[0][2])[5] & 0xfff)
		        break
	END
	until_true 60 grep -q listening "$BATS_TEST_TMPDIR/tag"
	assert_all_answered "$lab" 10.99.0.1
	wait $!
	run cat "$BATS_TEST_TMPDIR/tag"
	assert_line "tag 7"
	"$LAB_SH" down --name "$lab"
	assert_nothing_left "$lab"
}

@test "users beyond 255 have addresses of their own, and forged sources do not stall the edge" {
	"$LAB_SH" up --name "$lab" --users 600
	run --separate-stderr "$LAB_SH" exec "$lab" users -- \
		"$CLIENT" --users 600 --http 0 --dns 2 --seconds 0.5 --json
	assert_success
	assert_equal "$(jq .dns.answered <<<"$output")" 600
	# Queries from 200 addresses that nobody has: the edge must ask no neighbour about any.
	"$LAB_SH" exec "$lab" attacker -- ip route add local 10.99.210.0/24 dev lo
	run --separate-stderr "$LAB_SH" exec "$lab" attacker -- \
		"$CLIENT" --first-ipv4 10.99.210.1 --users 200 --http 0 --dns 2 --seconds 0.5 --json
	assert_success
	run "$LAB_SH" exec "$lab" edge -- ip -4 neighbour show nud incomplete nud failed nud stale nud reachable
	refute_output
}

@test "run hands its command the laboratory, returns its status, and leaves nothing" {
	# shellcheck disable=SC2016 # for the inner shell
	run "$LAB_SH" run --name "$lab" --users 4 -- bash -c \
		'echo "$LAB_NAME $LAB_EDGE $LAB_USERS $LAB_ATTACKER $LAB_EDGE_IPV4 $LAB_EDGE_IPV6 $LAB_STATE"
		nsenter --net="/run/netns/$LAB_EDGE" ip link show edge0 | grep -c "$LAB_EDGE_MAC"; cat; exit 7' <<<"said"
	assert_failure 7
	assert_line "$lab swl-$lab-edge swl-$lab-users swl-$lab-attacker 10.99.0.1 fd00:99::1 /run/spillway-lab-$lab"
	assert_line 1
	assert_line said
	assert_nothing_left "$lab"
}

@test "a signal to run ends its command and removes the laboratory" {
	local signal command_pid
	for signal in TERM HUP INT; do
		# Without job control bash has background commands ignore interrupts, for good; who is above us, hangups.
		env --default-signal=INT,HUP "$LAB_SH" run --name "$lab" --users 4 -- sleep 600 3>&- &
		until_true 60 test -e "/run/spillway-lab-$lab/command"
		read -r command_pid _ <"/run/spillway-lab-$lab/command"
		kill -"$signal" $!
		wait $! || true
		assert_nothing_left "$lab"
		assert_ended "$command_pid"
	done
}

@test "a signal in the middle of up undoes it" {
	local pause
	for pause in 0.02 0.06 0.1 0.15; do
		"$LAB_SH" up --name "$lab" --users 4 3>&- 2>/dev/null &
		sleep "$pause"
		kill -TERM $! 2>/dev/null || true
		# Where it was done before the signal, the laboratory stands, whole.
		if wait $!; then
			assert_all_answered "$lab" 10.99.0.1
			"$LAB_SH" down --name "$lab"
		fi
		assert_nothing_left "$lab"
	done
}

@test "down removes what a killed up has left" {
	local pause
	for pause in 0.02 0.06 0.1 0.15; do
		"$LAB_SH" up --name "$lab" --users 4 3>&- 2>/dev/null &
		sleep "$pause"
		kill -KILL $! 2>/dev/null || true
		wait $! || true
		"$LAB_SH" down --name "$lab"
		assert_nothing_left "$lab"
	done
}

@test "sweep removes what a killed run has left, and nothing else" {
	"$LAB_SH" up --name "$other" --users 4
	"$LAB_SH" run --name "$lab" --users 4 -- sleep 600 3>&- &
	until_true 60 test -e "/run/spillway-lab-$lab/command"
	"$LAB_SH" sweep
	assert_all_answered "$lab" 10.99.0.1

	local command_pid
	read -r command_pid _ <"/run/spillway-lab-$lab/command"
	kill -KILL $!
	wait $! || true
	run "$LAB_SH" sweep
	assert_success
	assert_line "lab: removed $lab"
	assert_nothing_left "$lab"
	assert_ended "$command_pid"
	assert_all_answered "$other" 10.99.0.1
}

@test "a server that does not start fails up, which says why and leaves nothing" {
	mkdir "$BATS_TEST_TMPDIR/bin"
	printf '#!/bin/sh\necho no such luck\nexit 1\n' >"$BATS_TEST_TMPDIR/bin/unbound"
	chmod +x "$BATS_TEST_TMPDIR/bin/unbound"
	PATH="$BATS_TEST_TMPDIR/bin:$PATH" run "$LAB_SH" up --name "$lab"
	assert_failure 1
	assert_output --partial "unbound ended at once: no such luck"
	assert_nothing_left "$lab"
}

@test "down leaves a process alone that is not the laboratory's" {
	"$LAB_SH" up --name "$lab" --users 4
	nsenter --net="/run/netns/swl-$lab-users" sleep 60 3>&- &
	local stranger=$!
	sleep 0.2
	run "$LAB_SH" down --name "$lab"
	assert_success
	assert_output --partial "process $stranger in swl-$lab-users is not ours"
	kill "$stranger"
	assert_nothing_left "$lab"
}

@test "wrong usage is refused with status 2" {
	local arguments
	for arguments in "" "fly" "up --users 0" "up --users x" "up --vlan 4095" "up --name ../x" "up --name" "run" \
		"down -- true" "exec $lab moon -- true"; do
		# shellcheck disable=SC2086 # a list of arguments
		run "$LAB_SH" $arguments
		assert_failure 2
		assert_output --partial "see lab.sh --help"
	done
}

@test "the client counts as lost what nobody answers" {
	"$LAB_SH" up --name "$lab" --users 4
	run --separate-stderr "$LAB_SH" exec "$lab" users -- \
		"$CLIENT" --server 10.99.0.77 --users 4 --http 5 --dns 5 --seconds 0.4 --json
	assert_success
	assert_equal "$(jq -c '[.total | .sent, .answered, .lost, .p99_ms]' <<<"$output")" '[16,0,16,null]'
	run --separate-stderr "$LAB_SH" exec "$lab" users -- \
		"$CLIENT" --users 4 --http 5 --dns 5 --seconds 2 --progress --json
	assert_success
	assert_equal "$(jq -s 'map(select(.second)) | length >= 2' <<<"$output")" true
	# One that a busy machine answers later than its client waits is lost, and none is anything else.
	assert_equal "$(jq -s 'map(select(.users))[0].total | .answered + .lost' <<<"$output")" 80
	assert [ "$(jq -s 'map(select(.users))[0].total.answered' <<<"$output")" -ge 40 ]
}
