"""Matrix products of any size from blocks of 32 × 32, with what follows a product done while its result is at hand.

The left operand is packed a panel at a time into the second-level cache; a column of blocks of the right operand, at
most `CHUNK` deep, stays in the first-level cache while the panel's row blocks pass over it.

In: left (M, K) bfloat16, or (K, M) with `turned`; right packed by `pack_right` or `pack_right_turned`, of which the
blocks from `k_first` of `k_total` are used. Out: by `mode`. Sides are multiples of 32.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fourhorn.training.kernels import vector as v
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product, address
from fourhorn.training.kernels.pack import left_block, left_block_turned

PANEL_NUMBERS = 1 << 19  # bfloat16 numbers of a packed panel: 1 MiB
PANEL_ROWS = 512
CHUNK = 12  # blocks along K that stay in the first-level cache: 24 KiB

LOW, GELU, RESIDUAL, SLOPE, SET, ADD = range(6)


def scratch_numbers(most_k: int) -> int:
    """uint16 numbers `product` needs as scratch for products over at most `most_k`."""
    return max(PANEL_NUMBERS, BLOCK * most_k) + 2 * PANEL_ROWS * BLOCK + 2 * BLOCK_NUMBERS


def _finisher(finish: Callable[..., None]) -> Any:
    """A kernel that hands each 16 results of a block, four tiles at `tiles`, to `finish` with their places.

    `first` and `second` are addresses where the block begins in two row-major matrices `first_row` and `second_row`
    bytes wide; `shift` is the address of its columns' biases.
    """
    sizes = (4 if finish in (_set, _add, _residual) else 2, 4 if finish is _residual else 2)

    @intrinsic
    def kernel(typing_context, tiles, first, first_row, second, second_row, shift):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            tiles, first, first_row, second, second_row, shift = arguments

            def constant(n: int) -> Any:
                return ir.Constant(v.I64, n)

            for tile in range(4):
                down, right = 16 * (tile // 2), 16 * (tile % 2)
                bias = v.load(builder, builder.add(shift, constant(4 * right))) if finish in _BIASED else None
                with cgutils.for_range(builder, constant(16)) as loop:
                    row = builder.add(loop.index, constant(down))
                    from_ = builder.add(
                        tiles, builder.add(builder.shl(loop.index, constant(6)), constant(1024 * tile))
                    )
                    to = builder.add(
                        builder.add(first, builder.mul(row, first_row)), constant(sizes[0] * right)
                    )
                    other = builder.add(
                        builder.add(second, builder.mul(row, second_row)), constant(sizes[1] * right)
                    )
                    finish(v.load(builder, from_), to, other, bias)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return kernel


def _low(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store_low(x + bias, to)


def _gelu(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store_low(x + bias, to)
    v.store_low(v.gelu(x + bias), other)


def _residual(x: v.Vector, to: Any, other: Any, bias: v.Vector) -> None:
    v.store(v.load(x.builder, other) + x + bias, to)


def _slope(x: v.Vector, to: Any, other: Any, bias: None) -> None:
    v.store_low(x * v.gelu_slope(v.load_low(x.builder, other)), to)


def _set(x: v.Vector, to: Any, other: Any, bias: None) -> None:
    v.store(x, to)


def _add(x: v.Vector, to: Any, other: Any, bias: None) -> None:
    v.store(v.load(x.builder, to) + x, to)


_BIASED = (_low, _gelu, _residual)
_finish_low, _finish_gelu, _finish_residual, _finish_slope, _finish_set, _finish_add = (
    _finisher(f) for f in (_low, _gelu, _residual, _slope, _set, _add)
)


@njit(**OPTIONS)
def product(
    mode: int, left: Any, turned: bool, right: Any, k_total: int, k_first: int, n: int, scratch: Any,
    out_low: Any, other_low: Any, out: Any, base: Any, bias: Any,
) -> None:  # fmt: skip
    """left · right, finished as `mode` says.

    LOW       out_low = result + bias
    GELU      out_low = result + bias, other_low = its GELU
    RESIDUAL  out = base + result + bias
    SLOPE     out_low = result · GELU′(other_low)
    SET, ADD  out = result, out += result
    """
    m, k = (left.shape[1], left.shape[0]) if turned else (left.shape[0], left.shape[1])
    n_k, n_n = k // BLOCK, n // BLOCK
    panel_rows = max(min(PANEL_NUMBERS // k, PANEL_ROWS) // BLOCK, 1) * BLOCK
    packed = address(scratch)
    spare = packed + 2 * (scratch.shape[0] - 2 * PANEL_ROWS * BLOCK - 2 * BLOCK_NUMBERS)
    sums = spare + 4 * BLOCK_NUMBERS
    place, row_bytes, blocks = address(left), left.strides[0], address(right)
    for m0 in range(0, m, panel_rows):
        n_m = min(panel_rows, m - m0) // BLOCK
        for i in range(n_m):
            for j in range(n_k):
                target = packed + 2 * BLOCK_NUMBERS * (i * n_k + j)
                if turned:
                    left_block_turned(
                        place + j * BLOCK * row_bytes + 2 * (m0 + i * BLOCK), row_bytes, target, spare
                    )
                else:
                    left_block(place + (m0 + i * BLOCK) * row_bytes + j * 64, row_bytes, target)
        for column in range(n_n):
            for j in range(0, n_k, CHUNK):
                depth = min(CHUNK, n_k - j)
                b = blocks + 2 * BLOCK_NUMBERS * (column * k_total + k_first + j)
                for i in range(n_m):
                    a = packed + 2 * BLOCK_NUMBERS * (i * n_k + j)
                    tiles = sums + 4 * BLOCK_NUMBERS * i
                    add_block_product(tiles, j, a, b, depth)
                    if j + depth == n_k and i > 0:  # one block behind: tiles just stored are slow to read
                        finish(
                            mode, tiles - 4 * BLOCK_NUMBERS, m0 + (i - 1) * BLOCK, column * BLOCK,
                            out_low, other_low, out, base, bias,
                        )  # fmt: skip
            finish(
                mode, sums + 4 * BLOCK_NUMBERS * (n_m - 1), m0 + (n_m - 1) * BLOCK, column * BLOCK,
                out_low, other_low, out, base, bias,
            )  # fmt: skip


@njit(**OPTIONS)
def finish(
    mode: int, tiles: int, m: int, n: int, out_low: Any, other_low: Any, out: Any, base: Any, bias: Any
) -> None:
    """Put one block of results, four tiles of 16 × 16 at an address, in its place."""
    low_row, other_row, row, base_row = (
        out_low.strides[0],
        other_low.strides[0],
        out.strides[0],
        base.strides[0],
    )
    low, other = address(out_low) + m * low_row + 2 * n, address(other_low) + m * other_row + 2 * n
    to, before = address(out) + m * row + 4 * n, address(base) + m * base_row + 4 * n
    shift = address(bias) + 4 * n
    if mode == LOW:
        _finish_low(tiles, low, low_row, other, other_row, shift)
    elif mode == GELU:
        _finish_gelu(tiles, low, low_row, other, other_row, shift)
    elif mode == RESIDUAL:
        _finish_residual(tiles, to, row, before, base_row, shift)
    elif mode == SLOPE:
        _finish_slope(tiles, low, low_row, other, other_row, shift)
    elif mode == SET:
        _finish_set(tiles, to, row, before, base_row, shift)
    else:
        _finish_add(tiles, to, row, before, base_row, shift)
