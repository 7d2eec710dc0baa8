"""Products of bfloat16 rows with bfloat16 weights, 64 outputs at a time, in tiles where there are tiles.

In: addresses of weights in the order of `HALVES`, and of rows. Out: float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.fetching import prefetch
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import AHEAD, bytes_of_16, finish_row, finish_tiles
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
from fourhorn.sampling.vectors import dot_halves, floats, ints, load_int, load_ints


@inner
def row_halves(first: Any, step: Any, n_inputs: Any, row: Any) -> Any:
    """64 outputs of one bfloat16 row."""
    a, b, c, d = floats(0.0), floats(0.0), floats(0.0), floats(0.0)
    for k in range(n_inputs // 2):
        at, x = first + 64 * k, ints(load_int(row + 4 * k))
        for block in range(4):
            prefetch(at + block * step + AHEAD)
        a = dot_halves(a, load_ints(at), x)
        b = dot_halves(b, load_ints(at + step), x)
        c = dot_halves(c, load_ints(at + 2 * step), x)
        d = dot_halves(d, load_ints(at + 3 * step), x)
    return a, b, c, d


@inner
def tiles_halves(first: Any, second: Any, n_inputs: Any, rows: Any, out: Any) -> None:
    """16 bfloat16 rows × 32 outputs; `out` gets two 16 × 16 blocks."""
    zero_0()
    zero_1()
    for at in range(0, 2 * n_inputs, 64):
        a, b = first + 16 * at, second + 16 * at
        for i in range(0, 1024, 64):
            prefetch(a + AHEAD + i)
            prefetch(b + AHEAD + i)
        load_4(rows + at, 2 * n_inputs)
        load_6(a, 64)
        dot_halves_046()
        load_7(b, 64)
        dot_halves_147()
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
def panel_halves_rows(
    first: Any, step: Any, bias: Any, n_inputs: Any, n_rows: Any, rows: Any, out: Any, stride: Any, epilogue: Any,
    buffer: Any,
) -> None:  # fmt: skip
    """64 outputs of any number of bfloat16 rows."""
    if not HAS_TILES:
        for row in range(n_rows):
            values = row_halves(first, step, n_inputs, rows + 2 * row * n_inputs)
            finish_row(values, bias, out + row * stride, epilogue)
        return
    for row in range(0, n_rows, 32):
        x, n = rows + 2 * row * n_inputs, n_rows - row
        for half in range(2):
            a, above = first + 2 * half * step, bias + 128 * half if bias != 0 else bias
            to = out + row * stride + 2 * half * bytes_of_16(epilogue)
            if n > 16:
                tiles_halves_double(a, a + step, n_inputs, x, buffer)
                finish_tiles(buffer + 2048, min(n - 16, 16), above, to + 16 * stride, stride, epilogue)
            else:
                tiles_halves(a, a + step, n_inputs, x, buffer)
            finish_tiles(buffer, min(n, 16), above, to, stride, epilogue)
