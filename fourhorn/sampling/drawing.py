"""The next token of a row, drawn in vector code: the fast form of `fourhorn.sampling.logits`.

§3.6, §8. The likelihoods of all tokens are computed once, those below the thresholds of top-k and top-p are set to
zero, and the cumulative sum, in token order and double precision, is searched for the row's uniform number. Tokens as
likely as the last one kept are kept too. In: float32 logits (V), padded. Out: a token.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.exponentials import exp
from fourhorn.sampling.vectors import (
    add,
    any_above,
    floats,
    keep_first,
    load_float,
    load_floats,
    max_lanes,
    maximum,
    mul,
    operation,
    store_float,
    store_floats,
    sub,
    sum_lanes,
    zero_below,
)

BLOCK = 1024  # tokens whose likelihoods are summed before the search


@operation(types.float32, types.int64)
def of_bits(b: Any, bits: Any) -> Any:
    """The float32 of the low 32 bits."""
    return b.bitcast(b.trunc(bits, ir.IntType(32)), ir.FloatType())


@inner
def likeliest(address: Any, n: Any) -> Any:
    """Where the largest of n values stands, the first of equals; n is a multiple of 16."""
    best, found = np.float32(-np.inf), 0
    for start in range(0, n, BLOCK):
        end, top = min(start + BLOCK, n), floats(-np.inf)
        other = top
        for i in range(start, end - 16, 32):
            top = maximum(top, load_floats(address + 4 * i))
            other = maximum(other, load_floats(address + 4 * i + 64))
        value = max_lanes(maximum(maximum(top, other), load_floats(address + 4 * end - 64)))
        if value > best:
            best, found = value, start
    while found < n - 1 and load_float(address + 4 * found) != best:
        found += 1
    return found


@inner
def kth_largest(address: Any, n: Any, k: Any, heap: Any) -> Any:
    """The k-th largest of n values; the heap, smallest first, has room for k."""
    for i in range(k):
        store_float(heap + 4 * i, np.float32(-np.inf))
    for start in range(0, n, 16):
        if not any_above(load_floats(address + 4 * start), floats(load_float(heap))):
            continue
        for i in range(start, start + 16):
            value = load_float(address + 4 * i)
            if value <= load_float(heap):
                continue
            node = 0  # replace the smallest, and let the new value sink
            while True:
                child = 2 * node + 1
                if child >= k:
                    break
                if child + 1 < k and load_float(heap + 4 * child + 4) < load_float(heap + 4 * child):
                    child += 1
                if load_float(heap + 4 * child) >= value:
                    break
                store_float(heap + 4 * node, load_float(heap + 4 * child))
                node = child
            store_float(heap + 4 * node, value)
    return load_float(heap)


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
    low, high = 0, 0x3F800000  # likelihoods lie in 0 … 1, whose bit patterns are ordered as they are
    while low < high:
        middle = (low + high + 1) // 2
        if mass_above(address, n, of_bits(middle)) >= wanted:
            low = middle
        else:
            high = middle - 1
    return of_bits(low)


@inner
def search(address: Any, n: Any, uniform: Any) -> Any:
    """The token at which the cumulative likelihood passes `uniform` of the total."""
    target, last_start = uniform * mass_above(address, n, np.float32(0.0)), 0
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
        return walk(address, start, end, target)
    return walk(address, last_start, n, np.inf)


@inner
def walk(address: Any, start: Any, end: Any, target: Any) -> Any:
    """The first token from `start` at which the sum passes `target`; the last possible one if none does."""
    token = start
    for i in range(start, end):
        likelihood = load_float(address + 4 * i)
        if likelihood > 0:
            token = i
            target -= likelihood
            if target < 0:
                break
    return token


@inner
def draw_row(
    logits: Any,
    n: Any,
    n_vocab: Any,
    temperature: Any,
    top_k: Any,
    top_p: Any,
    uniform: Any,
    weights: Any,
    heap: Any,
) -> Any:
    """One token of one row of n logits, n_vocab padded to a multiple of 16; there is room for n weights."""
    end = n_vocab // 16 * 16
    if end < n:  # what pads the vocabulary is no token
        store_floats(logits + 4 * end, keep_first(load_floats(logits + 4 * end), n_vocab - end, -np.inf))
        for i in range(end + 16, n, 16):
            store_floats(logits + 4 * i, floats(-np.inf))
    best = likeliest(logits, n)
    if temperature == 0.0:
        return best
    scale, highest = floats(1.0 / temperature), floats(load_float(logits + 4 * best))
    for i in range(0, 4 * n, 64):
        weight = exp(mul(sub(load_floats(logits + i), highest), scale))
        store_floats(weights + i, zero_below(weight, floats(1e-37)))
    if 0 < top_k < n_vocab:
        least = floats(kth_largest(weights, n, top_k, heap))
        for i in range(0, 4 * n, 64):
            store_floats(weights + i, zero_below(load_floats(weights + i), least))
    if top_p < 1.0:
        least = floats(nucleus(weights, n, top_p))
        for i in range(0, 4 * n, 64):
            store_floats(weights + i, zero_below(load_floats(weights + i), least))
    return search(weights, n, uniform)
