"""Products of rows with packed weights, 32 outputs at a time.

Byte and nibble weights meet rows of signed bytes: 64 products at a time are summed exactly in integers, then scaled.
Whether one row goes through vector registers or sixteen go through a tile, the integers are the same and the scaling
follows in the same order, so a row's result does not depend on its company. When a prompt is read there are many rows:
then the weights are widened to bfloat16 once for all of them, which is as fast and spares the rows their rounding.

In: addresses of codes, scales, rows. Out: float32, after bias and epilogue (none, GELU, or added to what is there).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any, NamedTuple

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.quantize import HALVES, NIBBLES
from fourhorn.sampling.rows import gelu
from fourhorn.sampling.tiles import (
    dot_bytes_046,
    dot_bytes_147,
    dot_halves_046,
    dot_halves_147,
    dot_halves_256,
    dot_halves_357,
    load_4,
    load_5,
    load_6,
    load_7,
    store_0,
    store_1,
    store_2,
    store_3,
    zero_0,
    zero_1,
    zero_2,
    zero_3,
)
from fourhorn.sampling.vectors import (
    add,
    add_ints,
    and_ints,
    divide_by_16,
    dot_bytes,
    dot_halves,
    floats,
    fma,
    ints,
    load_float,
    load_floats,
    load_halves,
    load_int,
    load_ints,
    mul,
    pair_halves,
    prefetch,
    shift_right,
    store_floats,
    store_ints,
    to_floats,
)

STORE, GELU, ADD = 0, 1, 2  # epilogues
AHEAD = 4096  # bytes from here that are fetched early
FEW_ROWS = 3  # up to so many rows, vector registers beat tiles, and every thread rounds the rows for itself
CHUNK = 12  # groups whose integer products are kept before they are scaled
BUFFER_BYTES = 2048 * (CHUNK + 2)


class Rounded(NamedTuple):
    """Addresses of rows as a product wants them: halves, or signed bytes with a scale and a sum per 64."""

    codes: int
    scales: int
    sums: int


@inner
def finish(value: Any, bias: Any, out: Any, epilogue: Any) -> None:
    """Bias and epilogue of 16 outputs of one row."""
    if bias != 0:
        value = add(value, load_floats(bias))
    if epilogue == GELU:
        value = gelu(value)
    elif epilogue == ADD:
        value = add(value, load_floats(out))
    store_floats(out, value)


@inner
def scaled_bytes(total: Any, counts: Any, scale: Any, row_scale: Any) -> Any:
    """Add a group's integer products Σ (code - 128)·x, times both scales."""
    return fma(to_floats(counts), mul(scale, floats(row_scale)), total)


@inner
def scaled_nibbles(total: Any, counts: Any, scale: Any, offset: Any, row_scale: Any, row_sum: Any) -> Any:
    """Add a group's integer products: Σ (s·code + m)·x = s·Σ code·x + m·Σ x."""
    total = fma(to_floats(counts), mul(scale, floats(row_scale)), total)
    return fma(offset, floats(row_sum), total)


@inner
def row_bytes(
    first: Any, second: Any, scales: Any, n_groups: Any, x: Any, row_scales: Any, row_sums: Any
) -> Any:
    """32 outputs of one row of signed bytes, 8-bit codes: two streams of weights at once."""
    total, other = floats(0.0), floats(0.0)
    lower = scales + 32 * n_groups
    for group in range(n_groups):
        a, b = first + 1024 * group, second + 1024 * group
        start = ints(load_int(row_sums + 4 * group))  # takes the codes' excess of 128 away
        even, odd, even_other, odd_other = start, ints(0), start, ints(0)
        for i in range(0, 1024, 128):
            prefetch(a + AHEAD + i)
            prefetch(b + AHEAD + i)
            prefetch(a + AHEAD + i + 64)
            prefetch(b + AHEAD + i + 64)
            four, next_four = (
                ints(load_int(x + 64 * group + i // 16)),
                ints(load_int(x + 64 * group + i // 16 + 4)),
            )
            even = dot_bytes(even, load_ints(a + i), four)
            even_other = dot_bytes(even_other, load_ints(b + i), four)
            odd = dot_bytes(odd, load_ints(a + i + 64), next_four)
            odd_other = dot_bytes(odd_other, load_ints(b + i + 64), next_four)
        row_scale = load_float(row_scales + 4 * group)
        total = scaled_bytes(total, add_ints(even, odd), load_halves(scales + 32 * group), row_scale)
        other = scaled_bytes(
            other, add_ints(even_other, odd_other), load_halves(lower + 32 * group), row_scale
        )
    return total, other


@inner
def row_nibbles(
    first: Any, second: Any, scales: Any, n_groups: Any, x: Any, row_scales: Any, row_sums: Any
) -> Any:
    """32 outputs of one row of signed bytes, 4-bit codes: inputs 0–31 of a group in the low nibbles.

    High nibbles stay where they are in their bytes, 16 times too large, until their products are summed.
    """
    total, other, low, high = floats(0.0), floats(0.0), ints(0x0F0F0F0F), ints(-0x0F0F0F10)
    lower = scales + 64 * n_groups
    for group in range(n_groups):
        a, b, at = first + 512 * group, second + 512 * group, x + 64 * group
        even, odd, even_other, odd_other = ints(0), ints(0), ints(0), ints(0)
        for i in range(0, 512, 64):
            prefetch(a + AHEAD + i)
            prefetch(b + AHEAD + i)
            four, next_four = ints(load_int(at + i // 16)), ints(load_int(at + 32 + i // 16))
            both, both_other = load_ints(a + i), load_ints(b + i)
            even = dot_bytes(even, and_ints(both, low), four)
            odd = dot_bytes(odd, and_ints(both, high), next_four)
            even_other = dot_bytes(even_other, and_ints(both_other, low), four)
            odd_other = dot_bytes(odd_other, and_ints(both_other, high), next_four)
        row_scale, row_sum = load_float(row_scales + 4 * group), load_float(row_sums + 4 * group)
        s, m = scales + 64 * group, lower + 64 * group
        total = scaled_nibbles(
            total, add_ints(even, divide_by_16(odd)), load_halves(s), load_halves(s + 32), row_scale, row_sum
        )
        other = scaled_nibbles(
            other,
            add_ints(even_other, divide_by_16(odd_other)),
            load_halves(m),
            load_halves(m + 32),
            row_scale,
            row_sum,
        )
    return total, other


@inner
def dot_row_halves(codes: Any, n_inputs: Any, row: Any) -> Any:
    """16 outputs of one bfloat16 row."""
    even, odd = floats(0.0), floats(0.0)
    for k in range(0, n_inputs // 2, 2):
        prefetch(codes + AHEAD + 64 * k)
        prefetch(codes + AHEAD + 64 * k + 64)
        even = dot_halves(even, load_ints(codes + 64 * k), ints(load_int(row + 4 * k)))
        odd = dot_halves(odd, load_ints(codes + 64 * k + 64), ints(load_int(row + 4 * k + 4)))
    return add(even, odd)


@inner
def unpack_group(codes: Any, out: Any) -> None:
    """A group's 512 bytes of nibbles as 1024 bytes."""
    low = ints(0x0F0F0F0F)
    for i in range(0, 512, 64):
        both = load_ints(codes + i)
        store_ints(out + i, and_ints(both, low))
        store_ints(out + 512 + i, and_ints(shift_right(both, 4), low))


@inner
def widen(kind: Any, codes: Any, scales: Any, n_groups: Any, out: Any, buffer: Any) -> None:
    """16 outputs' byte or nibble weights as bfloat16 pairs, in the order of `HALVES`."""
    low = ints(255)
    for group in range(n_groups):
        w = codes + 1024 * group
        if kind == NIBBLES:
            unpack_group(codes + 512 * group, buffer)
            w = buffer
        if kind == NIBBLES:
            scale, offset = load_halves(scales + 64 * group), load_halves(scales + 64 * group + 32)
        else:
            scale = load_halves(scales + 32 * group)
            offset = mul(scale, floats(-128.0))
        for i in range(16):
            four = load_ints(w + 64 * i)
            a = fma(to_floats(and_ints(four, low)), scale, offset)
            b = fma(to_floats(and_ints(shift_right(four, 8), low)), scale, offset)
            c = fma(to_floats(and_ints(shift_right(four, 16), low)), scale, offset)
            d = fma(to_floats(shift_right(four, 24)), scale, offset)
            to = out + (group * 16 + i) * 128
            store_ints(to, pair_halves(a, b))
            store_ints(to + 64, pair_halves(c, d))


@inner
def tiles_halves(first: Any, second: Any, n_inputs: Any, rows: Any, out: Any) -> None:
    """16 bfloat16 rows × 32 outputs; `out` gets two 16 × 16 blocks."""
    zero_0()
    zero_1()
    for at in range(0, 2 * n_inputs, 64):
        load_4(rows + at, 2 * n_inputs)
        load_6(first + 16 * at, 64)
        dot_halves_046()
        load_7(second + 16 * at, 64)
        dot_halves_147()
        for i in range(0, 1024, 64):
            prefetch(first + 16 * at + AHEAD + i)
            prefetch(second + 16 * at + AHEAD + i)
    store_0(out, 64)
    store_1(out + 1024, 64)


@inner
def tiles_halves_double(first: Any, second: Any, n_inputs: Any, rows: Any, out: Any) -> None:
    """32 bfloat16 rows × 32 outputs; `out` gets four 16 × 16 blocks, row blocks first."""
    zero_0()
    zero_1()
    zero_2()
    zero_3()
    lower = rows + 32 * n_inputs
    for at in range(0, 2 * n_inputs, 64):
        load_4(rows + at, 2 * n_inputs)
        load_6(first + 16 * at, 64)
        dot_halves_046()
        load_7(second + 16 * at, 64)
        dot_halves_147()
        load_5(lower + at, 2 * n_inputs)
        dot_halves_256()
        dot_halves_357()
    store_0(out, 64)
    store_1(out + 1024, 64)
    store_2(out + 2048, 64)
    store_3(out + 3072, 64)


@inner
def tiles_bytes(kind: Any, first: Any, second: Any, n_groups: Any, x: Any, stride: Any, counts: Any) -> None:
    """Integer products of up to 16 rows of signed bytes × 32 outputs: per group two 16 × 16 blocks."""
    unpacked = counts + 2048 * CHUNK
    for group in range(n_groups):
        zero_0()
        zero_1()
        load_4(x + 64 * group, stride)
        if kind == NIBBLES:
            for i in range(0, 512, 64):
                prefetch(first + 512 * group + AHEAD + i)
                prefetch(second + 512 * group + AHEAD + i)
            unpack_group(first + 512 * group, unpacked)
            unpack_group(second + 512 * group, unpacked + 1024)
            load_6(unpacked, 64)
            load_7(unpacked + 1024, 64)
        else:
            for i in range(0, 1024, 64):
                prefetch(first + 1024 * group + AHEAD + i)
                prefetch(second + 1024 * group + AHEAD + i)
            load_6(first + 1024 * group, 64)
            load_7(second + 1024 * group, 64)
        dot_bytes_046()
        dot_bytes_147()
        store_0(counts + 2048 * group, 64)
        store_1(counts + 2048 * group + 1024, 64)


@inner
def scale_chunk(
    kind: Any,
    scales: Any,
    lower: Any,
    n_groups: Any,
    row: Any,
    row_scales: Any,
    row_sums: Any,
    counts: Any,
    tiles: Any,
) -> None:
    """Add the products of up to `CHUNK` groups to one row's 32 totals, in the order of `row_bytes`."""
    a, b = tiles + 64 * row, tiles + 1024 + 64 * row
    total, other = load_floats(a), load_floats(b)
    for group in range(n_groups):
        found = counts + 2048 * group + 64 * row
        row_scale = load_float(row_scales + 4 * group)
        if kind == NIBBLES:
            s, m, row_sum = scales + 64 * group, lower + 64 * group, load_float(row_sums + 4 * group)
            total = scaled_nibbles(
                total, load_ints(found), load_halves(s), load_halves(s + 32), row_scale, row_sum
            )
            other = scaled_nibbles(
                other, load_ints(found + 1024), load_halves(m), load_halves(m + 32), row_scale, row_sum
            )
        else:
            excess = ints(load_int(row_sums + 4 * group))
            s, m = load_halves(scales + 32 * group), load_halves(lower + 32 * group)
            total = scaled_bytes(total, add_ints(load_ints(found), excess), s, row_scale)
            other = scaled_bytes(other, add_ints(load_ints(found + 1024), excess), m, row_scale)
    store_floats(a, total)
    store_floats(b, other)


@inner
def tile_rows_bytes(
    kind: Any,
    first: Any,
    second: Any,
    scales: Any,
    n_groups: Any,
    rounded: Any,
    start: Any,
    n_rows: Any,
    buffer: Any,
) -> None:
    """32 outputs of up to 16 rows from `start`; the buffer's first 2048 bytes get two 16 × 16 blocks."""
    scale_bytes = 64 if kind == NIBBLES else 32
    group_bytes = 512 if kind == NIBBLES else 1024
    for i in range(0, 2048, 64):
        store_floats(buffer + i, floats(0.0))
    for at in range(0, n_groups, CHUNK):
        n = min(CHUNK, n_groups - at)
        x = rounded.codes + 64 * (start * n_groups + at)
        tiles_bytes(
            kind, first + group_bytes * at, second + group_bytes * at, n, x, 64 * n_groups, buffer + 2048
        )
        upper = scales + scale_bytes * at
        for row in range(n_rows):
            offset = 4 * ((start + row) * n_groups + at)
            scale_chunk(
                kind, upper, upper + scale_bytes * n_groups, n, row, rounded.scales + offset, rounded.sums + offset,
                buffer + 2048, buffer,
            )  # fmt: skip


@inner
def finish_tile(tile: Any, n_rows: Any, bias: Any, out: Any, stride: Any, epilogue: Any) -> None:
    """Bias and epilogue of a 16 × 16 block."""
    for row in range(n_rows):
        finish(load_floats(tile + 64 * row), bias, out + row * stride, epilogue)


@inner
def pair_halves_rows(
    first: Any, second: Any, bias: Any, n_inputs: Any, n_rows: Any, rows: Any, out: Any, stride: Any,
    epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of any number of bfloat16 rows."""
    other = bias + 64 if bias != 0 else bias
    if not HAS_TILES:
        for row in range(n_rows):
            x, to = rows + 2 * row * n_inputs, out + row * stride
            finish(dot_row_halves(first, n_inputs, x), bias, to, epilogue)
            finish(dot_row_halves(second, n_inputs, x), other, to + 64, epilogue)
        return
    for row in range(0, n_rows, 32):
        x, to, n = rows + 2 * row * n_inputs, out + row * stride, n_rows - row
        if n > 16:
            tiles_halves_double(first, second, n_inputs, x, buffer)
            finish_tile(buffer + 2048, min(n - 16, 16), bias, to + 16 * stride, stride, epilogue)
            finish_tile(buffer + 3072, min(n - 16, 16), other, to + 16 * stride + 64, stride, epilogue)
        else:
            tiles_halves(first, second, n_inputs, x, buffer)
        finish_tile(buffer, min(n, 16), bias, to, stride, epilogue)
        finish_tile(buffer + 1024, min(n, 16), other, to + 64, stride, epilogue)


@inner
def pair_bytes_rows(
    kind: Any, first: Any, second: Any, scales: Any, bias: Any, n_groups: Any, n_rows: Any, rounded: Any, out: Any,
    stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of any number of rows of signed bytes."""
    other = bias + 64 if bias != 0 else bias
    if HAS_TILES and n_rows > FEW_ROWS:
        for row in range(0, n_rows, 16):
            n, to = min(n_rows - row, 16), out + row * stride
            tile_rows_bytes(kind, first, second, scales, n_groups, rounded, row, n, buffer)
            finish_tile(buffer, n, bias, to, stride, epilogue)
            finish_tile(buffer + 1024, n, other, to + 64, stride, epilogue)
        return
    for row in range(n_rows):
        x, to, at = rounded.codes + 64 * row * n_groups, out + row * stride, 4 * row * n_groups
        if kind == NIBBLES:
            a, b = row_nibbles(first, second, scales, n_groups, x, rounded.scales + at, rounded.sums + at)
        else:
            a, b = row_bytes(first, second, scales, n_groups, x, rounded.scales + at, rounded.sums + at)
        finish(a, bias, to, epilogue)
        finish(b, other, to + 64, epilogue)


@inner
def linear_pair(
    kind: Any, meets: Any, pair: Any, codes: Any, scales: Any, bias: Any, n_inputs: Any, n_rows: Any, rounded: Any,
    out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """Outputs 32·pair … 32·pair + 31 of all rows; the buffer holds `BUFFER_BYTES` and 64 bytes per input.

    The rows are of the kind that the weights' kind `meets`: `HALVES`, or bytes for byte and nibble weights.
    """
    n_groups = n_inputs // 64
    block_bytes = 32 * n_inputs if kind == HALVES else 8 * n_inputs if kind == NIBBLES else 16 * n_inputs
    scale_bytes = (64 if kind == NIBBLES else 32) * n_groups
    first = codes + 2 * pair * block_bytes
    second, at = first + block_bytes, scales + 2 * pair * scale_bytes
    to, above = out + 128 * pair, bias + 128 * pair if bias != 0 else bias
    if meets != HALVES:
        pair_bytes_rows(
            kind, first, second, at, above, n_groups, n_rows, rounded, to, stride, epilogue, buffer
        )
        return
    if kind != HALVES:
        panel = buffer + BUFFER_BYTES
        widen(kind, first, at, n_groups, panel, buffer)
        widen(kind, second, at + scale_bytes, n_groups, panel + 32 * n_inputs, buffer)
        first, second = panel, panel + 32 * n_inputs
    pair_halves_rows(first, second, above, n_inputs, n_rows, rounded.codes, to, stride, epilogue, buffer)
