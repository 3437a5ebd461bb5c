#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What a kernel refuses is off, with its reason, and the rest works. The refusal is injected into bpf(2): no verifier of
# an older kernel is at work here; `make matrix` has real ones.

setup() {
	bats_require_minimum_version 1.5.0
	bats_load_library bats-support
	bats_load_library bats-assert
	export PATH="$PATH:/usr/sbin"
	export DIR="$BATS_TEST_TMPDIR" IFACE="swo$$"
	export SPILLWAY_SOCKET="$DIR/spillway.sock" SPILLWAY_PINS="/sys/fs/bpf/spillway-older-$$"
	SPILLWAY="$O/spillway"
	gcc -shared -fPIC -O2 -o "$DIR/older_kernel.so" "$BATS_TEST_DIRNAME/older_kernel.c"
	ip link add "$IFACE" type veth peer name "${IFACE}p"
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		listen: null
		table: {users: 1000}
	END
	daemon=
}

teardown() {
	[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } || true
	"$SPILLWAY" unload
	ip link del "$IFACE"
}

# start [VARIABLE=VALUE]: the daemon, until it answers.
start() {
	env "$@" "$SPILLWAY" run --config "$DIR/spillway.yaml" >"$DIR/log" 2>&1 3>&- &
	daemon=$!
	for _ in $(seq 600); do
		"$SPILLWAY" status --json >"$DIR/status" 2>/dev/null && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	cat "$DIR/log" >&2
	return 1
}

@test "a kernel without frames in several buffers: loaded without, said so, large MTUs refused" {
	start
	run jq '.features[] | select(.name == "frags").on' "$DIR/status"
	assert_output true
	ip link set "${IFACE}p" mtu 9000
	ip link set "${IFACE}p" mtu 1500

	kill "$daemon" && wait "$daemon"
	"$SPILLWAY" unload
	start LD_PRELOAD="$DIR/older_kernel.so"
	run jq -r '.features[] | select(.name == "frags") | "\(.on) \(.why)"' "$DIR/status"
	assert_output --regexp '^false .*5\.18'
	assert_equal "$(jq -r '.interfaces[0].mode' "$DIR/status")" native
	run ip link set "${IFACE}p" mtu 9000
	assert_failure
}

@test "a kernel without large values: the table is looked up entry by entry, said so, and meters the same" {
	start
	run jq '.features[] | select(.name == "short_way").on' "$DIR/status"
	assert_output true

	kill "$daemon" && wait "$daemon"
	"$SPILLWAY" unload
	start LD_PRELOAD="$DIR/older_kernel.so"
	run jq -r '.features[] | select(.name == "short_way") | "\(.on) \(.why)"' "$DIR/status"
	assert_output --regexp '^false .*5\.19'
	for suite in meter limits capacity; do
		LD_PRELOAD="$DIR/older_kernel.so" "$O/tests/packet/${suite}_test"
	done
}
