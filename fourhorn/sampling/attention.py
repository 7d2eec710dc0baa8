"""Attention of one row and head over its slot's cached keys and values, in vector code.

§2.3. Keys lie in 16 positions, bfloat16 pairs of neighbouring dimensions side by side, so that 16 positions are scored
by one dot product of pairs; values lie in pairs of neighbouring positions, for the same reason.

    cache   (slots, n_ctx / 64, layers, 2, heads, 64 D)
    keys    (4, D / 2, 16, 2)        values    (32, D, 2)        of 64 positions and a head

So the memory that a sequence takes grows with it, and all that a short one needs in a layer lies together.

A prompt's rows are attended to sixteen at a time in tiles, where there are tiles.

In: addresses of the first 64 positions, the bytes from there to the next 64; D a multiple of 16 (of 32 for tiles).
Out: float32. Softmax weights are rounded to bfloat16, their sums are not.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.exponentials import exp2
from fourhorn.sampling.fetching import prefetch
from fourhorn.sampling.layout import BLOCK, LINE
from fourhorn.sampling.rows import halve
from fourhorn.sampling.squares import interleave, turn
from fourhorn.sampling.tiles import (
    dot_halves_046,
    dot_halves_147,
    load_4,
    load_6,
    load_7,
    store_0,
    store_1,
    zero_0,
    zero_1,
)
from fourhorn.sampling.vectors import (
    add,
    dot_halves,
    floats,
    fma,
    ints,
    keep_first,
    load_float,
    load_floats,
    load_half,
    load_int,
    load_ints,
    max_lanes,
    maximum,
    mul,
    store_float,
    store_floats,
    store_half,
    store_halves,
    store_int,
    sum_lanes,
)

LOG2_E = np.float32(np.log2(np.e))


@inner
def store_keys_values(
    k: Any, v: Any, keys: Any, values: Any, block_step: Any, position: Any, head_size: Any, buffer: Any
) -> None:
    """Put one row's key and value of one head (float32) where its slot of the cache keeps that head's."""
    halve(k, buffer, head_size)
    halve(v, buffer + 2 * head_size, head_size)
    block, position = position // BLOCK * block_step, position % BLOCK
    to = keys + block + (position // 16) * head_size * 32 + (position % 16) * 4
    for pair in range(head_size // 2):
        store_int(to + 64 * pair, load_int(buffer + 4 * pair))
    to = values + block + (position // 2) * head_size * 4 + (position % 2) * 2
    for i in range(head_size):
        store_half(to + 4 * i, load_half(buffer + 2 * head_size + 2 * i))


@inner
def store_block(
    k: Any,
    v: Any,
    stride: Any,
    keys: Any,
    values: Any,
    block_step: Any,
    position: Any,
    head_size: Any,
    buffer: Any,
) -> None:
    """`store_keys_values` for 16 rows that lie `stride` bytes apart and fill a block of positions."""
    row_bytes = 2 * head_size
    for row in range(16):
        halve(k + row * stride, buffer + row * row_bytes, head_size)
        halve(v + row * stride, buffer + (16 + row) * row_bytes, head_size)
    place = position // BLOCK * block_step + position % BLOCK * row_bytes
    for i in range(0, row_bytes, 64):
        turn(buffer + i, row_bytes, keys + place + 16 * i)
    for row in range(0, 16, 2):
        first = buffer + (16 + row) * row_bytes
        for i in range(0, row_bytes, 32):
            interleave(first + i, first + row_bytes + i, values + place + row * row_bytes + 2 * i)


@inner
def score(query: Any, keys: Any, ahead: Any, block_step: Any, head_size: Any, n: Any, scores: Any) -> Any:
    """q·k of the first n positions, -1e30 up to a multiple of 16; the largest."""
    largest, block = floats(-1e30), 32 * head_size
    for start in range(0, n - 63, 64):
        k = keys + start // BLOCK * block_step
        a, b, c, d = floats(0.0), floats(0.0), floats(0.0), floats(0.0)
        for pair in range(head_size // 2):
            q, at = ints(load_int(query + 4 * pair)), k + 64 * pair
            for i in range(4):
                prefetch(at + i * block + ahead)
            a = dot_halves(a, load_ints(at), q)
            b = dot_halves(b, load_ints(at + block), q)
            c = dot_halves(c, load_ints(at + 2 * block), q)
            d = dot_halves(d, load_ints(at + 3 * block), q)
        to = scores + 4 * start
        store_floats(to, a)
        store_floats(to + 64, b)
        store_floats(to + 128, c)
        store_floats(to + 192, d)
        largest = maximum(largest, maximum(maximum(a, b), maximum(c, d)))
    for start in range(n // 64 * 64, n, 16):
        k, a = keys + n // BLOCK * block_step + start % BLOCK * head_size * 2, floats(0.0)
        for pair in range(head_size // 2):
            prefetch(k + 64 * pair + ahead)
            a = dot_halves(a, load_ints(k + 64 * pair), ints(load_int(query + 4 * pair)))
        a = keep_first(a, n - start, -1e30)
        store_floats(scores + 4 * start, a)
        largest = maximum(largest, a)
    return max_lanes(largest)


@inner
def attend(
    query: Any,
    keys: Any,
    values: Any,
    ahead: Any,
    block_step: Any,
    head_size: Any,
    n: Any,
    out: Any,
    buffer: Any,
) -> None:
    """One head's output for a row that sees the first n positions; the buffer holds 1 KiB and 6 bytes per position.

    Keys and values `ahead` bytes from these are fetched meanwhile, as many: the processor foresees no such jump.
    """
    scale = floats(np.float32(1.0) / np.sqrt(np.float32(head_size)))
    for i in range(0, head_size, 16):
        store_halves(buffer + 2 * i, mul(load_floats(query + 4 * i), scale))
    padded = (n + 15) // 16 * 16
    scores, weights = buffer + 1024, buffer + 1024 + 4 * padded
    top = floats(-LOG2_E * score(buffer, keys, ahead, block_step, head_size, n, scores))
    total = floats(0.0)
    for i in range(0, padded, 16):
        weight = exp2(fma(load_floats(scores + 4 * i), floats(LOG2_E), top))
        total = add(total, weight)
        store_halves(weights + 2 * i, weight)
    inverse = floats(np.float32(1.0) / sum_lanes(total))
    for i in range(0, head_size, 16):
        even, odd = floats(0.0), floats(0.0)
        for start in range(0, padded, BLOCK):
            at, w = values + start // BLOCK * block_step + 4 * i, weights + 2 * start
            for pair in range(0, min(padded - start, BLOCK) // 2, 2):
                prefetch(at + ahead)
                prefetch(at + 4 * head_size + ahead)
                even = dot_halves(even, load_ints(at), ints(load_int(w + 4 * pair)))
                odd = dot_halves(odd, load_ints(at + 4 * head_size), ints(load_int(w + 4 * pair + 4)))
                at += 8 * head_size
        store_floats(out + 4 * i, mul(add(even, odd), inverse))


@inner
def tile_scores(query: Any, keys: Any, block_step: Any, head_size: Any, padded: Any, scores: Any) -> None:
    """q·k of 16 rows with all positions: (16, padded), rows 64 bytes apart."""
    stride = 4 * padded + LINE
    for start in range(0, padded, 32):
        k = keys + start // BLOCK * block_step + 2 * (start % BLOCK) * head_size
        zero_0()
        zero_1()
        for i in range(0, 2 * head_size, 64):
            load_4(query + i, 2 * head_size)
            load_6(k + 16 * i, 64)
            dot_halves_046()
            load_7(k + 32 * head_size + 16 * i, 64)
            dot_halves_147()
        store_0(scores + 4 * start, stride)
        store_1(scores + 4 * start + 64, stride)


@inner
def tile_softmax(scores: Any, weights: Any, inverses: Any, n_rows: Any, first: Any, padded: Any) -> None:
    """Row r sees positions up to first + r; its weights (bfloat16, before division) and one over their sum."""
    for row in range(n_rows):
        s, n = scores + row * (4 * padded + LINE), first + row + 1
        to, largest = weights + row * (2 * padded + LINE), floats(-1e30)
        for i in range(n // 16 * 16, padded, 16):
            store_floats(s + 4 * i, keep_first(load_floats(s + 4 * i), n - i, -1e30))
        for i in range(0, n, 16):
            largest = maximum(largest, load_floats(s + 4 * i))
        top, total = floats(-LOG2_E * max_lanes(largest)), floats(0.0)
        for i in range(0, n, 16):
            weight = exp2(fma(load_floats(s + 4 * i), floats(LOG2_E), top))
            total = add(total, weight)
            store_halves(to + 2 * i, weight)
        for i in range((n + 15) // 16 * 16, padded, 16):
            store_halves(to + 2 * i, floats(0.0))
        store_float(inverses + 4 * row, np.float32(1.0) / sum_lanes(total))


@inner
def attend_tile(
    queries: Any, query_stride: Any, keys: Any, values: Any, block_step: Any, head_size: Any, first: Any, n_rows: Any,
    out: Any, out_stride: Any, buffer: Any,
) -> None:  # fmt: skip
    """One head's outputs for up to 16 rows at positions `first` and after; the buffer holds `layout.tile_bytes`."""
    padded = (first + n_rows + 63) // 64 * 64
    query, inverses = buffer + 4096, buffer
    scores = query + 32 * head_size
    weights = scores + 16 * (4 * padded + LINE)
    scale = floats(np.float32(1.0) / np.sqrt(np.float32(head_size)))
    for row in range(n_rows):
        for i in range(0, head_size, 16):
            value = mul(load_floats(queries + row * query_stride + 4 * i), scale)
            store_halves(query + 2 * (row * head_size + i), value)
    tile_scores(query, keys, block_step, head_size, padded, scores)
    tile_softmax(scores, weights, inverses, n_rows, first, padded)
    for i in range(0, head_size, 32):
        zero_0()
        zero_1()
        for start in range(0, padded, 32):
            v = values + start // BLOCK * block_step + 2 * (start % BLOCK) * head_size + 4 * i
            load_4(weights + 2 * start, 2 * padded + LINE)
            load_6(v, 4 * head_size)
            dot_halves_046()
            load_7(v + 64, 4 * head_size)
            dot_halves_147()
        store_0(buffer + 1024, 64)
        store_1(buffer + 2048, 64)
        for row in range(n_rows):
            inverse, to = floats(load_float(inverses + 4 * row)), out + row * out_stride + 4 * i
            store_floats(to, mul(load_floats(buffer + 1024 + 64 * row), inverse))
            store_floats(to + 64, mul(load_floats(buffer + 2048 + 64 * row), inverse))
