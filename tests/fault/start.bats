#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# A first start that is killed, refused or stopped at any of its steps: nothing half made stays, or the next start makes
# it whole.

load common

setup_file() {
	world_up
	# The system calls of an undisturbed start: "CALL NUMBER ARGUMENTS", numbered as strace's `when=` counts them: in each
	# process by itself. Of two calls with one number it disturbs whichever comes first, or both.
	strace -f -qq -o "$DIR/trace" -e trace=bpf,mkdir,flock,mmap,bind,unlink \
		"$SPILLWAY" run --config "$CONFIG" 2>/dev/null 3>&- &
	local pid=$!
	within 60 answers
	ls "$SPILLWAY_PINS" | wc -l >"$DIR/whole"
	awk '{pid = $1; sub(/^[0-9]+ +/, ""); call = $0; sub(/\(.*/, "", call); print call, ++count[pid, call], $0}' "$DIR/trace" >"$DIR/calls"
	"$SPILLWAY" unload
	wait "$pid"
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
}

teardown() {
	finish
}

# steps PATTERN: "CALL NUMBER" of the calls that match.
steps() {
	grep -E "$1" "$DIR/calls" | cut -d' ' -f1,2
}

# A start whose Nth CALL is disturbed: disturbed CALL N HOW.
disturbed() {
	launch strace -f -qq -o /dev/null -e "trace=$1" -e "inject=$1:$3:when=$2" "$SPILLWAY" run --config "$CONFIG"
}

@test "F01: killed before any step that leaves something, the next start is whole" {
	local call n steps=0
	while read -r call n; do
		echo "killed before $call $n"
		disturbed "$call" "$n" signal=SIGKILL
		run wait "$daemon"
		assert [ "$status" -ne 0 ]
		start
		attached
		assert_counts
		assert_equal "$(ls "$SPILLWAY_PINS" | wc -l)" "$(cat "$DIR/whole")"
		unload
		steps=$((steps + 1))
	done < <(steps 'bpf\(BPF_(OBJ_PIN|LINK_CREATE|PROG_TEST_RUN|MAP_UPDATE_ELEM)|^(flock|bind|unlink) |^mkdir 1 ' | sort -u)
	assert [ "$steps" -ge 20 ]
}

@test "F08: each bpf call of a start refused: it says so and leaves nothing, or does without" {
	local n last refused=0
	last=$(steps '^bpf ' | cut -d' ' -f2 | sort -n | tail -n 1)
	for n in $(seq "$last"); do
		refuse_once "$n" EPERM || continue
		refuse_once "$n" ENOMEM
		refused=$((refused + 1))
	done
	assert [ "$refused" -ge 20 ]
}

# Whether the start failed for it; either way is checked.
refuse_once() {
	echo "bpf call $1 refused with $2"
	disturbed bpf "$1" "error=$2"
	# Twice: where the daemon did without, the call may have been one that an answer takes.
	if answers || answers; then
		attached
		unload
		run steps "^bpf $1 bpf\(BPF_(OBJ_PIN|LINK_CREATE|PROG_TEST_RUN|MAP_FREEZE|MAP_UPDATE_ELEM)"
		refute_output
		return 1
	fi
	assert_refused
}

@test "a kernel that refuses all programs: what to do depends on how" {
	local first
	first=$(steps 'bpf\(BPF_PROG_LOAD, \{prog_type=BPF_PROG_TYPE_XDP' | head -n 1 | cut -d' ' -f2)
	disturbed bpf "$first+" error=EPERM
	assert_refused
	assert_output --partial "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
	disturbed bpf "$first+" error=EACCES
	assert_refused
	assert_output --partial "its verifier rejects a program"
	refute_output --partial "run as root"
	disturbed bpf 1+ error=ENOSYS
	assert_refused
	assert_output --partial "kernel 5.15 with BTF is the oldest that it is made for"
	disturbed bpf 2+ error=EINVAL
	assert_refused
	assert_output --partial "kernel 5.15 with BTF is the oldest that it is made for"
}

@test "without the kernel's type information it says which kernel would do" {
	launch unshare -m sh -c 'mount -t tmpfs none /sys/kernel/btf && exec "$SPILLWAY" run --config "$CONFIG"'
	assert_refused
	assert_output --partial "BTF"
}

@test "a signal during the start is obeyed when the start is done" {
	local signal
	for signal in SIGTERM SIGINT; do
		disturbed bpf 3 "signal=$signal"
		wait "$daemon"
		daemon=
		run cat "$DIR/log"
		assert_output --partial "stopped; shedding goes on"
		start
		run cat "$DIR/log"
		assert_output --partial "state adopted"
		assert_counts
		unload
	done
}

@test "a start that fails beside adopted state takes nothing of it" {
	start
	assert_counts
	kill -9 "$daemon"
	wait "$daemon" || true
	config | sed "s/interfaces: .*/interfaces: [$IFACE, nosuch0]/" >"$DIR/more.yaml"
	run -1 "$SPILLWAY" run --config "$DIR/more.yaml"
	assert_output --partial "interface nosuch0: not found"
	start
	attached
	assert_equal "$(received)" 3
	unload
}
