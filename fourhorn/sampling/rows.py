"""What happens to one row alone: its embedding, layer normalization, GELU, and rounding for the next product.

§2.3. A row is a float32 vector of n values, n a multiple of 64. For a product with byte weights it becomes signed bytes
with one scale per group of them; for bfloat16 weights, bfloat16. In and out: addresses.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.exponentials import exp2
from fourhorn.sampling.quantize import BYTE_GROUP, BYTES, HALVES, NIBBLE_GROUP, NIBBLES
from fourhorn.sampling.vectors import (
    absolute,
    add,
    add_ints,
    div,
    floats,
    fma,
    ints,
    load_byte,
    load_floats,
    load_half,
    max_lanes,
    maximum,
    mul,
    round_to_ints,
    store_bytes,
    store_float,
    store_floats,
    store_halves,
    store_int,
    sub,
    sum_int_lanes,
    sum_lanes,
    widen_half,
)


@inner
def normalize(x: Any, weight: Any, bias: Any, out: Any, n: Any, n_true: Any) -> None:
    """Layer normalization, ε = 1e-5, over the first `n_true` values (a multiple of 16); the rest are padding."""
    total = floats(0.0)
    for i in range(0, 4 * n_true, 64):
        total = add(total, load_floats(x + i))
    mean = floats(sum_lanes(total) / np.float32(n_true))
    total = floats(0.0)
    for i in range(0, 4 * n_true, 64):
        centered = sub(load_floats(x + i), mean)
        total = fma(centered, centered, total)
    variance = sum_lanes(total) / np.float32(n_true)
    scale = floats(np.float32(1.0) / np.sqrt(variance + np.float32(1e-5)))
    for i in range(0, 4 * n, 64):
        centered = mul(sub(load_floats(x + i), mean), scale)
        store_floats(out + i, fma(centered, load_floats(weight + i), load_floats(bias + i)))


@inner
def gelu(x: Any) -> Any:
    """x · (1 + tanh u) / 2 = x / (1 + e^-2u), u = √(2/π) (x + 0.044715 x³)."""
    u = mul(x, fma(mul(x, x), floats(2.302208198 * 0.044715), floats(2.302208198)))  # 2u · log2 e
    return div(x, add(floats(1.0), exp2(sub(floats(0.0), maximum(u, floats(-126.0))))))


@inner
def halve(x: Any, out: Any, n: Any) -> None:
    """A row as bfloat16."""
    for i in range(0, n, 16):
        store_halves(out + 2 * i, load_floats(x + 4 * i))


@inner
def n_groups(kind: Any, n: Any) -> Any:
    """Groups of n inputs."""
    size = NIBBLE_GROUP if kind == NIBBLES else BYTE_GROUP
    return (n + size - 1) // size


@inner
def quantize_row(kind: Any, x: Any, n: Any, codes: Any, scales: Any, sums: Any) -> None:
    """A row as signed bytes; per group their scale, and what the weights' offsets will be multiplied by.

    For `BYTES`, whose codes are 128 too large, that is the integer -128 · Σ code; for `NIBBLES`, scale · Σ code.
    """
    size = NIBBLE_GROUP if kind == NIBBLES else BYTE_GROUP
    for start in range(0, n, size):
        end, most, total = min(start + size, n), floats(0.0), ints(0)
        for i in range(start, end, 16):
            most = maximum(most, absolute(load_floats(x + 4 * i)))
        largest = max_lanes(most)
        inverse = floats(np.float32(127.0) / largest if largest > 0 else np.float32(0.0))
        for i in range(start, end, 16):
            code = round_to_ints(mul(load_floats(x + 4 * i), inverse))
            store_bytes(codes + i, code)
            total = add_ints(total, code)
        scale, sum_of_codes, group = largest / np.float32(127.0), sum_int_lanes(total), start // size
        store_float(scales + 4 * group, scale)
        if kind == BYTES:
            store_int(sums + 4 * group, -128 * sum_of_codes)
        else:
            store_float(sums + 4 * group, scale * np.float32(sum_of_codes))


@inner
def embed(
    kind: Any, codes: Any, scales: Any, positions: Any, token: Any, position: Any, out: Any, n: Any
) -> None:
    """wte[token] + wpe[position], wte read from the packed head."""
    block, lane = token // 16, token % 16
    for k in range(n):
        if kind == HALVES:
            value = widen_half(load_half(codes + block * n * 32 + (k // 2) * 64 + lane * 4 + (k % 2) * 2))
        else:
            code = load_byte(codes + block * n * 16 + (k // 4) * 64 + lane * 4 + k % 4)
            at = scales + (block * n_groups(BYTES, n) + k // BYTE_GROUP) * 32 + lane * 2
            value = np.float32((code ^ 128) - 128) * widen_half(load_half(at))
        store_float(out + 4 * k, value)
    for i in range(0, 4 * n, 64):
        store_floats(out + i, add(load_floats(out + i), load_floats(positions + 4 * position * n + i)))
