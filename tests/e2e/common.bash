# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What the end-to-end tests share: a wire of their own (a veth pair whose other end is in a namespace), a daemon of their
# own on it, and traffic. `load common` at the top of a file.

# Says where everything is: by the process, so that two runs of the tests keep out of each other's way.
name_places() {
	bats_require_minimum_version 1.5.0
	export PATH="$PATH:/usr/sbin"
	export DIR="$BATS_FILE_TMPDIR"
	export SPILLWAY_SOCKET="$DIR/spillway.sock"
	export SPILLWAY_PINS="/sys/fs/bpf/spillway-e2e-$$"
	export SPILLWAY="$O/spillway" TRAFFIC="$O/spillway-traffic"
}

make_wire() {
	name_places
	export NS="swe-$$"
	export IFACE="swe$$"
	ip netns add "$NS"
	lay_wire
}

# A queue for each of two CPUs, so that what senders on both send is judged on both.
lay_wire() {
	ip link add "$IFACE" address 02:00:00:00:00:01 numrxqueues 2 numtxqueues 2 type veth \
		peer name attack address 02:00:00:00:00:02 numrxqueues 2 numtxqueues 2 netns "$NS"
	sysctl -qw "net.ipv6.conf.$IFACE.disable_ipv6=1"
	ip link set "$IFACE" up
	ip -n "$NS" link set attack up
}

remove_wire() {
	"$SPILLWAY" unload || true
	ip link del "$IFACE" 2>/dev/null || true
	ip netns del "$NS" || true
}

load_assertions() {
	export BATS_LIB_PATH="${BATS_LIB_PATH:-/usr/lib/bats}"
	bats_load_library bats-support
	bats_load_library bats-assert
}

# Writes a configuration of the wire alone, with a small table; its services, and what else there is, from standard input.
configure() {
	{
		cat <<-END
			interfaces: [$IFACE]
			mode: enforce
			listen: null
			history: null
			table: {users: 10000}
		END
		cat
	} >"$DIR/spillway.yaml"
}

# Starts the daemon and waits until it answers. PLACE: the namespace that it runs in.
start() {
	${PLACE:+nsenter --net="/run/netns/$PLACE"} "$SPILLWAY" run --config "$DIR/spillway.yaml" "$@" \
		>"$DIR/log" 2>&1 3>&- &
	echo $! >"$DIR/pid"
	until_true 60 answers_or_ended "$(cat "$DIR/pid")" && answers || { cat "$DIR/log" >&2; return 1; }
}

answers() {
	"$SPILLWAY" status >/dev/null 2>&1
}

answers_or_ended() {
	answers || ! kill -0 "$1" 2>/dev/null
}

stop() {
	[ -e "$DIR/pid" ] || return 0
	kill "$(cat "$DIR/pid")" 2>/dev/null || true
	while kill -0 "$(cat "$DIR/pid")" 2>/dev/null; do sleep 0.05; done
	rm -f "$DIR/pid"
}

# Small UDP packets to the wire's other end, port 53 unless said otherwise. They come before all other work here, so that
# they keep their pace: that is for rates up to 200,000 a second, which leave the processor to others in between. Prints what
# became of them, as JSON. With EXEC=exec, in the background, its process is $!.
flood() {
	${EXEC:-} chrt -f 1 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --protocol udp --size 64 --json "$@"
}

# number SERVICE FIELD: one number of a service.
number() {
	"$SPILLWAY" services --json | jq ".[] | select(.name == \"$1\") | .$2"
}

# near NUMBER EXPECTED PERCENT
near() {
	awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN {d = a - b; if (d < 0) d = -d; exit !(d <= b * p / 100)}' ||
		{ echo "$1 is not within $3 % of $2" >&2; return 1; }
}

# loading TRACE: the calls in it of the process that loads programs, in the order by which strace counts them.
loading() {
	grep "^$(awk '/BPF_PROG_LOAD/ {print $1; exit}' "$1") " "$1" | grep -v ' resumed>'
}

# until_true SECONDS COMMAND...: waits until it succeeds. How long a machine takes that is busy with other work is nobody's
# fault: a minute is for what takes a second.
until_true() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}
