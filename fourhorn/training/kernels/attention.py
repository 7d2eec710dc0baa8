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
from fourhorn.training.kernels.pack import left_block, left_block_turned, right_block, right_block_turned
from fourhorn.training.kernels.product import SUMS_BYTES, SUMS_ROW, finish_low, finish_scaled

BLOCK_BYTES = 2 * BLOCK_NUMBERS
ONE = np.float32(1.0)


def scratch_numbers(T: int, D: int) -> int:
    """uint16 numbers the two functions need as scratch."""
    n_blocks = T // BLOCK
    return (2 * n_blocks * n_blocks + 2 * n_blocks + 4) * BLOCK_NUMBERS + 5 * T * D + BLOCK * D


def strip_numbers(T: int) -> int:
    """float32 numbers of the strips of 32 rows that the two functions need; rows do not lie a power of two apart."""
    return 2 * BLOCK * (T + 16) + BLOCK


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
    place: int, row_bytes: int, keys: int, i: int, width: int, left: int, out: int, out_row: int, diagonal: int
) -> None:  # fmt: skip
    """Products of 32 rows at `place` with blocks 0 … i of `keys`; the last one starts from `diagonal` (0: zero)."""
    for d in range(width):
        left_block(place + d * 64, row_bytes, left + BLOCK_BYTES * d)
    for j in range(i + 1):
        start = diagonal if j == i else 0
        add_block_product(
            out + SUMS_ROW * j, out_row, start, SUMS_ROW, left, keys + BLOCK_BYTES * j * width, width
        )


@njit(**OPTIONS)
def attention(
    qkv: Any, out: Any, log_sums: Any, T: int, H: int, strips: Any, scratch: int, mask: Any
) -> None:
    """Softmax of each query's scores over the keys up to it, times the values; keeps the log-sums (R, H).

    `mask` (32, 32) float32 is what the scores of a block on the diagonal start from: very low above it.
    """
    R, C = out.shape
    D = C // H
    width, n_blocks, row_bytes, out_row = D // BLOCK, T // BLOCK, qkv.strides[0], out.strides[0]
    scale = ONE / np.sqrt(np.float32(D))
    keys = scratch
    values, left = keys + 2 * T * D, keys + 4 * T * D
    chances = left + BLOCK_BYTES * width
    sums = chances + BLOCK_BYTES * n_blocks
    scores, score_row = address(strips), 4 * (T + 16)
    factors = strips[strips.shape[0] - BLOCK :]
    for first in range(0, R, T):
        for h in range(H):
            q = address(qkv) + first * row_bytes + 2 * h * D
            pack_head(q + 2 * C, row_bytes, n_blocks, width, True, keys)
            pack_head(q + 4 * C, row_bytes, n_blocks, width, False, values)
            for i in range(n_blocks):
                here, count = first + i * BLOCK, (i + 1) * BLOCK
                strip(
                    q + i * BLOCK * row_bytes, row_bytes, keys, i, width, left, scores, score_row, address(mask)
                )  # fmt: skip
                for r in range(BLOCK):
                    row = scores + r * score_row
                    most = rows.largest(row, count) * scale
                    total = rows.exponentials(row, chances + 64 * r, count, scale, most)
                    factors[r], log_sums[here + r, h] = ONE / total, most + np.log(total)
                to = address(out) + here * out_row + 2 * h * D
                for d in range(width):
                    block = values + BLOCK_BYTES * d * n_blocks
                    add_block_product(sums, SUMS_ROW, 0, 0, chances, block, i + 1)
                    finish_scaled(sums, to + 64 * d, out_row, address(factors), 4, 0, BLOCK)


@njit(**OPTIONS)
def attention_backward(
    qkv: Any, out: Any, d_out: Any, log_sums: Any, d_qkv: Any, T: int, H: int, strips: Any, scratch: int, mask: Any,
    zeros: int,
) -> None:  # fmt: skip
    """The gradient by queries, keys and values, (R, 3C) bfloat16."""
    R, C = out.shape
    D = C // H
    width, n_blocks, row_bytes, out_row = D // BLOCK, T // BLOCK, qkv.strides[0], d_out.strides[0]
    scale = ONE / np.sqrt(np.float32(D))
    size = 2 * T * D
    keys = scratch  # K and V as right operands over D; K, Q and dO as right operands over T
    values, keys_over, queries_over, d_over = keys + size, keys + 2 * size, keys + 3 * size, keys + 4 * size
    left = keys + 5 * size
    low, spare = left + BLOCK_BYTES * width, left + BLOCK_BYTES * (width + 2 * n_blocks)
    d_low, sums = low + BLOCK_BYTES * n_blocks, spare + BLOCK_BYTES
    turned = sums + SUMS_BYTES
    d_turned = turned + BLOCK_BYTES * n_blocks * n_blocks
    scores, score_row = address(strips), 4 * (T + 16)
    d_chances = scores + BLOCK * score_row
    for first in range(0, R, T):
        for h in range(H):
            q = address(qkv) + first * row_bytes + 2 * h * D
            d, o = address(d_out) + first * out_row + 2 * h * D, address(out) + first * out_row + 2 * h * D
            to = address(d_qkv) + first * row_bytes + 2 * h * D
            pack_all(q, d, 2 * C, row_bytes, out_row, n_blocks, width, keys, size)
            for i in range(n_blocks):
                here, count = i * BLOCK, (i + 1) * BLOCK
                strip(
                    q + here * row_bytes, row_bytes, keys, i, width, left, scores, score_row, address(mask)
                )  # fmt: skip
                strip(d + here * out_row, out_row, values, i, width, left, d_chances, score_row, 0)
                for r in range(BLOCK):
                    inner = rows.dot_low(o + (here + r) * out_row, d + (here + r) * out_row, D)
                    rows.slopes(
                        scores + r * score_row, d_chances + r * score_row, low + 64 * r, d_low + 64 * r,
                        count, scale, log_sums[first + here + r, h], inner,
                    )  # fmt: skip
                for j in range(i + 1):
                    target = BLOCK_BYTES * (j * n_blocks + i)
                    left_block_turned(low + BLOCK_BYTES * j, 64, turned + target, spare)
                    left_block_turned(d_low + BLOCK_BYTES * j, 64, d_turned + target, spare)
                for part in range(width):
                    block = keys_over + BLOCK_BYTES * part * n_blocks
                    add_block_product(sums, SUMS_ROW, 0, 0, d_low, block, i + 1)
                    finish_low(sums, to + here * row_bytes + 64 * part, row_bytes, 0, 0, zeros, BLOCK)
            gather(to, row_bytes, 2 * C, width, n_blocks, sums, turned, d_turned, queries_over, d_over, zeros)


@njit(**OPTIONS)
def pack_all(
    q: int, d: int, next_bytes: int, row_bytes: int, out_row: int, n_blocks: int, width: int, to: int, size: int
) -> None:  # fmt: skip
    """A head's K and V as right operands over D, its K, Q and dO as ones over T, `size` bytes each from `to` on."""
    pack_head(q + next_bytes, row_bytes, n_blocks, width, True, to)
    pack_head(q + 2 * next_bytes, row_bytes, n_blocks, width, True, to + size)
    pack_head(q + next_bytes, row_bytes, n_blocks, width, False, to + 2 * size)
    pack_head(q, row_bytes, n_blocks, width, False, to + 3 * size)
    pack_head(d, out_row, n_blocks, width, False, to + 4 * size)


@njit(**OPTIONS)
def gather(
    to: int, row_bytes: int, next_bytes: int, width: int, n_blocks: int, sums: int, turned: int, d_turned: int,
    queries_over: int, d_over: int, zeros: int,
) -> None:  # fmt: skip
    """A head's gradients by keys, `next_bytes` after its queries', and by values, from the transposed strips."""
    for j in range(n_blocks):
        block, count = BLOCK_BYTES * (j * n_blocks + j), n_blocks - j
        for part in range(width):
            over = BLOCK_BYTES * (part * n_blocks + j)
            place = to + j * BLOCK * row_bytes + 64 * part
            add_block_product(sums, SUMS_ROW, 0, 0, d_turned + block, queries_over + over, count)
            finish_low(sums, place + next_bytes, row_bytes, 0, 0, zeros, BLOCK)
            add_block_product(sums, SUMS_ROW, 0, 0, turned + block, d_over + over, count)
            finish_low(sums, place + 2 * next_bytes, row_bytes, 0, 0, zeros, BLOCK)
