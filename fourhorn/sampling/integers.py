"""Products of signed-byte rows with byte and nibble weights, 32 outputs at a time.

64 products at a time are summed exactly in integers, then scaled. Whether one row goes through vector registers or
sixteen go through a tile, the integers are the same and the scaling follows in the same order, so a row's result does
not depend on its company.

In: addresses of codes and scales, and rounded rows. Out: float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.fetching import prefetch, prefetch_far
from fourhorn.sampling.layout import GROUPS_AT_ONCE
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import AHEAD, FEW_ROWS, finish, finish_tile
from fourhorn.sampling.quantize import BYTES, NIBBLES
from fourhorn.sampling.scaling import TILE_STEP, make_scale
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
    load_halves,
    load_int,
    load_ints,
    mul,
    shift_right,
    store_floats,
    store_ints,
    to_floats,
    xor_ints,
)

EXCESS = -0x7F7F7F80  # 128 in each of four bytes: `x ^ EXCESS` makes codes of signed bytes, and back
scale_8_bytes, scale_16_bytes = make_scale(BYTES)
scale_8_nibbles, scale_16_nibbles = make_scale(NIBBLES)


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
    total, other, excess = floats(0.0), floats(0.0), ints(EXCESS)
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
            even = dot_bytes(even, xor_ints(load_ints(a + i), excess), four)
            even_other = dot_bytes(even_other, xor_ints(load_ints(b + i), excess), four)
            odd = dot_bytes(odd, xor_ints(load_ints(a + i + 64), excess), next_four)
            odd_other = dot_bytes(odd_other, xor_ints(load_ints(b + i + 64), excess), next_four)
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
def tiles_bytes(kind: Any, first: Any, second: Any, x: Any, stride: Any, counts: Any, unpacked: Any) -> None:
    """Integer products of one group of up to 16 rows of signed bytes × 32 outputs: two 16 × 16 blocks."""
    if kind == NIBBLES:
        unpack_group(first, unpacked)
        unpack_group(second, unpacked + 1024)
        first, second = unpacked, unpacked + 1024
    zero_0()
    zero_1()
    load_4(x, stride)
    load_6(first, 64)
    dot_bytes_046()
    load_7(second, 64)
    dot_bytes_147()
    store_0(counts, 64)
    store_1(counts + 1024, 64)


@inner
def scale_tiles(
    kind: Any, n_rows: Any, n_groups: Any, tiles: Any, scales: Any, row_scales: Any, row_sums: Any, stride: Any,
    totals: Any,
) -> None:  # fmt: skip
    """Add a few groups' products of up to 16 rows to the totals of 16 outputs."""
    if kind == NIBBLES:
        if n_rows > 8:
            scale_16_nibbles(n_groups, tiles, scales, row_scales, row_sums, stride, totals)
        else:
            scale_8_nibbles(n_groups, tiles, scales, row_scales, row_sums, stride, totals)
    elif n_rows > 8:
        scale_16_bytes(n_groups, tiles, scales, row_scales, row_sums, stride, totals)
    else:
        scale_8_bytes(n_groups, tiles, scales, row_scales, row_sums, stride, totals)


@inner
def tile_rows_bytes(
    kind: Any, first: Any, second: Any, ahead: Any, scales: Any, n_groups: Any, rounded: Any, start: Any, n_rows: Any,
    buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of up to 16 rows from `start`; the buffer's first 2048 bytes get two 16 × 16 blocks.

    The weights that lie `ahead` bytes from these are fetched meanwhile.
    """
    scale_bytes, group_bytes = (64, 512) if kind == NIBBLES else (32, 1024)
    stride = 4 * n_groups
    x, skipped = rounded.codes + 16 * start * stride, start * stride
    counts, unpacked = buffer + 2048, buffer + 2048 + GROUPS_AT_ONCE * TILE_STEP
    for i in range(0, 2048, 64):
        store_floats(buffer + i, floats(0.0))
    for done in range(0, n_groups, GROUPS_AT_ONCE):
        n = min(GROUPS_AT_ONCE, n_groups - done)
        for group in range(done, done + n):
            a, b = first + group_bytes * group, second + group_bytes * group
            for i in range(0, group_bytes, 64):
                prefetch_far(a + ahead + i)
                prefetch_far(b + ahead + i)
            to = counts + TILE_STEP * (group - done)
            tiles_bytes(kind, a, b, x + 64 * group, 16 * stride, to, unpacked)
        s, row_scales, row_sums = (
            scales + scale_bytes * done, rounded.scales + skipped + 4 * done, rounded.sums + skipped + 4 * done
        )  # fmt: skip
        m = s + scale_bytes * n_groups
        scale_tiles(kind, n_rows, n, counts, s, row_scales, row_sums, stride, buffer)
        scale_tiles(kind, n_rows, n, counts + 1024, m, row_scales, row_sums, stride, buffer + 1024)


@inner
def pair_bytes_rows(
    kind: Any, first: Any, second: Any, ahead: Any, scales: Any, bias: Any, n_groups: Any, n_rows: Any, rounded: Any,
    out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of any number of rows of signed bytes."""
    other = bias + 64 if bias != 0 else bias
    if HAS_TILES and n_rows > FEW_ROWS:
        for row in range(0, n_rows, 16):
            n, to = min(n_rows - row, 16), out + row * stride
            tile_rows_bytes(kind, first, second, ahead, scales, n_groups, rounded, row, n, buffer)
            finish_tile(buffer, n, bias, to, stride, epilogue)
            finish_tile(buffer + 1024, n, other, to + 64, stride, epilogue)
        return
    for row in range(n_rows):
        at, to = row * n_groups, out + row * stride
        x, row_scales, sums = rounded.codes + 64 * at, rounded.scales + 4 * at, rounded.sums + 4 * at
        if kind == NIBBLES:
            a, b = row_nibbles(first, second, scales, n_groups, x, row_scales, sums)
        else:
            a, b = row_bytes(first, second, scales, n_groups, x, row_scales, sums)
        finish(a, bias, to, epilogue)
        finish(b, other, to + 64, epilogue)
