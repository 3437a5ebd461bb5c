#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Users of kind `tag`: an example server names its accounts, and packets count for them, whatever addresses they come
# from. The server's host and its clients are namespaces.

load common

setup_file() {
	name_places
	export EDGE="swt-$$-edge" CLIENTS="swt-$$-clients" EXAMPLE="$O/spillway-example"
	local host
	ip netns add "$EDGE"
	ip netns add "$CLIENTS"
	ip link add edge0 netns "$EDGE" type veth peer name clients0 netns "$CLIENTS"
	ip -n "$EDGE" addr add 10.97.0.1/16 dev edge0
	ip -n "$EDGE" link set edge0 up
	for host in $(seq 50); do ip -n "$CLIENTS" addr add "10.97.1.$host/16" dev clients0; done
	ip -n "$CLIENTS" link set clients0 up
	nsenter --net="/run/netns/$EDGE" "$EXAMPLE" 7777 >"$DIR/example.log" 2>&1 3>&- &
	echo $! >"$DIR/example"
	# Four packets of a login count for the address, as nobody is logged in yet.
	config 'packets_per_second: 1, burst: 400'
}

teardown_file() {
	"$SPILLWAY" unload || true
	kill "$(cat "$DIR/example")"
	ip netns del "$EDGE" || true
	ip netns del "$CLIENTS" || true
}

setup() {
	load_assertions
	export PLACE="$EDGE"
	client=
}

teardown() {
	[ -z "$client" ] || hang_up || true
	stop
	"$SPILLWAY" unload
}

# config LIMIT [LINE-OF-THE-FILE]
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [edge0]
		mode: enforce
		listen: null
		table: {users: 1000}
		${2:-}
		services:
		  - {name: shop, protocol: tcp, ports: [7777], user: {kind: tag}, limit: {$1}}
	END
}

in_clients() {
	nsenter --net="/run/netns/$CLIENTS" "$@"
}

# accounts LINES SECONDS ACCOUNTS HOSTS
accounts() {
	in_clients python3 "$BATS_TEST_DIRNAME/accounts.py" 10.97.0.1 7777 "$@"
}

# One client: sends each line of standard input and prints the answer, until there is no more.
one_client() {
	in_clients bash -c 'exec 5<>/dev/tcp/10.97.0.1/7777
		while read -r line; do echo "$line" >&5 && read -r answer <&5 && echo "$answer"; done' 3>&-
}

# Starts such a client: then `ask LINE` puts the answer in $answer, and `hang_up` ends it.
call() {
	coproc one_client
	to=${COPROC[1]} from=${COPROC[0]} client=$COPROC_PID
}

ask() {
	echo "$1" >&"$to"
	read -r -t 60 answer <&"$from"
}

hang_up() {
	eval "exec $to>&-"
	wait "$client"
	client=
}

# The accounts that connections are tagged with now.
tagged() {
	bpftool -j map dump pinned "$SPILLWAY_PINS/tags" | jq -r '.[].formatted.value.user' | sort -n | tr '\n' ' '
}

tagged_are() {
	[ "$(tagged)" = "$1" ]
}

# user NUMBER FIELD: of an account, as `users` tells it.
user() {
	"$SPILLWAY" users --json --limit 1000 | jq -r ".[] | select(.kind == \"tag\" and .user == \"$1\") | .$2"
}

user_is_seen() {
	[ -n "$(user "$1" passed_packets)" ]
}

# The links of ours that hold programs on a cgroup.
socket_links() {
	local pin
	for pin in "$SPILLWAY_PINS"/tag_link_*; do
		bpftool -j link show pinned "$pin" | jq .id
	done
}

@test "one account at fifty addresses is held to one limit" {
	start
	local began=$SECONDS answered
	answered=$(accounts 20 4 4711..4711 1..50)
	until_true 60 user_is_seen 4711
	local passed spent=$((SECONDS - began + 1))
	passed=$(user 4711 passed_packets)
	echo "$answered answered, $passed passed in $spent s"
	assert [ "$passed" -ge 400 ]
	assert [ "$passed" -le $((400 + spent)) ]
	assert [ "$answered" -lt 1000 ]
	assert [ "$(user 4711 spilled_packets)" -gt 0 ]
}

@test "fifty accounts at one address each have a limit of their own" {
	start
	# 1,000 lines from one address, in more packets than the address itself might send.
	assert_equal "$(accounts 20 120 1..50 1..1)" 1000
	assert_equal "$(number shop spilled_packets)" 0
	assert [ "$(number shop passed_packets)" -ge 1000 ]
}

@test "a tag ends with its connection, and the daemon need not be there for it" {
	start
	call
	ask "LOGIN 9007199254740991"
	assert_equal "$answer" "WELCOME 9007199254740991"
	assert_equal "$(tagged)" "9007199254740991 "
	# Killed, it leaves its programs at work: tags stay, another user is told and goes.
	kill -9 "$(cat "$DIR/pid")"
	rm "$DIR/pid"
	ask "LOGIN 2"
	assert_equal "$answer" "WELCOME 2"
	assert_equal "$(tagged)" "2 "
	local links
	links=$(socket_links)
	start
	assert_equal "$(tagged)" "2 "
	assert_equal "$(socket_links)" "$links"
	ask "still here"
	assert_equal "$answer" "still here"
	kill -9 "$(cat "$DIR/pid")"
	rm "$DIR/pid"
	hang_up
	until_true 60 tagged_are ""
}

@test "a server that is killed leaves no tags" {
	start
	nsenter --net="/run/netns/$EDGE" "$EXAMPLE" 7778 3>&- &
	local server=$! clients
	sed -i 's/ports: \[7777\]/ports: [7777, 7778]/' "$DIR/spillway.yaml"
	"$SPILLWAY" reload
	in_clients bash -c 'for _ in {1..10}; do
			exec {fd}<>/dev/tcp/10.97.0.1/7778
			echo LOGIN 3 >&"$fd"
		done
		cat <&"$fd"' >/dev/null 3>&- &
	clients=$!
	until_true 60 tagged_are "$(printf '3 %.0s' $(seq 10))"
	kill -9 "$server"
	wait "$server" || true
	wait "$clients" || true
	until_true 60 tagged_are ""
	config 'packets_per_second: 1, burst: 400'
}

@test "where nobody listens an application goes on, and learns of it" {
	call
	ask "LOGIN 1"
	assert_equal "$answer" "WELCOME 1 untold: Protocol not available"
	ask hello
	assert_equal "$answer" hello
	hang_up
}

@test "unload leaves no program on any cgroup" {
	start
	local link
	socket_links >"$DIR/links"
	assert_equal "$(wc -l <"$DIR/links")" 2
	"$SPILLWAY" unload
	assert [ ! -e "$SPILLWAY_PINS" ]
	while read -r link; do
		run bpftool link show id "$link"
		assert_failure
	done <"$DIR/links"
}

@test "pins of tags that are removed come back" {
	start
	socket_links >"$DIR/links"
	rm "$SPILLWAY_PINS"/tag*
	until_true 60 test -e "$SPILLWAY_PINS/tag_link_end"
	assert_equal "$(socket_links)" "$(cat "$DIR/links")"
	assert [ -e "$SPILLWAY_PINS/tag_sockets" ]
	assert [ -e "$SPILLWAY_PINS/tags" ]
}

@test "a host that refuses them runs without, says why, and users count for their sources" {
	# Without a cgroup file system of version 2.
	nsenter --net="/run/netns/$EDGE" unshare -m sh -c 'umount -t cgroup2 -a && exec "$SPILLWAY" run --config "$DIR/spillway.yaml"' \
		>"$DIR/log" 2>&1 3>&- &
	echo $! >"$DIR/pid"
	until_true 60 "$SPILLWAY" status
	run cat "$DIR/log"
	assert_output --partial "users of kind 'tag' count for their sources: no cgroup file system of version 2 is mounted"
	run "$SPILLWAY" status
	assert_output --partial "off: tags: no cgroup file system of version 2 is mounted"
	call
	ask "LOGIN 1"
	assert_equal "$answer" "WELCOME 1 untold: Protocol not available"
	hang_up
	source_is_seen() {
		"$SPILLWAY" users --json | jq -e '.[] | select(.user == "10.97.1.1" and .kind == "source")'
	}
	until_true 60 source_is_seen
}

@test "each of their calls refused at a start: it runs without, says so, and leaves none of them" {
	local call refused=0
	under_strace -o "$DIR/traces"
	end
	loading "$DIR/traces" >"$DIR/trace"
	while read -r call; do
		echo "refused: $(sed -n "${call}p" "$DIR/trace")"
		under_strace -o /dev/null -e "inject=bpf:error=EPERM:when=$call..$((call + 1))" # libbpf loads again
		run "$SPILLWAY" status
		assert_output --partial "off: tags: "
		assert_equal "$(find "$SPILLWAY_PINS" -name 'tag_*')" ""
		end
		refused=$((refused + 1))
	done < <(grep -nE 'BPF_PROG_LOAD.*"tag_|BPF_LINK_CREATE.*BPF_CGROUP|BPF_OBJ_PIN.*/tag_' "$DIR/trace" | cut -d: -f1)
	assert [ "$refused" -ge 8 ] # three programs, two links, three pins
}

# under_strace OPTION...: starts the daemon there, whose bpf calls can then be seen or refused. `unload` ends both.
under_strace() {
	nsenter --net="/run/netns/$EDGE" strace -f -qq -e trace=bpf "$@" "$SPILLWAY" run --config "$DIR/spillway.yaml" \
		>"$DIR/log" 2>&1 3>&- &
	traced=$!
	until_true 60 answers
}

end() {
	"$SPILLWAY" unload
	wait "$traced" || true
}

answers() {
	"$SPILLWAY" status >/dev/null 2>&1
}
