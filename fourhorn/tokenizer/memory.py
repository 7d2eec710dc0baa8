"""Memory that kernels work on: zeroed, in huge pages where the system has them; and the tables that never change."""

import contextlib
import ctypes
import functools
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.tokenizer.pattern import ranges
from fourhorn.tokenizer.unicode16 import LETTERS, NUMBERS, WHITE_SPACE

HUGE_PAGE_BYTES = 2 << 20


def zeros(n_bytes: int) -> NDArray[np.uint8]:
    """Zeroed memory. Large pieces ask for huge pages, which makes random access to a table about a sixth faster."""
    if n_bytes < HUGE_PAGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(n_bytes, np.uint8)
    area = mmap.mmap(-1, n_bytes + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        area.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(area, np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE_BYTES
    return memory[start : start + n_bytes]


def address(array: NDArray[Any]) -> int:
    """Where an array begins in memory."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]  # faster than array.ctypes.data


def new_bytes(n: int) -> tuple[bytes, int]:
    """A bytes object whose content is still to be written, once, at the address given; it saves copying the result."""
    make, find = ctypes.pythonapi.PyBytes_FromStringAndSize, ctypes.pythonapi.PyBytes_AsString
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_ssize_t]
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object]
    data = make(None, n)
    where = find(data)
    if n >= 2 * HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = where + -where % HUGE_PAGE_BYTES
        length = (where + n - start) & -HUGE_PAGE_BYTES
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return data, where


@functools.cache
def class_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The classes of all characters: which page each 256 characters have, and the distinct pages."""
    classes = np.zeros(0x110000, np.uint8)
    for value, table in enumerate((LETTERS, NUMBERS, WHITE_SPACE), start=1):
        for first, last in ranges(table):
            classes[first : last + 1] = value
    pages: dict[bytes, int] = {}
    index = [
        pages.setdefault(classes[i : i + 256].tobytes(), len(pages)) for i in range(0, len(classes), 256)
    ]
    return np.array(index, np.uint8), np.frombuffer(b"".join(pages), np.uint8)


@functools.cache
def key_masks() -> NDArray[np.int64]:
    """For each length up to 23 a mask that keeps that many bytes, and a tag that writes the length into byte 23."""
    rows = []
    for n in range(24):
        rows += [bytes([255] * n).ljust(32, b"\0"), bytes([n]).rjust(24, b"\0").ljust(32, b"\0")]
    return np.frombuffer(b"".join(rows), np.int64)
