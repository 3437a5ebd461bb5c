# SPDX-License-Identifier: GPL-2.0-only
# Verbs and options are those that the program's own help names; services are those of the daemon, where one answers.
function __spillway_program
    set -l words (commandline -opc)
    echo $words[1]
end

function __spillway_verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; and echo $words[2]
end

function __spillway_verbs
    eval (__spillway_program) --help 2>/dev/null | string replace -rf '^  ([a-z-]+) +(.*)' '$1\t$2'
end

function __spillway_options
    set -l program (__spillway_program)
    begin
        eval $program (__spillway_verb) --help 2>/dev/null | string match -ar -- '--[a-z][a-z-]*'
        echo -- --help
    end | sort -u
end

function __spillway_services
    eval (__spillway_program) services --json 2>/dev/null | string replace -rf '.*"name": "([^"]+)".*' '$1'
end

function __spillway_after
    set -l words (commandline -opc)
    contains -- $words[-1] $argv
end

function __spillway_is
    test (__spillway_verb) = $argv[1]
end

complete -c spillway -f
complete -c spillway -n 'test (count (commandline -opc)) -eq 1' -a '(__spillway_verbs)'
complete -c spillway -n 'test (count (commandline -opc)) -eq 1' -a '--help --version'
complete -c spillway -n '__spillway_verb >/dev/null; and not __spillway_after --config --file --socket --pins --interface --service' -a '(__spillway_options)'
complete -c spillway -n '__spillway_after --config --file --socket' -F
complete -c spillway -n '__spillway_after --pins' -a '(__fish_complete_directories (commandline -ct))'
complete -c spillway -n '__spillway_after --interface' -a '(__fish_print_interfaces)'
complete -c spillway -n '__spillway_after --service' -a '(__spillway_services)'
complete -c spillway -n '__spillway_is check' -F
complete -c spillway -n '__spillway_is set; and test (count (commandline -opc)) -eq 2' -a '(__spillway_services)'
complete -c spillway -n '__spillway_is set; and test (count (commandline -opc)) -gt 2' -a 'mode=observe mode=enforce level= capacity= class=sheddable class=normal class=critical'
