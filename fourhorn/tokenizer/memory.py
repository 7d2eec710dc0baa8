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


def huge_zeros(n_bytes: int) -> NDArray[np.uint8]:
    """Zeroed memory in huge pages even where it is less than one: for a table that is read all over."""
    return zeros(max(n_bytes, HUGE_PAGE_BYTES))[:n_bytes]


def address(array: NDArray[Any]) -> int:
    """Where an array begins in memory."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]  # faster than array.ctypes.data


class GrowingBytes:
    """A bytes object that is written at its address and made shorter or longer, until `finish` gives it out.

    So neither must its length be known before it is written, nor is it copied afterwards.
    """

    def __init__(self, n_bytes: int) -> None:
        self._python, self._length = ctypes.pythonapi, n_bytes
        make, self._find = self._python.PyBytes_FromStringAndSize, self._python.PyBytes_AsString
        make.restype, make.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_ssize_t]
        self._find.restype, self._find.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._object = ctypes.c_void_p(make(None, n_bytes))
        if n_bytes >= 2 * HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
            start = self.address + -self.address % HUGE_PAGE_BYTES
            length = (self.address + n_bytes - start) & -HUGE_PAGE_BYTES
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)

    def __enter__(self) -> "GrowingBytes":
        return self

    def __exit__(self, *_: object) -> None:
        self._python.Py_DecRef(self._object)

    def __len__(self) -> int:
        return self._length

    @property
    def address(self) -> int:
        """Where its content begins."""
        return self._find(self._object)  # type: ignore[no-any-return]

    def resize(self, n_bytes: int) -> None:
        """Make it longer or shorter; its address may change."""
        self._length = n_bytes
        self._python._PyBytes_Resize(ctypes.byref(self._object), ctypes.c_ssize_t(n_bytes))

    def finish(self, n_bytes: int) -> bytes:
        """The first `n_bytes` as the object that they are."""
        self.resize(n_bytes)
        return ctypes.cast(self._object, ctypes.py_object).value  # type: ignore[no-any-return]


class Buffers:
    """Memory that is used again and again: to touch fresh memory costs as much as to fill it. For several threads."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        """At least `n_bytes`, with anything in them."""
        for _ in range(len(self._free)):
            try:
                array = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if len(array) >= n_bytes:
                return array
        return np.empty(n_bytes * 5 // 4, np.uint8)

    def give(self, array: Any) -> None:
        """Give back what was taken and is not read any more; anything else is left to Python."""
        if isinstance(array, np.ndarray):
            self._free.append(array)


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
