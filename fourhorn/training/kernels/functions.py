"""Between the matrix products: layer norm forward and backward, and the column sums of a bias.

§2.3. Loops over rows, each a few passes of vector code over numbers that stay in the first-level cache; float32
throughout. Rows are contiguous and multiples of 16 wide.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import OPTIONS, address

EPSILON = np.float32(1e-5)
ONE = np.float32(1.0)


@njit(**OPTIONS)
def layer_norm(x: Any, gain: int, bias: int, out: Any, mean: Any, scale: Any) -> None:
    """Rows of x (R, C) to mean 0 and variance 1, times gain, plus bias, as bfloat16; keeps mean and 1/deviation."""
    C = x.shape[1]
    row, low = address(x), address(out)
    for r in range(x.shape[0]):
        middle = rows.total(row, C) / np.float32(C)
        factor = ONE / np.sqrt(rows.squares(row, C, middle) / np.float32(C) + EPSILON)
        rows.normalized(row, gain, bias, low, C, middle, factor)
        mean[r], scale[r] = middle, factor
        row, low = row + 4 * C, low + 2 * C


@njit(**OPTIONS)
def layer_norm_backward(
    d_out: Any, x: Any, gain: int, mean: Any, scale: Any, dx: Any, dx_low: Any, d_gain: int, d_bias: int
) -> None:
    """Add the gradient by x to `dx` (R, C), give the sum also as bfloat16, and add those by gain and bias."""
    C = x.shape[1]
    d, row, out, low = address(d_out), address(x), address(dx), address(dx_low)
    for r in range(x.shape[0]):
        first = rows.dot(d, gain, C) / np.float32(C)
        second = rows.norm_sums(d, row, gain, d_gain, d_bias, C, mean[r], scale[r]) / np.float32(C)
        rows.norm_slopes(d, row, gain, out, low, C, mean[r], scale[r], first, second)
        d, row, out, low = d + 4 * C, row + 4 * C, out + 4 * C, low + 2 * C


@njit(**OPTIONS)
def add_column_sums(matrix: Any, out: int) -> None:
    """Add each column's sum over the rows of a bfloat16 matrix, four at a time: the gradient of a bias."""
    n, row = matrix.shape[1], address(matrix)
    for _ in range(matrix.shape[0] // 4):
        rows.add_four_rows_low(row, row + 2 * n, row + 4 * n, row + 6 * n, out, n)
        row += 8 * n
