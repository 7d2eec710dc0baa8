"""Matrix products of any size from blocks of 32 × 32, with what follows a product done while its result is at hand.

The left operand is packed a panel at a time into the second-level cache; a column of blocks of the right operand, at
most `CHUNK` deep, stays in the first-level cache while the panel's row blocks pass over it.

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
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product
from fourhorn.training.kernels.pack import left_block, left_block_turned

PANEL_NUMBERS = 1 << 19  # bfloat16 numbers of a packed panel: 1 MiB
PANEL_ROWS = 512
CHUNK = 12  # blocks along K that stay in the first-level cache: 24 KiB
SUMS_ROW = 4 * BLOCK  # bytes of a row of sums, block by block
SUMS_BYTES = 4 * BLOCK_NUMBERS

LOW, GELU, RESIDUAL, SLOPE, SET, ADD = range(6)


def scratch_numbers(most_k: int) -> int:
    """uint16 numbers `product` needs as scratch for products over at most `most_k`."""
    return max(PANEL_NUMBERS, BLOCK * most_k) + 2 * PANEL_ROWS * BLOCK + 2 * BLOCK_NUMBERS


def _finisher(finish: Callable[..., None]) -> Any:
    """A kernel that hands each 16 sums of a block, 32 × 32 at `sums`, to `finish` with their places.

    `first` and `second` are addresses where the block begins in two row-major matrices `first_row` and `second_row`
    bytes wide; `shift` is the address of its columns' biases, `n_rows` is 32.
    """
    sizes = {_residual: (4, 4), _scaled: (2, 0)}.get(finish, (2, 2))

    @intrinsic
    def kernel(typing_context, sums, first, first_row, second, second_row, shift, n_rows):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            sums, first, first_row, second, second_row, shift, n_rows = arguments

            def beyond(address: Any, n: int) -> Any:
                return builder.add(address, ir.Constant(v.I64, n))

            halves = (0, v.LANES)
            biases = [
                v.load(builder, beyond(shift, 4 * right)) if finish in _BIASED else None for right in halves
            ]
            with cgutils.for_range(builder, n_rows) as loop:
                from_ = builder.add(sums, builder.mul(loop.index, ir.Constant(v.I64, SUMS_ROW)))
                to = builder.add(first, builder.mul(loop.index, first_row))
                other = builder.add(second, builder.mul(loop.index, second_row))
                for right, bias in zip(halves, biases, strict=True):
                    result = v.load(builder, beyond(from_, 4 * right))
                    finish(result, beyond(to, sizes[0] * right), beyond(other, sizes[1] * right), bias)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return kernel


def _low(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store_low(x + bias, to)


def _gelu(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store_low(x + bias, to)
    v.store_low(v.gelu(x + bias), other)


def _residual(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store(v.load(x.builder, other) + x + bias, to)


def _slope(x: v.Vector, to: Any, other: Any, bias: None) -> None:
    active, slope = v.gelu_and_slope(v.load_low(x.builder, other))
    v.store_low(x * slope, to)
    v.store_low(active, other)


def _scaled(x: v.Vector, to: Any, other: Any, bias: None) -> None:
    v.store_low(x * v.load_one(x.builder, other), to)


_BIASED = (_low, _gelu, _residual)
finish_low, _finish_gelu, _finish_residual, _finish_slope, finish_scaled = (
    _finisher(f) for f in (_low, _gelu, _residual, _slope, _scaled)
)


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
    n_k, direct = k // BLOCK, mode >= SET
    size = 4 if direct or mode == RESIDUAL else 2
    panel_rows = max(min(PANEL_NUMBERS // k, PANEL_ROWS) // BLOCK, 1) * BLOCK
    spare = scratch + 2 * max(PANEL_NUMBERS, BLOCK * k)
    sums = spare + 2 * BLOCK_NUMBERS
    for m0 in range(0, m, panel_rows):
        n_m = min(panel_rows, m - m0) // BLOCK
        for i in range(n_m):
            for j in range(n_k):
                target = scratch + 2 * BLOCK_NUMBERS * (i * n_k + j)
                if turned:
                    left_block_turned(
                        left + j * BLOCK * left_row + 2 * (m0 + i * BLOCK), left_row, target, spare
                    )
                else:
                    left_block(left + (m0 + i * BLOCK) * left_row + j * 64, left_row, target)
        for column in range(n // BLOCK):
            to = first + m0 * first_row + size * BLOCK * column
            other = second + m0 * second_row + size * BLOCK * column
            shift = bias + 4 * BLOCK * column
            for j in range(0, n_k, CHUNK):
                depth = min(CHUNK, n_k - j)
                b = right + 2 * BLOCK_NUMBERS * (column * n_k + j)
                for i in range(n_m):
                    a = scratch + 2 * BLOCK_NUMBERS * (i * n_k + j)
                    if direct:
                        place = to + i * BLOCK * first_row
                        start = place if mode == ADD or j > 0 else 0
                        add_block_product(place, first_row, start, first_row, a, b, depth)
                        continue
                    place = sums + SUMS_BYTES * i
                    add_block_product(place, SUMS_ROW, place if j > 0 else 0, SUMS_ROW, a, b, depth)
                    if j + depth == n_k and i > 0:  # one block behind: tiles just stored are slow to read
                        row = (i - 1) * BLOCK
                        finish(
                            mode, place - SUMS_BYTES, to + row * first_row, first_row, other + row * second_row,
                            second_row, shift, BLOCK,
                        )  # fmt: skip
            if not direct:
                row = (n_m - 1) * BLOCK
                finish(
                    mode, sums + SUMS_BYTES * (n_m - 1), to + row * first_row, first_row,
                    other + row * second_row, second_row, shift, BLOCK,
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
