"""What is done to each row of numbers by itself, read once: layer normalization, and the sums that softmax needs.

§2.3 and §3. In: rows of float32 or bfloat16, one after the other, on a CPU where `team.available()`. Sums are float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourhorn.evaluation.team import Shared, argument, next_piece, own_number, together
from fourhorn.sampling.compiling import inner
from fourhorn.sampling.exponentials import exp
from fourhorn.sampling.rows import normalize
from fourhorn.sampling.vectors import (
    add,
    floats,
    keep_first,
    load_float,
    load_floats,
    load_half,
    load_halves,
    max_lanes,
    maximum,
    mul,
    store_float,
    store_floats,
    store_halves,
    sub,
    sum_lanes,
    widen_half,
)

PIECE = 16  # rows that a thread takes at a time
STRETCH = 2048  # numbers that stay in the first-level cache between the look for the largest and the sum
KINDS = (torch.float32, torch.bfloat16)


def softmax_sums(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's largest number and Σ exp(x − largest): (N, V) → two of (N,), float32."""
    logits = logits.contiguous()
    highest, total = torch.empty(2, len(logits))
    together(
        _softmax_sums, logits.data_ptr(), *logits.shape, logits.dtype == torch.bfloat16, highest.data_ptr(),
        total.data_ptr(),
    )  # fmt: skip
    # The registers' maximum passes over a NaN, the sum does not: no token of such a row may count as the likeliest.
    highest[total.isnan() & highest.isfinite()] = torch.nan
    return highest, total


def can_norm(x: Tensor) -> bool:
    """Whether `layer_norm` takes these rows."""
    return x.dtype in KINDS and x.shape[-1] % 16 == 0


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalization of rows (R, C), C a multiple of 16; weight and bias are float32, ε = 1e-5."""
    x = x.contiguous()
    out = torch.empty_like(x)
    n_rows, width = x.numel() // x.shape[-1], x.shape[-1]
    scratch = torch.empty(torch.get_num_threads(), 2 * width)
    together(
        _layer_norm, x.data_ptr(), n_rows, width, x.dtype == torch.bfloat16, weight.data_ptr(), bias.data_ptr(),
        out.data_ptr(), scratch.data_ptr(),
    )  # fmt: skip
    return out


@inner
def load(address: Any, i: Any, low: Any) -> Any:
    """16 numbers from the i-th on."""
    if low:
        return load_halves(address + 2 * i)
    return load_floats(address + 4 * i)


@inner
def load_one(address: Any, i: Any, low: Any) -> Any:
    """The i-th number in every lane."""
    if low:
        return floats(widen_half(load_half(address + 2 * i)))
    return floats(load_float(address + 4 * i))


@inner
def sums_of_row(row: Any, n: Any, low: Any, highest: Any, total: Any) -> None:
    """One row's largest number and sum of exponentials, brought up to date a stretch at a time."""
    most, gathered = np.float32(-1e30), floats(0.0)
    for start in range(0, n, STRETCH):
        stop = min(start + STRETCH, n)
        whole = start + (stop - start) // 16 * 16
        here = floats(most)
        for i in range(start, whole, 16):
            here = maximum(here, load(row, i, low))
        for i in range(whole, stop):
            here = maximum(here, load_one(row, i, low))
        before, most = most, max_lanes(here)
        shift = floats(most)
        gathered = mul(gathered, exp(sub(floats(before), shift)))
        for i in range(start, whole, 16):
            gathered = add(gathered, exp(sub(load(row, i, low), shift)))
        for i in range(whole, stop):
            gathered = add(gathered, keep_first(exp(sub(load_one(row, i, low), shift)), 1, 0.0))
    store_float(highest, most)
    store_float(total, sum_lanes(gathered))


@Shared
def _softmax_sums(job: Any) -> None:
    rows, n_rows, n, low = argument(job, 0), argument(job, 1), argument(job, 2), argument(job, 3)
    highest, total = argument(job, 4), argument(job, 5)
    row_bytes = n * (2 if low else 4)
    first = PIECE * next_piece(job)
    while first < n_rows:
        for r in range(first, min(first + PIECE, n_rows)):
            sums_of_row(rows + r * row_bytes, n, low, highest + 4 * r, total + 4 * r)
        first = PIECE * next_piece(job)


@Shared
def _layer_norm(job: Any) -> None:
    x, n_rows, n, low = argument(job, 0), argument(job, 1), argument(job, 2), argument(job, 3)
    weight, bias, out = argument(job, 4), argument(job, 5), argument(job, 6)
    wide = argument(job, 7) + own_number(job) * 8 * n
    result = wide + 4 * n
    first = PIECE * next_piece(job)
    while first < n_rows:
        for r in range(first, min(first + PIECE, n_rows)):
            if low:
                for i in range(0, n, 16):
                    store_floats(wide + 4 * i, load_halves(x + 2 * (r * n + i)))
                normalize(wide, weight, bias, result, n, n)
                for i in range(0, n, 16):
                    store_halves(out + 2 * (r * n + i), load_floats(result + 4 * i))
            else:
                normalize(x + 4 * r * n, weight, bias, out + 4 * r * n, n, n)
        first = PIECE * next_piece(job)
