"""AMX tiles as functions that Numba code can call: blocks of 16 × 16 totals from one instruction.

Tiles 0–3 hold totals, 4 and 5 the activations of 16 rows each, 6 and 7 the weights of 16 outputs each: 64 bytes a row,
32 bfloat16 pairs or 64 bytes deep. Every thread sets the shapes before it uses tiles, and releases them after.
In: addresses, and the bytes from one row to the next. To be run only where `HAS_TILES`; elsewhere these functions are
empty, for kernels that hold both ways are compiled whole, and no other processor's compiler knows the instructions.
"""

from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.vectors import ADDRESS, at, call, operation

_i8 = ir.IntType(8)


def _tile_call(b: Any, name: str, arguments: list[Any]) -> None:
    if HAS_TILES:
        call(b, name, ir.VoidType(), arguments)


def _tile(number: int, name: str) -> Any:
    """`name` on the tile register `number`, with an address and the bytes between two rows of 64 bytes."""

    @operation(types.void, ADDRESS, ADDRESS)
    def move(b: Any, address: Any, stride: Any) -> None:
        _tile_call(b, name, [_i8(number), at(b, address, _i8), stride])

    return move


def _tile_zero(number: int) -> Any:
    @operation(types.void)
    def zero(b: Any) -> None:
        _tile_call(b, "llvm.x86.tilezero", [_i8(number)])

    return zero


def _tile_dot(total: int, x: int, y: int, name: str) -> Any:
    @operation(types.void)
    def dot(b: Any) -> None:
        _tile_call(b, name, [_i8(total), _i8(x), _i8(y)])

    return dot


_move, _halves, _bytes = "llvm.x86.tileloadd64", "llvm.x86.tdpbf16ps", "llvm.x86.tdpbssd"
zero_0, zero_1, zero_2, zero_3 = (_tile_zero(n) for n in range(4))
store_0, store_1, store_2, store_3 = (_tile(n, "llvm.x86.tilestored64") for n in range(4))
load_4, load_5, load_6, load_7 = (_tile(n, _move) for n in range(4, 8))
dot_halves_046, dot_halves_147 = _tile_dot(0, 4, 6, _halves), _tile_dot(1, 4, 7, _halves)
dot_halves_256, dot_halves_357 = _tile_dot(2, 5, 6, _halves), _tile_dot(3, 5, 7, _halves)
dot_bytes_046, dot_bytes_147 = _tile_dot(0, 4, 6, _bytes), _tile_dot(1, 4, 7, _bytes)


@operation(types.void, ADDRESS)
def tile_configure(b: Any, address: Any) -> None:
    """Set the shapes of all tiles from 64 bytes (see `layout.TILE_SHAPES`)."""
    _tile_call(b, "llvm.x86.ldtilecfg", [at(b, address, _i8)])


@operation(types.void)
def tile_release(b: Any) -> None:
    """Give the tiles back, so that task switches need not save them."""
    _tile_call(b, "llvm.x86.tilerelease", [])
