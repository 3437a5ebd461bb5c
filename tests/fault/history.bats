#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# F14: whatever is wrong with the history's file, packets are judged on, it is said once and clearly, nothing of anybody
# else's is written, and the history goes on by itself when the cause is gone. That a file cut at any byte, or one whose
# writer was killed at any moment, is a history again is tested by the hundred in tests/unit/history_test.c.

load common

setup_file() {
	world_up
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
	locker=
	HISTORY="$DIR/history.db"
	keep_history
}

teardown() {
	[ -z "$locker" ] || kill "$locker" || true
	finish
	rm -rf "$DIR"/history.db* "$DIR/small"
}

# keep_history [PATH]: a configuration that does.
keep_history() {
	config | grep -v '^history:' >"$CONFIG"
	echo "history: {path: ${1:-$HISTORY}, size: 16MB}" >>"$CONFIG"
}

state() {
	"$SPILLWAY" status --json | jq -r .history.state
}

writing() {
	[ "$(state)" = writing ]
}

stalled() {
	[ "$(state)" = stalled ]
}

# On a small disk of its own, in a mount namespace of its own; within `inside`.
start_small() {
	mkdir "$DIR/small"
	keep_history "$DIR/small/history.db"
	launch unshare --mount --propagation private sh -c \
		"mount -t tmpfs -o $1 none '$DIR/small' && exec '$SPILLWAY' run --config '$CONFIG'"
	answers || { cat "$DIR/log" >&2; return 1; }
}

inside() {
	nsenter --target "$daemon" --mount "$@"
}

# assert_stalled WORDS: said in the status, and in the log once; packets are judged on.
assert_stalled() {
	within 60 stalled
	run -0 "$SPILLWAY" status
	assert_line --regexp "^off: history: history .*$1"
	assert_counts
	within 60 grep -qE "history .*$1" "$DIR/log"
	sleep 1.1
	assert_equal "$(grep -cE "history .*$1" "$DIR/log")" 1
}

# Whole by SQLite's own word, and there is something in it.
assert_sound() {
	run -0 "${@:2}" python3 - "$1" <<-'END'
		import sqlite3, sys
		database = sqlite3.connect(sys.argv[1])
		print(database.execute("PRAGMA integrity_check").fetchone()[0])
		assert database.execute("SELECT count(*) FROM seconds").fetchone()[0] > 0
	END
	assert_output ok
}

@test "F14: the disk is full: said once, packets are judged on, and nothing is lost when there is room again" {
	start_small size=400k
	within 60 writing
	local begin
	begin=$(date +%s)
	inside dd if=/dev/zero of="$DIR/small/filler" bs=4k status=none 2>/dev/null || true
	within 60 stalled
	assert_counts
	assert_stalled "no room on the disk"
	inside rm "$DIR/small/filler"
	within 60 writing
	within 60 grep -q "recorded again; 0 records were lost" "$DIR/log"
	assert_sound "$DIR/small/history.db" inside
	# The packets of the time without room are there.
	run -0 inside "$SPILLWAY" history --database "$DIR/small/history.db" --service dns --step second --from "@$begin" --json
	assert [ "$(jq '[.[].received_packets // 0] | add' <<<"$output")" -ge 6 ]
}

@test "F14: the disk may only be read, or the directory is missing: said once, and made when it can be" {
	start_small size=4m,ro
	assert_stalled "Read-only file system"
	inside mount -o remount,rw "$DIR/small"
	within 60 writing
	unload

	keep_history "$DIR/small/there/below/history.db"
	start
	assert_stalled "No such file or directory: make the directory, or name another"
	mkdir "$DIR/small/there"
	within 60 writing
	assert_sound "$DIR/small/there/below/history.db"
	assert_equal "$(stat -c %a "$DIR/small/there/below")" 750
}

@test "F14: somebody else's file stays as it is, to the byte" {
	local sum
	python3 -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("CREATE TABLE precious(x)"); d.commit()' \
		"$HISTORY"
	sum=$(sha256sum <"$HISTORY")
	start
	assert_stalled "the database is another application's: name another path"
	assert_equal "$(sha256sum <"$HISTORY")" "$sum"
	# A reload to a free path, and it is written.
	keep_history "$HISTORY.ours"
	run -0 "$SPILLWAY" reload
	within 60 writing
	# A text, a directory, and what a newer version has written.
	echo "dear diary" >"$HISTORY.text"
	keep_history "$HISTORY.text"
	run -0 "$SPILLWAY" reload
	assert_stalled "the file is no database, and not ours"
	assert_equal "$(cat "$HISTORY.text")" "dear diary"
	python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA user_version = 7")' "$HISTORY.ours"
	keep_history "$HISTORY.ours"
	run -0 "$SPILLWAY" reload
	assert_stalled "a newer version of Spillway has written it \(7, this one knows 1\)"
	run -1 "$SPILLWAY" history
	assert_output --partial "a newer version of Spillway has written it"
	assert_equal "$(find "$DIR" -name '*.damaged-*')" ""
}

@test "F14: another process has it locked: it waits, and then goes on" {
	start
	within 60 writing
	python3 -c 'import sqlite3, sys, time
d = sqlite3.connect(sys.argv[1], isolation_level=None)
d.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(60)' "$HISTORY" >"$DIR/locker" 3>&- &
	locker=$!
	within 60 grep -q locked "$DIR/locker"
	assert_stalled "another process has it locked"
	kill "$locker"
	locker=
	within 60 writing
	unload
	# One daemon writes a file: a second one says so.
	python3 -c 'import fcntl, sys, time
f = open(sys.argv[1], "rb")
fcntl.flock(f, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)' "$HISTORY" >"$DIR/locker" 3>&- &
	locker=$!
	within 60 grep -q held "$DIR/locker"
	start
	assert_stalled "another daemon writes it"
	kill "$locker"
	locker=
	within 60 writing
}

@test "F14: cut off anywhere, it is moved aside as it is, and a new one begun" {
	start
	within 60 writing
	unload
	local whole at
	whole="$DIR/whole.db"
	cp "$HISTORY" "$whole"
	for at in 1 100 4096 $(($(stat -c %s "$whole") - 8192)); do
		echo "cut at $at"
		rm -f "$HISTORY"*
		head -c "$at" "$whole" >"$HISTORY"
		start
		within 60 writing
		assert_counts
		assert_equal "$(cmp <(head -c "$at" "$whole") "$HISTORY".damaged-*Z)" ""
		within 60 grep -q "the file was damaged: it is kept as $HISTORY.damaged-" "$DIR/log"
		unload
		assert_sound "$HISTORY"
	done
}

@test "F14: removed or cut off while it is written: begun anew" {
	start
	within 60 writing
	rm "$HISTORY" "$HISTORY"-wal "$HISTORY"-shm
	within 60 test -s "$HISTORY"
	within 60 writing
	# What SQLite remembers of a file that is cut off it writes again; what it does not is found at the next start.
	truncate -s 5000 "$HISTORY"
	assert_counts
	unload
	start
	moved() { ls "$HISTORY".damaged-* >/dev/null 2>&1; }
	within 60 moved
	within 60 writing
	assert_counts
	unload
	assert_sound "$HISTORY"
}

# has_seconds N: whether so many are in the file.
has_seconds() {
	[ "$("$SPILLWAY" history --database "$HISTORY" --step second --json | jq length)" -ge "$1" ]
}

@test "F14: killed again and again: each time the file can be read, and is gone on with" {
	local round
	for round in 1 2 3; do
		start
		within 60 writing
		within 60 has_seconds "$round"
		sleep "0.$((RANDOM % 9))"
		kill -9 "$daemon"
		wait "$daemon" 2>/dev/null || true
		run -0 "$SPILLWAY" history --database "$HISTORY" --step second --json
		assert [ "$(jq 'length' <<<"$output")" -ge "$round" ]
	done
	daemon=
	assert_sound "$HISTORY"
}
