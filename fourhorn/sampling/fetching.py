"""Cache lines asked for before they are needed: hints to the processor, which change no result.

In: addresses, which may lie anywhere, even where no memory is.
"""

from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.vectors import ADDRESS, at, call, operation

_i8, _i32 = ir.IntType(8), ir.IntType(32)


@operation(types.void, ADDRESS)
def prefetch(b: Any, address: Any) -> None:
    """For reading, into the core's first cache."""
    hints = [_i32(0), _i32(3), _i32(1)]
    call(b, "llvm.prefetch.p0", ir.VoidType(), [at(b, address, _i8), *hints])
