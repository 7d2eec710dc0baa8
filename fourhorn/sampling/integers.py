"""Products of signed-byte rows with byte and nibble weights, 32 outputs at a time.

64 products at a time are summed exactly in integers, then scaled. Whether one row goes through vector registers or
sixteen go through a tile, the integers are the same and the scaling follows in the same order, so a row's result does
not depend on its company.

In: addresses of codes and scales, and rounded rows. Out: float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import AHEAD, FEW_ROWS, finish, finish_tile
from fourhorn.sampling.quantize import NIBBLES
from fourhorn.sampling.tiles import (
    dot_bytes_046,
    dot_bytes_147,
    load_4,
    load_6,
    load_7,
    store_0,
    store_1,
    zero_0,
    zero_1,
)
from fourhorn.sampling.vectors import (
    add_ints,
    and_ints,
    divide_by_16,
    dot_bytes,
    floats,
    fma,
    ints,
    load_float,
    load_floats,
    load_halves,
    load_int,
    load_ints,
    mul,
    prefetch,
    shift_right,
    store_floats,
    store_ints,
    to_floats,
)

CHUNK = 12  # groups whose integer products are kept before they are scaled


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
def unpack_group(codes: Any, out: Any) -> None:
    """A group's 512 bytes of nibbles as 1024 bytes."""
    low = ints(0x0F0F0F0F)
    for i in range(0, 512, 64):
        both = load_ints(codes + i)
        store_ints(out + i, and_ints(both, low))
        store_ints(out + 512 + i, and_ints(shift_right(both, 4), low))


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
