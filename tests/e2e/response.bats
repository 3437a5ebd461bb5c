#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# How services feel, measured by the kernel: against what their clients measure, when they stop answering, and when the
# host's own queues overflow. The server's host and its clients are namespaces.

load common

setup_file() {
	name_places
	export EDGE="swr-$$-edge" CLIENTS="swr-$$-clients" CLIENT="$O/spillway-client"
	local host
	ip netns add "$EDGE"
	ip netns add "$CLIENTS"
	ip link add edge0 netns "$EDGE" type veth peer name clients0 netns "$CLIENTS"
	ip -n "$EDGE" addr add 10.96.0.1/16 dev edge0
	ip -n "$EDGE" link set lo up
	ip -n "$EDGE" link set edge0 up
	for host in $(seq 5); do ip -n "$CLIENTS" addr add "10.96.1.$host/16" dev clients0; done
	ip -n "$CLIENTS" link set clients0 up
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip netns del "$EDGE" || true
	ip netns del "$CLIENTS" || true
}

setup() {
	load_assertions
	export PLACE="$EDGE"
	server=
	config
}

teardown() {
	[ -z "$server" ] || { kill -CONT "$server"; kill "$server"; }
	stop
	"$SPILLWAY" unload
}

# config [INTERFACES]
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [${1-edge0}]
		mode: enforce
		listen: 127.0.0.1:9476
		table: {users: 1000}
		services:
		  - {name: web, protocol: tcp, ports: [80]}
		  - {name: dns, protocol: udp, ports: [53]}
	END
}

at_edge() {
	nsenter --net="/run/netns/$EDGE" "$@"
}

# serve MILLISECONDS: web and DNS, each answer so late, whatever else this machine does. Its process is $server.
serve() {
	chrt -f 1 nsenter --net="/run/netns/$EDGE" python3 "$BATS_TEST_DIRNAME/slow_server.py" 10.96.0.1 80 "$1" 3>&- &
	server=$!
	until_true 60 listens
}

listens() {
	[ "$(at_edge ss -Hltn 'sport = :80' | wc -l)" -eq 1 ] && [ "$(at_edge ss -Hlun 'sport = :53' | wc -l)" -eq 1 ]
}

# ask SECONDS: five users, ten requests of each kind a second each. Prints what they measured, as JSON. They come before all
# other work here, so that they do not measure how long they wait for the processor themselves.
ask() {
	chrt -f 1 nsenter --net="/run/netns/$CLIENTS" "$CLIENT" --server 10.96.0.1 --first-ipv4 10.96.1.1 --users 5 \
		--http 10 --dns 10 --seconds "$1" --json
}

# metric SERIES: its value; 0 where there is none.
metric() {
	at_edge curl -sf http://127.0.0.1:9476/metrics | awk -v series="$1" '$1 == series {n = $2} END {print n + 0}'
}

at_least() {
	[ "$(metric "$1")" -ge "$2" ]
}

# agrees SERVICE PART: whether what the service is said to take is within a tenth of what its clients have measured.
agrees() {
	local theirs
	theirs=$(jq ".${1/web/http}.${2}_ms" "$DIR/clients")
	near "$(number "$1" response_milliseconds."$2")" "$theirs" 10
}

said() {
	grep -qF "$1" "$DIR/log"
}

links() {
	local pin
	for pin in "$SPILLWAY_PINS"/response_link_* "$SPILLWAY_PINS"/drop_link_seen; do
		bpftool -j link show pinned "$pin" | jq .id
	done
}

@test "median and p99 are what the clients measure" {
	serve 100
	start
	# What a busy machine adds on the clients' side alone is nobody's response time: three tries.
	local try agreed=
	for try in 1 2 3; do
		ask 3 >"$DIR/clients"
		jq -c . "$DIR/clients"
		agrees web p50 && agrees web p99 && agrees dns p50 && agrees dns p99 && agreed=yes && break
		# The window of what is shown, so that the next try is its own.
		[ "$try" = 3 ] || sleep 11
	done
	# All of a quiet service: each request was sampled.
	assert_equal "$(jq '.http.lost + .dns.lost' "$DIR/clients")" 0
	assert_equal "$(metric 'spillway_response_seconds_count{service="dns"}')" $((try * 150))
	assert_equal "$(metric 'spillway_response_seconds_count{service="web"}')" $((try * 150))
	assert_equal "$(metric 'spillway_requests_unanswered_total{service="web"}')" 0
	assert_equal "$(metric 'spillway_response_seconds_bucket{service="web",le="+Inf"}')" $((try * 150))
	assert_equal "$(metric 'spillway_response_seconds_bucket{service="web",le="0.067108864"}')" 0
	assert_equal "$agreed" yes
}

@test "a stopped server is told from a slow one, though the kernel still shakes hands for it" {
	serve 50
	start
	ask 1 >"$DIR/clients"
	assert_equal "$(metric 'spillway_requests_unanswered_total{service="web"}')" 0
	kill -STOP "$server"
	local began=${EPOCHREALTIME/./}
	ask 3 >"$DIR/clients" &
	local asking=$!
	until_true 60 at_least 'spillway_requests_unanswered_total{service="web"}' 1
	until_true 60 at_least 'spillway_requests_unanswered_total{service="dns"}' 1
	local took=$((${EPOCHREALTIME/./} - began))
	echo "# told after $((took / 1000)) ms" >&3
	assert [ "$took" -ge 1500000 ]
	assert_equal "$(metric 'spillway_response_seconds_count{service="web"}')" 50
	until_true 60 said 'service web: it has stopped answering'
	until_true 60 said 'service dns: it has stopped answering'
	wait "$asking"
	# It goes on, and answers again.
	kill -CONT "$server"
	until_true 60 listens
	ask 1 >"$DIR/clients"
	until_true 60 said 'service web: it answers again'
	until_true 60 said 'service dns: it answers again'
	at_least 'spillway_response_seconds_count{service="web"}' 100
	at_least 'spillway_response_seconds_count{service="dns"}' 100
}

@test "what the host's queues drop is counted for the service, by the kernel's own reason" {
	nsenter --net="/run/netns/$EDGE" python3 -c '
import socket, time
web = socket.socket()
web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
web.bind(("10.96.0.1", 80))
web.listen(2)
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
dns.bind(("10.96.0.1", 53))
time.sleep(600)' 3>&- &
	server=$!
	until_true 60 listens
	start
	sleep 1 # it knows what listeners had dropped before
	ask 2 >"$DIR/clients"
	until_true 60 at_least 'spillway_host_drops_total{service="web",reason="TCP_LISTEN_OVERFLOW"}' 50
	until_true 60 at_least 'spillway_host_drops_total{service="dns",reason="SOCKET_RCVBUFF"}' 50
	# No more than the kernel itself says, and none of another namespace's.
	assert [ "$(metric 'spillway_host_drops_total{service="web",reason="TCP_LISTEN_OVERFLOW"}')" -le \
		"$(at_edge nstat -asz TcpExtListenDrops | awk '/ListenDrops/ {print $2}')" ]
	assert_equal "$(metric 'spillway_host_drops_total{service="dns",reason="SOCKET_RCVBUFF"}')" \
		"$(at_edge nstat -asz UdpRcvbufErrors | awk '/RcvbufErrors/ {print $2}')"
	assert [ -n "$(at_edge curl -s http://127.0.0.1:9476/metrics | grep 'spillway_pressure_ratio{resource="softirq"}')" ]
}

@test "it goes on without the daemon, is adopted, follows the interfaces, and goes with unload" {
	serve 10
	start
	links >"$DIR/links"
	assert_equal "$(wc -l <"$DIR/links")" 2
	local tcx
	tcx=$(head -n 1 "$DIR/links")
	kill -9 "$(cat "$DIR/pid")"
	rm "$DIR/pid"
	ask 1 >"$DIR/clients"
	start
	assert_equal "$(links | head -n 1)" "$tcx"
	assert_equal "$(metric 'spillway_response_seconds_count{service="dns"}')" 50
	# Pins come back.
	rm "$SPILLWAY_PINS"/response_link_* "$SPILLWAY_PINS"/drop_link_* "$SPILLWAY_PINS/host_drops"
	until_true 60 test -e "$SPILLWAY_PINS/host_drops"
	assert_equal "$(links | head -n 1)" "$tcx"
	# Another interface in its place.
	ip -n "$EDGE" link add other0 type veth peer name other1
	config other0
	"$SPILLWAY" reload
	run bpftool link show id "$tcx"
	assert_failure
	assert_equal "$(links | wc -l)" 2
	config edge0
	"$SPILLWAY" reload
	ip -n "$EDGE" link del other0
	links >"$DIR/links"
	# A configuration that wants none of it.
	sed -i 's/ports: \[[0-9]*\]}/ports: [1], replies: false}/; 1,/ports: \[1\]/! s/ports: \[1\]/ports: [2]/' "$DIR/spillway.yaml"
	"$SPILLWAY" reload
	run bpftool link show id "$(head -n 1 "$DIR/links")"
	assert_failure
	run "$SPILLWAY" status --json
	assert_equal "$(jq '[.features[] | select(.name == "response")] | length' <<<"$output")" 0
	config
	"$SPILLWAY" reload
	links >"$DIR/links"
	"$SPILLWAY" unload
	local link
	gone() { ! bpftool link show id "$1" >/dev/null 2>&1; }
	while read -r link; do until_true 60 gone "$link"; done <"$DIR/links"
}

# under_strace OPTION...: starts the daemon there, whose bpf calls can then be seen or refused. `unload` ends both.
under_strace() {
	at_edge strace -f -qq -e trace=bpf "$@" "$SPILLWAY" run --config "$DIR/spillway.yaml" >"$DIR/log" 2>&1 3>&- &
	traced=$!
	until_true 60 answers
}

answers() {
	"$SPILLWAY" status >/dev/null 2>&1
}

end() {
	"$SPILLWAY" unload
	wait "$traced" || true
}

# call PATTERN: the number of the first bpf call that matches, in an undisturbed start.
call() {
	loading "$DIR/trace" | grep -nE "$1" | head -n 1 | cut -d: -f1
}

feature() {
	"$SPILLWAY" status --json | jq -r ".features[] | select(.name == \"$1\") | \"\(.on) \(.why)\""
}

@test "each part that the host refuses is off alone, and says why; without such links a filter does" {
	local n
	serve 10
	under_strace -o "$DIR/trace"
	assert_equal "$(feature response | cut -d' ' -f1)" true
	end
	n=$(call 'BPF_PROG_LOAD.*prog_name="response"')
	under_strace -o /dev/null -e "inject=bpf:error=EACCES:when=$n..$((n + 1))" # libbpf loads again
	run feature response
	assert_output --partial "false the kernel refuses the program that meets replies: Permission denied"
	ask 1 >"$DIR/clients"
	assert_equal "$(number dns response_milliseconds.p50)" null
	assert_equal "$(metric 'spillway_requests_sampled_total{service="dns"}')" 0 # nobody waits for what nobody sees
	assert_equal "$(jq .dns.lost "$DIR/clients")" 0
	end
	n=$(call 'BPF_LINK_CREATE.*BPF_TRACE_RAW_TP')
	under_strace -o /dev/null -e "inject=bpf:error=EACCES:when=$n"
	run feature host_drops
	assert_output --partial "false the kernel does not attach the program: Permission denied"
	assert [ ! -e "$SPILLWAY_PINS/host_drops" ]
	assert_equal "$(feature response | cut -d' ' -f1)" true
	end
	# No links at egress (before 6.6): a filter of the interface's qdisc, and it is gone with unload.
	n=$(call 'BPF_LINK_CREATE.*(0x2f|TCX_EGRESS)')
	under_strace -o /dev/null -e "inject=bpf:error=EINVAL:when=$n"
	assert_equal "$(feature response | cut -d' ' -f1)" true
	run at_edge tc filter show dev edge0 egress
	assert_output --partial "response"
	ask 1 >"$DIR/clients"
	assert_equal "$(metric 'spillway_response_seconds_count{service="dns"}')" 50
	at_edge "$SPILLWAY" unload
	wait "$traced" || true
	assert_equal "$(at_edge tc filter show dev edge0 egress)" ""
}
