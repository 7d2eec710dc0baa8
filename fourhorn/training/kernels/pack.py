"""Row-major matrices into the blocks that `amx` multiplies, and numbers into bfloat16 and back.

A packed matrix is a sequence of blocks of 32 × 32, so that the blocks one product sums over lie side by side:
left operands as [row block][column block], right ones as [column block][row block].

In: addresses of bfloat16 matrices whose rows lie `row_bytes` apart, both sides multiples of 32. Out: packed blocks.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fourhorn.sampling.squares import interleave, turn
from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS


@intrinsic
def bits_of(typing_context, value):  # type: ignore[no-untyped-def]
    """A float32's bits as uint32."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def of_bits(typing_context, value):  # type: ignore[no-untyped-def]
    """The float32 with these bits (uint32)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@njit(inline="always", **OPTIONS)
def narrow(value: Any) -> Any:
    """A float32 as bfloat16 (uint16), rounded to nearest even."""
    bits = bits_of(np.float32(value))
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@njit(inline="always", **OPTIONS)
def widen(value: Any) -> Any:
    """A bfloat16 (uint16) as float32."""
    return of_bits(np.uint32(value) << np.uint32(16))


@njit(**OPTIONS)
def left_block(place: int, row_bytes: int, out: int) -> None:
    """Copy one block of 32 × 32 from a row-major matrix: the left operand's own order."""
    for r in range(BLOCK):
        copy_row(place + r * row_bytes, out + 64 * r)


@intrinsic
def copy_row(typing_context, source, destination):  # type: ignore[no-untyped-def]
    """Copy 64 bytes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.IntType(32), 16).as_pointer()
        source, destination = (builder.inttoptr(a, vector) for a in arguments)
        builder.store(builder.load(source, align=4), destination, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@njit(**OPTIONS)
def right_block(place: int, row_bytes: int, out: int) -> None:
    """One block as right operand: two tiles of 16 pairs of rows × 16 columns."""
    for half in range(2):
        for pair in range(16):
            row = place + 2 * pair * row_bytes + 32 * half
            interleave(row, row + row_bytes, out + 1024 * half + 64 * pair)


@njit(**OPTIONS)
def right_block_turned(place: int, row_bytes: int, out: int) -> None:
    """One block, transposed, as right operand: pairs of columns are 32-bit numbers, so a transposition of those."""
    turn(place, row_bytes, out)
    turn(place + 16 * row_bytes, row_bytes, out + 1024)


@njit(**OPTIONS)
def left_block_turned(place: int, row_bytes: int, out: int, scratch: int) -> None:
    """One block, transposed, as left operand."""
    right_block(place, row_bytes, scratch)
    turn(scratch, 64, out)
    turn(scratch + 1024, 64, out + 1024)


@njit(**OPTIONS)
def pack_right(place: int, row_bytes: int, k: int, n: int, out: int) -> None:
    """A (K, N) matrix as right operand of products over K: blocks [N/32][K/32]."""
    n_k = k // BLOCK
    for i in range(n_k):
        for j in range(n // BLOCK):
            source = place + i * BLOCK * row_bytes + j * 64
            right_block(source, row_bytes, out + 2 * BLOCK_NUMBERS * (j * n_k + i))


@njit(**OPTIONS)
def pack_right_turned(place: int, row_bytes: int, n: int, k: int, out: int) -> None:
    """A (N, K) matrix, transposed, as right operand of products over K: blocks [N/32][K/32]."""
    n_k = k // BLOCK
    for j in range(n // BLOCK):
        for i in range(n_k):
            source = place + j * BLOCK * row_bytes + i * 64
            right_block_turned(source, row_bytes, out + 2 * BLOCK_NUMBERS * (j * n_k + i))


@njit(**OPTIONS)
def turn_packed(packed: int, n: int, k: int, out: int, spare: int) -> None:
    """What `pack_right_turned` made of a (N, K) matrix as `pack_right` would have packed it: for products over N."""
    n_n, n_k = n // BLOCK, k // BLOCK
    for j in range(n_n):
        for i in range(n_k):
            source = packed + 2 * BLOCK_NUMBERS * (j * n_k + i)
            right_block_turned(
                source, 64, spare
            )  # 16 × 16 numbers of 32 bits: turning them twice turns them back
            right_block(spare, 64, out + 2 * BLOCK_NUMBERS * (i * n_n + j))
