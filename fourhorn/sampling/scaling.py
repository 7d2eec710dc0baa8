"""Integer products of a tile, scaled and added up: the float32 totals of all rows stay in registers meanwhile.

A tile holds 16 rows × 16 outputs of one group's exact integer products. With four groups' tiles in memory, eight or
sixteen registers of totals are read once, take all four, and are written once; each product is scaled as
`fourhorn.sampling.integers` scales a single row's, operation by operation.

In: addresses of tiles (a block of 16 outputs every `TILE_STEP` bytes), of scales and of the rows' scales and sums.
Out: totals (rows, 16) in float32, in memory.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fourhorn.sampling.quantize import NIBBLES
from fourhorn.sampling.vectors import ADDRESS, N_LANES, at, call, load, operation, spread, widened

TILE_STEP = 2048  # from a group's tile to the next group's: tiles of two blocks of outputs lie side by side
_f32, _i64 = ir.FloatType(), ir.IntType(64)
_floats, _ints = ir.VectorType(_f32, N_LANES), ir.VectorType(ir.IntType(32), N_LANES)


def _scale(kind: int, n_rows: int) -> Any:
    """The operation for codes of a kind and so many rows."""
    scale_bytes = 64 if kind == NIBBLES else 32

    @operation(types.void, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
    def scale(
        b: Any, n_groups: Any, tiles: Any, scales: Any, row_scales: Any, row_sums: Any, stride: Any,
        totals: Any,
    ) -> None:  # fmt: skip
        def row_of(address: Any, row: int) -> Any:
            return b.add(address, b.mul(stride, _i64(row)))

        registers = [cgutils.alloca_once(b, _floats) for _ in range(n_rows)]
        for row, register in enumerate(registers):
            b.store(load(b, b.add(totals, _i64(64 * row)), _floats), register)
        with cgutils.for_range(b, n_groups) as loop:
            tile = b.add(tiles, b.mul(loop.index, _i64(TILE_STEP)))
            column, after = b.add(scales, b.mul(loop.index, _i64(scale_bytes))), b.mul(loop.index, _i64(4))
            factor = widened(b, column)
            offset = widened(b, b.add(column, _i64(32))) if kind == NIBBLES else None
            for row, register in enumerate(registers):
                row_scale = load(b, b.add(row_of(row_scales, row), after), _f32)
                both = b.fmul(factor, spread(b, row_scale, _floats))
                counts = b.sitofp(load(b, b.add(tile, _i64(64 * row)), _ints), _floats)
                total = call(b, "llvm.fma.v16f32", _floats, [counts, both, b.load(register)])
                if offset is not None:
                    row_sum = spread(b, load(b, b.add(row_of(row_sums, row), after), _f32), _floats)
                    total = call(b, "llvm.fma.v16f32", _floats, [offset, row_sum, total])
                b.store(total, register)
        for row, register in enumerate(registers):
            b.store(b.load(register), at(b, b.add(totals, _i64(64 * row)), _floats)).align = 1

    return scale


def make_scale(kind: int) -> tuple[Any, Any]:
    """For up to 8 rows, and for up to 16."""
    return _scale(kind, 8), _scale(kind, 16)
