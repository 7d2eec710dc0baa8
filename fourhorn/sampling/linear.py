"""Products of rows with packed weights, 32 outputs at a time.

Byte and nibble weights meet rows of signed bytes: 64 products at a time are summed exactly in integers, then scaled.
Whether one row goes through vector registers or sixteen go through a tile, the integers are the same and the scaling
follows in the same order, so a row's result does not depend on its company. When a prompt is read there are many rows:
then the weights are widened to bfloat16 once for all of them, which is as fast and spares the rows their rounding.

In: addresses of codes, scales, rows. Out: float32, after bias and epilogue (none, GELU, or added to what is there).
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from numba import njit

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
    FAST,
    add,
    add_ints,
    and_ints,
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
FEW_ROWS = 3  # up to so many rows, vector registers beat tiles


@njit(**FAST)
def finish(value: Any, bias: Any, out: Any, epilogue: Any) -> None:
    """Bias and epilogue of 16 outputs of one row."""
    if bias != 0:
        value = add(value, load_floats(bias))
    if epilogue == GELU:
        value = gelu(value)
    elif epilogue == ADD:
        value = add(value, load_floats(out))
    store_floats(out, value)


@njit(**FAST)
def scaled(total: Any, counts: Any, scales: Any, row_scale: Any, row_sum: Any) -> Any:
    """Add a group's integer products: Σ (s·code + m)·x = s·Σ code·x + m·Σ x."""
    scale = mul(load_halves(scales), floats(row_scale))
    total = fma(to_floats(counts), scale, total)
    return fma(load_halves(scales + 32), floats(row_sum), total)


@njit(**FAST)
def dot_row_bytes(codes: Any, scales: Any, n_groups: Any, row: Any, row_scales: Any, row_sums: Any) -> Any:
    """16 outputs of one row of signed bytes, 8-bit codes."""
    total = floats(0.0)
    for group in range(n_groups):
        w, x = codes + 1024 * group, row + 64 * group
        even, odd = ints(0), ints(0)
        for i in range(0, 16, 2):
            prefetch(w + AHEAD + 64 * i)
            prefetch(w + AHEAD + 64 * i + 64)
            even = dot_bytes(even, load_ints(w + 64 * i), ints(load_int(x + 4 * i)))
            odd = dot_bytes(odd, load_ints(w + 64 * i + 64), ints(load_int(x + 4 * i + 4)))
        counts = add_ints(even, odd)
        row_scale, row_sum = load_float(row_scales + 4 * group), load_float(row_sums + 4 * group)
        total = scaled(total, counts, scales + 64 * group, row_scale, row_sum)
    return total


@njit(**FAST)
def dot_row_nibbles(codes: Any, scales: Any, n_groups: Any, row: Any, row_scales: Any, row_sums: Any) -> Any:
    """16 outputs of one row of signed bytes, 4-bit codes: inputs 0–31 of a group in the low nibbles."""
    total = floats(0.0)
    low = ints(0x0F0F0F0F)
    for group in range(n_groups):
        w, x = codes + 512 * group, row + 64 * group
        even, odd = ints(0), ints(0)
        for i in range(8):
            prefetch(w + AHEAD + 64 * i)
            both = load_ints(w + 64 * i)
            even = dot_bytes(even, and_ints(both, low), ints(load_int(x + 4 * i)))
            odd = dot_bytes(odd, and_ints(shift_right(both, 4), low), ints(load_int(x + 32 + 4 * i)))
        counts = add_ints(even, odd)
        row_scale, row_sum = load_float(row_scales + 4 * group), load_float(row_sums + 4 * group)
        total = scaled(total, counts, scales + 64 * group, row_scale, row_sum)
    return total


@njit(**FAST)
def dot_row_halves(codes: Any, n_inputs: Any, row: Any) -> Any:
    """16 outputs of one bfloat16 row."""
    even, odd = floats(0.0), floats(0.0)
    for k in range(0, n_inputs // 2, 2):
        prefetch(codes + AHEAD + 64 * k)
        prefetch(codes + AHEAD + 64 * k + 64)
        even = dot_halves(even, load_ints(codes + 64 * k), ints(load_int(row + 4 * k)))
        odd = dot_halves(odd, load_ints(codes + 64 * k + 64), ints(load_int(row + 4 * k + 4)))
    return add(even, odd)


@njit(**FAST)
def unpack_group(codes: Any, out: Any) -> None:
    """A group's 512 bytes of nibbles as 1024 bytes."""
    low = ints(0x0F0F0F0F)
    for i in range(0, 512, 64):
        both = load_ints(codes + i)
        store_ints(out + i, and_ints(both, low))
        store_ints(out + 512 + i, and_ints(shift_right(both, 4), low))


@njit(**FAST)
def widen(kind: Any, codes: Any, scales: Any, n_groups: Any, out: Any, buffer: Any) -> None:
    """16 outputs' byte or nibble weights as bfloat16 pairs, in the order of `HALVES`."""
    low = ints(255)
    for group in range(n_groups):
        w = codes + 1024 * group
        if kind == NIBBLES:
            unpack_group(codes + 512 * group, buffer)
            w = buffer
        scale, offset = load_halves(scales + 64 * group), load_halves(scales + 64 * group + 32)
        for i in range(16):
            four = load_ints(w + 64 * i)
            a = fma(to_floats(and_ints(four, low)), scale, offset)
            b = fma(to_floats(and_ints(shift_right(four, 8), low)), scale, offset)
            c = fma(to_floats(and_ints(shift_right(four, 16), low)), scale, offset)
            d = fma(to_floats(shift_right(four, 24)), scale, offset)
            to = out + (group * 16 + i) * 128
            store_ints(to, pair_halves(a, b))
            store_ints(to + 64, pair_halves(c, d))


@njit(**FAST)
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


@njit(**FAST)
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


@njit(**FAST)
def tiles_bytes(
    kind: Any, first: Any, second: Any, scales: Any, n_groups: Any, rows: Any, row_scales: Any, row_sums: Any,
    n_rows: Any, buffer: Any,
) -> None:  # fmt: skip
    """Up to 16 rows of signed bytes × 32 outputs; the buffer's first 2048 bytes get two 16 × 16 blocks."""
    counts, unpacked = buffer + 2048, buffer + 4096
    for i in range(0, 2048, 64):
        store_floats(buffer + i, floats(0.0))
    for group in range(n_groups):
        zero_0()
        zero_1()
        load_4(rows + 64 * group, 64 * n_groups)
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
        store_0(counts, 64)
        store_1(counts + 1024, 64)
        for half in range(2):
            at = scales + 64 * (half * n_groups + group)
            for row in range(n_rows):
                to = buffer + 1024 * half + 64 * row
                found = load_ints(counts + 1024 * half + 64 * row)
                row_scale = load_float(row_scales + 4 * (row * n_groups + group))
                row_sum = load_float(row_sums + 4 * (row * n_groups + group))
                store_floats(to, scaled(load_floats(to), found, at, row_scale, row_sum))


@njit(**FAST)
def finish_tile(tile: Any, n_rows: Any, bias: Any, out: Any, stride: Any, epilogue: Any) -> None:
    """Bias and epilogue of a 16 × 16 block."""
    for row in range(n_rows):
        finish(load_floats(tile + 64 * row), bias, out + row * stride, epilogue)


@njit(**FAST)
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


@njit(**FAST)
def pair_bytes_rows(
    kind: Any, first: Any, second: Any, scales: Any, bias: Any, n_groups: Any, n_rows: Any, rows: Any,
    row_scales: Any, row_sums: Any, out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """32 outputs of any number of rows of signed bytes."""
    other = bias + 64 if bias != 0 else bias
    lower = scales + 64 * n_groups
    if HAS_TILES and n_rows > FEW_ROWS:
        for row in range(0, n_rows, 16):
            x, xs, xm = (
                rows + 64 * row * n_groups,
                row_scales + 4 * row * n_groups,
                row_sums + 4 * row * n_groups,
            )
            n, to = min(n_rows - row, 16), out + row * stride
            tiles_bytes(kind, first, second, scales, n_groups, x, xs, xm, n, buffer)
            finish_tile(buffer, n, bias, to, stride, epilogue)
            finish_tile(buffer + 1024, n, other, to + 64, stride, epilogue)
        return
    for row in range(n_rows):
        x, xs, xm = rows + 64 * row * n_groups, row_scales + 4 * row * n_groups, row_sums + 4 * row * n_groups
        to = out + row * stride
        if kind == NIBBLES:
            finish(dot_row_nibbles(first, scales, n_groups, x, xs, xm), bias, to, epilogue)
            finish(dot_row_nibbles(second, lower, n_groups, x, xs, xm), other, to + 64, epilogue)
        else:
            finish(dot_row_bytes(first, scales, n_groups, x, xs, xm), bias, to, epilogue)
            finish(dot_row_bytes(second, lower, n_groups, x, xs, xm), other, to + 64, epilogue)


@njit(**FAST)
def linear_pair(
    kind: Any, pair: Any, codes: Any, scales: Any, bias: Any, n_inputs: Any, as_bytes: Any, n_rows: Any, rows: Any,
    row_scales: Any, row_sums: Any, out: Any, stride: Any, epilogue: Any, buffer: Any,
) -> None:  # fmt: skip
    """Outputs 32·pair … 32·pair + 31 of all rows; the buffer holds 8 KiB and 64 bytes per input."""
    n_groups = n_inputs // 64
    block_bytes = 32 * n_inputs if kind == HALVES else 8 * n_inputs if kind == NIBBLES else 16 * n_inputs
    first = codes + 2 * pair * block_bytes
    second, at = first + block_bytes, scales + 128 * pair * n_groups
    to, above = out + 128 * pair, bias + 128 * pair if bias != 0 else bias
    if kind != HALVES and as_bytes:
        pair_bytes_rows(
            kind,
            first,
            second,
            at,
            above,
            n_groups,
            n_rows,
            rows,
            row_scales,
            row_sums,
            to,
            stride,
            epilogue,
            buffer,
        )
        return
    if kind != HALVES:
        panel = buffer + 8192
        widen(kind, first, at, n_groups, panel, buffer)
        widen(kind, second, at + 64 * n_groups, n_groups, panel + 32 * n_inputs, buffer)
        first, second = panel, panel + 32 * n_inputs
    pair_halves_rows(first, second, above, n_inputs, n_rows, rows, to, stride, epilogue, buffer)
