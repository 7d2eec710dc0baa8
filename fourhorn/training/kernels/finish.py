"""What happens to a block of a product's sums on its way to its place: bias, GELU, residual, number format.

In, by address: `sums`, 32 × 32 float32 with rows of `SUMS_ROW` bytes; `first` and `second`, where the block begins in
two row-major matrices with rows of `first_row` and `second_row` bytes; `shift`, the biases of the block's columns.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fourhorn.training.kernels import vector as v
from fourhorn.training.kernels.amx import BLOCK, OPTIONS

SUMS_ROW = 4 * BLOCK
LOW, GELU, RESIDUAL, SLOPE, SET, ADD = range(6)  # see `product`; the last two need no finishing
_HALVES = (0, v.LANES)
Way = Callable[[v.Vector, Any, Any], tuple[v.Vector, v.Vector | None]]


def _finisher(way: Way, n_bytes: tuple[int, int] = (2, 2)) -> Any:
    """A kernel that finishes a block; numbers of the two matrices have `n_bytes`.

    `way` makes of 16 sums what goes to the first and, where it is not None, to the second matrix; it gets the address
    of what is in the second, and the biases.
    """

    @intrinsic
    def kernel(typing_context, sums, first, first_row, second, second_row, shift):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            sums, first, first_row, second, second_row, shift = arguments

            def beyond(address: Any, n: int) -> Any:
                return builder.add(address, ir.Constant(v.I64, n))

            biases = [
                v.load(builder, beyond(shift, 4 * half)) if way in _BIASED else None for half in _HALVES
            ]
            with cgutils.for_range(builder, ir.Constant(v.I64, BLOCK)) as loop:
                from_ = builder.add(sums, builder.mul(loop.index, ir.Constant(v.I64, SUMS_ROW)))
                to = builder.add(first, builder.mul(loop.index, first_row))
                other = builder.add(second, builder.mul(loop.index, second_row))
                results = [
                    way(v.load(builder, beyond(from_, 4 * half)), beyond(other, n_bytes[1] * half), bias)
                    for half, bias in zip(_HALVES, biases, strict=True)
                ]
                for target, (low, high) in zip((to, other), zip(*results, strict=True), strict=True):
                    if low is not None:
                        (v.store_pair if n_bytes[0] == 4 else v.store_pair_low)(low, high, target)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return kernel


def _low(x: v.Vector, other: Any, bias: Any) -> tuple[v.Vector, None]:
    return x + bias, None


def _gelu(x: v.Vector, other: Any, bias: Any) -> tuple[v.Vector, v.Vector]:
    return x + bias, v.gelu(x + bias)


def _residual(x: v.Vector, other: Any, bias: Any) -> tuple[v.Vector, None]:
    return v.load(x.builder, other) + x + bias, None


def _slope(x: v.Vector, other: Any, bias: Any) -> tuple[v.Vector, v.Vector]:
    active, slope = v.gelu_and_slope(v.load_low(x.builder, other))
    return x * slope, active


def _scaled(x: v.Vector, other: Any, bias: Any) -> tuple[v.Vector, None]:
    return x * v.load_one(x.builder, other), None


_BIASED = (_low, _gelu, _residual)
finish_low, finish_gelu, finish_slope = (_finisher(way) for way in (_low, _gelu, _slope))
finish_residual, finish_scaled = _finisher(_residual, (4, 4)), _finisher(_scaled, (2, 0))


@njit(**OPTIONS)
def finish(
    mode: int, sums: int, first: int, first_row: int, second: int, second_row: int, shift: int
) -> None:  # fmt: skip
    """Put one block of sums in its place."""
    if mode == LOW:
        finish_low(sums, first, first_row, second, second_row, shift)
    elif mode == GELU:
        finish_gelu(sums, first, first_row, second, second_row, shift)
    elif mode == RESIDUAL:
        finish_residual(sums, first, first_row, second, second_row, shift)
    else:
        finish_slope(sums, first, first_row, second, second_row, shift)
