"""Matrix products of any size from blocks of 32 × 32, with what follows a product done while its result is at hand.

The left operand is packed a panel at a time into the second-level cache; a column of blocks of the right operand, at
most `CHUNK` deep, stays in the first-level cache while the panel's row blocks pass over it. Meanwhile the next one, and
what the next block's result is added to, are asked for.

In: addresses (`amx.address`) of left (M, K) bfloat16, or (K, M) with `turned`, rows `left_row` bytes apart; of right,
packed by `pack_right` or `pack_right_turned`. Out: by `mode`. Sides are multiples of 32, addresses of 64 bytes.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fourhorn.training.kernels import vector as v
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product_and_fetch
from fourhorn.training.kernels.pack import left_block, left_block_turned

PANEL_NUMBERS = 1 << 19  # bfloat16 numbers of a packed panel: 1 MiB
PANEL_ROWS = 512
CHUNK = 8  # blocks along K that stay in the first-level cache: 16 KiB, and as much of the left operand
BLOCK_BYTES = 2 * BLOCK_NUMBERS
BLOCK_LINES = BLOCK_BYTES // 64  # cache lines
SUMS_ROW = 4 * BLOCK  # bytes of a row of sums, block by block
SUMS_BYTES = 4 * BLOCK_NUMBERS

LOW, GELU, RESIDUAL, SLOPE, SET, ADD = range(6)


def scratch_numbers(most_k: int) -> int:
    """uint16 numbers `product` needs as scratch for products over at most `most_k`."""
    return max(PANEL_NUMBERS, BLOCK * most_k) + 2 * PANEL_ROWS * BLOCK + 2 * BLOCK_NUMBERS


def _finisher(
    finish: Callable[..., tuple[v.Vector, v.Vector | None]], n_bytes: tuple[int, int] = (2, 2)
) -> Any:
    """A kernel that puts a block of sums, 32 × 32 at `sums`, in its place in one or two row-major matrices.

    `finish` makes of 16 sums what goes to the first and, where it is not None, to the second matrix; it may read what
    is there. `first` and `second` are where the block begins in them, `first_row` and `second_row` bytes wide, with
    numbers of `n_bytes`; `shift` is the address of its columns' biases, `n_rows` is 32.
    """

    @intrinsic
    def kernel(typing_context, sums, first, first_row, second, second_row, shift, n_rows):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            sums, first, first_row, second, second_row, shift, n_rows = arguments

            def beyond(address: Any, n: int) -> Any:
                return builder.add(address, ir.Constant(v.I64, n))

            halves = (0, v.LANES)
            biases = [
                v.load(builder, beyond(shift, 4 * half)) if finish in _BIASED else None for half in halves
            ]
            with cgutils.for_range(builder, n_rows) as loop:
                from_ = builder.add(sums, builder.mul(loop.index, ir.Constant(v.I64, SUMS_ROW)))
                to = builder.add(first, builder.mul(loop.index, first_row))
                other = builder.add(second, builder.mul(loop.index, second_row))
                results = [
                    finish(v.load(builder, beyond(from_, 4 * half)), beyond(other, n_bytes[1] * half), bias)
                    for half, bias in zip(halves, biases, strict=True)
                ]
                for place, (low, high) in zip((to, other), zip(*results, strict=True), strict=True):
                    if low is not None:
                        (v.store_pair if n_bytes[0] == 4 else v.store_pair_low)(low, high, place)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return kernel


def _low(x: v.Vector, other: Any, bias: v.Vector) -> tuple[v.Vector, None]:
    return x + bias, None


def _gelu(x: v.Vector, other: Any, bias: v.Vector) -> tuple[v.Vector, v.Vector]:
    return x + bias, v.gelu(x + bias)


def _residual(x: v.Vector, other: Any, bias: v.Vector) -> tuple[v.Vector, None]:
    return v.load(x.builder, other) + x + bias, None


def _slope(x: v.Vector, other: Any, bias: None) -> tuple[v.Vector, v.Vector]:
    active, slope = v.gelu_and_slope(v.load_low(x.builder, other))
    return x * slope, active


def _scaled(x: v.Vector, other: Any, bias: None) -> tuple[v.Vector, None]:
    return x * v.load_one(x.builder, other), None


_BIASED = (_low, _gelu, _residual)
finish_low, _finish_gelu, _finish_slope = (_finisher(f) for f in (_low, _gelu, _slope))
_finish_residual, finish_scaled = _finisher(_residual, (4, 4)), _finisher(_scaled, (2, 0))


@njit(**OPTIONS)
def product(
    mode: int, left: int, left_row: int, turned: bool, m: int, k: int, right: int, n: int, scratch: int,
    first: int, first_row: int, second: int, second_row: int, bias: int,
) -> None:  # fmt: skip
    """left · right, finished as `mode` says; `first` and `second` are matrices of M rows.

    LOW       first = result + bias                         bfloat16
    GELU      first = result + bias, second = its GELU      bfloat16
    RESIDUAL  first = second + result + bias                float32
    SLOPE     first = result · GELU′(second), then second = GELU(second)    bfloat16
    SET, ADD  first = result, first += result               float32
    """
    n_k = k // BLOCK
    size = 4 if mode >= SET or mode == RESIDUAL else 2
    panel_rows = max(min(PANEL_NUMBERS // k, PANEL_ROWS) // BLOCK, 1) * BLOCK
    spare = scratch + 2 * max(PANEL_NUMBERS, BLOCK * k)
    sums = spare + 2 * BLOCK_NUMBERS
    for m0 in range(0, m, panel_rows):
        n_m = min(panel_rows, m - m0) // BLOCK
        for i in range(n_m):
            for j in range(n_k):
                target = scratch + BLOCK_BYTES * (i * n_k + j)
                if turned:
                    left_block_turned(
                        left + j * BLOCK * left_row + 2 * (m0 + i * BLOCK), left_row, target, spare
                    )
                else:
                    left_block(left + (m0 + i * BLOCK) * left_row + j * 64, left_row, target)
        for column in range(n // BLOCK):
            column_of_blocks(
                mode, scratch, n_m, n_k, right + BLOCK_BYTES * column * n_k, sums,
                first + m0 * first_row + size * BLOCK * column, first_row,
                second + m0 * second_row + size * BLOCK * column, second_row, bias + 4 * BLOCK * column,
            )  # fmt: skip


@njit(**OPTIONS)
def column_of_blocks(
    mode: int, panel: int, n_m: int, n_k: int, right: int, sums: int, first: int, first_row: int, second: int,
    second_row: int, bias: int,
) -> None:  # fmt: skip
    """One column of a panel's result: `n_m` blocks of rows times one column of `n_k` blocks at `right`."""
    direct = mode >= SET
    # What the result is added to or multiplied by: its address, bytes between rows, bytes of a block's row.
    read, read_row = (first, first_row) if direct else (second, second_row)
    read_width = 64 if mode == SLOPE else 128
    n_lines = (BLOCK_LINES + n_m - 1) // n_m
    for j in range(0, n_k, CHUNK):
        depth = min(CHUNK, n_k - j)
        last = j + depth == n_k
        here = right + BLOCK_BYTES * j
        reads = j == 0 and mode in (ADD, RESIDUAL, SLOPE)
        n_rows = (BLOCK + depth - 1) // depth if reads else 0
        for i in range(n_m):
            place, block = first + i * BLOCK * first_row, sums + SUMS_BYTES * i
            start, start_row, out, out_row = block, SUMS_ROW, block, SUMS_ROW
            if j == 0:
                start, start_row = place if mode == ADD else 0, first_row
            if direct and last:
                out, out_row = place, first_row
            next_read = read + (i + 1) * BLOCK * read_row if i + 1 < n_m else read + read_width
            add_block_product_and_fetch(
                out, out_row, start, start_row, panel + BLOCK_BYTES * (i * n_k + j), here, depth,
                here + BLOCK_BYTES * depth + 64 * n_lines * depth * i, n_lines, next_read, read_row, n_rows,
                read_width - 64,
            )  # fmt: skip
            if last and not direct and i > 0:  # one block behind: tiles just stored are slow to read
                row = (i - 1) * BLOCK
                finish(
                    mode, block - SUMS_BYTES, place - BLOCK * first_row, first_row, second + row * second_row,
                    second_row, bias, BLOCK,
                )  # fmt: skip
    if not direct:
        row = (n_m - 1) * BLOCK
        finish(
            mode, sums + SUMS_BYTES * (n_m - 1), first + row * first_row, first_row, second + row * second_row,
            second_row, bias, BLOCK,
        )  # fmt: skip


@njit(**OPTIONS)
def finish(
    mode: int, sums: int, first: int, first_row: int, second: int, second_row: int, shift: int, n_rows: int
) -> None:
    """Put one block of sums in its place."""
    if mode == LOW:
        finish_low(sums, first, first_row, second, second_row, shift, n_rows)
    elif mode == GELU:
        _finish_gelu(sums, first, first_row, second, second_row, shift, n_rows)
    elif mode == RESIDUAL:
        _finish_residual(sums, first, first_row, second, second_row, shift, n_rows)
    else:
        _finish_slope(sums, first, first_row, second, second_row, shift, n_rows)
