#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# One life of the daemon under valgrind: every request it answers, reload, override, an interface that goes. It must
# touch no byte that is not its own, and leave none behind.

bats_require_minimum_version 1.5.0

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	export PATH="$PATH:/usr/sbin"
	export DIR="$BATS_TEST_TMPDIR" SPILLWAY="$O/spillway"
	export SPILLWAY_SOCKET="$DIR/spillway.sock" SPILLWAY_PINS="/sys/fs/bpf/spillway-memcheck-$$"
	NS="swm-$$" IFACE="swm$$" PORT=$((20000 + $$ % 10000))
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	ip -n "$NS" link add "$IFACE" type veth peer name attack
	ip -n "$NS" link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack up
}

teardown() {
	[ -z "${daemon:-}" ] || kill -9 "$daemon" 2>/dev/null || true
	"$SPILLWAY" unload || true
	ip netns del "$NS" || true
}

config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: 127.0.0.1:$PORT
		table: {users: 1000}
		services:
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: $1}}
	END
}

inside() {
	nsenter --net="/run/netns/$NS" "$@"
}

get() {
	inside curl -sS --max-time 120 "$@" >/dev/null
}

@test "a life of the daemon: no invalid access, no leak" {
	config 1000
	nsenter --net="/run/netns/$NS" valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all \
		--suppressions="$BATS_TEST_DIRNAME/../memcheck.supp" \
		"$SPILLWAY" run --config "$DIR/spillway.yaml" --detach-on-exit >"$DIR/log" 2>&1 3>&- &
	daemon=$!
	for _ in $(seq 1800); do
		"$SPILLWAY" status >/dev/null 2>&1 && break
		sleep 0.1
	done
	cat "$DIR/log"
	inside "$O/spillway-traffic" --interface attack --destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 \
		--port 53 --protocol udp --size 64 --sources 10.0.0.0/24 --users 200 --rate 4000 --seconds 3
	run -0 "$SPILLWAY" users --json
	# A reader that goes, one that stays to the end, and one that is gone before its answer.
	inside curl -sSN --max-time 1 "http://127.0.0.1:$PORT/api/v1/events?recent=5" >/dev/null || true
	"$SPILLWAY" watch --recent 5 >"$DIR/events" 2>&1 3>&- &
	inside bash -c "exec 5<>/dev/tcp/127.0.0.1/$PORT; printf 'GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n' >&5"
	assert [ "$(jq length <<<"$output")" -gt 0 ]
	for path in metrics -/healthy -/ready api/v1/status api/v1/services "api/v1/users?service=dns" \
		"api/v1/users?service=nosuch" nosuch; do
		get "http://127.0.0.1:$PORT/$path"
	done
	get -I "http://127.0.0.1:$PORT/metrics"
	get -d '{}' "http://127.0.0.1:$PORT/metrics"
	get -H 'Accept: application/openmetrics-text' "http://127.0.0.1:$PORT/metrics"
	PORT=$((PORT + 1)) config 2000
	run -0 "$SPILLWAY" reload
	echo "nonsense" >>"$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	run -0 "$SPILLWAY" set dns level=50 mode=observe --for 1s
	run -1 "$SPILLWAY" set dns mode=nonsense
	ip -n "$NS" link del "$IFACE"
	sleep 2
	run -0 "$SPILLWAY" status
	kill "$daemon"
	local status=0
	wait "$daemon" || status=$?
	daemon=
	run cat "$DIR/log"
	refute_output --partial "== "
	assert_equal "$status" 0
}
