# SPDX-License-Identifier: GPL-2.0-only
# Verbs and options are those that the program's own help names; services are those of the daemon, where one answers.
_spillway() {
	local cur prev words cword
	_init_completion -n : || return
	local program=${words[0]} verb=${words[1]} help

	if ((cword == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$("$program" --help 2>/dev/null | awk '/^  / {print $1}') --help --version" -- "$cur")
		return
	fi
	case $prev in
	--config | --file | --socket)
		_filedir
		return
		;;
	--pins)
		_filedir -d
		return
		;;
	--interface)
		_available_interfaces
		return
		;;
	--user)
		_allowed_users
		return
		;;
	--service)
		mapfile -t COMPREPLY < <(compgen -W "$(_spillway_services)" -- "$cur")
		return
		;;
	--*)
		[[ $("$program" "$verb" --help 2>/dev/null) != *"$prev "[A-Z]* ]] || return
		;;
	esac
	if [[ $cur == -* ]]; then
		help=$("$program" "$verb" --help 2>/dev/null)
		mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '--[a-z][a-z-]*' <<<"$help" | sort -u) --help" -- "$cur")
		return
	fi
	case $verb in
	check) _filedir ya?ml ;;
	set)
		if ((cword == 2)); then
			mapfile -t COMPREPLY < <(compgen -W "$(_spillway_services)" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W 'mode=observe mode=enforce level= capacity= class=sheddable class=normal class=critical' -- "$cur")
			[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
		fi
		;;
	esac
}

_spillway_services() {
	"$program" services --json 2>/dev/null | grep -oE '"name": "[^"]+"' | cut -d'"' -f4
}

complete -F _spillway spillway
