#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# usage: check.sh CLANG BUILD: what the kernel that runs this makes of Spillway. Asks the verifier about every program, sheds
# a flood on a veth pair and times real answers there, runs the packet tests in BUILD for MATRIX_SECONDS at most, the quick
# ones first, and ends with the line
#   row|KERNEL|CLANG|LOADED|PROGRAM=VERIFIED INSTRUCTIONS ...|TESTS PASSED|TESTS FAILED|NAME=TESTS PASSED ...
# where a name that had no time has "late" for a number, and one that is not for guests "-".
# Everything else that it says is what went wrong, or what is off on this kernel. Wants a network namespace and a bpffs
# of its own; runs in the guest of guest.sh and on the host alike.
set -uo pipefail
clang=$1 build=$2
export SPILLWAY_SOCKET=/run/spillway-matrix-$$/spillway.sock
export SPILLWAY_PINS=/sys/fs/bpf/spillway-matrix-$$
readonly READY_WITHIN_S=60 PACKETS=2000 BURST=50 REQUESTS=20
# Not busybox's wget, which the C library's resolver crashes where it is linked in.
readonly REQUEST='exec 3<>/dev/tcp/192.0.2.1/80 && printf "GET /index.html HTTP/1.0\r\n\r\n" >&3 && read -rt 5 -u 3'
readonly PACKET_SECONDS=${MATRIX_SECONDS:-2400} TEST_SECONDS=600
# Those that take long where a processor is emulated come last; what is not named here, before them.
readonly SLOW=(property features reload limits tenants agreement lists capacity)
# Not where a processor is emulated (EMULATED=1): what the observer makes, in user space and by its own clock, of a table
# that all the other tests read as well.
readonly NOT_EMULATED=(heaviest observer)
dir=$(mktemp -d)
passed=0 failed=0 loaded=no verified='' results=
daemon='' users=''

problem() {
	failed=$((failed + 1))
	printf 'matrix: %s, %s: %s\n' "$(uname -r)" "$clang" "$*"
}

# note NAME RESULT
note() {
	results="$results${results:+ }$1=$2"
}

# expect WHAT COMMAND...: one test.
expect() {
	local what=$1
	shift
	if "$@" >/dev/null; then passed=$((passed + 1)); else problem "$what"; fi
}

# run_test NAME SECONDS: one program of cmocka's. Returns 1 where it took too long.
run_test() {
	local log=$dir/log status=0 good
	timeout -s KILL "$2" "$build/tests/packet/$1_test" >"$log" 2>&1 || status=$?
	[ "$status" -ne 137 ] || return 1
	good=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test.*/\1/p' "$log" | head -n 1)
	passed=$((passed + ${good:-0}))
	note "$1" "${good:-0}"
	[ "$status" -eq 0 ] && [ "${good:-0}" -gt 0 ] && return
	problem "$1_test failed"
	grep -E '^\[ *(ERROR|LINE) ' "$log" | head -n 10
	grep -v '^\[ *\(RUN\|OK\|ERROR\|LINE\) ' "$log" | tail -n 20
}

# The verifier's count of each program; of the packet path's, with all features and the most of any.
ask_verifier() {
	local started=$SECONDS
	run_test verifier $TEST_SECONDS || problem "the verifier took too long"
	verified=$(awk -F'|' '
		$1 != "verified" {next}
		$2 != "spillway" {beside = beside " " $2 "=" $4; next}
		$3 == "all" {all = $4}
		$4 > most {most = $4}
		END {if (most) print "spillway=" all " (most " most + 0 ")" beside}' "$dir/log")
	[ -n "$verified" ] || cat "$dir/log"
	grep '^verified|' "$dir/log"
	awk -F'|' '$1 == "refused" {print "matrix: " $2 " is off: " $3}' "$dir/log"
	printf 'matrix: %s, %s: verifier_test took %d s\n' "$(uname -r)" "$clang" $((SECONDS - started))
}

packet_tests() {
	local name program quick=() ends=$((SECONDS + PACKET_SECONDS)) started remaining
	for program in "$build"/tests/packet/*_test; do
		name=$(basename "${program%_test}")
		[[ " verifier ${SLOW[*]} ${NOT_EMULATED[*]} " = *" $name "* ]] || quick+=("$name")
	done
	for name in "${NOT_EMULATED[@]}"; do
		if [ -n "${EMULATED:-}" ]; then note "$name" -; else quick+=("$name"); fi
	done
	for name in "${quick[@]}" "${SLOW[@]}"; do
		remaining=$((ends - SECONDS)) started=$SECONDS
		[ $remaining -lt $TEST_SECONDS ] || remaining=$TEST_SECONDS
		if [ $remaining -le 0 ] || ! run_test "$name" $remaining; then
			note "$name" late
			continue
		fi
		printf 'time: %s, %s: %s_test %d s\n' "$(uname -r)" "$clang" "$name" $((SECONDS - started))
	done
}

start() {
	"$build/spillway" run --config "$dir/spillway.yaml" >"$dir/log" 2>&1 &
	daemon=$!
	for _ in $(seq $((READY_WITHIN_S * 5))); do
		"$build/spillway" status --json >"$dir/status" 2>/dev/null && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.2
	done
	problem "the data path was not loaded"
	cat "$dir/log"
	return 1
}

stop() {
	kill "$daemon" && wait "$daemon"
	"$build/spillway" unload
}

status_says() {
	jq -e "$1" "$dir/status"
}

# service_says NAME WORDS
service_says() {
	"$build/spillway" services --json | jq -e ".[] | select(.name == \"$1\") | $2"
}

at_users() {
	nsenter -t "$users" -n "$@"
}

# One user, far over its limit, in frames that reach the program through the driver. Counters are exact, so that the
# rate, which a busy machine makes what it likes, does not matter.
shed() {
	at_users "$build/spillway-traffic" --interface users0 --destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 \
		--sources 198.51.100.1/32 --port 53 --rate 1000 --count $PACKETS --json >"$dir/sent"
	expect "not every packet was counted" service_says dns ".received_packets == $(jq .sent "$dir/sent")"
	expect "packets are counted otherwise than once" service_says dns \
		'.passed_packets + .spilled_packets == .received_packets'
	expect "a burst was not passed" service_says dns ".passed_packets >= $BURST"
	expect "nothing was spilled" service_says dns '.spilled_by_reason.user_limit > 1000'
}

# Real requests, whose answers the program on the way out meets.
answer() {
	local server got=0
	echo hello >"$dir/index.html"
	busybox httpd -f -p 192.0.2.1:80 -h "$dir" &
	server=$!
	for _ in $(seq $REQUESTS); do
		if at_users bash -c "$REQUEST" 2>/dev/null; then
			got=$((got + 1))
		else
			sleep 0.2 # until it listens
		fi
	done
	expect "the server answered $got of $REQUESTS" [ $got -gt $((REQUESTS / 2)) ]
	expect "no answer was timed" service_says web '.response_milliseconds.p50 != null'
	kill $server
	wait $server 2>/dev/null
}

# A veth pair with jumbo frames, since that is where kernels and drivers differ most; its other end is the users', in a
# network namespace that ends with process $users.
lay_wire() {
	local mtu=${MTU:-9000}
	unshare -n sleep 86400 &
	users=$!
	while [ "$(readlink "/proc/$users/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
	ip link add edge0 mtu "$mtu" type veth peer name users0 mtu "$mtu"
	ip link set edge0 address 02:00:00:00:00:01
	ip link set users0 netns $users
	echo 1 >/proc/sys/net/ipv6/conf/edge0/disable_ipv6
	at_users sh -c 'echo 1 >/proc/sys/net/ipv6/conf/users0/disable_ipv6'
	ip addr add 192.0.2.1/24 dev edge0
	ip link set edge0 up
	at_users ip addr add 192.0.2.2/24 dev users0
	at_users ip link set users0 up
}

attach() {
	start || return
	loaded=$(jq -r '.interfaces[0].mode // "no"' "$dir/status")
	expect "it is not attached in native mode" status_says '.interfaces[0].mode == "native"'
	expect "answers are not timed" status_says '.features[] | select(.name == "response").on'
	jq -r --arg on "$(uname -r), $clang" '.features[] | select(.on | not) | "matrix: \($on): \(.name) is off: \(.why)"' \
		"$dir/status"
	find "$SPILLWAY_PINS" -name 'response_*_*' | sed -E "s|.*/response_([a-z]+)_.*|matrix: $(uname -r), $clang: the way out by a \1|"
	shed
	answer
	stop
	expect "something stayed pinned" [ ! -e "$SPILLWAY_PINS" ]
}

# count_as NAME COMMAND...: the tests that a command passes are counted under a name as well.
count_as() {
	local name=$1 before=$passed
	shift
	"$@"
	note "$name" $((passed - before))
}

# A kernel need not show its configuration.
attach_without_configuration() {
	mv "$KERNEL_CONFIG" "$dir/kernel-config"
	if start; then
		expect "the clock is not said to be another" status_says '.features[] | select(.name == "jiffies").on == false'
		shed
		stop
	fi
	mv "$dir/kernel-config" "$KERNEL_CONFIG"
}

cat >"$dir/spillway.yaml" <<-END
	interfaces: [edge0]
	mode: enforce
	listen: null
	table: {users: 10000}
	services:
	  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 10, burst: $BURST}}
	  - {name: web, protocol: tcp, ports: [80], adaptive: {minimum: 1000, maximum: 100k}}
	  - {name: shop, protocol: tcp, ports: [443], user: {kind: tag}, limit: {bytes_per_second: 10MB}, capacity: 100k}
	  - {name: game, protocol: udp, ports: [27015], user: {kind: payload, offset: 4, length: 8}}
	  - {name: api, protocol: tcp, ports: [8443], user: {kind: tenant}}
	history: null
	tenants: [{name: acme, prefixes: [203.0.113.0/25]}]
	deny: [203.0.113.128/25]
END
lay_wire
ask_verifier
count_as attach attach
[ -z "${KERNEL_CONFIG:-}" ] || count_as unconfigured attach_without_configuration
[ "$PACKET_SECONDS" -eq 0 ] || packet_tests
ip link del edge0
kill "$users"
rm -rf "$dir" "$(dirname "$SPILLWAY_SOCKET")"
printf 'row|%s|%s|%s|%s|%s|%s|%s\n' "$(uname -r)" "$clang" "$loaded" "$verified" "$passed" "$failed" "$results"
