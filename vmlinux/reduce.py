# SPDX-License-Identifier: GPL-2.0-only
"""Cuts `bpftool btf dump format c` (standard input) down to the types listed in a file and what those need."""
import re
import sys

HEAD = """/* Made by vmlinux/make.sh from a kernel's BTF: change types.txt, not this file. What bpf/ reads through these types is
 * fixed by protocols and by the kernel's user API, so no field is relocated. */
#pragma once
"""


DECLARATION = re.compile(
    r"^(?:struct|union|enum) (?P<tag>\w+) \{.*?^\}[^\n]*;$|^enum \{\s*(?P<first>\w+)[^}]*^\};$|^typedef [^;{]*?(?P<alias>\w+)(?:\[\w*\])?;$", re.S | re.M
)


def declarations(text):
    """Yields the top-level declarations of a C dump in their order, each with the name that it declares; an anonymous
    enum goes by its first constant."""
    for found in DECLARATION.finditer(text):
        yield found["tag"] or found["first"] or found["alias"], found[0]


def main():
    wanted = {line.strip() for line in open(sys.argv[1]) if line.strip() and not line.startswith("#")}
    found = list(declarations(sys.stdin.read()))
    for name, part in reversed(found):
        if name in wanted:
            wanted.update(re.findall(r"\b[A-Za-z_]\w*\b(?!\s*[;[])", part))
    missing = {line.strip() for line in open(sys.argv[1]) if line.strip() and not line.startswith("#")}
    missing -= {name for name, _ in found}
    if missing:
        sys.exit(f"reduce.py: not in this kernel's BTF: {', '.join(sorted(missing))}")
    print(HEAD)
    print("\n\n".join(part for name, part in found if name in wanted))


if __name__ == "__main__":
    main()
