"""Products of signed-byte rows with byte and nibble weights, 64 outputs at a time.

A group's products are summed exactly in integers, then scaled. Whether one row goes through vector registers or
sixteen go through a tile, the integers are the same and the scaling follows in the same order, so a row's result does
not depend on its company.

In: addresses of codes and scales, and rounded rows. Out: float32.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.fetching import prefetch
from fourhorn.sampling.layout import GROUPS_AT_ONCE
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import AHEAD, FEW_ROWS, finish_row, finish_tiles
from fourhorn.sampling.quantize import BYTE_GROUP, BYTES, NIBBLE_GROUP, NIBBLES
from fourhorn.sampling.rows import n_groups
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
    first: Any, step: Any, scales: Any, n_inputs: Any, x: Any, row_scales: Any, row_sums: Any
) -> Any:
    """64 outputs of one row of signed bytes, 8-bit codes."""
    p, q, r, s, excess = floats(0.0), floats(0.0), floats(0.0), floats(0.0), ints(EXCESS)
    n = n_groups(BYTES, n_inputs)
    for group in range(n):
        done = BYTE_GROUP * group
        a = ints(load_int(row_sums + 4 * group))  # takes the codes' excess of 128 away
        b, c, d = a, a, a
        for k in range(done, min(done + BYTE_GROUP, n_inputs), 4):
            at, four = first + 16 * k, ints(load_int(x + k))
            for block in range(4):
                prefetch(at + block * step + AHEAD)
            a = dot_bytes(a, xor_ints(load_ints(at), excess), four)
            b = dot_bytes(b, xor_ints(load_ints(at + step), excess), four)
            c = dot_bytes(c, xor_ints(load_ints(at + 2 * step), excess), four)
            d = dot_bytes(d, xor_ints(load_ints(at + 3 * step), excess), four)
        at, row_scale = scales + 32 * group, load_float(row_scales + 4 * group)
        p = scaled_bytes(p, a, load_halves(at), row_scale)
        q = scaled_bytes(q, b, load_halves(at + 32 * n), row_scale)
        r = scaled_bytes(r, c, load_halves(at + 64 * n), row_scale)
        s = scaled_bytes(s, d, load_halves(at + 96 * n), row_scale)
    return p, q, r, s


@inner
def group_nibbles(codes: Any, x: Any) -> Any:
    """Integer products of a group of one row, 4-bit codes: inputs 0–31 in the low nibbles, 32–63 in the high.

    High nibbles stay where they are in their bytes, 16 times too large, until their products are summed.
    """
    low, high = ints(0x0F0F0F0F), ints(-0x0F0F0F10)
    a, b = ints(0), ints(0)
    for k in range(0, 32, 4):
        prefetch(codes + 16 * k + AHEAD)
        both = load_ints(codes + 16 * k)
        a = dot_bytes(a, and_ints(both, low), ints(load_int(x + k)))
        b = dot_bytes(b, and_ints(both, high), ints(load_int(x + 32 + k)))
    return add_ints(a, divide_by_16(b))


@inner
def row_nibbles(
    first: Any, step: Any, scales: Any, n_inputs: Any, x: Any, row_scales: Any, row_sums: Any
) -> Any:
    """64 outputs of one row of signed bytes, 4-bit codes."""
    p, q, r, s = floats(0.0), floats(0.0), floats(0.0), floats(0.0)
    n = n_groups(NIBBLES, n_inputs)
    for group in range(n):
        at, row = first + 512 * group, x + NIBBLE_GROUP * group
        a, b = group_nibbles(at, row), group_nibbles(at + step, row)
        c, d = group_nibbles(at + 2 * step, row), group_nibbles(at + 3 * step, row)
        row_scale, row_sum = load_float(row_scales + 4 * group), load_float(row_sums + 4 * group)
        at = scales + 64 * group
        p = scaled_nibbles(p, a, load_halves(at), load_halves(at + 32), row_scale, row_sum)
        at += 64 * n
        q = scaled_nibbles(q, b, load_halves(at), load_halves(at + 32), row_scale, row_sum)
        at += 64 * n
        r = scaled_nibbles(r, c, load_halves(at), load_halves(at + 32), row_scale, row_sum)
        at += 64 * n
        s = scaled_nibbles(s, d, load_halves(at), load_halves(at + 32), row_scale, row_sum)
    return p, q, r, s


@inner
def unpack_group(codes: Any, out: Any) -> None:
    """A group's 512 bytes of nibbles as 1024 bytes."""
    low = ints(0x0F0F0F0F)
    for i in range(0, 512, 64):
        prefetch(codes + i + AHEAD)
        both = load_ints(codes + i)
        store_ints(out + i, and_ints(both, low))
        store_ints(out + 512 + i, and_ints(shift_right(both, 4), low))


@inner
def tiles_bytes(
    kind: Any, first: Any, second: Any, n: Any, x: Any, stride: Any, counts: Any, unpacked: Any
) -> None:
    """Integer products of one group of n inputs, of up to 16 rows of signed bytes × 32 outputs: two 16 × 16 blocks."""
    if kind == NIBBLES:
        unpack_group(first, unpacked)
        unpack_group(second, unpacked + 1024)
        first, second = unpacked, unpacked + 1024
    zero_0()
    zero_1()
    for i in range(0, 16 * n, 1024):
        a, b = first + i, second + i
        if kind == BYTES:
            for line in range(0, 1024, 64):
                prefetch(a + AHEAD + line)
                prefetch(b + AHEAD + line)
        load_4(x + i // 16, stride)
        load_6(a, 64)
        dot_bytes_046()
        load_7(b, 64)
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
    kind: Any, first: Any, step: Any, scales: Any, n_inputs: Any, rounded: Any, start: Any, n_rows: Any, buffer: Any
) -> None:  # fmt: skip
    """32 outputs of up to 16 rows from `start`; the buffer's first 2048 bytes get two 16 × 16 blocks."""
    scale_bytes, size, per_input = (64, NIBBLE_GROUP, 8) if kind == NIBBLES else (32, BYTE_GROUP, 16)
    n_all = n_groups(kind, n_inputs)
    x, skipped = rounded.codes + start * n_inputs, 4 * start * n_all
    counts, unpacked = buffer + TILE_STEP, buffer + (1 + GROUPS_AT_ONCE) * TILE_STEP
    for i in range(0, TILE_STEP, 64):
        store_floats(buffer + i, floats(0.0))
    for done in range(0, n_all, GROUPS_AT_ONCE):
        n = min(GROUPS_AT_ONCE, n_all - done)
        for group in range(done, done + n):
            at, to = size * group, counts + TILE_STEP * (group - done)
            a, of_group = first + per_input * at, min(size, n_inputs - at)
            tiles_bytes(kind, a, a + step, of_group, x + at, n_inputs, to, unpacked)
        s, m = scales + scale_bytes * done, scales + scale_bytes * (done + n_all)
        row_scales, row_sums = rounded.scales + skipped + 4 * done, rounded.sums + skipped + 4 * done
        scale_tiles(kind, n_rows, n, counts, s, row_scales, row_sums, 4 * n_all, buffer)
        scale_tiles(kind, n_rows, n, counts + 1024, m, row_scales, row_sums, 4 * n_all, buffer + 1024)


@inner
def panel_bytes_rows(
    kind: Any, first: Any, step: Any, scales: Any, bias: Any, n_inputs: Any, n_rows: Any, rounded: Any, out: Any,
    stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """64 outputs of any number of rows of signed bytes."""
    if HAS_TILES and n_rows > FEW_ROWS:
        scale_bytes = (64 if kind == NIBBLES else 32) * n_groups(kind, n_inputs)
        for row in range(0, n_rows, 16):
            n = min(n_rows - row, 16)
            for half in range(2):
                a, s = first + 2 * half * step, scales + 2 * half * scale_bytes
                to, above = out + row * stride + 128 * half, bias + 128 * half if bias != 0 else bias
                tile_rows_bytes(kind, a, step, s, n_inputs, rounded, row, n, buffer)
                finish_tiles(buffer, n, above, to, stride, epilogue)
        return
    for row in range(n_rows):
        at, to = 4 * row * n_groups(kind, n_inputs), out + row * stride
        x, row_scales, sums = rounded.codes + row * n_inputs, rounded.scales + at, rounded.sums + at
        if kind == NIBBLES:
            values = row_nibbles(first, step, scales, n_inputs, x, row_scales, sums)
        else:
            values = row_bytes(first, step, scales, n_inputs, x, row_scales, sums)
        finish_row(values, bias, to, epilogue)
