#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# usage: check.sh CLANG BUILD: what the kernel that runs this makes of Spillway. Runs the packet tests in BUILD, sheds a
# flood on a veth pair, and ends with the line
#   row|KERNEL|CLANG|LOADED|PROGRAM=VERIFIED INSTRUCTIONS ...|TESTS PASSED|TESTS FAILED
# Everything else that it says is what went wrong, or what is off on this kernel. Wants a network namespace and a bpffs
# of its own; runs in the guest of guest.sh and on the host alike.
set -uo pipefail
clang=$1 build=$2
export SPILLWAY_SOCKET=/run/spillway-matrix-$$/spillway.sock
export SPILLWAY_PINS=/sys/fs/bpf/spillway-matrix-$$
readonly READY_WITHIN_S=60 INSTRUCTIONS_MAX=500000 # half of what the verifier allows
readonly PACKETS=2000 BURST=50
dir=$(mktemp -d)
passed=0 failed=0 loaded=no verified=
daemon=

problem() {
	failed=$((failed + 1))
	printf 'matrix: %s, %s: %s\n' "$(uname -r)" "$clang" "$*"
}

# expect WHAT COMMAND...: one test.
expect() {
	local what=$1
	shift
	if "$@" >/dev/null; then passed=$((passed + 1)); else problem "$what"; fi
}

packet_tests() {
	local program log=$dir/log status good
	for program in "$build"/tests/packet/*_test; do
		status=0
		"$program" >"$log" 2>&1 || status=$?
		good=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test.*/\1/p' "$log" | head -n 1)
		passed=$((passed + ${good:-0}))
		[ "$status" -eq 0 ] && [ "${good:-0}" -gt 0 ] && continue
		problem "$(basename "$program") failed"
		grep -v '^\[ *\(RUN\|OK\) ' "$log" | tail -n 20
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

service_says() {
	"$build/spillway" services --json | jq -e ".[] | select(.name == \"dns\") | $1"
}

# One user, far over its limit, in frames that reach the program through the driver. Counters are exact, so that the
# rate, which a busy machine makes what it likes, does not matter.
shed() {
	"$build/spillway-traffic" --interface users0 --destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 \
		--sources 198.51.100.1/32 --port 53 --rate 1000 --count $PACKETS --json >"$dir/sent"
	expect "not every packet was counted" service_says ".received_packets == $(jq .sent "$dir/sent")"
	expect "packets are counted otherwise than once" service_says \
		'.passed_packets + .spilled_packets == .received_packets'
	expect "a burst was not passed" service_says ".passed_packets >= $BURST"
	expect "nothing was spilled" service_says '.spilled_by_reason.user_limit > 1000'
}

# What the verifier did for each program that the daemon holds. proc(5): /proc/PID/fdinfo; from kernel 5.16 on.
read_verified() {
	local file id instructions name
	for file in "/proc/$daemon"/fdinfo/*; do
		grep -q "^prog_type" "$file" || continue # a link names its program too
		id=$(sed -n "s/^prog_id:[^0-9]*//p" "$file")
		instructions=$(sed -n 's/^verified_insns:[^0-9]*//p' "$file")
		name=$(bpftool prog show id "$id" --json | jq -r .name)
		verified="$verified${verified:+ }$name=${instructions:-?}"
		[ -z "$instructions" ] ||
			expect "$name: $instructions verified instructions" [ "$instructions" -lt $INSTRUCTIONS_MAX ]
	done
	expect "the daemon holds no program" [ -n "$verified" ]
}

# Jumbo frames, since that is where kernels and drivers differ most.
ip link add edge0 mtu "${MTU:-9000}" type veth peer name users0 mtu "${MTU:-9000}"
ip link set edge0 address 02:00:00:00:00:01
for interface in edge0 users0; do
	echo 1 >"/proc/sys/net/ipv6/conf/$interface/disable_ipv6"
	ip link set "$interface" up
done
cat >"$dir/spillway.yaml" <<-END
	interfaces: [edge0]
	mode: enforce
	listen: null
	table: {users: 10000}
	services:
	  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 10, burst: $BURST}}
END

packet_tests
if start; then
	loaded=$(jq -r '.interfaces[0].mode // "no"' "$dir/status")
	expect "it is not attached in native mode" status_says '.interfaces[0].mode == "native"'
	jq -r '.features[] | select(.on | not) | "matrix: \(.name) is off: \(.why)"' "$dir/status"
	read_verified
	shed
	stop
	expect "something stayed pinned" [ ! -e "$SPILLWAY_PINS" ]
fi

# A kernel need not show its configuration.
if [ -n "${KERNEL_CONFIG:-}" ]; then
	mv "$KERNEL_CONFIG" "$dir/kernel-config"
	if start; then
		expect "the clock is not said to be another" status_says '.features[] | select(.name == "jiffies").on == false'
		shed
		stop
	fi
	mv "$dir/kernel-config" "$KERNEL_CONFIG"
fi
ip link del edge0
rm -rf "$dir" "$(dirname "$SPILLWAY_SOCKET")"
printf 'row|%s|%s|%s|%s|%s|%s\n' "$(uname -r)" "$clang" "$loaded" "$verified" "$passed" "$failed"
