"""The next token of each row, drawn in vector code: the fast form of `fourhorn.sampling.logits`.

§3.6, §8. The likelihoods of all tokens are computed once, those below the thresholds of top-k and top-p are set to
zero, and the cumulative sum, in token order and double precision, is searched for the row's uniform number. Tokens as
likely as the last one kept are kept too. In: float32 logits (M, V). Out: tokens (M).
"""

# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence
from typing import Any

import numpy as np

from fourhorn.sampling.compiling import inner, kernel
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.vectors import (
    add,
    any_above,
    exp,
    floats,
    keep_first,
    load_floats,
    max_lanes,
    maximum,
    mul,
    store_floats,
    sub,
    sum_lanes,
    zero_below,
)

BLOCK = 1024  # tokens whose likelihoods are summed before the search


@inner
def likeliest(values: Any, address: Any) -> Any:
    """Where the largest value stands, the first of equals; the length is a multiple of 16."""
    n, best, found = len(values), np.float32(-np.inf), 0
    for start in range(0, n, BLOCK):
        top = floats(-np.inf)
        for i in range(start, min(start + BLOCK, n), 16):
            top = maximum(top, load_floats(address + 4 * i))
        value = max_lanes(top)
        if value > best:
            best, found = value, start
    while found < n - 1 and values[found] != best:
        found += 1
    return found


@inner
def kth_largest(values: Any, address: Any, heap: Any) -> Any:
    """The k-th largest value, k the length of the heap (smallest first)."""
    k = len(heap)
    heap[:] = -np.inf
    for start in range(0, len(values), 16):
        if not any_above(load_floats(address + 4 * start), floats(heap[0])):
            continue
        for i in range(start, start + 16):
            value = values[i]
            if value <= heap[0]:
                continue
            node = 0  # replace the smallest, and let the new value sink
            while True:
                child = 2 * node + 1
                if child >= k:
                    break
                if child + 1 < k and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[node] = heap[child]
                node = child
            heap[node] = value
    return heap[0]


@inner
def mass_above(address: Any, n: Any, least: Any) -> Any:
    """The sum of the likelihoods that are at least `least`."""
    total, threshold = 0.0, floats(least)
    for start in range(0, n, BLOCK):
        part = floats(0.0)
        for i in range(start, min(start + BLOCK, n), 16):
            part = add(part, zero_below(load_floats(address + 4 * i), threshold))
        total += sum_lanes(part)
    return total


@inner
def nucleus(address: Any, n: Any, top_p: Any) -> Any:
    """The likelihood of the last token that the nucleus needs: halving the interval of float32 bit patterns."""
    wanted = top_p * mass_above(address, n, np.float32(0.0))
    bits = np.empty(1, np.int32)
    value = bits.view(np.float32)
    low, high = 0, 0x3F800000  # likelihoods lie in 0 … 1, whose bit patterns are ordered as they are
    while low < high:
        middle = (low + high + 1) // 2
        bits[0] = middle
        if mass_above(address, n, value[0]) >= wanted:
            low = middle
        else:
            high = middle - 1
    bits[0] = low
    return value[0]


@inner
def search(weights: Any, address: Any, uniform: Any) -> Any:
    """The token at which the cumulative likelihood passes `uniform` of the total."""
    n = len(weights)
    target = uniform * mass_above(address, n, np.float32(0.0))
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        part = floats(0.0)
        for i in range(start, end, 16):
            part = add(part, load_floats(address + 4 * i))
        mass = np.float64(sum_lanes(part))
        if target >= mass:
            target -= mass
            last_start = start
            continue
        return walk(weights, start, end, target)
    return walk(weights, last_start, n, np.inf)


@inner
def walk(weights: Any, start: Any, end: Any, target: Any) -> Any:
    """The first token from `start` at which the sum passes `target`; the last possible one if none does."""
    token = start
    for i in range(start, end):
        if weights[i] > 0:
            token = i
            target -= weights[i]
            if target < 0:
                break
    return token


@inner
def draw_row(
    logits: Any, n_vocab: Any, temperature: Any, top_k: Any, top_p: Any, uniform: Any, weights: Any, heap: Any
) -> Any:
    """One token of one row; `logits` and `weights` are padded to a multiple of 16."""
    source, address, n = logits.ctypes.data, weights.ctypes.data, len(weights)
    end = n_vocab // 16 * 16
    if end < n:  # what pads the vocabulary is no token
        store_floats(source + 4 * end, keep_first(load_floats(source + 4 * end), n_vocab - end, -np.inf))
        for i in range(end + 16, n, 16):
            store_floats(source + 4 * i, floats(-np.inf))
    best = likeliest(logits, source)
    if temperature == 0.0:
        return best
    scale, highest = floats(1.0 / temperature), floats(logits[best])
    for i in range(0, 4 * n, 64):
        weight = exp(mul(sub(load_floats(source + i), highest), scale))
        store_floats(address + i, zero_below(weight, floats(1e-37)))
    if 0 < top_k < n_vocab:
        least = floats(kth_largest(weights, address, heap[:top_k]))
        for i in range(0, 4 * n, 64):
            store_floats(address + i, zero_below(load_floats(address + i), least))
    if top_p < 1.0:
        least = floats(nucleus(address, n, top_p))
        for i in range(0, 4 * n, 64):
            store_floats(address + i, zero_below(load_floats(address + i), least))
    return search(weights, address, uniform)


@kernel
def draw_rows(
    logits: Any, n_vocab: Any, temperatures: Any, top_ks: Any, top_ps: Any, uniforms: Any, weights: Any, heap: Any,
    tokens: Any,
) -> None:  # fmt: skip
    """One token for each row."""
    for row in range(len(tokens)):
        tokens[row] = draw_row(
            logits[row], n_vocab, temperatures[row], top_ks[row], top_ps[row], uniforms[row], weights, heap
        )


def choose_fast(
    logits: np.ndarray[Any, Any], n_vocab: int, params: Sequence[SamplingParams], uniforms: Sequence[float]
) -> list[int]:
    """One token for each row of padded logits (M, multiple of 16), as `fourhorn.sampling.logits.choose`."""
    tokens = np.empty(len(params), np.int64)
    columns = (
        np.array([p.temperature for p in params]),
        np.array([p.top_k for p in params]),
        np.array([p.top_p for p in params]),
        np.array(uniforms, np.float64),
    )
    weights = np.empty(logits.shape[1], np.float32)
    heap = np.empty(max(1, *(min(p.top_k, n_vocab) for p in params), 1), np.float32)
    draw_rows(logits, n_vocab, *columns, weights, heap, tokens)
    return tokens.tolist()
