"""The tied head with its loss: logits of some rows, their softmax and gradient, a stretch of the vocabulary at a time.

§2.3. The logits of at most `head_rows` rows exist at once, as bfloat16, in stretches of `STRETCH` ids; each becomes its
own gradient in place and is multiplied into the gradients of the hidden states and of the embedding.

In: hidden (R, C) bfloat16 by address, targets (R,) int64, weights (R,) float32. Out: Σ weights · −log p in nats;
gradients.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, OPTIONS, address
from fourhorn.training.kernels.finish import ADD, LOW, SET
from fourhorn.training.kernels.pack import narrow, pack_right, widen
from fourhorn.training.kernels.product import product

if TYPE_CHECKING:
    from fourhorn.training.kernels.buffers import Buffers

STRETCH = 1024  # ids whose logits are worked on at a time
LOGITS, MOST_ROWS = 1 << 25, 512  # logits held at once, 64 MiB, and their rows


def head_rows(n_vocab: int, n_rows: int) -> int:
    """Rows whose logits are held at once."""
    return min(max(min(LOGITS // n_vocab, MOST_ROWS) // BLOCK * BLOCK, 128), n_rows)


def head_loss(
    b: "Buffers", hidden: int, targets: Any, weights: Any, n_vocab: int, C: int, forward: int, backward: int,
    d_embedding: int, *, learn: bool, fresh: bool,
) -> float:  # fmt: skip
    """The weighted loss of rows at `hidden` (R, C); with `learn` its gradients by them and by the embedding.

    `b.d_normal` (R, C) is set; the embedding's (V, C), V padded, is added to, or where `fresh` set.
    """
    R, V = len(targets), (n_vocab + BLOCK - 1) // BLOCK * BLOCK
    most_rows, scratch, zeros = len(b.logits.array) // V, b.scratch.at(), b.zeros.at()
    most, sums, picked = np.full(R, -1e30, np.float32), np.zeros(R, np.float32), np.zeros(R, np.float32)
    total = 0.0
    for first in range(0, R, most_rows):
        n = min(most_rows, R - first)
        here, part = slice(first, first + n), hidden + 2 * C * first
        stretches = [(start, min(STRETCH, V - start)) for start in range(0, V, STRETCH)]
        for start, width in stretches:
            stretch = b.logits.array[n * start : n * (start + width)].reshape(n, width)
            product(
                LOW, part, 2 * C, False, n, C, forward + 2 * start * C, width, scratch,
                b.logits.address + 2 * n * start, 2 * width, 0, 0, zeros,
            )  # fmt: skip
            count_exponentials(
                stretch,
                min(width, n_vocab - start),
                targets[here],
                start,
                most[here],
                sums[here],
                picked[here],
            )
        log_sums = most[here] + np.log(sums[here])
        total += float((weights[here] * (log_sums - picked[here])).sum(dtype=np.float64))
        if not learn:
            continue
        packed = b.packed.at()
        pack_right(part, 2 * C, n, C, packed)
        for start, width in stretches:
            stretch = b.logits.array[n * start : n * (start + width)].reshape(n, width)
            become_gradient(
                stretch, min(width, n_vocab - start), targets[here], start, log_sums, weights[here]
            )
            place = b.logits.address + 2 * n * start
            product(
                ADD if start else SET, place, 2 * width, False, n, width, backward + 2 * start * C, C, scratch,
                b.d_normal.at(row=first), 4 * C, 0, 0, 0,
            )  # fmt: skip
            product(
                SET if fresh and first == 0 else ADD, place, 2 * width, True, width, n, packed, C, scratch,
                d_embedding + 4 * C * start, 4 * C, 0, 0, 0,
            )  # fmt: skip
    return total


@njit(**OPTIONS)
def count_exponentials(
    stretch: Any, count: int, targets: Any, start: int, most: Any, sums: Any, picked: Any
) -> None:
    """Bring each row's largest logit and its sum of exponentials relative to that up to date with this stretch."""
    n, width = stretch.shape
    if count < width:
        stretch[:, count:] = rows.LOWEST_LOW
    row = address(stretch)
    for r in range(n):
        largest = max(most[r], rows.largest_low(row, width))
        before = sums[r] * np.exp(most[r] - largest) if start else np.float32(0.0)
        most[r], sums[r] = largest, before + rows.sum_exponentials_low(row, width, largest)
        target = targets[r] - start
        if 0 <= target < count:
            picked[r] = widen(stretch[r, target])
        row += 2 * width


@njit(**OPTIONS)
def become_gradient(stretch: Any, count: int, targets: Any, start: int, log_sums: Any, weights: Any) -> None:
    """Turn logits into weight · (softmax − one-hot), zero beyond `count`."""
    n, width = stretch.shape
    row = address(stretch)
    for r in range(n):
        target = targets[r] - start
        here = 0 <= target < count
        logit = stretch[r, target] if here else np.uint16(0)
        rows.chances_low(row, width, log_sums[r], weights[r])
        if here:
            stretch[r, target] = narrow((np.exp(widen(logit) - log_sums[r]) - np.float32(1.0)) * weights[r])
        row += 2 * width
    if count < width:
        stretch[:, count:] = 0
