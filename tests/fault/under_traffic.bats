#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What happens to the daemon and its host while packets come: the packet path counts every one of them.
#   KILLS=1000 bats tests/fault/under_traffic.bats   kills it so often, at moments of chance (20 unless told otherwise)

load common

setup_file() {
	world_up
	ip link del "$IFACE"
	ip link add "$IFACE" numrxqueues 4 numtxqueues 4 type veth peer name attack numrxqueues 4 numtxqueues 4 netns "$NS"
	ip link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack address 02:00:00:00:00:02 up
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
	flooding=
	group="/sys/fs/cgroup/swf-$$"
	[ ! -d /sys/fs/cgroup/memory ] || group="/sys/fs/cgroup/memory/swf-$$"
}

teardown() {
	[ -z "$flooding" ] || kill "$flooding" 2>/dev/null || true
	finish
	rmdir "$group" 2>/dev/null || true
}

# Begins to send, 50,000 packets a second from 1,000 users, until flood_ended; how many they were is in $DIR/flood then.
flood() {
	nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 10.0.0.0/16 --users 1000 --rate 50000 --seconds 3600 --json \
		>"$DIR/flood" 3>&- &
	flooding=$!
	within 60 eval '[ "$(received)" -gt "$before" ]'
}

flood_ended() {
	kill "$flooding"
	wait "$flooding"
	flooding=
}

# Each packet that was sent was counted, passed or spilled: none went by unjudged.
assert_all_judged() {
	local sent
	sent=$(jq .sent "$DIR/flood")
	assert [ "$sent" -gt 1000 ]
	within 60 counted $((before + sent)) || { echo "sent $sent, counted $(($(received) - before))" >&2; return 1; }
}

kill_daemon() {
	kill -9 "$daemon"
	wait "$daemon" || assert_equal $? 137
	daemon=
}

lowest_free_descriptor() {
	local number=0
	while [ -e "/proc/$1/fd/$number" ]; do number=$((number + 1)); done
	echo "$number"
}

# The kernel's objects under our pins, by their numbers.
objects() {
	for pin in "$SPILLWAY_PINS"/*; do
		bpftool -j map show pinned "$pin" 2>/dev/null | jq -r '"map \(.id)"'
	done | sort
}

# A service more, by another kind of user: the program is loaded anew for it.
other_config() {
	config
	echo "  - {name: quic, protocol: udp, ports: [443], user: {kind: payload, offset: 1, length: 8}}"
}

@test "F02: killed at any moment of a reload that changes the program, no packet goes unjudged, and a start mends" {
	start
	before=$(received)
	flood
	local step began took other=
	began=${EPOCHREALTIME/./}
	other_config >"$CONFIG"
	"$SPILLWAY" reload
	took=$((${EPOCHREALTIME/./} - began))
	for step in $(seq 0 11); do
		[ -n "$other" ] && other= || other=1
		{ [ -n "$other" ] && config || other_config; } >"$CONFIG"
		"$SPILLWAY" reload >/dev/null 2>&1 3>&- &
		sleep "$(awk -v us="$took" -v step="$step" 'BEGIN {print us * step / 10 / 1e6}')"
		kill_daemon
		wait $! || true
		start
		attached
	done
	flood_ended
	assert_all_judged
	config >"$CONFIG"
	unload
}

@test "F03: killed at moments of chance, what the kernel holds does not grow" {
	start
	attached
	local things pins
	things=$(objects)
	pins=$(ls "$SPILLWAY_PINS" | wc -l)
	RANDOM=${SEED:-1}
	for _ in $(seq "${KILLS:-20}"); do
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		kill_daemon
		start
	done
	assert_equal "$(objects)" "$things"
	assert_equal "$(ls "$SPILLWAY_PINS" | wc -l)" "$pins"
	attached
	assert_counts
	unload
}

@test "a newer daemon takes over from one that runs: nothing goes unjudged, no counter goes back, nobody has a second burst" {
	start --detach-on-exit
	before=$(received)
	local last=$before now old over began
	# One user at three times its limit of 1,000 a second, from before the first takeover until after the last.
	began=${EPOCHREALTIME/./}
	nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 10.1.0.1/32 --rate 3000 --seconds 3600 --json \
		>"$DIR/over" 3>&- &
	over=$!
	flood
	for _ in $(seq "${UPGRADES:-5}"); do
		old=$daemon
		launch "$SPILLWAY" run --config "$CONFIG" --takeover
		within 60 ended "$old"
		wait "$old"
		within 60 answers
		attached
		now=$(received)
		assert [ "$now" -gt "$last" ]
		last=$now
	done
	within 20 eval '"$SPILLWAY" users --service dns --json | jq -ec ".[] | select(.user == \"10.1.0.1\")" >"$DIR/user"'
	run jq ".spilled_packets > 0 and .passed_packets <= $(((${EPOCHREALTIME/./} - began) / 1000 + 100))" "$DIR/user"
	assert_output true
	kill "$over"
	wait "$over"
	flood_ended
	before=$((before + $(jq .sent "$DIR/over")))
	assert_all_judged
	echo "services: [" >"$CONFIG"
	run -4 "$SPILLWAY" run --config "$CONFIG" --takeover
	answers
	config >"$CONFIG"
	unload
}

# limit_memory GROUP BYTES: makes a control group with that limit, of whichever version this host has.
limit_memory() {
	if [ -d /sys/fs/cgroup/memory ]; then
		mkdir "$1"
		echo "$2" >"$1/memory.limit_in_bytes"
	else
		echo +memory >/sys/fs/cgroup/cgroup.subtree_control
		mkdir "$1"
		echo "$2" >"$1/memory.max"
	fi
}

@test "F07: a control group that is too small for the table: both figures are said, and nothing is attached" {
	limit_memory "$group" $((64 << 20))
	sed -i 's/users: 1000/users: 1000000/' "$CONFIG"
	# shellcheck disable=SC2016
	launch sh -c 'echo $$ >'"$group"'/cgroup.procs; exec "$0" run --config "$1"' "$SPILLWAY" "$CONFIG"
	assert_refused
	assert_output --regexp 'needs [0-9]+ MiB \([0-9]+ bytes\), and the control group allows 64 MiB'
	config >"$CONFIG"
}

@test "F16: without a file descriptor to spare, clients are refused, packets are judged, and it recovers" {
	start
	before=$(received)
	flood
	local limit
	limit=$(prlimit --pid "$daemon" --nofile --output SOFT --noheadings)
	# The lowest number that is free is the next one's: a limit there leaves none.
	prlimit --pid "$daemon" --nofile="$(lowest_free_descriptor "$daemon"):"
	sleep 1
	run timeout 2 "$SPILLWAY" status
	assert_not_equal "$status" 0
	kill -0 "$daemon"
	prlimit --pid "$daemon" --nofile="$limit:"
	within 60 answers
	attached
	flood_ended
	assert_all_judged
	unload
}

@test "F18: the number of queues changes under traffic: it stays attached and goes on judging" {
	start
	# Frames from a queue of the sender need one of the receiver's.
	nsenter --net="/run/netns/$NS" ethtool -L attack tx 1
	before=$(received)
	flood
	local queues
	for queues in 3 4 2 4; do
		ethtool -L "$IFACE" rx "$queues" tx "$queues"
		sleep 0.3
		attached
	done
	flood_ended
	assert_counts
	unload
}

@test "F20: a pause of the whole daemon is no pause of the packet path, and nobody has more than one burst after it" {
	start
	kill -STOP "$daemon"
	local file
	for file in flood flood.2; do
		chrt -f 1 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
			--destination 192.0.2.1 --port 53 --sources 10.9.9.9/32 --rate 20000 --seconds 2 --json >"$DIR/$file"
		sleep 2
	done
	kill -CONT "$daemon"
	local passed
	within 60 answers
	passed=$("$SPILLWAY" services --json | jq '.[] | select(.name == "dns") | .passed_packets')
	# 1,000 a second and a burst of 100, twice. Where this machine has halted the sender for longer than the burst, fewer.
	assert [ "$passed" -ge 3000 ]
	assert [ "$passed" -le "$(jq -s 'map(.seconds * 1000 + 102) | add | ceil' "$DIR/flood" "$DIR/flood.2")" ]
	unload
}

@test "F21: a daemon that gets no processor while it answers loses no answer, and is not taken for a slow client" {
	start
	"$SPILLWAY" deny 203.0.113.9 3>&- & # the first entry: the program is loaded anew, which takes its time
	local asking=$!
	sleep 0.1
	kill -STOP "$daemon"
	sleep 6 # longer than a client has between two bytes
	kill -CONT "$daemon"
	wait "$asking"
	"$SPILLWAY" forget 203.0.113.9
	unload
}
