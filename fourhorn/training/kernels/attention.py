"""Causal attention of one layer, forward and backward, one head at a time in the caches.

§2.3. Queries are taken 32 at a time: their scores against all keys before them form a strip of at most 32 × T numbers,
which never leaves the second-level cache. The backward pass computes the strips anew from queries, keys and the kept
log-sums, as FlashAttention does (Dao et al., 2022), and gathers the transposed strips for the gradients of keys and
values.

In: qkv (R, 3C) bfloat16 for R / T sequences of T tokens; heads of D. Out: (R, C) bfloat16; gradients likewise.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product, address
from fourhorn.training.kernels.pack import (
    left_block,
    left_block_turned,
    right_block,
    right_block_turned,
)
from fourhorn.training.kernels.product import _finish_low, _finish_set

BLOCK_BYTES = 2 * BLOCK_NUMBERS


def scratch_numbers(T: int, D: int) -> int:
    """uint16 numbers the two functions need as scratch."""
    n_blocks = T // BLOCK
    return (
        2 * n_blocks * n_blocks * BLOCK_NUMBERS
        + 8 * T * D
        + 8 * BLOCK * T
        + 8 * BLOCK_NUMBERS
        + 4 * BLOCK * D
    )


@njit(**OPTIONS)
def pack_head(place: int, row_bytes: int, n_blocks: int, width: int, turned: bool, out: int) -> None:
    """A head's (T, D) columns as right operand: of products over T, or turned of products over D."""
    for j in range(n_blocks):
        for d in range(width):
            source = place + j * BLOCK * row_bytes + d * 64
            if turned:
                right_block_turned(source, row_bytes, out + BLOCK_BYTES * (j * width + d))
            else:
                right_block(source, row_bytes, out + BLOCK_BYTES * (d * n_blocks + j))


@njit(**OPTIONS)
def strip(
    place: int,
    row_bytes: int,
    keys: int,
    n_keys: int,
    width: int,
    left: int,
    tiles: int,
    out: Any,
    zeros: int,
) -> None:
    """Products of 32 rows at `place` with the first `n_keys` blocks of `keys`: `out` (32, T) float32."""
    for d in range(width):
        left_block(place + d * 64, row_bytes, left + BLOCK_BYTES * d)
    to, row = address(out), out.strides[0]
    for j in range(n_keys):
        add_block_product(tiles, 0, left, keys + BLOCK_BYTES * j * width, width)
        _finish_set(tiles, to + 128 * j, row, to, row, zeros)


@njit(**OPTIONS)
def attention(
    qkv: Any, out: Any, log_sums: Any, T: int, H: int, strips: Any, scratch: Any, zeros: Any
) -> None:
    """Softmax of each query's scores over the keys up to it, times the values; keeps the log-sums (R, H)."""
    R, C = out.shape
    D = C // H
    width, n_blocks, row_bytes = D // BLOCK, T // BLOCK, qkv.strides[0]
    scale = np.float32(1.0) / np.sqrt(np.float32(D))
    keys = address(scratch)
    values, left = keys + 2 * T * D, keys + 4 * T * D
    chances = left + BLOCK_BYTES * width
    tiles = chances + BLOCK_BYTES * n_blocks
    scores, low = strips[0], strips[1].view(np.uint16)[:, :T]
    for first in range(0, R, T):
        for h in range(H):
            q = address(qkv) + first * row_bytes + 2 * h * D
            pack_head(q + 2 * C, row_bytes, n_blocks, width, True, keys)
            pack_head(q + 4 * C, row_bytes, n_blocks, width, False, values)
            for i in range(n_blocks):
                strip(
                    q + i * BLOCK * row_bytes,
                    row_bytes,
                    keys,
                    i + 1,
                    width,
                    left,
                    tiles,
                    scores,
                    address(zeros),
                )
                for r in range(BLOCK):
                    n = i * BLOCK + r + 1
                    log_sums[first + n - 1, h] = softmax_row(
                        scores[r], n, address(low) + r * low.strides[0], scale
                    )
                for j in range(i + 1):
                    left_block(address(low) + 64 * j, low.strides[0], chances + BLOCK_BYTES * j)
                to = address(out) + (first + i * BLOCK) * out.strides[0] + 2 * h * D
                for d in range(width):
                    add_block_product(tiles, 0, chances, values + BLOCK_BYTES * d * n_blocks, i + 1)
                    _finish_low(tiles, to + 64 * d, out.strides[0], to, 0, address(zeros))


@njit(**OPTIONS)
def softmax_row(scores: Any, n: int, low: int, scale: Any) -> Any:
    """Chances of a row's first `n` scores, zero beyond, as bfloat16 at `low`; the log of the sum of exponentials."""
    whole = (n + BLOCK - 1) // BLOCK * BLOCK
    for i in range(n, whole):
        scores[i] = rows.LOWEST
    place = address(scores)
    most = rows.largest(place, whole) * scale
    total = rows.exponentials(place, whole, scale, most)
    rows.scaled_low(place, low, whole, np.float32(1.0) / total)
    return most + np.log(total)


@njit(**OPTIONS)
def attention_backward(
    qkv: Any,
    out: Any,
    d_out: Any,
    log_sums: Any,
    d_qkv: Any,
    T: int,
    H: int,
    strips: Any,
    scratch: Any,
    zeros: Any,
) -> None:
    """The gradient by queries, keys and values, (R, 3C) bfloat16."""
    R, C = out.shape
    D = C // H
    width, n_blocks, row_bytes, out_bytes = D // BLOCK, T // BLOCK, qkv.strides[0], d_out.strides[0]
    scale = np.float32(1.0) / np.sqrt(np.float32(D))
    size = 2 * T * D
    keys = address(scratch)  # K and V as right operands over D; K, Q and dO as right operands over T
    values, keys_over, queries_over, d_over = keys + size, keys + 2 * size, keys + 3 * size, keys + 4 * size
    left = keys + 5 * size
    tiles = left + BLOCK_BYTES * (width + n_blocks)
    spare = tiles + 2 * BLOCK_BYTES
    turned = spare + BLOCK_BYTES
    d_turned = turned + BLOCK_BYTES * n_blocks * n_blocks
    scores, d_chances = strips[0], strips[1]
    low, d_low = strips[2].view(np.uint16)[:, :T], strips[2].view(np.uint16)[:, T:]
    for first in range(0, R, T):
        for h in range(H):
            q, d = (
                address(qkv) + first * row_bytes + 2 * h * D,
                address(d_out) + first * out_bytes + 2 * h * D,
            )
            to = address(d_qkv) + first * row_bytes + 2 * h * D
            pack_all(q, d, 2 * C, row_bytes, out_bytes, n_blocks, width, keys, size)
            for i in range(n_blocks):
                here = i * BLOCK
                strip(
                    q + here * row_bytes, row_bytes, keys, i + 1, width, left, tiles, scores, address(zeros)
                )
                strip(
                    d + here * out_bytes,
                    out_bytes,
                    values,
                    i + 1,
                    width,
                    left,
                    tiles,
                    d_chances,
                    address(zeros),
                )
                for r in range(BLOCK):
                    row, end = first + here + r, here + BLOCK
                    mine, its = address(out) + row * out.strides[0] + 2 * h * D, d + (here + r) * out_bytes
                    inner = rows.dot_low(mine, its, D)
                    slopes_row(
                        scores, d_chances, low, d_low, r, here + r + 1, end, scale, log_sums[row, h], inner
                    )
                for j in range(i + 1):
                    target = BLOCK_BYTES * (j * n_blocks + i)
                    left_block(address(d_low) + 64 * j, d_low.strides[0], left + BLOCK_BYTES * j)
                    left_block_turned(address(low) + 64 * j, low.strides[0], turned + target, spare)
                    left_block_turned(address(d_low) + 64 * j, d_low.strides[0], d_turned + target, spare)
                for part in range(width):
                    add_block_product(tiles, 0, left, keys_over + BLOCK_BYTES * part * n_blocks, i + 1)
                    _finish_low(tiles, to + here * row_bytes + 64 * part, row_bytes, to, 0, address(zeros))
            gather(
                to, row_bytes, 2 * C, width, n_blocks, tiles, turned, d_turned, queries_over, d_over, address(zeros)
            )  # fmt: skip


@njit(**OPTIONS)
def pack_all(
    q: int,
    d: int,
    next_bytes: int,
    row_bytes: int,
    out_bytes: int,
    n_blocks: int,
    width: int,
    to: int,
    size: int,
) -> None:
    """A head's K and V as right operands over D, its K, Q and dO as ones over T, `size` bytes each from `to` on."""
    pack_head(q + next_bytes, row_bytes, n_blocks, width, True, to)
    pack_head(q + 2 * next_bytes, row_bytes, n_blocks, width, True, to + size)
    pack_head(q + next_bytes, row_bytes, n_blocks, width, False, to + 2 * size)
    pack_head(q, row_bytes, n_blocks, width, False, to + 3 * size)
    pack_head(d, out_bytes, n_blocks, width, False, to + 4 * size)


@njit(**OPTIONS)
def slopes_row(
    scores: Any,
    d_chances: Any,
    low: Any,
    d_low: Any,
    r: int,
    n: int,
    end: int,
    scale: Any,
    log_sum: Any,
    inner: Any,
) -> None:
    """Chances of strip row `r` again and the gradient of its `n` scores, zero from there to `end`."""
    for beyond in range(n, end):
        scores[r, beyond] = rows.LOWEST
    rows.slopes(
        address(scores) + r * scores.strides[0], address(d_chances) + r * d_chances.strides[0],
        address(low) + r * low.strides[0], address(d_low) + r * d_low.strides[0],
        end, scale, log_sum, inner,
    )  # fmt: skip


@njit(**OPTIONS)
def gather(
    to: int, row_bytes: int, next_bytes: int, width: int, n_blocks: int, tiles: int, turned: int, d_turned: int,
    queries_over: int, d_over: int, zeros: int,
) -> None:  # fmt: skip
    """A head's gradients by keys, `next_bytes` after its queries', and by values, from the transposed strips."""
    for j in range(n_blocks):
        block, count = BLOCK_BYTES * (j * n_blocks + j), n_blocks - j
        for part in range(width):
            over = BLOCK_BYTES * (part * n_blocks + j)
            place = to + j * BLOCK * row_bytes + 64 * part
            add_block_product(tiles, 0, d_turned + block, queries_over + over, count)
            _finish_low(tiles, place + next_bytes, row_bytes, to, 0, zeros)
            add_block_product(tiles, 0, turned + block, d_over + over, count)
            _finish_low(tiles, place + 2 * next_bytes, row_bytes, to, 0, zeros)
