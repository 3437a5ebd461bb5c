#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `make run`: Spillway at work. In a laboratory on this machine, well-behaved users ask a web and a DNS server while an
# attacker floods them: first without Spillway, then with it, and what they felt is printed. On a terminal the live view
# of the latter stays until it is quit; else both together take SECONDS_TO_RUN, and it fails where the well-behaved kept
# less than 99 % of their requests.
#   IFACE=eth0 [ENFORCE=1]   runs on a real interface instead, observing unless told to enforce
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
: "${O:=$here/../build}" "${SECONDS_TO_RUN:=20}"
export O SECONDS_TO_RUN
export SPILLWAY_SOCKET=${SPILLWAY_SOCKET:-/run/spillway-run-$$/spillway.sock}
export SPILLWAY_PINS=${SPILLWAY_PINS:-/sys/fs/bpf/spillway-run-$$}
USERS=20
ATTACK_PPS=150000
# On a terminal: how long before the live view comes, and how often what it shows is measured anew.
SECONDS_WITHOUT=5
SECONDS_MEASURED=5

if [ "$(id -u)" -ne 0 ]; then
	echo "run: not root: run 'sudo make run'" >&2
	exit 1
fi

daemon=

stop_daemon() {
	[ -n "$daemon" ] || return 0
	kill "$daemon" 2>/dev/null || true
	wait "$daemon" 2>/dev/null || true
	daemon=
	"$O/spillway" unload || true
	rm -rf "$(dirname "$SPILLWAY_SOCKET")"
}

# The daemon runs where the interface is: in namespace $1, or here where that is empty. It logs to a file, as the live
# view has the terminal.
start_daemon() {
	local place=$1
	shift
	if [ -n "$place" ]; then
		nsenter --net="/run/netns/$place" "$O/spillway" run "$@" 2>"$dir/log" &
	else
		"$O/spillway" run "$@" 2>"$dir/log" &
	fi
	daemon=$!
	for _ in $(seq 100); do
		"$O/spillway" status >/dev/null 2>&1 && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	echo "run: Spillway did not start:" >&2
	cat "$dir/log" >&2
	return 1
}

config() {
	cat <<-END
		interfaces: [$1]
		mode: $2
		history: null
		services:
		  - name: web
		    protocol: tcp
		    ports: [80]
		    limit: {packets_per_second: 500, burst: 500}
		  - name: dns
		    protocol: udp
		    ports: [53]
		    limit: {packets_per_second: 200, burst: 200}
	END
}

on_interface() {
	local mode=observe
	[ "${ENFORCE:-}" = 1 ] && mode=enforce
	dir=$(mktemp -d)
	trap 'stop_daemon; rm -rf "$dir"' EXIT
	config "$IFACE" "$mode" >"$dir/spillway.yaml"
	start_daemon "" --config "$dir/spillway.yaml"
	if [ -t 1 ]; then
		"$O/spillway" top
	else
		sleep "$SECONDS_TO_RUN"
		"$O/spillway" status
	fi
}

# A query for the address of www.lab.test (RFC 1035 section 4.1), so that the server has work with each.
QUERY=534c01000001000000000000$(printf '\003www\003lab\004test\000' | od -An -v -tx1 | tr -d ' \n')00010001

# The attacker, until it is told to end; for the background, whose process it becomes.
flood() {
	exec nsenter --net="/run/netns/$LAB_ATTACKER" "$O/spillway-traffic" --interface attack0 \
		--destination-mac "$LAB_EDGE_MAC" --destination "$LAB_EDGE_IPV4" --port 53 --protocol udp --payload "$QUERY" \
		--sources 10.99.200.0/28 --users 8 --rate "$ATTACK_PPS" --seconds 3600 --json
}

clients() {
	nsenter --net="/run/netns/$LAB_USERS" "$O/spillway-client" --users "$USERS" --server "$LAB_EDGE_IPV4" \
		--http 5 --dns 10 --seconds "$1" --json
}

# Clients for $1 seconds, under a flood; leaves $2.clients and $2.flood.
round() {
	flood >"$2.flood" &
	local attack=$!
	sleep 0.5
	clients "$1" >"$2.clients"
	kill "$attack"
	wait "$attack"
}

# report TITLE ROUND: what the users felt in a round.
report() {
	jq -rn --arg title "$1" --slurpfile c "$2.clients" --slurpfile f "$2.flood" '
		def rounded(places): if . then . * places | round / places else "no" end;
		$c[0].total as $users |
		"\($title): well-behaved sent \($users.sent), answered \($users.answered) (\(100 * $users.answered / $users.sent | rounded(100)) %), p50 \($users.p50_ms | rounded(10)) ms, p99 \($users.p99_ms | rounded(10)) ms; attacker sent \($f[0].sent) packets"'
}

# Rounds one after the other; "live" is the last that came to its end.
rounds() {
	while round "$SECONDS_MEASURED" "$dir/next"; do
		mv "$dir/next.clients" "$dir/live.clients"
		mv "$dir/next.flood" "$dir/live.flood"
	done
}

on_terminal() {
	echo "run: $USERS well-behaved users and a flood of $ATTACK_PPS packets/s: without Spillway first, for $SECONDS_WITHOUT s"
	round "$SECONDS_WITHOUT" "$dir/without"
	start_daemon "$LAB_EDGE" --config "$dir/spillway.yaml"
	rounds >/dev/null 2>&1 &
	local traffic=$!
	"$O/spillway" top
	kill "$traffic" 2>/dev/null || true
	report "without Spillway" "$dir/without"
	if [ -e "$dir/live.flood" ]; then
		report "with Spillway   " "$dir/live"
	fi
}

without_terminal() {
	local seconds=$((SECONDS_TO_RUN / 2))
	echo "run: $USERS well-behaved users and a flood of $ATTACK_PPS packets/s, $seconds s without and $seconds s with Spillway"
	round "$seconds" "$dir/without"
	start_daemon "$LAB_EDGE" --config "$dir/spillway.yaml"
	round "$seconds" "$dir/with"
	sleep 2
	"$O/spillway" services
	report "without Spillway" "$dir/without"
	report "with Spillway   " "$dir/with"
	jq -e '.total.answered >= 0.99 * .total.sent' "$dir/with.clients" >/dev/null ||
		{ echo "run: the well-behaved kept less than 99 % of their requests" >&2; return 1; }
}

in_laboratory() {
	dir=$(mktemp -d)
	trap 'stop_daemon; rm -rf "$dir"' EXIT
	config edge0 enforce >"$dir/spillway.yaml"
	if [ -t 1 ]; then
		on_terminal
	else
		without_terminal
	fi
}

if [ -n "${IFACE:-}" ]; then
	on_interface
elif [ "${1:-}" = --inside ]; then
	in_laboratory
else
	exec "$here/lab.sh" run --name "run$$" --users "$USERS" -- "$0" --inside
fi
