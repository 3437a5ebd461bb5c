#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What `make run` shows: without a terminal, and on one (tmux).

load common

setup_file() {
	name_places
	unset SPILLWAY_SOCKET SPILLWAY_PINS
	export RUN="$BATS_TEST_DIRNAME/../../tools/run.sh"
}

setup() {
	load_assertions
}

teardown() {
	terminal kill-server 2>/dev/null || true
}

terminal() {
	tmux -L "swr-$$" -f /dev/null "$@" 3>&-
}

screen() {
	terminal capture-pane -p
}

shows() {
	screen | grep -q -- "$1"
}

@test "without a terminal it says what the users felt without and with Spillway, and leaves nothing" {
	SECONDS_TO_RUN=8 run "$RUN" 3>&-
	# How many were answered depends on what else this machine does.
	[ "$status" -eq 0 ] || assert_line 'run: the well-behaved kept less than 99 % of their requests'
	assert_line --regexp '^without Spillway: well-behaved sent [0-9]+, answered [0-9]+ '
	assert_line --regexp '^with Spillway   : well-behaved sent [0-9]+, answered [0-9]+ '
	assert_line --regexp '^dns +enforce '
	run find /run /sys/fs/bpf -maxdepth 1 -name 'spillway-run-*'
	refute_output
}

@test "on a terminal the view is whole, whatever the daemon has to say, and what the users felt comes after it" {
	terminal new-session -d -x 120 -y 40 "TERM=screen-256color LC_ALL=C.UTF-8 $RUN; echo ended with \$?; sleep 60"
	until_true 60 shows '^dns .* k '
	until_true 20 shows '^10\.99\.200\.'
	# The daemon has told of hot spots by then.
	run screen
	assert_line --regexp '^spillway enforce on '
	assert_line --regexp '^SERVICE '
	assert_line --regexp '^HEAVIEST USERS '
	refute_output --partial 'spillway: '
	sleep 6 # a round
	terminal send-keys q
	until_true 60 shows '^ended with 0'
	run screen
	assert_line --regexp '^without Spillway: well-behaved sent [0-9]+'
	assert_line --regexp '^with Spillway   : well-behaved sent [0-9]+'
}
