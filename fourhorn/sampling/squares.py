"""Rows of numbers turned and interleaved in vector registers: what lays operands out for the products of tiles."""

from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.vectors import ADDRESS, N_LANES, at, operation

_i32, _i64 = ir.IntType(32), ir.IntType(64)
_ints = ir.VectorType(_i32, N_LANES)


def _transposed(b: Any, rows: list[Any]) -> list[Any]:
    """16 vectors of 16 as the transposed square: four rounds, each exchanging one bit of row and column."""
    for distance in (1, 2, 4, 8):
        low = [lane - distance + N_LANES if lane & distance else lane for lane in range(N_LANES)]
        high = [lane + N_LANES if lane & distance else lane + distance for lane in range(N_LANES)]
        orders = [ir.Constant(_ints, order) for order in (low, high)]
        pairs = {i: (rows[i], rows[i + distance]) for i in range(N_LANES) if not i & distance}
        rows = list(rows)
        for i, pair in pairs.items():
            rows[i], rows[i + distance] = (b.shuffle_vector(*pair, order) for order in orders)
    return rows


@operation(types.void, ADDRESS, ADDRESS, ADDRESS)
def turn(b: Any, source: Any, row_bytes: Any, out: Any) -> None:
    """Transpose 16 × 16 numbers of 32 bits: rows `row_bytes` apart at `source`, 64 bytes apart at `out`."""
    rows = []
    for i in range(N_LANES):
        place = b.add(source, b.mul(row_bytes, _i64(i)))
        rows.append(b.load(at(b, place, _ints), align=1))
    for i, row in enumerate(_transposed(b, rows)):
        b.store(row, at(b, b.add(out, _i64(64 * i)), _ints), align=1)


@operation(types.void, ADDRESS, ADDRESS, ADDRESS)
def interleave(b: Any, first: Any, second: Any, out: Any) -> None:
    """Interleave 16 numbers of 16 bits of two rows: first[0], second[0], first[1], …"""
    short = ir.VectorType(ir.IntType(16), N_LANES)
    one, other = (b.zext(b.load(at(b, place, short), align=1), _ints) for place in (first, second))
    both = b.or_(one, b.shl(other, ir.Constant(_ints, [16] * N_LANES)))
    b.store(both, at(b, out, _ints), align=1)
