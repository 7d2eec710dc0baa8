"""The functions between the matrix products: exponential, GELU, layer norm, column sums.

§2.3. Written as plain loops over rows that the compiler turns into vector instructions; float32 throughout.
"""

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels.amx import OPTIONS
from fourhorn.training.kernels.pack import narrow, of_bits, widen

LOG2_E = np.float32(1.4426950408889634)
# Minimax of 2^f on [-0.5, 0.5]: relative error below 3e-7 in float32.
P1, P2, P3, P4, P5, P6 = (
    np.float32(v) for v in (0.69314718, 0.24022651, 0.05550411, 0.009618129, 0.0013333558, 0.00015403530)
)
GELU_SCALE, GELU_CUBE = np.float32(0.7978845608028654), np.float32(0.044715)
EPSILON = np.float32(1e-5)
ONE, HALF, TWO, THREE = np.float32(1.0), np.float32(0.5), np.float32(2.0), np.float32(3.0)


@njit(inline="always", **OPTIONS)
def exp(x: Any) -> Any:
    """e^x for x from -87 to 88; smaller x count as -87."""
    t = max(x, np.float32(-87.0)) * LOG2_E
    whole = np.floor(t + HALF)
    f = t - whole
    power = ONE + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
    return power * of_bits(np.uint32(np.int32(whole) + np.int32(127)) << np.uint32(23))


@njit(inline="always", **OPTIONS)
def gelu(x: Any) -> Any:
    """GELU with the tanh formula: x · σ(2u), u = √(2/π)(x + 0.044715 x³)."""
    u = GELU_SCALE * x * (ONE + GELU_CUBE * x * x)
    return x / (ONE + exp(min(-TWO * u, np.float32(80.0))))


@njit(inline="always", **OPTIONS)
def gelu_slope(x: Any) -> Any:
    """The derivative of `gelu`: s + x · s(1 − s) · 2u′, s = σ(2u)."""
    square = x * x
    u = GELU_SCALE * x * (ONE + GELU_CUBE * square)
    s = ONE / (ONE + exp(min(-TWO * u, np.float32(80.0))))
    return s + x * s * (ONE - s) * TWO * GELU_SCALE * (ONE + THREE * GELU_CUBE * square)


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


@njit(**OPTIONS)
def gelu_rows(source: Any, out: Any) -> None:
    """GELU of a bfloat16 matrix."""
    for r in range(source.shape[0]):
        row, low = source[r], out[r]
        for i in range(row.shape[0]):
            low[i] = narrow(gelu(widen(row[i])))
