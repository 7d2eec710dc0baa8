"""Causal attention of one layer, forward and backward, one head at a time in the caches.

§2.3. Queries are taken 32 at a time: their scores against all keys before them form a strip of at most 32 × T numbers,
which never leaves the second-level cache. The backward pass computes the strips anew from queries, keys and the kept
log-sums, as FlashAttention does (Dao et al., 2022). `GROUP` strips at a time are turned and multiplied into the
gradients of keys and values, which stay in the cache as well, as float32.

In, all by address: qkv (R, 3C) bfloat16 for R / T sequences of T tokens; H heads of D. Out: (R, C) bfloat16; gradients
likewise; log-sums (R, H) float32.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product
from fourhorn.training.kernels.finish import SUMS_ROW, finish_low, finish_scaled
from fourhorn.training.kernels.pack import left_block, left_block_turned, right_block, right_block_turned
from fourhorn.training.kernels.product import BLOCK_BYTES, SUMS_BYTES

ONE = np.float32(1.0)
GROUP = 4  # strips whose products with queries and with the result's gradient are summed at once


def scratch_numbers(T: int, D: int) -> int:
    """uint16 numbers the two functions need as scratch."""
    n_blocks = T // BLOCK
    return (2 * n_blocks * (GROUP + 1) + 4) * BLOCK_NUMBERS + 9 * T * D + BLOCK * D


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
    qkv: int, out: int, log_sums: int, R: int, C: int, T: int, H: int, strips: int, scratch: int, mask: int
) -> None:  # fmt: skip
    """Softmax of each query's scores over the keys up to it, times the values; keeps the log-sums.

    `mask` (32, 32) float32 is what the scores of a block on the diagonal start from: very low above it.
    """
    D = C // H
    width, n_blocks, row_bytes, out_row = D // BLOCK, T // BLOCK, 6 * C, 2 * C
    scale = ONE / np.sqrt(np.float32(D))
    keys = scratch
    values, left = keys + 2 * T * D, keys + 4 * T * D
    chances = left + BLOCK_BYTES * width
    sums = chances + BLOCK_BYTES * n_blocks
    scores, score_row = strips, 4 * (T + 16)
    factors = scores + 2 * BLOCK * score_row
    for first in range(0, R, T):
        for h in range(H):
            q = qkv + first * row_bytes + 2 * h * D
            pack_head(q + 2 * C, row_bytes, n_blocks, width, True, keys)
            pack_head(q + 4 * C, row_bytes, n_blocks, width, False, values)
            for i in range(n_blocks):
                here, count = first + i * BLOCK, (i + 1) * BLOCK
                strip(q + i * BLOCK * row_bytes, row_bytes, keys, i, width, left, scores, score_row, mask)
                for r in range(BLOCK):
                    row = scores + r * score_row
                    most = rows.largest(row, count) * scale
                    total = rows.exponentials(row, chances + 64 * r, count, scale, most)
                    rows.put_number(factors + 4 * r, ONE / total)
                    rows.put_number(log_sums + 4 * ((here + r) * H + h), most + np.log(total))
                to = out + here * out_row + 2 * h * D
                for d in range(width):
                    block = values + BLOCK_BYTES * d * n_blocks
                    add_block_product(sums, SUMS_ROW, 0, 0, chances, block, i + 1)
                    finish_scaled(sums, to + 64 * d, out_row, factors, 4, 0)


@njit(**OPTIONS)
def attention_backward(
    qkv: int, out: int, d_out: int, log_sums: int, d_qkv: int, R: int, C: int, T: int, H: int, strips: int,
    scratch: int, mask: int, zeros: int,
) -> None:  # fmt: skip
    """The gradient by queries, keys and values, (R, 3C) bfloat16."""
    D = C // H
    width, n_blocks, row_bytes, out_row = D // BLOCK, T // BLOCK, 6 * C, 2 * C
    scale = ONE / np.sqrt(np.float32(D))
    size = 2 * T * D
    keys = scratch  # K and V as right operands over D; K, Q and dO as right operands over T
    values, keys_over, queries_over, d_over = keys + size, keys + 2 * size, keys + 3 * size, keys + 4 * size
    left = keys + 5 * size
    low = left + BLOCK_BYTES * width
    d_low, spare = low + BLOCK_BYTES * n_blocks, low + 2 * BLOCK_BYTES * n_blocks
    sums = spare + BLOCK_BYTES
    turned = sums + SUMS_BYTES
    d_turned = turned + BLOCK_BYTES * n_blocks * GROUP
    d_keys = d_turned + BLOCK_BYTES * n_blocks * GROUP
    d_values = d_keys + 2 * size
    scores, score_row = strips, 4 * (T + 16)
    d_chances = scores + BLOCK * score_row
    for first in range(0, R, T):
        for h in range(H):
            q = qkv + first * row_bytes + 2 * h * D
            d, o = d_out + first * out_row + 2 * h * D, out + first * out_row + 2 * h * D
            to = d_qkv + first * row_bytes + 2 * h * D
            pack_all(q, d, 2 * C, row_bytes, out_row, n_blocks, width, keys, size)
            for i in range(n_blocks):
                here, count = i * BLOCK, (i + 1) * BLOCK
                strip(q + here * row_bytes, row_bytes, keys, i, width, left, scores, score_row, mask)
                strip(d + here * out_row, out_row, values, i, width, left, d_chances, score_row, 0)
                for r in range(BLOCK):
                    inner = rows.dot_low(o + (here + r) * out_row, d + (here + r) * out_row, D)
                    log_sum = rows.number_at(log_sums + 4 * ((first + here + r) * H + h))
                    rows.slopes(
                        scores + r * score_row, d_chances + r * score_row, low + 64 * r, d_low + 64 * r,
                        count, scale, log_sum, inner,
                    )  # fmt: skip
                for j in range(i + 1):
                    target = BLOCK_BYTES * (j * GROUP + i % GROUP)
                    left_block_turned(low + BLOCK_BYTES * j, 64, turned + target, spare)
                    left_block_turned(d_low + BLOCK_BYTES * j, 64, d_turned + target, spare)
                for part in range(width):
                    block = keys_over + BLOCK_BYTES * part * n_blocks
                    add_block_product(sums, SUMS_ROW, 0, 0, d_low, block, i + 1)
                    finish_low(sums, to + here * row_bytes + 64 * part, row_bytes, 0, 0, zeros)
                if i % GROUP == GROUP - 1 or i == n_blocks - 1:
                    gather(i, width, n_blocks, d_turned, queries_over, d_keys)
                    gather(i, width, n_blocks, turned, d_over, d_values)
            put_down(d_keys, to + 2 * C, row_bytes, width, n_blocks, zeros)
            put_down(d_values, to + 4 * C, row_bytes, width, n_blocks, zeros)


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
def gather(last: int, width: int, n_blocks: int, turned: int, over: int, sums: int) -> None:
    """Add what the group of strips that ends with strip `last` gives to the sums of blocks 0 … last."""
    group = last // GROUP * GROUP
    for j in range(last + 1):
        begin = max(j, group)
        for part in range(width):
            block = sums + SUMS_BYTES * (j * width + part)
            add_block_product(
                block, SUMS_ROW, block if j < group else 0, SUMS_ROW,
                turned + BLOCK_BYTES * (j * GROUP + begin - group),
                over + BLOCK_BYTES * (part * n_blocks + begin), last + 1 - begin,
            )  # fmt: skip


@njit(**OPTIONS)
def put_down(sums: int, to: int, row_bytes: int, width: int, n_blocks: int, zeros: int) -> None:
    """A head's sums (T, D), block by block, into its columns as bfloat16."""
    for j in range(n_blocks):
        for part in range(width):
            block = sums + SUMS_BYTES * (j * width + part)
            finish_low(block, to + j * BLOCK * row_bytes + 64 * part, row_bytes, 0, 0, zeros)
