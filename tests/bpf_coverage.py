#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of bpf/ ran in the kernel: clang's own counters, kept in a map.

    instrument IN.ll OUT.ll TABLE.json   leaves of what -fprofile-instr-generate has added the counters alone, in a section
                                         that libbpf makes a map of, and writes down whose they are
    profile OBJECT TABLE.json            that map, as bpftool dumps it in JSON to standard input, as a profile in text for
                                         llvm-profdata
"""
import hashlib
import json
import re
import struct
import subprocess
import sys
import zlib

RUNTIME = "__llvm_profile_runtime"


def literal(text):
    return re.sub(rb"\\(\\|[0-9A-F]{2})", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1], 16)]),
                  text.encode("latin-1"))


def number(data, at):
    """ULEB128."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at


def names(data):
    """The functions' names, by the 64 bits of their hash that records refer to them by."""
    plain, at = number(data, 0)
    packed, at = number(data, at)
    text = zlib.decompress(data[at:at + packed]) if packed else data[at:at + plain]
    return {struct.unpack("<Q", hashlib.md5(name).digest()[:8])[0]: name.decode() for name in text.split(b"\x01")}


def instrument(source, target, table):
    lines, functions, known, inside = [], {}, {}, False
    for line in open(source, encoding="latin-1"):
        if match := re.match(r'@__llvm_prf_nm = .*?c"((?:[^"])*)"', line):
            known = names(literal(match[1]))
        elif match := re.match(r"@__profd_.*? \{ i64 (-?\d+), i64 (-?\d+), .*?@__profc_([\w.$]+)", line):
            functions[match[3]] = [int(match[1]) % 2**64, int(match[2]) % 2**64]
        elif line.startswith("@__profc_"):
            line = re.sub(r", comdat(\([^)]*\))?", "", line).replace("private global", "internal global")
            lines.append(line.replace('"__llvm_prf_cnts"', '".data.cov"'))
        elif line.startswith("@llvm.compiler.used"):
            kept = [entry for entry in re.findall(r"ptr @\S+?(?=[,\]])", line) if not re.search(r"__prof|__llvm|__cov", entry)]
            lines.append(f"@llvm.compiler.used = appending global [{len(kept)} x ptr] [{', '.join(kept)}], "
                         'section "llvm.metadata"\n')
        elif re.match(rf"@(llvm\.used|__covrec_|__llvm_coverage_mapping|{RUNTIME})", line) or re.match(r"\$__", line):
            pass
        elif line.startswith("define") and f"{RUNTIME}_user" in line:
            inside = True
        elif inside:
            inside = line.strip() != "}"
        else:
            lines.append(line)
    open(target, "w", encoding="latin-1").writelines(lines)
    json.dump({symbol: [known[name], code] for symbol, (name, code) in functions.items()}, open(table, "w"))


def profile(target, table):
    data = bytes(int(byte, 16) for byte in json.load(sys.stdin)[0]["value"])
    functions = json.load(open(table))
    symbols = subprocess.run(["readelf", "-sW", target], capture_output=True, text=True, check=True).stdout
    for line in symbols.splitlines():
        fields = line.split()
        if len(fields) != 8 or not fields[7].startswith("__profc_"):
            continue
        at, size = int(fields[1], 16), int(fields[2], 0)
        name, code = functions[fields[7][len("__profc_"):]]
        print(name, code, size // 8, *struct.unpack(f"<{size // 8}Q", data[at:at + size]), "", sep="\n")


{"instrument": instrument, "profile": profile}[sys.argv[1]](*sys.argv[2:])
