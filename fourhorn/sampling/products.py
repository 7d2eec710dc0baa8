"""What all products of rows with packed weights share: how rows are handed over, and how 64 outputs end.

A panel of 64 outputs has four blocks of weights. Single rows read all four at once: a core has more of memory's answers
on their way from four streams than from one. Tiles read two at once.

In: addresses. Out: float32, after bias and epilogue (none, GELU, or added to what is there), or GELU's in bfloat16.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any, NamedTuple

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.rows import gelu
from fourhorn.sampling.vectors import add, load_floats, store_floats, store_halves

STORE, GELU, ADD = 0, 1, 2  # epilogues
GELU_HALVES = 3  # the same as GELU, stored in bfloat16, as the next product wants it
AHEAD = 2048  # bytes from here that are fetched early
FEW_ROWS = 3  # up to so many rows, vector registers beat tiles, and every thread rounds the rows for itself


class Rounded(NamedTuple):
    """Addresses of rows as a product wants them: halves, or signed bytes with a scale and a sum per group."""

    codes: int
    scales: int
    sums: int


@inner
def bytes_of_16(epilogue: Any) -> Any:
    """What 16 outputs of one row take."""
    return 32 if epilogue == GELU_HALVES else 64


@inner
def finish(value: Any, bias: Any, out: Any, epilogue: Any) -> None:
    """Bias and epilogue of 16 outputs of one row."""
    if bias != 0:
        value = add(value, load_floats(bias))
    if epilogue == GELU_HALVES:
        store_halves(out, gelu(value))
        return
    if epilogue == GELU:
        value = gelu(value)
    elif epilogue == ADD:
        value = add(value, load_floats(out))
    store_floats(out, value)


@inner
def finish_row(values: Any, bias: Any, out: Any, epilogue: Any) -> None:
    """Bias and epilogue of 64 outputs of one row."""
    a, b, c, d = values
    step, next_16 = 64 if bias != 0 else 0, bytes_of_16(epilogue)
    finish(a, bias, out, epilogue)
    finish(b, bias + step, out + next_16, epilogue)
    finish(c, bias + 2 * step, out + 2 * next_16, epilogue)
    finish(d, bias + 3 * step, out + 3 * next_16, epilogue)


@inner
def finish_tiles(tiles: Any, n_rows: Any, bias: Any, out: Any, stride: Any, epilogue: Any) -> None:
    """Bias and epilogue of two blocks of 16 × 16: 32 outputs of up to 16 rows."""
    step = 64 if bias != 0 else 0
    for row in range(n_rows):
        tile, to = tiles + 64 * row, out + row * stride
        finish(load_floats(tile), bias, to, epilogue)
        finish(load_floats(tile + 1024), bias + step, to + bytes_of_16(epilogue), epilogue)
