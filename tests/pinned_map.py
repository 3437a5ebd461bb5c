# SPDX-License-Identifier: GPL-2.0-only
"""A pinned map as bytes that are shared with the kernel: for tests that look at what lies there, or make it old."""
import ctypes
import mmap
import os
import struct

BPF_SYSCALL, BPF_OBJ_GET, BPF_OBJ_GET_INFO_BY_FD = 321, 7, 15
INFO_BYTES = 128  # of struct bpf_map_info, at most


def bpf(command, attributes):
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(BPF_SYSCALL, command, attributes, len(attributes))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


def pinned_map(path):
    """All entries of an array that user space may map, one after the other."""
    name, info = ctypes.create_string_buffer(path.encode()), ctypes.create_string_buffer(INFO_BYTES)
    fd = bpf(BPF_OBJ_GET, struct.pack("QII", ctypes.addressof(name), 0, 0))
    bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("IIQ", fd, INFO_BYTES, ctypes.addressof(info)))
    value_bytes, entries = struct.unpack_from("II", info, 12)
    return mmap.mmap(fd, -(-(value_bytes + 7 & ~7) * entries // mmap.PAGESIZE) * mmap.PAGESIZE)


SET_BYTES, SET_CELLS = 64, 4  # struct meter_set: states, then for each of them a tag and bytes


def cells(sets):
    """Every cell of `meter_sets` that is somebody's: where its state is, and its number."""
    for at in range(0, len(sets), SET_BYTES):
        for cell in range(SET_CELLS):
            if struct.unpack_from("I", sets, at + 8 * (SET_CELLS + cell))[0]:
                yield at + 8 * cell, at // SET_BYTES * SET_CELLS + cell
