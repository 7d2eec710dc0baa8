"""The tied head with its loss: logits of some rows, their softmax and gradient, a stretch of the vocabulary at a time.

§2.3. The logits of at most `head_rows` rows exist at once, as bfloat16, in stretches of `STRETCH` ids; each becomes its
own gradient in place and is multiplied into the gradients of the hidden states and of the embedding.

In: hidden (R, C) bfloat16, targets (R,) int64, weights (R,) float32. Out: Σ weights · −log p in nats; gradients.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, OPTIONS, address
from fourhorn.training.kernels.pack import narrow, pack_right, widen
from fourhorn.training.kernels.product import ADD, LOW, product

STRETCH = 1024  # ids whose logits are worked on at a time
LOGITS = 1 << 25  # logits held at once: 64 MiB


def head_rows(n_vocab: int, n_rows: int) -> int:
    """Rows whose logits are held at once."""
    return min(max(LOGITS // n_vocab // BLOCK * BLOCK, 128), n_rows)


@njit(**OPTIONS)
def head_loss(
    hidden: Any, targets: Any, weights: Any, n_vocab: int, forward: Any, backward: Any, logits: Any, packed: Any,
    scratch: Any, d_hidden: Any, d_embedding: Any, zeros: Any, learn: bool,
) -> float:  # fmt: skip
    """Sum the loss; with `learn` add its gradients to `d_hidden` (R, C) and `d_embedding` (V, C), V padded."""
    V, C = d_embedding.shape
    none = hidden[:0]
    most_rows = logits.shape[0] // V
    total = 0.0
    for first in range(0, hidden.shape[0], most_rows):
        part = hidden[first : first + most_rows]
        n = part.shape[0]
        most, sums = np.full(n, np.float32(-1e30)), np.zeros(n, np.float32)
        picked = np.zeros(n, np.float32)
        for start in range(0, V, STRETCH):
            width = min(STRETCH, V - start)
            stretch = logits[n * start : n * (start + width)].reshape(n, width)
            product(
                LOW, part, False, forward[start * C :], C // BLOCK, 0, width, scratch, stretch, none,
                d_hidden, d_hidden, zeros,
            )  # fmt: skip
            count = min(width, n_vocab - start)
            for r in range(n):
                most[r], sums[r] = more_exponentials(stretch[r], count, most[r], sums[r])
                target = targets[first + r] - start
                if 0 <= target < count:
                    picked[r] = widen(stretch[r, target])
        for r in range(n):
            sums[r] = most[r] + np.log(sums[r])
            total += weights[first + r] * (sums[r] - picked[r])
        if not learn:
            continue
        pack_right(part, packed)
        for start in range(0, V, STRETCH):
            width = min(STRETCH, V - start)
            stretch = logits[n * start : n * (start + width)].reshape(n, width)
            count = min(width, n_vocab - start)
            for r in range(n):
                become_gradient(stretch[r], count, targets[first + r] - start, sums[r], weights[first + r])
            product(
                ADD, stretch, False, backward[start * C :], width // BLOCK, 0, C, scratch, none, none,
                d_hidden[first : first + n], d_hidden, zeros,
            )  # fmt: skip
            product(
                ADD, stretch, True, packed, n // BLOCK, 0, C, scratch, none, none,
                d_embedding[start : start + width], d_hidden, zeros,
            )  # fmt: skip
    return total


@njit(**OPTIONS)
def more_exponentials(row: Any, count: int, most: Any, total: Any) -> Any:
    """The largest so far and the sum of exponentials relative to it, with this stretch of logits counted in."""
    row[count:] = rows.LOWEST_LOW
    place, width = address(row), row.shape[0]
    largest = max(most, rows.largest_low(place, width))
    return largest, total * np.exp(most - largest) + rows.sum_exponentials_low(place, width, largest)


@njit(**OPTIONS)
def become_gradient(row: Any, count: int, target: int, log_sum: Any, weight: Any) -> None:
    """Turn logits into weight · (softmax − one-hot), zero beyond `count`."""
    logit = row[target] if 0 <= target < count else np.uint16(0)
    rows.chances_low(address(row), row.shape[0], log_sum, weight)
    row[count:] = 0
    if 0 <= target < count:
        row[target] = narrow((np.exp(widen(logit) - log_sum) - np.float32(1.0)) * weight)
