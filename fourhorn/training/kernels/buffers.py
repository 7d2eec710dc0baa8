"""What one thread holds from the forward to the backward pass, and its scratch: arrays known by their addresses.

Shapes: R rows = sequences × T tokens, C width, L layers, H heads, V vocabulary rounded up to 32, P rows that a layer
works on at once. Units: addresses and rows in bytes.
"""

import contextlib
import mmap
from typing import Any

import numpy as np

from fourhorn.training.kernels import attention, rows
from fourhorn.training.kernels.amx import BLOCK
from fourhorn.training.kernels.head import STRETCH, head_rows
from fourhorn.training.kernels.product import scratch_numbers

CACHED_BYTES = 1 << 20  # of a second-level cache of 2 MiB
HUGE_PAGE = 2 << 20


def aligned(shape: tuple[int, ...], kind: Any) -> Any:
    """An uninitialized array that begins on a cache line, without which the matrix unit is several times slower.

    Large ones are mapped for themselves, in huge pages where the system has them, and go back to it when freed.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    if n_bytes < HUGE_PAGE:
        room = np.empty(n_bytes + 64, np.uint8)
        start = -room.ctypes.data % 64
    else:
        pages = mmap.mmap(-1, n_bytes + HUGE_PAGE)
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
        room = np.frombuffer(pages, np.uint8)
        start = -room.ctypes.data % HUGE_PAGE
    return room[start : start + n_bytes].view(kind).reshape(shape)


class Place:
    """An array (…, R, width) of numbers, and the address of any of its rows.

    `spread` rows lie a cache line further apart: a block's rows would else share a few sets of the first-level cache.
    """

    def __init__(self, *shape: int, kind: Any = np.float32, spread: bool = False) -> None:
        if spread:
            shape = (*shape[:-1], shape[-1] + 64 // np.dtype(kind).itemsize)
        self.array = aligned(shape, kind)
        self.address: int = self.array.ctypes.data
        self.row_bytes = shape[-1] * self.array.itemsize
        self.matrix_bytes = self.row_bytes * (shape[-2] if len(shape) > 1 else 1)

    def at(self, matrix: int = 0, row: int = 0) -> int:
        """The address of a row of one of the matrices."""
        return self.address + matrix * self.matrix_bytes + row * self.row_bytes


def rows_at_once(R: int, T: int, C: int) -> int:
    """Rows a layer works on at once: a sequence where its widest tensor stays in the second-level cache, else all."""
    return T if 2 * 4 * C * T <= CACHED_BYTES else R


class Buffers:
    """Room for one thread's R rows; bfloat16 is held as uint16."""

    def __init__(self, L: int, R: int, T: int, C: int, H: int, V: int) -> None:
        def low(*shape: int, spread: bool = False) -> Place:
            return Place(*shape, kind=np.uint16, spread=spread)

        P, n = rows_at_once(R, T, C), head_rows(V, R)
        self.rows_at_once = P
        # The residual stream before each sub-block and at the end, and the layer norms' results of it.
        self.x, self.normal = Place(2 * L + 1, R, C), low(2 * L + 1, R, C)
        self.mean, self.scale = Place(2 * L + 1, R, 1), Place(2 * L + 1, R, 1)
        self.qkv, self.attended, self.log_sums = low(L, R, 3 * C), low(L, R, C), Place(L, R, H)
        self.wide = low(L, R, 4 * C, spread=True)  # before GELU; the backward pass puts its results here
        self.active = low(P, 4 * C, spread=True)  # and after it
        self.dx, self.dx_low, self.d_normal = Place(R, C), low(R, C), Place(R, C)
        self.d_qkv, self.d_wide = low(P, 3 * C), low(P, 4 * C, spread=True)
        self.logits = low(n * V)
        self.packed, self.turned = low(max(P * 4, n) * C), low(4 * C * C)
        self.strips = Place(attention.strip_numbers(T))
        self.scratch = low(max(scratch_numbers(max(4 * C, P, STRETCH)), attention.scratch_numbers(T, C // H)))
        self.zeros, self.mask = Place(max(4 * C, STRETCH)), Place(BLOCK, BLOCK)
        self.zeros.array[:] = 0
        self.mask.array[:] = np.triu(np.full((BLOCK, BLOCK), rows.LOWEST, np.float32), 1)
