#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The live view, on a terminal of its own (tmux): what it shows under a flood, what its keys do, and how it leaves the
# terminal.

load common

setup_file() {
	make_wire
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
	flooding=
	configure <<-END
		services:
		  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 100, burst: 10}}
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100, burst: 10}}
	END
	start
}

teardown() {
	[ -z "$flooding" ] || kill "$flooding"
	close
	stop
}

terminal() {
	tmux -L "swt-$$" "$@" 3>&-
}

# open COLUMNS ROWS [OPTION...]: a shell that says what the terminal was before and after the view.
open() {
	local columns=$1 rows=$2
	shift 2
	terminal -f /dev/null new-session -d -x "$columns" -y "$rows" \
		"stty -a >$DIR/before; TERM=${TERMINAL:-screen-256color} LC_ALL=C.UTF-8 $SPILLWAY top $* 2>$DIR/errors; echo \$? >$DIR/status
		stty -a >$DIR/after; echo left; sleep 600"
}

screen() {
	terminal capture-pane -p
}

# The server ends a moment after it has said that it will.
close() {
	terminal kill-server 2>/dev/null || true
	until_true 60 no_terminal
}

no_terminal() {
	! terminal has-session 2>/dev/null
}

shows() {
	screen | grep -q -- "$1"
}

press() {
	terminal send-keys "$@"
}

@test "under a flood it says which service is hot, who makes it so, and by how much, at 80 x 24" {
	EXEC="exec" flood --sources 10.0.0.0/24 --users 3 --rate 3000 --seconds 600 >/dev/null 3>&- &
	flooding=$!
	open 80 24
	until_true 60 shows 'sends'
	run screen
	assert_output --regexp 'dns spills [0-9.]+ k/s \([0-9]+ %, user_limit\); 10\.0\.0\.[0-2] sends'
	assert_output --regexp 'dns +[0-9.]+ k '
	assert_output --regexp '10\.0\.0\.[0-2] +dns '
	run -1 grep -qE '.{81}' <(screen)
}

@test "keys look into a service and a user, and back; order, filter, help and pause" {
	EXEC="exec" flood --sources 10.0.0.0/24 --users 3 --rate 3000 --seconds 600 >/dev/null 3>&- &
	flooding=$!
	open 100 30
	until_true 60 shows 'dns spills'
	press Enter
	until_true 60 shows 'spilled so far: user_limit'
	until_true 60 shows '10.0.0.'
	press Enter
	until_true 60 shows 'limit_packets_per_second'
	press Escape
	until_true 60 shows 'spilled so far'
	press Escape
	until_true 60 shows 'of 3, by spilled'
	press s
	until_true 60 shows 'of 3, by received'
	press / w e b
	until_true 60 shows 'only names that hold: web'
	press Enter
	until_true 60 shows '1 of 3'
	press Escape '?'
	until_true 60 shows 'what one user of weight 1 may send'
	press x p
	until_true 60 shows PAUSED
}

@test "it follows the terminal's size, and one too small is told so" {
	open 100 30
	until_true 60 shows 'nothing is spilled'
	terminal resize-window -x 20 -y 10
	until_true 60 shows 'spillway top needs'
	terminal resize-window -x 120 -y 40
	until_true 60 shows 'USERS'
}

@test "quit, interrupted or ended, it leaves the terminal as it was" {
	for way in q C-c TERM; do
		open 80 24
		until_true 60 shows 'nothing is spilled'
		if [ $way = TERM ]; then
			kill "$(pgrep -f "^$SPILLWAY top" -P "$(terminal list-panes -F '#{pane_pid}')")"
		else
			press $way
		fi
		until_true 60 shows left
		assert_equal "$(cat "$DIR/status")" 0
		assert_equal "$(cat "$DIR/after")" "$(cat "$DIR/before")"
		close
		rm -f "$DIR/after"
	done
}

@test "a daemon that goes is told, with the last figures still there, and one that comes back is seen" {
	open 80 24
	until_true 60 shows 'nothing is spilled'
	stop
	until_true 60 shows 'no daemon answers'
	shows 'dns'
	start
	until_true 60 shows 'nothing is spilled'
}

@test "without a daemon it ends with 3, without a terminal it prints tables" {
	run -0 --separate-stderr "$SPILLWAY" top
	assert_output --partial SERVICE
	assert_output --partial 'dns'
	assert_regex "$stderr" 'no terminal to draw on'
	TERMINAL=dumb open 80 24
	until_true 60 shows left
	shows SERVICE
	stop
	run -3 --separate-stderr "$SPILLWAY" top
	close
	open 80 24
	until_true 60 shows left
	assert_equal "$(cat "$DIR/status")" 3
}

@test "what it cannot understand is wrong usage" {
	for wrong in '--interval 0' '--interval x' 'more' '--colour'; do
		# shellcheck disable=SC2086
		run -2 "$SPILLWAY" top $wrong
	done
}
