"""Between the matrix products: embeddings, layer norm forward and backward, and the column sums of a bias.

§2.3. Loops over rows, each a few passes of vector code over numbers that stay in the first-level cache; float32
throughout. Rows are contiguous and multiples of 16 wide; matrices and vectors are given by their addresses.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import OPTIONS

EPSILON = np.float32(1e-5)
ONE = np.float32(1.0)


@njit(**OPTIONS)
def embed(tokens: Any, T: int, wte: int, wpe: int, x: int, C: int) -> None:
    """Each token's embedding plus that of its position, float32 rows: tokens (R,) to x (R, C)."""
    for r in range(tokens.shape[0]):
        rows.sum_of_two(wte + 4 * C * tokens[r], wpe + 4 * C * (r % T), x + 4 * C * r, C)


@njit(**OPTIONS)
def embed_backward(tokens: Any, T: int, dx: int, d_wte: int, d_wpe: int, C: int) -> None:
    """Add each row of dx (R, C) to the gradients of its token's and its position's embedding."""
    for r in range(tokens.shape[0]):
        rows.added(d_wte + 4 * C * tokens[r], dx + 4 * C * r, C)
        rows.added(d_wpe + 4 * C * (r % T), dx + 4 * C * r, C)


@njit(**OPTIONS)
def layer_norm(x: int, gain: int, bias: int, out: int, mean: int, scale: int, R: int, C: int) -> None:
    """Rows of x (R, C) to mean 0 and variance 1, times gain, plus bias, as bfloat16; keeps mean and 1/deviation."""
    for r in range(R):
        row = x + 4 * C * r
        middle = rows.total(row, C) / np.float32(C)
        factor = ONE / np.sqrt(rows.squares(row, C, middle) / np.float32(C) + EPSILON)
        rows.normalized(row, gain, bias, out + 2 * C * r, C, middle, factor)
        rows.put_number(mean + 4 * r, middle)
        rows.put_number(scale + 4 * r, factor)


@njit(**OPTIONS)
def layer_norm_backward(
    d_out: int, x: int, gain: int, mean: int, scale: int, dx: int, dx_low: int, d_gain: int, d_bias: int, R: int, C: int
) -> None:  # fmt: skip
    """Add the gradient by x to `dx` (R, C), give the sum also as bfloat16, and add those by gain and bias."""
    for r in range(R):
        d, row = d_out + 4 * C * r, x + 4 * C * r
        middle, factor = rows.number_at(mean + 4 * r), rows.number_at(scale + 4 * r)
        first = rows.dot(d, gain, C) / np.float32(C)
        second = rows.norm_sums(d, row, gain, d_gain, d_bias, C, middle, factor) / np.float32(C)
        rows.norm_slopes(
            d, row, gain, dx + 4 * C * r, dx_low + 2 * C * r, C, middle, factor, first, second
        )  # fmt: skip


@njit(**OPTIONS)
def add_column_sums(matrix: int, row_bytes: int, R: int, n: int, out: int) -> None:
    """Add each column's sum over the rows of a bfloat16 matrix (R, n), four at a time: the gradient of a bias."""
    for r in range(0, R, 4):
        row = matrix + row_bytes * r
        rows.add_four_rows_low(row, row + row_bytes, row + 2 * row_bytes, row + 3 * row_bytes, out, n)
