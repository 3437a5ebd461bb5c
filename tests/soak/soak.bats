#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# F35, `make soak`: floods, kills, takeovers, reloads, verbs and link flaps in an order of chance, for SOAK_SECONDS, from SEED.
# At the end each packet that was sent has been counted, nothing in the kernel has grown, nor has the daemon, and the
# kernel has warned of nothing.

load ../fault/common

setup_file() {
	world_up
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
	flooding=
}

teardown() {
	[ -z "$flooding" ] || kill "$flooding" 2>/dev/null || true
	finish
}

flood() {
	nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 10.0.0.0/8 --users 100000 --distribution zipf --rate "$1" \
		--seconds "$2" --seed "$RANDOM" --json >"$DIR/flood" 3>&- &
	flooding=$!
}

# Steps that may come at any time, under traffic.
step_kill() {
	kill -9 "$daemon"
	wait "$daemon" || true
	start
}

step_stop() {
	kill -TERM "$daemon"
	wait "$daemon"
	start
}

step_takeover() {
	local old=$daemon
	launch "$SPILLWAY" run --config "$CONFIG" --takeover
	wait "$old"
	within 60 answers
}

step_reload() {
	config >"$CONFIG"
	((RANDOM % 2)) || echo "  - {name: quic, protocol: udp, ports: [443], user: {kind: payload, offset: 1, length: 8}}" >>"$CONFIG"
	"$SPILLWAY" reload
}

step_set() {
	"$SPILLWAY" set dns level=$((1 + RANDOM)) --for 1s
}

step_deny() {
	"$SPILLWAY" deny "10.$((RANDOM % 256)).0.0/16" --for 2s
}

step_pause() {
	kill -STOP "$daemon"
	sleep 0.5
	kill -CONT "$daemon"
}

step_pins() {
	rm -f "$SPILLWAY_PINS/tallies"
	within 5 test -e "$SPILLWAY_PINS/tallies"
}

# Between two floods: what is sent to a link that is down is lost before anybody can judge it.
flap() {
	ip link set "$IFACE" down
	sleep 0.2
	ip link set "$IFACE" up
	within 5 attached
}

kernel_warnings() {
	dmesg 2>/dev/null | grep -cE 'WARNING:|BUG:|Oops' || true
}

resident() {
	awk '/^VmRSS/ {print $2}' "/proc/$daemon/status"
}

objects() {
	for pin in "$SPILLWAY_PINS"/*; do
		bpftool -j map show pinned "$pin" 2>/dev/null | jq -r '"map \(.id)"'
	done | sort
}

@test "soak: whatever comes, every packet is counted, and nothing grows" {
	local seed=${SEED:-1} end=$((SECONDS + ${SOAK_SECONDS:-60})) sent=0 rounds=0 step began warnings maps pins now
	local steps=(kill stop takeover reload set deny pause pins)
	declare -A taken
	RANDOM=$seed
	warnings=$(kernel_warnings)
	start
	began=$(received)
	maps=$(objects)
	pins=$(ls "$SPILLWAY_PINS" | wc -l)
	local first=0 last=0
	while ((SECONDS < end)); do
		flood $((10000 + RANDOM * 2)) 5
		while kill -0 "$flooding" 2>/dev/null; do
			step=${steps[RANDOM % ${#steps[@]}]}
			"step_$step"
			taken[$step]=$((${taken[$step]:-0} + 1))
			sleep "0.$((RANDOM % 10))"
		done
		wait "$flooding"
		flooding=
		sent=$((sent + $(jq .sent "$DIR/flood")))
		within 10 attached
		within 10 counted $((began + sent)) || { echo "sent $sent, counted $(($(received) - began))" >&2; return 1; }
		flap
		rounds=$((rounds + 1))
		now=$(resident)
		((first)) || first=$now
		last=$now
	done
	config >"$CONFIG"
	"$SPILLWAY" reload
	assert_equal "$(objects)" "$maps"
	assert_equal "$(ls "$SPILLWAY_PINS" | wc -l)" "$pins"
	assert_equal "$(kernel_warnings)" "$warnings"
	# Each daemon of the last minutes is a young one: what it holds is compared with the first round's.
	assert [ "$last" -le $((first + 16384)) ]
	echo "# soak: seed $seed, $rounds rounds, $sent packets, all counted; $(for step in "${!taken[@]}"; do
		printf '%s %s, ' "$step" "${taken[$step]}"; done)flap $rounds; resident $first -> $last kB" >&3
	unload
}
