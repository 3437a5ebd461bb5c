#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What listens has no privileges, as /proc shows (tests/unit/protections_test.c tries what it may not do); and who may do
# what over the control socket.

load common

# Groups and users of nobody else's, by numbers.
VIEWERS=64801
OPERATORS=64802
STRANGERS=64803

setup_file() {
	make_wire
	# It becomes this user: what it writes lies where that one may.
	mkdir "$DIR/socket" "$DIR/history"
	chown nobody "$DIR/socket" "$DIR/history"
	chmod 711 "$DIR" "$DIR/.." "$DIR/../.."
	chmod 755 "$DIR/socket"
	install -m 755 "$O/spillway" "$DIR/spillway"
	export SPILLWAY="$DIR/spillway" SPILLWAY_SOCKET="$DIR/socket/spillway.sock"
	private <<<""
	start --user nobody
}

teardown_file() {
	stop
	remove_wire
}

setup() {
	load_assertions
}

# The configuration, in a file that only root may read; more of it on standard input.
private() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: 127.0.0.1:9478
		history: {path: $DIR/history/history.db}
		table: {users: 10000}
		control: {group: "$OPERATORS", viewers: "$VIEWERS"}
		services:
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 1000}}
	END
	cat >>"$DIR/spillway.yaml"
	chmod 600 "$DIR/spillway.yaml"
}

process() {
	"$SPILLWAY" status --json | jq ".processes.$1"
}

# as GROUP VERB...: asks as somebody who is in that group and in no other.
as() {
	local group=$1
	shift
	setpriv --reuid=64999 --regid=64999 --groups="$group" --inh-caps=-all "$SPILLWAY" "$@"
}

@test "the process that listens has no capability, no way to any, and another user than root" {
	local pid
	pid=$(process daemon)
	assert_equal "$pid" "$(cat "$DIR/pid")"
	run ss -ltnpH "sport = :9478"
	assert_output --partial "pid=$pid,"
	refute_output --partial "pid=$(process broker),"
	run -0 grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' "/proc/$pid/status"
	local set
	for set in Inh Prm Eff Bnd Amb; do
		assert_line "Cap$set:	0000000000000000"
	done
	assert_line "NoNewPrivs:	1"
	assert_line "Seccomp:	2"
	assert_line --regexp "^Uid:	$(id -u nobody)	$(id -u nobody)	$(id -u nobody)	$(id -u nobody)$"
	assert_line --regexp "^Groups:	 *$"
}

@test "the other one listens to nobody, and keeps what loading and attaching need" {
	local pid
	pid=$(process broker)
	assert_equal "$(cat "/proc/$pid/comm")" spillway-broker
	run -0 grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp:)' "/proc/$pid/status"
	# CAP_DAC_READ_SEARCH (2), CAP_NET_ADMIN (12), CAP_SYS_ADMIN (21), CAP_PERFMON (38), CAP_BPF (39): at most.
	assert_equal $(($(awk '/^CapEff/ {print "0x" $2}' "/proc/$pid/status") & ~0xc000201004)) 0
	assert_line "CapBnd:	0000000000000000"
	assert_line "NoNewPrivs:	1"
	assert_line "Seccomp:	2"
	# One socket, the pair that it has with the daemon.
	assert_equal "$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)" 1
}

@test "status says which protections are on, and why one is not" {
	run -0 "$SPILLWAY" status --json
	assert_equal "$(jq -c '[.protections[].name]' <<<"$output")" \
		'["privilege_separation","unprivileged_user","no_capabilities","no_new_privileges","seccomp","landlock"]'
	assert_equal "$(jq -c '[.protections[] | select(.name != "landlock") | .on] | all' <<<"$output")" true
	assert_equal "$(jq -c '[.protections[].why | length > 10] | all' <<<"$output")" true
}

@test "a file beside the configuration is read though only root may; one elsewhere is refused by name" {
	echo 198.51.100.0/24 >"$DIR/acme.txt"
	chmod 600 "$DIR/acme.txt"
	private <<-END
		tenants:
		  - {name: acme, prefixes_file: acme.txt}
	END
	"$SPILLWAY" reload
	mkdir -p "$BATS_TEST_TMPDIR/elsewhere"
	echo 203.0.113.0/24 >"$BATS_TEST_TMPDIR/elsewhere/list.txt"
	local outside
	for outside in "$BATS_TEST_TMPDIR/elsewhere/list.txt" ../../../../../../etc/shadow; do
		private <<-END
			tenants:
			  - {name: acme, prefixes_file: $outside}
		END
		run -1 "$SPILLWAY" reload
		assert_output --partial "outside the configuration's own directory"
	done
	ln -sf /etc/shadow "$DIR/link.txt"
	private <<-END
		tenants:
		  - {name: acme, prefixes_file: link.txt}
	END
	run -1 "$SPILLWAY" reload
	assert_output --partial "outside the configuration's own directory"
	private <<<""
	"$SPILLWAY" reload
}

@test "a history elsewhere than at the start is refused" {
	landlocked || skip "SKIPPED: this kernel has no Landlock"
	sed -i "s|path: .*}|path: $BATS_TEST_TMPDIR/other.db}|" "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	assert_output --partial "this daemon may write in $DIR/history and nothing else"
	private <<<""
	"$SPILLWAY" reload
}

landlocked() {
	"$SPILLWAY" status --json | jq -e '.protections[] | select(.name == "landlock") | .on' >/dev/null
}

@test "the socket is closed to others by its mode, and opened to both groups" {
	assert_equal "$(stat -c %a "$SPILLWAY_SOCKET")" 660
	run -0 getfacl --omit-header --numeric --absolute-names "$SPILLWAY_SOCKET"
	assert_line "group:$OPERATORS:rw-"
	assert_line "group:$VIEWERS:rw-"
	assert_line "other::---"
}

@test "viewers read" {
	as "$VIEWERS" status >/dev/null
	as "$VIEWERS" services >/dev/null
	as "$VIEWERS" users >/dev/null
	run as "$VIEWERS" services --json
	assert_equal "$(jq -r '.[1].name' <<<"$output")" dns
	run timeout 2 setpriv --reuid=64999 --regid=64999 --groups="$VIEWERS" "$SPILLWAY" watch
	assert_equal "$status" 124 # it would have gone on
}

@test "viewers change nothing, and are told so" {
	local before
	before=$("$SPILLWAY" status --json | jq -c '[.lists, .services[1].level_packets_per_second]')
	refused set dns level=5
	refused deny 10.0.0.0/8
	refused allow 10.0.0.0/8
	refused forget 10.0.0.0/8
	refused reload
	run -1 as "$VIEWERS" unload
	assert_output --partial "run as root"
	kill -0 "$(cat "$DIR/pid")"
	assert_equal "$("$SPILLWAY" status --json | jq -c '[.lists, .services[1].level_packets_per_second]')" "$before"
}

refused() {
	run -1 as "$VIEWERS" "$@"
	assert_output --regexp "not permitted: user 64999 is a viewer, and may only read: root and the group $OPERATORS may change"
}

@test "the control group changes" {
	as "$OPERATORS" deny 10.9.0.0/16
	as "$OPERATORS" forget 10.9.0.0/16
	as "$OPERATORS" set dns level=900
	as "$OPERATORS" reload
}

@test "others cannot even connect; and where the file's mode lets them, nothing is answered" {
	run -3 as "$STRANGERS" status
	assert_output --partial "not permitted"
	chmod o+rw "$SPILLWAY_SOCKET"
	run -1 as "$STRANGERS" status
	assert_output --partial "not permitted: user 64999"
	chmod o-rw "$SPILLWAY_SOCKET"
}

@test "groups change with a reload, and one that is not there is refused" {
	sed -i "s/^control:.*/control: {group: \"$OPERATORS\"}/" "$DIR/spillway.yaml"
	"$SPILLWAY" reload
	run -3 as "$VIEWERS" status
	sed -i "s/^control:.*/control: {viewers: no-such-group}/" "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	assert_output --partial "control.viewers: this host has no group 'no-such-group'"
	as "$OPERATORS" status >/dev/null
	private <<<""
	"$SPILLWAY" reload
	as "$VIEWERS" status >/dev/null
}

@test "the broker killed: the daemon says so and ends, the packet path goes on, and the next one adopts it" {
	local pid
	pid=$(cat "$DIR/pid")
	kill -9 "$(process broker)"
	until_true 10 test ! -e "/proc/$pid"
	run cat "$DIR/log"
	assert_output --partial "the privileged part, process"
	ip -d link show "$IFACE" | grep -q prog/xdp
	start --user nobody
	run cat "$DIR/log"
	assert_output --partial "state adopted"
}

@test "the daemon killed: the broker ends, and the next one finds the pins free" {
	local broker
	broker=$(process broker)
	kill -9 "$(cat "$DIR/pid")"
	until_true 5 test ! -e "/proc/$broker"
	start --user nobody
	ip -d link show "$IFACE" | grep -q prog/xdp
}
