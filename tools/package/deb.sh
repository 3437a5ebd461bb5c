#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# usage: deb.sh DIRECTORY VERSION: builds the Debian packages, source and binary, in DIRECTORY, from the files that git
# knows and with debian/ where dpkg-buildpackage wants it. Prints the packages' paths.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
work=$1 version=$2
unset MAKEFLAGS MFLAGS O # of the make that called this
tree=$work/spillway-$version

rm -rf "$work"/spillway*
mkdir -p "$tree"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - 2>/dev/null | tar -x -C "$tree"
else
	tar -c --exclude="./${work#"$PWD"/}" --exclude=./build . | tar -x -C "$tree"
fi
mv "$tree/tools/package/debian" "$tree/debian"
packaged=$(dpkg-parsechangelog -l"$tree/debian/changelog" -S Version)
[ "$packaged" = "$version" ] || { echo "deb: debian/changelog is of $packaged, the program of $version" >&2; exit 1; }
(cd "$tree" && dpkg-buildpackage -us -uc -j"$(nproc)") >"$work/spillway-build.log" 2>&1 ||
	{ tail -n 60 "$work/spillway-build.log" >&2; exit 1; }
ls "$work"/spillway*.deb
