"""What follows the passes of a step: the threads' gradients summed, their norm, and AdamW, over flat vectors.

Numbers [start, stop) of the vectors, multiples of 16; float32, the norm's sum float64.
Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import OPTIONS, address

STRETCH = 4096  # numbers whose squares are summed in float32


@njit(**OPTIONS)
def add_gradients(total: Any, other: Any, start: int, stop: int) -> None:
    """total += other."""
    rows.added(address(total) + 4 * start, address(other) + 4 * start, stop - start)


@njit(**OPTIONS)
def sum_of_squares(vector: Any, start: int, stop: int) -> float:
    """Σ vector²."""
    result = 0.0
    for at in range(start, stop, STRETCH):
        place = address(vector) + 4 * at
        result += np.float64(rows.dot(place, place, min(STRETCH, stop - at)))
    return result


@njit(**OPTIONS)
def adamw(
    weights: Any, gradients: Any, first: Any, second: Any, parts: Any, decays: Any, start: int, stop: int,
    clip: float, beta1: float, beta2: float, rate: float, step: float, epsilon: float,
) -> None:  # fmt: skip
    """Update number `step` (from 1) of the weights in [start, stop).

    `parts` (P + 1,) are the borders of stretches with weight decays `decays` (P,); gradients are scaled by `clip`.
    """
    size = np.float32(rate / (1.0 - beta1**step))
    root_size = np.float32(1.0 / np.sqrt(1.0 - beta2**step))
    for i in range(decays.shape[0]):
        begin, end = max(start, parts[i]), min(stop, parts[i + 1])
        if begin < end:
            kept = np.float32(1.0 - rate * decays[i])
            rows.updated(
                address(weights) + 4 * begin, address(gradients) + 4 * begin, address(first) + 4 * begin,
                address(second) + 4 * begin, end - begin, kept, np.float32(clip), np.float32(beta1),
                np.float32(1.0 - beta1), np.float32(beta2), np.float32(1.0 - beta2), size, root_size,
                np.float32(epsilon),
            )  # fmt: skip
