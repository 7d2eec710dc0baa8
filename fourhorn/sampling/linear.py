"""Products of rows with packed weights of any kind, 64 outputs at a time.

Byte and nibble weights meet rows of signed bytes when decoding. When a prompt is read there are many rows: then the
weights are widened to bfloat16 once for all of them, which is as fast and spares the rows their rounding.

In: addresses of codes, scales, rows. Out: float32, after bias and epilogue (none, GELU, or added to what is there).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.halves import panel_halves_rows
from fourhorn.sampling.integers import EXCESS, panel_bytes_rows, unpack_group
from fourhorn.sampling.layout import BUFFER_BYTES
from fourhorn.sampling.products import bytes_of_16
from fourhorn.sampling.quantize import BYTE_GROUP, BYTES, DEPTH, HALVES, NIBBLES
from fourhorn.sampling.rows import n_groups
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
def widen(kind: Any, codes: Any, scales: Any, n_inputs: Any, out: Any, buffer: Any) -> None:
    """16 outputs' byte or nibble weights as bfloat16 pairs, in the order of `HALVES`."""
    low, excess = ints(255), ints(EXCESS if kind == BYTES else 0)
    for part in range(n_inputs // DEPTH):
        w = codes + 1024 * part
        if kind == NIBBLES:
            unpack_group(codes + 512 * part, buffer)
            w = buffer
            scale, offset = load_halves(scales + 64 * part), load_halves(scales + 64 * part + 32)
        else:
            scale = load_halves(scales + 32 * (part * DEPTH // BYTE_GROUP))
            offset = mul(scale, floats(-128.0))
        for i in range(16):
            four = xor_ints(load_ints(w + 64 * i), excess)
            a = fma(to_floats(and_ints(four, low)), scale, offset)
            b = fma(to_floats(and_ints(shift_right(four, 8), low)), scale, offset)
            c = fma(to_floats(and_ints(shift_right(four, 16), low)), scale, offset)
            d = fma(to_floats(shift_right(four, 24)), scale, offset)
            to = out + (part * 16 + i) * 128
            store_ints(to, pair_halves(a, b))
            store_ints(to + 64, pair_halves(c, d))


@inner
def linear_panel(
    kind: Any, meets: Any, panel: Any, codes: Any, scales: Any, bias: Any, n_inputs: Any, n_rows: Any, rounded: Any,
    out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """Outputs 64·panel … 64·panel + 63 of all rows; the buffer holds `BUFFER_BYTES` and 128 bytes per input.

    The rows are of the kind that the weights' kind `meets`: `HALVES`, or bytes for byte and nibble weights.
    """
    step = 32 * n_inputs if kind == HALVES else 8 * n_inputs if kind == NIBBLES else 16 * n_inputs
    scale_bytes = (64 if kind == NIBBLES else 32) * n_groups(kind, n_inputs)
    first, at = codes + 4 * panel * step, scales + 4 * panel * scale_bytes
    to, above = out + 4 * bytes_of_16(epilogue) * panel, bias + 256 * panel if bias != 0 else bias
    if meets != HALVES:
        panel_bytes_rows(
            kind, first, step, at, above, n_inputs, n_rows, rounded, to, stride, epilogue, buffer
        )
        return
    if kind != HALVES:
        wide = buffer + BUFFER_BYTES
        for block in range(4):
            to_block = wide + 32 * n_inputs * block
            widen(kind, first + block * step, at + block * scale_bytes, n_inputs, to_block, buffer)
        first, step = wide, 32 * n_inputs
    panel_halves_rows(first, step, above, n_inputs, n_rows, rounded.codes, to, stride, epilogue, buffer)
