"""Causal attention of whole sequences on a CPU, a head at a time in its caches: torch's attention, faster.

§2.3. A few queries at a time are scored against all keys before them; the scores never leave the second-level cache.
bfloat16 heads go through the matrix unit's tiles (`sampling.attention`), float32 ones through vector registers
(`strips`).

In: queries, keys and values (B, H, T, D), views whose heads lie side by side as in the product that made them.
Out: (B, T, H · D).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import torch
from torch import Tensor

from fourhorn.evaluation.strips import attend_head, scratch_bytes
from fourhorn.evaluation.team import Shared, argument, available, next_piece, own_number, together
from fourhorn.sampling.attention import attend_tile
from fourhorn.sampling.compiling import inner
from fourhorn.sampling.layout import BLOCK, TILE_SHAPES, tile_bytes
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.squares import interleave, turn
from fourhorn.sampling.tiles import tile_configure, tile_release
from fourhorn.sampling.vectors import floats, load_floats, load_halves, store_floats, store_halves

TILE_ROWS = 16
LOW_SIZE = 64  # its scale, 1/8, costs bfloat16 queries nothing; every released model's head size


def can_attend(q: Tensor, k: Tensor) -> bool:
    """Whether `attend` takes these."""
    size = q.shape[-1]
    heads_side_by_side = all(x.stride(3) == 1 and x.stride(1) == size for x in (q, k))
    if q.device.type != "cpu" or q.shape != k.shape or not heads_side_by_side or not available():
        return False
    if q.dtype == torch.bfloat16:
        return size == LOW_SIZE and HAS_TILES
    return q.dtype == torch.float32 and size % 64 == 0


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax over the keys up to each query, times the values."""
    B, H, T, D = q.shape
    out = q.new_empty(B, T, H * D)
    low = q.dtype == torch.bfloat16
    n_bytes = low_scratch_bytes(T, D) if low else scratch_bytes(T, D)
    scratch = torch.empty(n_bytes * torch.get_num_threads() + 64, dtype=torch.uint8)
    strides = [x.stride(i) * x.element_size() for x in (q, k, v, out) for i in (0, 2 if x is not out else 1)]
    together(
        _attend_low if low else _attend, q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), *strides,
        B, H, T, D, scratch.data_ptr() + -scratch.data_ptr() % 64, n_bytes, _SHAPES.data_ptr(),
    )  # fmt: skip
    return out


_SHAPES = torch.frombuffer(bytearray(TILE_SHAPES), dtype=torch.uint8)


@Shared
def _attend(job: Any) -> None:
    q, k, v, out = argument(job, 0), argument(job, 1), argument(job, 2), argument(job, 3)
    B, H, T, D = argument(job, 12), argument(job, 13), argument(job, 14), argument(job, 15)
    scratch = argument(job, 16) + own_number(job) * argument(job, 17)
    piece = next_piece(job)
    while piece < B * H:
        b, h = piece // H, 4 * D * (piece % H)
        attend_head(
            q + b * argument(job, 4) + h, argument(job, 5), k + b * argument(job, 6) + h, argument(job, 7),
            v + b * argument(job, 8) + h, argument(job, 9), out + b * argument(job, 10) + h, argument(job, 11),
            T, D, scratch,
        )  # fmt: skip
        piece = next_piece(job)


@Shared
def _attend_low(job: Any) -> None:
    q, k, v, out = argument(job, 0), argument(job, 1), argument(job, 2), argument(job, 3)
    B, H, T, D = argument(job, 12), argument(job, 13), argument(job, 14), argument(job, 15)
    scratch = argument(job, 16) + own_number(job) * argument(job, 17)
    tile_configure(argument(job, 18))
    piece = next_piece(job)
    while piece < B * H:
        b, h = piece // H, 2 * D * (piece % H)
        attend_head_low(
            q + b * argument(job, 4) + h, argument(job, 5), k + b * argument(job, 6) + h, argument(job, 7),
            v + b * argument(job, 8) + h, argument(job, 9), out + b * argument(job, 10) + h, argument(job, 11),
            T, D, scratch,
        )  # fmt: skip
        piece = next_piece(job)
    tile_release()


def low_scratch_bytes(T: int, D: int) -> int:
    """Bytes that `attend_head_low` needs, a multiple of 64."""
    padded = (T + 63) // 64 * 64
    return 4 * D * padded + 2 * 4 * TILE_ROWS * D + tile_bytes(padded, D)


@inner
def attend_head_low(
    q: Any, q_row: Any, k: Any, k_row: Any, v: Any, v_row: Any, out: Any, out_row: Any, T: Any, D: Any, scratch: Any
) -> None:  # fmt: skip
    """One head in bfloat16."""
    padded = (T + 63) // 64 * 64
    keys, values = scratch, scratch + 2 * D * padded
    queries = values + 2 * D * padded
    result = queries + 4 * TILE_ROWS * D
    buffer = result + 4 * TILE_ROWS * D
    pack_low(k, k_row, v, v_row, T, D, padded, keys, values, buffer)
    for first in range(0, T, TILE_ROWS):
        n_rows = min(TILE_ROWS, T - first)
        for r in range(n_rows):
            for i in range(0, D, 16):
                store_floats(queries + 4 * (r * D + i), load_halves(q + (first + r) * q_row + 2 * i))
        attend_tile(queries, 4 * D, keys, values, 2 * BLOCK * D, D, first, n_rows, result, 4 * D, buffer)
        for r in range(n_rows):
            for i in range(0, D, 16):
                store_halves(out + (first + r) * out_row + 2 * i, load_floats(result + 4 * (r * D + i)))


@inner
def pack_low(
    k: Any, k_row: Any, v: Any, v_row: Any, T: Any, D: Any, padded: Any, keys: Any, values: Any, spare: Any
) -> None:  # fmt: skip
    """A head's keys and values as `sampling.attention` wants them, zeros up to `padded` positions."""
    zero, zeros = floats(0.0), spare + 32 * D
    for i in range(0, 2 * D, 32):
        store_halves(zeros + i, zero)
    for first in range(0, padded, 16):
        source, step = k + first * k_row, k_row
        if first + 16 > T:
            for r in range(16):
                row = source + r * k_row if first + r < T else zeros
                for i in range(0, 2 * D, 32):
                    store_halves(spare + 2 * r * D + i, load_halves(row + i))
            source, step = spare, 2 * D
        for i in range(0, 2 * D, 64):
            turn(source + i, step, keys + 2 * first * D + 16 * i)
    for first in range(0, padded, 2):
        one = v + first * v_row if first < T else zeros
        other = v + (first + 1) * v_row if first + 1 < T else zeros
        for i in range(0, 2 * D, 32):
            interleave(one + i, other + i, values + 2 * first * D + 2 * i)
