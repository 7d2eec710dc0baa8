"""Products of rows with packed weights of any kind, 32 outputs at a time.

Byte and nibble weights meet rows of signed bytes when decoding. When a prompt is read there are many rows: then the
weights are widened to bfloat16 once for all of them, which is as fast and spares the rows their rounding.

In: addresses of codes, scales, rows. Out: float32, after bias and epilogue (none, GELU, or added to what is there).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.halves import pair_halves_rows
from fourhorn.sampling.integers import EXCESS, pair_bytes_rows, unpack_group
from fourhorn.sampling.layout import BUFFER_BYTES
from fourhorn.sampling.quantize import BYTES, HALVES, NIBBLES
from fourhorn.sampling.vectors import (
    and_ints,
    floats,
    fma,
    ints,
    load_halves,
    load_ints,
    mul,
    pair_halves,
    shift_right,
    store_ints,
    to_floats,
    xor_ints,
)


@inner
def widen(kind: Any, codes: Any, scales: Any, n_groups: Any, out: Any, buffer: Any) -> None:
    """16 outputs' byte or nibble weights as bfloat16 pairs, in the order of `HALVES`."""
    low, excess = ints(255), ints(EXCESS if kind == BYTES else 0)
    for group in range(n_groups):
        w = codes + 1024 * group
        if kind == NIBBLES:
            unpack_group(codes + 512 * group, buffer)
            w = buffer
            scale, offset = load_halves(scales + 64 * group), load_halves(scales + 64 * group + 32)
        else:
            scale = load_halves(scales + 32 * group)
            offset = mul(scale, floats(-128.0))
        for i in range(16):
            four = xor_ints(load_ints(w + 64 * i), excess)
            a = fma(to_floats(and_ints(four, low)), scale, offset)
            b = fma(to_floats(and_ints(shift_right(four, 8), low)), scale, offset)
            c = fma(to_floats(and_ints(shift_right(four, 16), low)), scale, offset)
            d = fma(to_floats(shift_right(four, 24)), scale, offset)
            to = out + (group * 16 + i) * 128
            store_ints(to, pair_halves(a, b))
            store_ints(to + 64, pair_halves(c, d))


@inner
def linear_pair(
    kind: Any, meets: Any, pair: Any, following: Any, codes: Any, scales: Any, bias: Any, n_inputs: Any, n_rows: Any,
    rounded: Any, out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """Outputs 32·pair … 32·pair + 31 of all rows; the buffer holds `BUFFER_BYTES` and 64 bytes per input.

    The rows are of the kind that the weights' kind `meets`: `HALVES`, or bytes for byte and nibble weights. The pair
    that will come next, `following`, may be fetched meanwhile.
    """
    n_groups = n_inputs // 64
    block_bytes = 32 * n_inputs if kind == HALVES else 8 * n_inputs if kind == NIBBLES else 16 * n_inputs
    scale_bytes = (64 if kind == NIBBLES else 32) * n_groups
    first = codes + 2 * pair * block_bytes
    second, at = first + block_bytes, scales + 2 * pair * scale_bytes
    to, above = out + 128 * pair, bias + 128 * pair if bias != 0 else bias
    if meets != HALVES:
        ahead = 2 * (following - pair) * block_bytes
        pair_bytes_rows(
            kind, first, second, ahead, at, above, n_groups, n_rows, rounded, to, stride, epilogue, buffer
        )
        return
    if kind != HALVES:
        panel = buffer + BUFFER_BYTES
        widen(kind, first, at, n_groups, panel, buffer)
        widen(kind, second, at + scale_bytes, n_groups, panel + 32 * n_inputs, buffer)
        first, second = panel, panel + 32 * n_inputs
    pair_halves_rows(first, second, above, n_inputs, n_rows, rounded.codes, to, stride, epilogue, buffer)
