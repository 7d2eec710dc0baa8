"""Whole numbers that Python has written down for the kernels: read one by one, or many at once as a tuple.

In: addresses. Out: int64.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.layout import MAX_ROWS, N_BUFFERS, N_PASS, N_SHAPE
from fourhorn.sampling.vectors import ADDRESS, load, operation

_i64 = ir.IntType(64)


@operation(types.int64, ADDRESS, types.int64)
def number(b: Any, address: Any, i: Any) -> Any:
    """The number at position i."""
    return load(b, b.add(address, b.mul(i, _i64(8))), _i64)


def _tuple(n: int) -> Any:
    """The operation for n numbers."""

    @operation(types.UniTuple(types.int64, n), ADDRESS)
    def numbers(b: Any, address: Any) -> Any:
        return load(b, address, ir.ArrayType(_i64, n))

    return numbers


shape_numbers, buffers_numbers, pass_numbers = _tuple(N_SHAPE), _tuple(N_BUFFERS), _tuple(N_PASS)
matrix_numbers = _tuple(3)  # codes, scales, bias


@inner
def column(job: Any, row: Any) -> Any:
    """Where a row of a job begins."""
    return job + 8 * MAX_ROWS * row


@inner
def entry(job: Any, row: Any, i: Any) -> Any:
    """A row's number at position i."""
    return number(column(job, row), i)
