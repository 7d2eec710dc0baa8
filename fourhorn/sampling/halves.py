"""Products of bfloat16 rows with bfloat16 weights, 32 outputs at a time, in tiles where there are tiles.

In: addresses of weights in the order of `HALVES`, and of rows. Out: float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.fetching import prefetch
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import AHEAD, finish, finish_tile
from fourhorn.sampling.tiles import (
    dot_halves_046,
    dot_halves_147,
    dot_halves_256,
    dot_halves_357,
    load_4,
    load_5,
    load_6,
    load_7,
    store_0,
    store_1,
    store_2,
    store_3,
    zero_0,
    zero_1,
    zero_2,
    zero_3,
)
from fourhorn.sampling.vectors import add, dot_halves, floats, ints, load_int, load_ints


@inner
def dot_row_halves(codes: Any, n_inputs: Any, row: Any) -> Any:
    """16 outputs of one bfloat16 row."""
    even, odd = floats(0.0), floats(0.0)
    for k in range(0, n_inputs // 2, 2):
        prefetch(codes + AHEAD + 64 * k)
        prefetch(codes + AHEAD + 64 * k + 64)
        even = dot_halves(even, load_ints(codes + 64 * k), ints(load_int(row + 4 * k)))
        odd = dot_halves(odd, load_ints(codes + 64 * k + 64), ints(load_int(row + 4 * k + 4)))
    return add(even, odd)


@inner
def tiles_halves(first: Any, second: Any, n_inputs: Any, rows: Any, out: Any) -> None:
    """16 bfloat16 rows × 32 outputs; `out` gets two 16 × 16 blocks."""
    zero_0()
    zero_1()
    for at in range(0, 2 * n_inputs, 64):
        load_4(rows + at, 2 * n_inputs)
        load_6(first + 16 * at, 64)
        dot_halves_046()
        load_7(second + 16 * at, 64)
        dot_halves_147()
        for i in range(0, 1024, 64):
            prefetch(first + 16 * at + AHEAD + i)
            prefetch(second + 16 * at + AHEAD + i)
    store_0(out, 64)
    store_1(out + 1024, 64)


@inner
def tiles_halves_double(first: Any, second: Any, n_inputs: Any, rows: Any, out: Any) -> None:
    """32 bfloat16 rows × 32 outputs; `out` gets four 16 × 16 blocks, row blocks first."""
    zero_0()
    zero_1()
    zero_2()
    zero_3()
    lower = rows + 32 * n_inputs
    for at in range(0, 2 * n_inputs, 64):
        load_4(rows + at, 2 * n_inputs)
        load_6(first + 16 * at, 64)
        dot_halves_046()
        load_7(second + 16 * at, 64)
        dot_halves_147()
        load_5(lower + at, 2 * n_inputs)
        dot_halves_256()
        dot_halves_357()
    store_0(out, 64)
    store_1(out + 1024, 64)
    store_2(out + 2048, 64)
    store_3(out + 3072, 64)


@inner
def pair_halves_rows(
    first: Any, second: Any, bias: Any, n_inputs: Any, n_rows: Any, rows: Any, out: Any, stride: Any,
    epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of any number of bfloat16 rows."""
    other = bias + 64 if bias != 0 else bias
    if not HAS_TILES:
        for row in range(n_rows):
            x, to = rows + 2 * row * n_inputs, out + row * stride
            finish(dot_row_halves(first, n_inputs, x), bias, to, epilogue)
            finish(dot_row_halves(second, n_inputs, x), other, to + 64, epilogue)
        return
    for row in range(0, n_rows, 32):
        x, to, n = rows + 2 * row * n_inputs, out + row * stride, n_rows - row
        if n > 16:
            tiles_halves_double(first, second, n_inputs, x, buffer)
            finish_tile(buffer + 2048, min(n - 16, 16), bias, to + 16 * stride, stride, epilogue)
            finish_tile(buffer + 3072, min(n - 16, 16), other, to + 16 * stride + 64, stride, epilogue)
        else:
            tiles_halves(first, second, n_inputs, x, buffer)
        finish_tile(buffer, min(n, 16), bias, to, stride, epilogue)
        finish_tile(buffer + 1024, min(n, 16), other, to + 64, stride, epilogue)
