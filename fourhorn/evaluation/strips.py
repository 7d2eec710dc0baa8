"""One head's causal attention in float32: a strip of scores, its softmax, its product with the values.

§2.3. `QUERIES` rows are scored against all keys before them. Both products are sums of 6 × 64 blocks that stay in
vector registers; what they read, 64 keys or values at a time, stays in the first-level cache while the rows pass.

In: addresses of rows (T, D) float32, some bytes apart; D a multiple of 64. To be run where there are 32 registers of
16 lanes.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.exponentials import exp
from fourhorn.sampling.squares import turn
from fourhorn.sampling.vectors import (
    ADDRESS,
    N_LANES,
    add,
    at,
    call,
    floats,
    keep_first,
    load_float,
    load_floats,
    max_lanes,
    maximum,
    mul,
    operation,
    store_float,
    store_floats,
    sub,
    sum_lanes,
)

QUERIES = 48
ROWS, COLUMNS = 6, 64  # of a block: 24 registers of sums, 4 of one row of the right operand
_i32, _i64, _f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_vector = ir.VectorType(_f32, N_LANES)


@operation(types.void, *[ADDRESS] * 9)
def block_product(
    b: Any, out: Any, out_row: Any, left: Any, left_row: Any, right: Any, right_part: Any, right_row: Any, n: Any,
    go_on: Any,
) -> None:  # fmt: skip
    """out (6, 64) = left (6, n) · right (n, 64), added to what is there where `go_on` is not 0.

    Rows lie `…_row` bytes apart, a right row's four vectors `right_part`.
    """
    places = [
        [b.add(out, b.add(b.mul(out_row, _i64(r)), _i64(4 * c))) for c in range(0, COLUMNS, N_LANES)]
        for r in range(ROWS)
    ]
    sums = [[cgutils.alloca_once(b, _vector) for _ in row] for row in places]
    each = [pair for rows in zip(places, sums, strict=True) for pair in zip(*rows, strict=True)]
    with b.if_else(b.icmp_signed("!=", go_on, _i64(0))) as (yes, no):
        with yes:
            for place, total in each:
                b.store(b.load(at(b, place, _vector), align=4), total)
        with no:
            for _, total in each:
                b.store(ir.Constant(_vector, [0.0] * N_LANES), total)
    with cgutils.for_range(b, n) as loop:
        row = b.add(right, b.mul(right_row, loop.index))
        parts = [b.add(row, b.mul(right_part, _i64(c))) for c in range(COLUMNS // N_LANES)]
        vectors = [b.load(at(b, part, _vector), align=4) for part in parts]
        column = b.add(left, b.shl(loop.index, _i64(2)))
        for r, totals in enumerate(sums):
            one = b.load(at(b, b.add(column, b.mul(left_row, _i64(r))), _f32))
            first = b.insert_element(ir.Constant(_vector, ir.Undefined), one, _i32(0))
            every = b.shuffle_vector(first, first, ir.Constant(ir.VectorType(_i32, N_LANES), [0] * N_LANES))
            for vector, total in zip(vectors, totals, strict=True):
                b.store(call(b, "llvm.fma.v16f32", _vector, [every, vector, b.load(total)]), total)
    for place, total in each:
        b.store(b.load(total), at(b, place, _vector), align=4)


def scratch_bytes(T: int, D: int) -> int:
    """Bytes that `attend_head` needs, a multiple of 64."""
    padded = (T + COLUMNS - 1) // COLUMNS * COLUMNS
    return 8 * D * (padded + QUERIES) + 4 * QUERIES * (padded + N_LANES + 1) + 64 * D


@inner
def attend_head(
    q: Any, q_row: Any, k: Any, k_row: Any, v: Any, v_row: Any, out: Any, out_row: Any, T: Any, D: Any, scratch: Any
) -> None:  # fmt: skip
    """Softmax of each query's scores over the keys up to it, times the values."""
    padded = (T + COLUMNS - 1) // COLUMNS * COLUMNS
    keys, values = scratch, scratch + 4 * D * padded
    block, sums = values + 4 * D * padded, values + 4 * D * (padded + QUERIES)
    strip, strip_row = sums + 4 * D * QUERIES, 4 * (padded + N_LANES)  # rows do not lie a power of two apart
    totals = strip + QUERIES * strip_row
    pack(k, k_row, v, v_row, T, D, keys, values, totals + 4 * QUERIES)
    scale = floats(np.float32(1.0) / np.sqrt(np.float32(D)))
    for first in range(0, T, QUERIES):
        n_rows, n = min(QUERIES, T - first), min(first + QUERIES, T)
        for r in range(QUERIES):
            for i in range(0, 4 * D, 64):
                x = load_floats(q + (first + r) * q_row + i) if r < n_rows else floats(0.0)
                store_floats(block + 4 * r * D + i, mul(scale, x))
        for j in range(0, n, COLUMNS):
            for r in range(0, n_rows, ROWS):
                block_product(
                    strip + r * strip_row + 4 * j, strip_row, block + 4 * r * D, 4 * D, keys + 4 * D * j, 64 * D, 64,
                    D, 0,
                )  # fmt: skip
        for r in range(n_rows):
            store_float(totals + 4 * r, softmax(strip + r * strip_row, first + r + 1, n))
        for j in range(0, n, COLUMNS):
            for r in range(0, n_rows, ROWS):
                for i in range(0, 4 * D, 4 * COLUMNS):
                    block_product(
                        sums + 4 * r * D + i, 4 * D, strip + r * strip_row + 4 * j, strip_row,
                        values + 4 * D * j + i, 64, 4 * D, min(COLUMNS, n - j), j,
                    )  # fmt: skip
        for r in range(n_rows):
            factor = floats(np.float32(1.0) / load_float(totals + 4 * r))
            for i in range(0, 4 * D, 64):
                store_floats(out + (first + r) * out_row + i, mul(factor, load_floats(sums + 4 * r * D + i)))


@inner
def pack(k: Any, k_row: Any, v: Any, v_row: Any, T: Any, D: Any, keys: Any, values: Any, spare: Any) -> None:
    """Keys turned, 16 side by side, (T / 16, D, 16), and values row by row; `spare` holds 16 rows."""
    for t in range(T):
        for i in range(0, 4 * D, 64):
            store_floats(values + 4 * t * D + i, load_floats(v + t * v_row + i))
    for first in range(0, T, 16):
        source, step = k + first * k_row, k_row
        if first + 16 > T:
            for r in range(16):
                for i in range(0, 4 * D, 64):
                    x = load_floats(source + r * k_row + i) if first + r < T else floats(0.0)
                    store_floats(spare + 4 * r * D + i, x)
            source, step = spare, 4 * D
        for i in range(0, 4 * D, 64):
            turn(source + i, step, keys + 4 * first * D + 16 * i)


@inner
def softmax(row: Any, count: Any, n: Any) -> Any:
    """Turn the first `count` scores into exponentials, zeros up to n; the exponentials' sum."""
    whole, most = 4 * (count // 16 * 16), floats(-1e30)
    for i in range(0, whole, 64):
        most = maximum(most, load_floats(row + i))
    tail = keep_first(load_floats(row + whole), count % 16, -1e30)
    shift, total = floats(max_lanes(maximum(most, tail))), floats(0.0)
    for i in range(0, whole, 64):
        x = exp(sub(load_floats(row + i), shift))
        total = add(total, x)
        store_floats(row + i, x)
    x = keep_first(exp(sub(tail, shift)), count % 16, 0.0)
    store_floats(row + whole, x)
    for i in range(whole + 64, 4 * n, 64):
        store_floats(row + i, floats(0.0))
    return sum_lanes(add(total, x))
