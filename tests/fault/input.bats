#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Whatever people and programs hand in that is wrong: one line that says what to do, the documented exit status, and
# nothing changed by it.

load common

setup_file() {
	world_up
	# Somewhere that others may execute it.
	export PUBLIC=/tmp/spillway-fault-$$
	mkdir -m 755 "$PUBLIC"
	install -m 755 "$SPILLWAY" "$PUBLIC/spillway"
}

teardown_file() {
	world_down
	rm -r "$PUBLIC"
}

setup() {
	load_assertions
	daemon=
	config >"$CONFIG"
}

teardown() {
	finish
}

# assert_fails STATUS WORDS COMMAND...: on standard error, in one line.
assert_fails() {
	local status=$1 words=$2
	shift 2
	echo "running $*"
	run "-$status" --separate-stderr "$@"
	assert_output ""
	assert_equal "${#stderr_lines[@]}" 1
	[[ $stderr == "spillway: "*"$words"* ]] || { echo "'$stderr' does not say '$words'" >&2; return 1; }
}

# assert_usage WORDS COMMAND...: wrong usage, named in the first line.
assert_usage() {
	local words=$1
	shift
	echo "running $*"
	run -2 --separate-stderr "$@"
	assert_output ""
	[[ ${stderr_lines[0]} == "spillway: "*"$words"* ]] ||
		{ echo "'${stderr_lines[0]}' does not say '$words'" >&2; return 1; }
}

@test "wrong usage of every verb is named, with status 2; --help of every verb names its options" {
	local verb options option
	while read -r verb options; do
		assert_usage "unrecognized option '--nonsense'" "$SPILLWAY" "$verb" --nonsense
		run -0 --separate-stderr "$SPILLWAY" "$verb" --help
		assert_equal "$stderr" ""
		assert_line --index 0 --partial "usage: spillway $verb"
		local help=$output
		for option in $options; do
			[[ $help == *"--$option"* ]] || { echo "$verb --help is silent about --$option" >&2; return 1; }
			[ "$option" = json ] || [ "$option" = observe ] || [ "$option" = detach-on-exit ] ||
				assert_usage "option '--$option' requires an argument" "$SPILLWAY" "$verb" "--$option"
		done
		[ "$verb" = set ] || [ "$verb" = check ] ||
			assert_usage "extra: not expected here" "$SPILLWAY" "$verb" extra
	done <<-END
		run config interface observe detach-on-exit socket pins
		check json
		reload socket
		status json socket
		services json socket
		users json socket service limit
		set socket for
		unload socket pins
		version json
	END
	assert_usage "frobnicate: no such verb" "$SPILLWAY" frobnicate
	assert_usage "expected one file" "$SPILLWAY" check
	assert_usage "expected one file" "$SPILLWAY" check a b
	assert_usage "a service and at least one KEY=VALUE were expected" "$SPILLWAY" set dns
	assert_usage "--limit: a number of users was expected" "$SPILLWAY" users --limit -1
	assert_usage "--limit: a number of users was expected" "$SPILLWAY" users --limit 5x
	run -2 "$SPILLWAY"
	run -0 "$SPILLWAY" --help
}

# Broken files, one a line: what is to be said of it, and what follows the line of interfaces (nothing: an empty file).
broken_files() {
	cat <<-'END'
		this is no YAML|services: [
		expected a port from 1 to 65535|services: [{name: a, protocol: udp, ports: [65536]}]
		name|services: [{name: a, protocol: udp, ports: [1]}, {name: a, protocol: udp, ports: [2]}]
		belongs to service|services: [{name: a, protocol: udp, ports: [1-9]}, {name: b, protocol: udp, ports: [5]}]
		unknown key 'speed'|speed: 7
		expected observe, enforce|mode: sometimes
		a bound is missing|services: [{name: a, protocol: udp, ports: [1], adaptive: {}}]
		expected a list of services|services: 7
		the file is empty|
		expected a number from 1000|table: {users: 1}
		expected an address and a port|listen: everywhere
	END
}

# What is in force, and the counters of the service that only this test sends to.
policy() {
	"$SPILLWAY" services --json | jq 'map({name, mode, level_packets_per_second}), .[1].received_packets'
}

@test "every broken file is refused with its place by check and run, and by reload without harm" {
	local words yaml
	while IFS='|' read -r words yaml; do
		printf 'interfaces: [%s]\n%s\n' "$IFACE" "$yaml" >"$DIR/broken.yaml"
		[ -n "$yaml" ] || : >"$DIR/broken.yaml"
		assert_fails 4 "$words" "$SPILLWAY" check "$DIR/broken.yaml"
		[[ $stderr == "spillway: $DIR/broken.yaml:"[0-9]*:[0-9]*": "* ]]
		assert_fails 4 "$words" "$SPILLWAY" run --config "$DIR/broken.yaml"
		assert_nothing_left
	done < <(broken_files)
	assert_fails 1 "No such file" "$SPILLWAY" check "$DIR/nosuch.yaml"
	assert_fails 1 "No such file" "$SPILLWAY" run --config "$DIR/nosuch.yaml"
	assert_fails 1 "Is a directory" "$SPILLWAY" run --config "$DIR"

	start
	assert_counts
	policy >"$DIR/before"
	while IFS='|' read -r words yaml; do
		printf 'interfaces: [%s]\n%s\n' "$IFACE" "$yaml" >"$CONFIG"
		[ -n "$yaml" ] || : >"$CONFIG"
		assert_fails 1 "$words" "$SPILLWAY" reload
	done < <(broken_files)
	rm "$CONFIG"
	assert_fails 1 "No such file" "$SPILLWAY" reload
	head -c 5000000 /dev/zero >"$CONFIG"
	assert_fails 1 "larger than 4 MiB" "$SPILLWAY" reload
	config | sed "s/interfaces: .*/interfaces: [$IFACE, nosuch0]/" >"$CONFIG"
	assert_fails 1 "interface nosuch0: not found: name one that 'ip link' shows" "$SPILLWAY" reload
	policy >"$DIR/after"
	diff "$DIR/before" "$DIR/after"
	assert_equal "$("$SPILLWAY" status --json | jq -c '[.interfaces[] | [.name, .attached]]')" "[[\"$IFACE\",true]]"
	attached
	assert_counts
}

@test "a start that cannot have what it is told to have says so and leaves nothing" {
	assert_fails 1 "interface nosuch0: not found: name one that 'ip link' shows" "$SPILLWAY" run --interface nosuch0
	assert_nothing_left
	assert_fails 4 "no interface: name one with --interface, or under 'interfaces:'" "$SPILLWAY" run
	assert_nothing_left
	local long
	long=$DIR/$(printf 'x%.0s' {1..110})
	launch "$SPILLWAY" run --config "$CONFIG" --socket "$long"
	assert_refused
	assert_output --partial "longer than 107 bytes: name another with --socket"
	launch "$SPILLWAY" run --config "$CONFIG" --socket "$DIR/missing/below/s"
	assert_refused
	assert_output --partial "cannot listen: No such file or directory: name another with --socket"
	echo precious >"$DIR/file"
	launch "$SPILLWAY" run --config "$CONFIG" --socket "$DIR/file"
	assert_refused
	assert_output --partial "a file that is no socket lies there: name another with --socket"
	assert_equal "$(cat "$DIR/file")" precious
}

@test "a TCP port in use is named, and what to do" {
	local port holder
	coproc HOLDER { exec python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True); input()' 3>&-; }
	holder=$HOLDER_PID
	read -r port <&"${HOLDER[0]}"
	config | sed "s/listen: .*/listen: 127.0.0.1:$port/" >"$CONFIG"
	launch "$SPILLWAY" run --config "$CONFIG"
	kill "$holder"
	assert_refused
	assert_output --partial "listen 127.0.0.1:$port: cannot listen: Address already in use: name another address"
}

@test "without a daemon every verb that asks one ends with 3, and unload with 0" {
	local verb
	for verb in status services users reload "set dns level=5"; do
		# shellcheck disable=SC2086 # a list of arguments
		assert_fails 3 "no daemon answers: start it with 'spillway run', or name its socket" "$SPILLWAY" $verb
	done
	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$SPILLWAY_SOCKET"
	assert_fails 3 "no daemon answers" "$SPILLWAY" status
	run -0 --separate-stderr "$SPILLWAY" unload
	assert_equal "$output$stderr" ""
	# A socket that nobody listens on is a dead daemon's, and taken over.
	start
}

@test "without privilege nothing is changed, and what is missing is said" {
	local nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups $PUBLIC/spillway"
	# At the directory of pins, or, where a bpffs is everybody's (the kernel's own mode is 01777), at the first program.
	assert_fails 1 "run as root" \
		$nobody run --interface "$IFACE" --socket "$PUBLIC/nobody.sock"
	assert_nothing_left
	local SPILLWAY_SOCKET=$PUBLIC/s
	start
	local verb
	for verb in status services users reload "set dns level=5"; do
		# shellcheck disable=SC2086 # a list of arguments
		assert_fails 3 "not permitted: run as root" $nobody $verb
	done
	assert_fails 1 "cannot open the directory of pins: Permission denied: run as root" $nobody unload
	attached
	unload
}

# request ARGUMENTS...: the status and the words of an answer from the control socket.
request() {
	curl -sS -m 10 --unix-socket "$SPILLWAY_SOCKET" -w '\n%{http_code}\n' "$@"
}

@test "wrong values for set are refused by what is wrong with them, and change nothing" {
	start
	assert_fails 2 "'' is no number" "$SPILLWAY" set dns level=
	assert_fails 2 "'-1' is no number" "$SPILLWAY" set dns level=-1
	assert_fails 2 "only k, M, G or T may follow it" "$SPILLWAY" set dns level=1e9
	assert_fails 2 "KEY being mode, level, capacity or class" "$SPILLWAY" set dns speed=3
	assert_fails 2 "KEY being mode, level, capacity or class" "$SPILLWAY" set dns level
	assert_fails 2 "--for: 'x' is no duration" "$SPILLWAY" set dns level=5 --for x
	assert_fails 2 "--for: a duration above 0 was expected" "$SPILLWAY" set dns level=5 --for 0s
	assert_fails 1 "level: packets a second from 0.1 to 100M were expected" "$SPILLWAY" set dns level=0
	assert_fails 1 "level: packets a second from 0.1 to 100M were expected" "$SPILLWAY" set dns level=1T
	assert_fails 1 "mode=loud: 'observe' or 'enforce' was expected" "$SPILLWAY" set dns mode=loud
	assert_fails 1 "capacity: packets a second" "$SPILLWAY" set dns capacity=0
	assert_fails 1 "service nosuch: there is none of that name" "$SPILLWAY" set nosuch level=5
	assert_fails 1 "service other: what matches no service is counted, never spilled" "$SPILLWAY" set other level=5
	assert_fails 1 "service a&limit=3 b: there is none of that name" "$SPILLWAY" users --service 'a&limit=3 b'
	assert_untouched
}

assert_untouched() {
	assert_equal "$("$SPILLWAY" services --json | jq -c '.[1] | [.name, .mode, (.level_packets_per_second | round)]')" \
		'["dns","enforce",1000]'
	attached
}

@test "requests that are garbage are refused in bounded time, and change nothing" {
	local body
	start
	for body in '{broken' '' '[]' '7' '{"service":5,"level":1}' '{"level":1}'; do
		run request -d "$body" http://localhost/api/v1/set
		assert_line 400
		assert_output --partial "a JSON object with the name of a 'service' was expected"
	done
	for body in '"level":"x"' '"level":-1' '"mode":7' '"level":5,"for_seconds":"x"' '"level":5,"for_seconds":-3' '"x":1'; do
		run request -d "{\"service\":\"dns\",$body}" http://localhost/api/v1/set
		assert_line 400
		assert_output --regexp "expected|nothing to set"
	done
	run request http://localhost/api/v1/set
	assert_line 405
	run request http://localhost/api/v1/stop
	assert_line 405
	run request -X DELETE http://localhost/api/v1/status
	assert_line 501
	run request http://localhost/nosuch
	assert_line 404
	run request -H 'Host: elsewhere.example' http://localhost/api/v1/status
	assert_line 403
	head -c 10000000 /dev/zero >"$DIR/big"
	run request --data-binary "@$DIR/big" -H 'Expect:' http://localhost/api/v1/set
	refute_line 200
	run request -H "X: $(head -c 100000 /dev/zero | tr '\0' a)" http://localhost/api/v1/status
	refute_line 200
	python3 - "$SPILLWAY_SOCKET" <<-'END'
		import os, socket, sys
		for size in (1, 100, 4000):
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(10)
		    s.connect(sys.argv[1])
		    s.sendall(os.urandom(size) + b"\r\n\r\n")
		    s.shutdown(socket.SHUT_WR)
		    try:
		        while s.recv(4096):
		            pass
		    except ConnectionResetError:
		        pass
	END
	assert_untouched
	assert_counts
}

@test "reading is all that TCP allows" {
	local port
	port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
	config | sed "s/listen: .*/listen: 127.0.0.1:$port/" >"$CONFIG"
	start
	local path
	for path in set stop reload; do
		run curl -s -o /dev/null -w '%{http_code}' -d '{"service":"dns","level":5}' "http://127.0.0.1:$port/api/v1/$path"
		assert_output 404
	done
	run curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/api/v1/status"
	assert_output 200
	assert_untouched
}
