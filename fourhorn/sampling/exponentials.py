"""e^x and 2^x of 16 floats at a time, in a dozen instructions or so.

x is split into a whole number, which becomes the exponent's bits, and a rest of at most 1/2 in absolute value, whose
power is a Taylor series.
"""

import math
from typing import Any

from llvmlite import ir

from fourhorn.sampling.vectors import N_LANES, Floats, call, operation

_floats, _ints = ir.VectorType(ir.FloatType(), N_LANES), ir.VectorType(ir.IntType(32), N_LANES)
_MAGIC = 12582912.0  # 1.5 · 2^23: adding it rounds to an integer, which is then in the low bits


def _same(type_: Any, value: float) -> Any:
    return ir.Constant(type_, [value] * N_LANES)


@operation(Floats, Floats)
def exp(b: Any, x: Any) -> Any:
    """e^x to about 1e-7 of itself, for x ≤ 88; below -87 it is e^-87, next to nothing."""
    below = b.fcmp_ordered("<", x, _same(_floats, -87.0))
    x = b.select(below, _same(_floats, -87.0), x)
    magic = _same(_floats, _MAGIC)
    n = b.fsub(b.fadd(b.fmul(x, _same(_floats, 1.4426950408889634)), magic), magic)
    # ln 2 in two parts, so that n · ln 2 is subtracted exactly enough
    r = call(b, "llvm.fma.v16f32", _floats, [n, _same(_floats, -0.693359375), x])
    r = call(b, "llvm.fma.v16f32", _floats, [n, _same(_floats, 2.12194440e-4), r])
    result = _same(_floats, 1 / 5040)
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):  # Taylor's series on ±ln 2 / 2
        result = call(b, "llvm.fma.v16f32", _floats, [result, r, _same(_floats, coefficient)])
    power = b.shl(b.add(b.fptosi(n, _ints), _same(_ints, 127)), _same(_ints, 23))
    return b.fmul(result, b.bitcast(power, _floats))


@operation(Floats, Floats)
def exp2(b: Any, x: Any) -> Any:
    """2^x to about 1e-7 of itself, for x < 128; below -126 it is 2^-126, next to nothing."""
    x = b.select(b.fcmp_ordered(">", x, _same(_floats, -126.0)), x, _same(_floats, -126.0))
    magic = _same(_floats, _MAGIC)
    shifted = b.fadd(x, magic)
    r = b.fsub(x, b.fsub(shifted, magic))
    result = _same(_floats, math.log(2) ** 6 / math.factorial(6))
    for power in range(5, -1, -1):  # Taylor's series on ±1/2
        coefficient = _same(_floats, math.log(2) ** power / math.factorial(power))
        result = call(b, "llvm.fma.v16f32", _floats, [result, r, coefficient])
    exponent = b.shl(b.bitcast(shifted, _ints), _same(_ints, 23))
    return b.bitcast(b.add(b.bitcast(result, _ints), exponent), _floats)
