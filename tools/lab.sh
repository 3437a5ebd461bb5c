#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The laboratory: a small internet of network namespaces on this machine, with users, an attacker, and an edge host
# that serves web and DNS. All traffic reaches the edge on one interface, edge0, where Spillway is attached.
#
#   users0 (users) ------+
#                        +-- br0 (switch) --- edge0 (edge)
#   attack0 (attacker) --+
#
# Everything a laboratory is lies in namespaces swl-NAME-* and in /run/spillway-lab-NAME, so that `down` can remove it
# after whatever happened to `up`.
set -euo pipefail

usage() {
	cat <<-'END'
		usage: lab.sh up    [--name NAME] [--users N] [--vlan ID]
		       lab.sh run   [--name NAME] [--users N] [--vlan ID] -- COMMAND...
		       lab.sh exec  NAME edge|users|attacker -- COMMAND...
		       lab.sh down  [--name NAME]
		       lab.sh sweep
		up     makes a laboratory (NAME lab, 20 users); --vlan: frames reach the edge with that 802.1Q tag
		run    up, COMMAND, and down whatever happens; its exit status is COMMAND's
		exec   COMMAND in one of a laboratory's namespaces
		down   removes a laboratory, or what is left of one
		sweep  removes the laboratories whose `run` was killed
		COMMAND finds LAB_NAME, LAB_EDGE, LAB_USERS, LAB_ATTACKER (namespaces), LAB_EDGE_IPV4, LAB_EDGE_IPV6,
		LAB_EDGE_MAC and LAB_STATE (a directory) in its environment.
	END
}

readonly EDGE_IPV4=10.99.0.1 EDGE_IPV6=fd00:99::1 EDGE_MAC=02:53:57:00:00:01
readonly USERS_IPV4=10.99.1.1 USERS_IPV6=fd00:99::1:1 USERS_MAC=02:53:57:00:00:02
readonly ATTACKER_IPV4=10.99.200.1 ATTACKER_IPV6=fd00:99::200:1 ATTACKER_MAC=02:53:57:00:00:03
readonly USERS_MAX=10000 READY_WITHIN_S=10 END_WITHIN_S=3
# Also the order of taking them down: servers and users first, what connects them last.
readonly ROLES=(edge users attacker switch)

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lab
name=lab
users=20
vlan=
state=

fail() {
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

misuse() {
	printf 'lab: %s: see lab.sh --help\n' "$*" >&2
	exit 2
}

set_name() {
	[[ $1 =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] || misuse "name '$1': letters a to z, digits and hyphens, at most 32"
	name=$1
	state=/run/spillway-lab-$name
}

namespace() {
	printf 'swl-%s-%s' "$name" "$1"
}

# within ROLE COMMAND...: nsenter and not `ip netns exec`, which would hide bpffs behind a /sys of its own.
within() {
	local role=$1
	shift
	nsenter --net="/run/netns/$(namespace "$role")" -- "$@"
}

export_environment() {
	export LAB_NAME=$name LAB_STATE=$state LAB_EDGE_IPV4=$EDGE_IPV4 LAB_EDGE_IPV6=$EDGE_IPV6 LAB_EDGE_MAC=$EDGE_MAC
	LAB_EDGE=$(namespace edge) LAB_USERS=$(namespace users) LAB_ATTACKER=$(namespace attacker)
	export LAB_EDGE LAB_USERS LAB_ATTACKER
}

# --- processes -------------------------------------------------------------------------------------------------------

# start_time PID: in clock ticks since boot. With the pid it names a process for good; fails where there is none.
start_time() {
	local stat=
	# Not $(<FILE): where the file is gone, that ends bash 5.2 when it is running a trap.
	{ IFS= read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || [[ -n $stat ]] || return 1
	# The name, in parentheses, may hold anything: count the fields behind it. The 22nd of all is the 20th of these.
	stat=${stat##*) }
	[[ $stat != Z* ]] || return 1
	cut -d ' ' -f 20 <<<"$stat"
}

# record FILE PID
record() {
	local time
	time=$(start_time "$2") || return 1
	printf '%s %s\n' "$2" "$time" >"$state/$1.new"
	mv "$state/$1.new" "$state/$1"
}

# recorded FILE: prints the pid that a file of `record` names, where that very process is still there.
recorded() {
	local pid time
	{ read -r pid time <"$state/$1"; } 2>/dev/null || return 1
	[[ $pid =~ ^[0-9]+$ && -n $time && $(start_time "$pid") == "$time" ]] || return 1
	printf '%s\n' "$pid"
}

# is_ours PID: whether a process is this laboratory's, by its command line (servers) or its environment (what `run` and
# `exec` started).
is_ours() {
	# `return` alone would, in a trap, return what the shell was to exit with.
	{ tr '\0' '\n' <"/proc/$1/cmdline" | grep -F -- "$state/" >/dev/null; } 2>/dev/null && return 0
	{ tr '\0' '\n' <"/proc/$1/environ" | grep -xF -- "LAB_STATE=$state" >/dev/null; } 2>/dev/null
}

# end_process PID: asks, waits, and then does not ask any more.
end_process() {
	local deadline=$((SECONDS + END_WITHIN_S))
	kill -TERM "$1" 2>/dev/null || return 0
	while start_time "$1" >/dev/null; do
		if ((SECONDS > deadline)); then
			kill -KILL "$1" 2>/dev/null || true
			return 0
		fi
		sleep 0.02
	done
}

end_processes() {
	local role pid
	for role in "${ROLES[@]}"; do
		[[ -e /run/netns/$(namespace "$role") ]] || continue
		for pid in $(ip netns pids "$(namespace "$role")" 2>/dev/null); do
			if is_ours "$pid"; then
				end_process "$pid"
			elif start_time "$pid" >/dev/null; then
				printf 'lab: process %s in %s is not ours and was left alone\n' "$pid" \
					"$(namespace "$role")" >&2
			fi
		done
	done
}

# --- down ------------------------------------------------------------------------------------------------------------

# Knows nothing of how far `up` got: every step does what there is left to do.
remove_lab() {
	local role link
	end_processes
	for role in "${ROLES[@]}"; do
		[[ -e /run/netns/$(namespace "$role") ]] || continue
		# A process left in a namespace keeps it alive without a name; its links go all the same.
		for link in edge0 users0 attack0 br0; do
			within "$role" ip link delete "$link" 2>/dev/null || true
		done
		ip netns delete "$(namespace "$role")"
	done
	rm -rf "$state"
}

lock_lab() {
	exec {lock}>/run/spillway-lab.lock
	flock -w 30 "$lock" || fail "$name: another lab.sh has been making or removing a laboratory for 30 s"
}

unlock_lab() {
	exec {lock}>&-
}

down_lab() {
	lock_lab
	remove_lab
	unlock_lab
}

# --- up --------------------------------------------------------------------------------------------------------------

# forbid_surprises ROLE: no filter on sources, which attackers forge, and no address or route that we did not give.
forbid_surprises() {
	within "$1" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
		net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 \
		net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
}

make_switch() {
	within switch sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	within switch ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
	within switch ip link set br0 up
}

# make_cable ROLE INTERFACE MAC: a pair from a namespace to the switch, whose end is named port-ROLE.
make_cable() {
	local role=$1 interface=$2 mac=$3
	ip link add "$interface" address "$mac" netns "$(namespace "$role")" type veth \
		peer name "port-$role" netns "$(namespace switch)"
	# A packet is then what it is on a wire: one frame, with its VLAN tag inside it.
	within "$role" ethtool -K "$interface" tso off gso off gro off txvlan off >/dev/null
	# A port with GRO on takes the frames that XDP sends, which a veth without refuses.
	within switch ethtool -K "port-$role" tso off gso off gro on txvlan off >/dev/null
	within "$role" ip -batch - <<-END
		link set lo up
		link set $interface addrgenmode none
		link set $interface up
	END
	within switch ip -batch - <<-END
		link set port-$role master br0
		link set port-$role up
	END
	# Forged source addresses must not teach the switch anything.
	within switch bridge link set dev "port-$role" learning off
	within switch bridge fdb replace "$mac" dev "port-$role" master static
}

# find_clang: prints the compiler, which CLANG may name.
find_clang() {
	local candidate
	for candidate in ${CLANG:+"$CLANG"} clang-{22..14} clang; do
		command -v "$candidate" && return
	done
	fail "--vlan: no clang: install clang-19 ('make deps'), or name yours in CLANG"
}

# make_vlan: tags what passes between the switch and the edge; users and attacker need not know of it.
make_vlan() {
	local clang end role device
	clang=$(find_clang)
	# Debian keeps asm/ in a directory per architecture, where -target bpf does not look.
	"$clang" -g -O2 -target bpf -mcpu=v3 -std=gnu11 -Wall -Werror -idirafter "/usr/include/$(uname -m)-linux-gnu" \
		-DVLAN_ID="$vlan" -c "$here/vlan.bpf.c" -o "$state/vlan.bpf.o"
	for end in edge:edge0 switch:port-edge; do
		role=${end%:*} device=${end#*:}
		within "$role" tc qdisc add dev "$device" clsact
		within "$role" tc filter add dev "$device" egress bpf direct-action obj "$state/vlan.bpf.o" sec tc/push
		within "$role" tc filter add dev "$device" ingress bpf direct-action obj "$state/vlan.bpf.o" sec tc/pop
	done
}

# Replies to whoever it may be leave at once, through one of two neighbours that never have to be asked for: those to
# the users' part of the network to the users, all others, forged sources' among them, to the attacker.
address_edge() {
	within edge ip -batch - <<-END
		address add $EDGE_IPV4/16 dev edge0 noprefixroute
		address add $EDGE_IPV6/64 dev edge0 noprefixroute nodad
		neighbour replace $USERS_IPV4 lladdr $USERS_MAC nud permanent dev edge0
		neighbour replace $USERS_IPV6 lladdr $USERS_MAC nud permanent dev edge0
		neighbour replace $ATTACKER_IPV4 lladdr $ATTACKER_MAC nud permanent dev edge0
		neighbour replace $ATTACKER_IPV6 lladdr $ATTACKER_MAC nud permanent dev edge0
		route add 10.99.0.0/17 via $USERS_IPV4 dev edge0 onlink
		route add 0.0.0.0/0 via $ATTACKER_IPV4 dev edge0 onlink
		route add fd00:99::1:0/112 via $USERS_IPV6 dev edge0 onlink
		route add ::/0 via $ATTACKER_IPV6 dev edge0 onlink
	END
}

address_users() {
	local i
	{
		for ((i = 1; i <= users; i++)); do
			printf 'address add 10.99.%d.%d/16 dev users0\n' $((1 + i / 256)) $((i % 256))
			printf 'address add fd00:99::1:%x/64 dev users0 nodad\n' "$i"
		done
		printf 'neighbour replace %s lladdr %s nud permanent dev users0\n' \
			"$EDGE_IPV4" "$EDGE_MAC" "$EDGE_IPV6" "$EDGE_MAC"
	} | within users ip -batch -
}

address_attacker() {
	within attacker ip -batch - <<-END
		address add $ATTACKER_IPV4/16 dev attack0
		address add $ATTACKER_IPV6/64 dev attack0 nodad
		neighbour replace $EDGE_IPV4 lladdr $EDGE_MAC nud permanent dev attack0
		neighbour replace $EDGE_IPV6 lladdr $EDGE_MAC nud permanent dev attack0
	END
}

# start_server NAME COMMAND...: in the edge's namespace, in a session of its own, holding none of our descriptors.
start_server() {
	local server=$1 fd
	shift
	sed "s|@STATE@|$state|g" "$here/$server.conf" >"$state/$server.conf"
	(
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			((fd <= 2)) || eval "exec $fd>&-"
		done
		exec setsid nsenter --net="/run/netns/$(namespace edge)" -- "$@"
	) </dev/null >>"$state/$server.log" 2>&1 &
	# A file of its own name: nginx writes a pid file as well.
	record "$server.process" "$!" || true
}

# await_server NAME PORT: until users can connect to it over both families.
await_server() {
	local server=$1 port=$2 deadline=$((SECONDS + READY_WITHIN_S)) address
	for address in "$EDGE_IPV4" "$EDGE_IPV6"; do
		# shellcheck disable=SC2016 # for the inner shell
		until within users timeout 1 bash -c ': <"/dev/tcp/$0/$1"' "$address" "$port" 2>/dev/null; do
			recorded "$server.process" >/dev/null || fail "$server ended at once: $(tail -n 1 "$state/$server.log")"
			((SECONDS <= deadline)) || fail "$server: no connection to $address port $port in $READY_WITHIN_S s"
			sleep 0.02
		done
	done
}

make_lab() {
	local role
	for role in "${ROLES[@]}"; do
		ip netns add "$(namespace "$role")"
		forbid_surprises "$role"
	done
	make_switch
	make_cable edge edge0 "$EDGE_MAC"
	make_cable users users0 "$USERS_MAC"
	make_cable attacker attack0 "$ATTACKER_MAC"
	[[ -z $vlan ]] || make_vlan
	address_edge
	address_users
	address_attacker
	start_server nginx nginx -p "$state" -c "$state/nginx.conf"
	start_server unbound unbound -c "$state/unbound.conf"
	await_server nginx 80
	await_server unbound 53
}

# A signal becomes an exit, and so reaches the EXIT trap.
trap_signals() {
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

undo_up() {
	local status=$?
	trap '' HUP INT TERM
	trap - EXIT
	remove_lab
	exit "$status"
}

# up_lab [OWNER_PID]
up_lab() {
	local interrupted=
	lock_lab
	# Whenever a signal comes, it finds either nothing, or somebody who removes what there is.
	trap 'interrupted=143' HUP INT TERM
	mkdir -m 755 "$state" 2>/dev/null || fail "$name: there already: lab.sh down --name $name"
	trap undo_up EXIT
	trap_signals
	[[ -z $interrupted ]] || exit "$interrupted"
	[[ -z ${1:-} ]] || record owner "$1"
	make_lab
	trap '' HUP INT TERM
	trap - EXIT
	unlock_lab
}

# --- run, exec, sweep ------------------------------------------------------------------------------------------------

command_pid=

finish_run() {
	local status=$?
	trap '' HUP INT TERM
	trap - EXIT
	# A terminal has sent the interrupt to COMMAND as well: it gets a moment to end in its own way.
	if [[ $status == 130 && -n $command_pid ]]; then
		timeout 2 tail -f /dev/null --pid="$command_pid" || true
	fi
	[[ -z $command_pid ]] || end_process "$command_pid"
	down_lab
	exit "$status"
}

run_lab() {
	up_lab $$
	trap finish_run EXIT
	trap_signals
	export_environment
	# In the background, because a shell heeds signals only between its foreground commands; with the terminal and
	# the signals that a foreground command has.
	env --default-signal=INT,QUIT -- "$@" <&0 &
	command_pid=$!
	record command "$command_pid" || true
	local status=0
	wait "$command_pid" || status=$?
	command_pid=
	exit "$status"
}

exec_lab() {
	local role=$1
	shift
	[[ -e /run/netns/$(namespace "$role") ]] || fail "$name: no such laboratory: lab.sh up --name $name"
	export_environment
	exec nsenter --net="/run/netns/$(namespace "$role")" -- "$@"
}

sweep_labs() {
	local directory pid
	for directory in /run/spillway-lab-*/; do
		[[ -e ${directory}owner ]] || continue
		directory=${directory%/}
		set_name "${directory#/run/spillway-lab-}"
		! recorded owner >/dev/null || continue
		if pid=$(recorded command) && is_ours "$pid"; then
			end_process "$pid"
		fi
		down_lab
		printf 'lab: removed %s\n' "$name"
	done
}

# --- arguments -------------------------------------------------------------------------------------------------------

# whole_number NAME VALUE LEAST MOST
whole_number() {
	if ! [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || (($2 < $3 || $2 > $4)); then
		misuse "$1 '$2': a number from $3 to $4"
	fi
}

# Reads options into name, users and vlan; what follows `--` goes to `rest`.
parse_options() {
	rest=()
	while (($#)); do
		case $1 in
		--)
			shift
			rest=("$@")
			return
			;;
		--name | --users | --vlan) (($# > 1)) || misuse "$1: needs a value" ;;
		*) misuse "$1: no such argument" ;;
		esac
		case $1 in
		--name) set_name "$2" ;;
		--users) whole_number --users "$2" 1 "$USERS_MAX" && users=$2 ;;
		--vlan) whole_number --vlan "$2" 1 4094 && vlan=$2 ;;
		esac
		shift 2
	done
}

main() {
	local verb=${1:-} role
	((!$#)) || shift
	set_name lab
	case $verb in
	up | down | run | sweep)
		parse_options "$@"
		[[ $verb == run ]] || ((${#rest[@]} == 0)) || misuse "$verb takes no COMMAND"
		[[ $verb != run ]] || ((${#rest[@]})) || misuse "run: needs -- COMMAND"
		;;
	exec)
		[[ $# -gt 3 && $3 == -- ]] || misuse "exec: needs NAME ROLE -- COMMAND"
		set_name "$1"
		role=$2
		[[ $role =~ ^(edge|users|attacker)$ ]] || misuse "'$role': edge, users or attacker"
		shift 3
		;;
	-h | --help | help) usage && return ;;
	*) misuse "${verb:-no verb}: up, down, run, exec or sweep" ;;
	esac
	((EUID == 0)) || fail "needs root, for network namespaces: use sudo"
	case $verb in
	up) up_lab ;;
	down) down_lab ;;
	run) run_lab "${rest[@]}" ;;
	sweep) sweep_labs ;;
	exec) exec_lab "$role" "$@" ;;
	esac
}

main "$@"
