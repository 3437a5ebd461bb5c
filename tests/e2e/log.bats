#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The log: with fields to journald where standard error leads there, else plain lines; what is said again and again is
# counted.

load common

setup_file() {
	make_wire
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
	configure <<-END
		services:
		  - {name: dns, protocol: udp, ports: [53]}
	END
	journal=
}

teardown() {
	stop
	[ -z "$journal" ] || kill "$journal" 2>/dev/null || true
}

# A mount namespace of its own, in which a journald listens that writes what it is told to $DIR/journal.
start_journal() {
	cat >"$DIR/journald.py" <<-'END'
		import os, socket, sys
		os.makedirs("/run/systemd/journal", exist_ok=True)
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind("/run/systemd/journal/socket")
		out = open(sys.argv[1], "ab", 0)
		while True:
		    out.write(s.recv(65536) + b"---\n")
	END
	unshare -m sh -c "mount -t tmpfs none /run && exec python3 '$DIR/journald.py' '$DIR/journal'" 3>&- &
	journal=$!
	until_true 60 test -e "$DIR/journal"
}

# The daemon as a service manager starts it: standard error is what JOURNAL_STREAM names.
start_as_service() {
	: >"$DIR/log"
	JOURNAL_STREAM=$(stat -c %d:%i "$DIR/log") "$@" "$SPILLWAY" run --config "$DIR/spillway.yaml" >"$DIR/log" 2>&1 3>&- &
	echo $! >"$DIR/pid"
	until_true 60 "$SPILLWAY" status >/dev/null 2>&1
}

@test "journald gets the message, its priority, and the event's fields; standard error nothing" {
	start_journal
	start_as_service nsenter --mount="/proc/$journal/ns/mnt"
	"$SPILLWAY" set dns level=50
	sed -i 's/protocol: udp/protocol: udq/' "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	until_true 60 grep -q "^SPILLWAY_EVENT=reload" "$DIR/journal"
	run -0 awk -v RS=--- '/SPILLWAY_EVENT=override/' "$DIR/journal"
	assert_line "MESSAGE=service dns: set by hand, level 50 packets/s"
	assert_line "PRIORITY=5"
	assert_line "SYSLOG_IDENTIFIER=spillway"
	assert_line "SPILLWAY_SERVICE=dns"
	refute_output --partial SPILLWAY_USER
	run -0 awk -v RS=--- '/SPILLWAY_EVENT=reload/' "$DIR/journal"
	assert_line --partial "reload refused, the old configuration stays in force:"
	assert_line "PRIORITY=3"
	assert [ ! -s "$DIR/log" ]
}

@test "without journald's socket its lines carry their priority" {
	start_as_service
	"$SPILLWAY" set dns level=50
	run -0 cat "$DIR/log"
	assert_line "<5>service dns: set by hand, level 50 packets/s"
	refute_output --partial "spillway:"
}

@test "JOURNAL_STREAM that is somebody else's: plain lines" {
	JOURNAL_STREAM=1:1 start
	"$SPILLWAY" set dns level=50
	run -0 cat "$DIR/log"
	assert_line "spillway: service dns: set by hand, level 50 packets/s"
}
