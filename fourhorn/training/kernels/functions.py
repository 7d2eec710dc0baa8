"""Between the matrix products: layer norm forward and backward, and the column sums of a bias.

§2.3. Written as plain loops over rows that the compiler turns into vector instructions; float32 throughout.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels.amx import OPTIONS
from fourhorn.training.kernels.pack import narrow, widen

EPSILON = np.float32(1e-5)
ONE = np.float32(1.0)


@njit(**OPTIONS)
def layer_norm(x: Any, gain: Any, bias: Any, out: Any, mean: Any, scale: Any) -> None:
    """Rows of x (R, C) to mean 0 and variance 1, times gain, plus bias, as bfloat16; keeps mean and 1/deviation."""
    n = np.float32(x.shape[1])
    for r in range(x.shape[0]):
        row, low = x[r], out[r]
        total = np.float32(0.0)
        for i in range(row.shape[0]):
            total += row[i]
        middle = total / n
        squares = np.float32(0.0)
        for i in range(row.shape[0]):
            squares += (row[i] - middle) * (row[i] - middle)
        factor = ONE / np.sqrt(squares / n + EPSILON)
        for i in range(row.shape[0]):
            low[i] = narrow((row[i] - middle) * factor * gain[i] + bias[i])
        mean[r], scale[r] = middle, factor


@njit(**OPTIONS)
def layer_norm_backward(
    d_out: Any, x: Any, gain: Any, mean: Any, scale: Any, dx: Any, dx_low: Any, d_gain: Any, d_bias: Any
) -> None:
    """Add the gradient by x to `dx` (R, C), give the sum also as bfloat16, and add those by gain and bias."""
    n = np.float32(x.shape[1])
    for r in range(x.shape[0]):
        row, d, out, low = x[r], d_out[r], dx[r], dx_low[r]
        middle, factor = mean[r], scale[r]
        first, second = np.float32(0.0), np.float32(0.0)
        for i in range(row.shape[0]):
            normal = (row[i] - middle) * factor
            slope = d[i] * gain[i]
            first += slope
            second += slope * normal
            d_gain[i] += d[i] * normal
            d_bias[i] += d[i]
        first, second = first / n, second / n
        for i in range(row.shape[0]):
            normal = (row[i] - middle) * factor
            value = out[i] + factor * (d[i] * gain[i] - first - normal * second)
            out[i] = value
            low[i] = narrow(value)


@njit(**OPTIONS)
def add_column_sums(matrix: Any, out: Any) -> None:
    """Add each column's sum over the rows of a bfloat16 matrix: the gradient of a bias."""
    for r in range(matrix.shape[0]):
        row = matrix[r]
        for i in range(row.shape[0]):
            out[i] += widen(row[i])
