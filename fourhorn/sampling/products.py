"""What all products of rows with packed weights share: how rows are handed over, and how 16 outputs end.

In: addresses. Out: float32, after bias and epilogue (none, GELU, or added to what is there).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any, NamedTuple

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.rows import gelu
from fourhorn.sampling.vectors import add, load_floats, store_floats

STORE, GELU, ADD = 0, 1, 2  # epilogues
AHEAD = 4096  # bytes from here that are fetched early
FEW_ROWS = 3  # up to so many rows, vector registers beat tiles, and every thread rounds the rows for itself


class Rounded(NamedTuple):
    """Addresses of rows as a product wants them: halves, or signed bytes with a scale and a sum per 64."""

    codes: int
    scales: int
    sums: int


@inner
def finish(value: Any, bias: Any, out: Any, epilogue: Any) -> None:
    """Bias and epilogue of 16 outputs of one row."""
    if bias != 0:
        value = add(value, load_floats(bias))
    if epilogue == GELU:
        value = gelu(value)
    elif epilogue == ADD:
        value = add(value, load_floats(out))
    store_floats(out, value)


@inner
def finish_tile(tile: Any, n_rows: Any, bias: Any, out: Any, stride: Any, epilogue: Any) -> None:
    """Bias and epilogue of a 16 × 16 block."""
    for row in range(n_rows):
        finish(load_floats(tile + 64 * row), bias, out + row * stride, epilogue)
