# SPDX-License-Identifier: GPL-2.0-only
# What the fault tests share: a veth pair and a daemon's paths of each file's own, and waiting that is bounded.

world_up() {
	bats_require_minimum_version 1.5.0
	export PATH="$PATH:/usr/sbin"
	export SPILLWAY="$O/spillway" TRAFFIC="$O/spillway-traffic"
	export DIR="$BATS_FILE_TMPDIR" NS="swf-$$" IFACE="swf$$"
	export SPILLWAY_SOCKET="$DIR/spillway.sock" SPILLWAY_PINS="/sys/fs/bpf/spillway-fault-$$"
	export CONFIG="$DIR/spillway.yaml"
	ip netns add "$NS"
	pair_up "$IFACE"
	config >"$CONFIG"
}

world_down() {
	"$SPILLWAY" unload || true
	ip link del "$IFACE" 2>/dev/null || true
	ip netns del "$NS" || true
}

load_assertions() {
	bats_load_library bats-support
	bats_load_library bats-assert
}

# pair_up NAME: a veth whose other end, `attack`, is in the namespace.
pair_up() {
	ip link add "$1" type veth peer name attack netns "$NS"
	ip link set "$1" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack address 02:00:00:00:00:02 up
}

# A configuration with a small table, so that starts are quick.
config() {
	cat <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: null
		history: null
		table: {users: 1000}
		services:
		  - name: dns
		    protocol: udp
		    ports: [53]
		    limit: {packets_per_second: 1000, burst: 100}
	END
}

# within SECONDS COMMAND...: waits until the command succeeds. How long a machine takes that is busy with other work is nobody's
# fault: a minute is for what takes a second.
within() {
	local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		((${EPOCHREALTIME/./} < deadline)) || { echo "not in time: $*" >&2; return 1; }
		sleep 0.02
	done
}

answers() {
	"$SPILLWAY" status >/dev/null 2>&1
}

ended() {
	! kill -0 "$1" 2>/dev/null
}

answers_or_ended() {
	answers || ended "$1"
}

# launch COMMAND...: in the background, until it answers or has ended. Its process is $daemon, its words are in log.
launch() {
	"$@" >"$DIR/log" 2>&1 3>&- &
	daemon=$!
	within 60 answers_or_ended "$daemon"
}

start() {
	launch "$SPILLWAY" run --config "$CONFIG" "$@"
	answers || { cat "$DIR/log" >&2; return 1; }
}

# Ends what `launch` has started, and leaves nothing of it.
unload() {
	"$SPILLWAY" unload
	[ -z "${daemon:-}" ] || wait "$daemon" || true
	daemon=
	assert_nothing_left
}

# For teardown: whatever the test has left, and however it ended.
finish() {
	"$SPILLWAY" unload || true
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	[ -z "$daemon" ] || wait "$daemon" || true
}

assert_nothing_left() {
	assert [ ! -e "$SPILLWAY_PINS" ]
	assert_equal "$(ip -d link show "$IFACE" | grep -c xdp)" 0
}

# What `launch` has started failed with one line of words, and left nothing.
assert_refused() {
	run -1 wait "$daemon"
	daemon=
	assert_nothing_left
	run cat "$DIR/log"
	assert_equal "${#lines[@]}" 1
	assert_output --regexp "^spillway: error: .*: .*"
}

# Three packets more to the service, counted.
assert_counts() {
	local before
	before=$(received)
	nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 10.0.0.1/32 --rate 1000 --count 3 >/dev/null
	within 60 counted $((before + 3))
}

counted() {
	[ "$(received)" -eq "$1" ]
}

received() {
	"$SPILLWAY" services --json | jq '.[] | select(.name == "dns") | .received_packets'
}

# attached [NAME]: whether the interface is attached, at the device that has its name now.
attached() {
	local name=${1:-$IFACE}
	"$SPILLWAY" status --json | jq -e --arg name "$name" --argjson index "$(cat "/sys/class/net/$name/ifindex")" \
		'.interfaces[] | select(.name == $name) | .attached and .index == $index' >/dev/null
}
