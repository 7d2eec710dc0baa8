"""Sixteen float32 numbers at a time: arithmetic that writes LLVM vector code when the kernels are compiled.

A `Vector` stands for a value in the code being generated; its operators emit one instruction each. The functions here
are what the kernels need of mathematics: exponential, GELU (§2.3's activation) and its slope.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

from llvmlite import ir

LANES = 16
I16, I32, I64, FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS, INTS, SHORTS = (ir.VectorType(kind, LANES) for kind in (FLOAT, I32, I16))
_FAST = ("fast",)
# 2^f on [-0.5, 0.5]: Taylor's polynomial, relative error below 3e-6; its results are rounded to 8 bits or summed.
_POWER = (1.0, 0.69314718, 0.24022651, 0.05550411, 0.009618129, 0.0013333558)
_LOG2_E, _GELU_SCALE, _GELU_CUBE = 1.4426950408889634, 0.7978845608028654, 0.044715


class Vector:
    """Sixteen float32 lanes in code under construction."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, value: Any) -> "Vector":
        return Vector(self.builder, value)

    def _operand(self, other: Any) -> Any:
        return other.value if isinstance(other, Vector) else ir.Constant(FLOATS, [float(other)] * LANES)

    def __add__(self, other: Any) -> "Vector":
        return self._with(self.builder.fadd(self.value, self._operand(other), flags=_FAST))

    def __sub__(self, other: Any) -> "Vector":
        return self._with(self.builder.fsub(self.value, self._operand(other), flags=_FAST))

    def __rsub__(self, other: Any) -> "Vector":
        return self._with(self.builder.fsub(self._operand(other), self.value, flags=_FAST))

    def __mul__(self, other: Any) -> "Vector":
        return self._with(self.builder.fmul(self.value, self._operand(other), flags=_FAST))

    def __rtruediv__(self, other: Any) -> "Vector":
        return self._with(self.builder.fdiv(self._operand(other), self.value, flags=_FAST))

    __radd__, __rmul__ = __add__, __mul__

    def _call(self, name: str, *others: Any) -> "Vector":
        kind = ir.FunctionType(FLOATS, [FLOATS] * (1 + len(others)))
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self._with(self.builder.call(function, [self.value, *map(self._operand, others)]))

    def clamp(self, low: float, high: float) -> "Vector":
        """Each lane held between two numbers."""
        return self._call("llvm.maxnum.v16f32", low)._call("llvm.minnum.v16f32", high)

    def larger(self, other: "Vector") -> "Vector":
        """The larger of each lane."""
        return self._call("llvm.maxnum.v16f32", other)

    def rounded(self) -> "Vector":
        """Each lane's nearest whole number."""
        return self._call("llvm.rint.v16f32")


def exp(x: Vector) -> Vector:
    """e^x; lanes outside ±87 count as the border."""
    t = x.clamp(-87.0, 87.0) * _LOG2_E
    whole = t.rounded()
    f = t - whole
    power = f * _POWER[-1] + _POWER[-2]
    for coefficient in _POWER[-3::-1]:
        power = power * f + coefficient
    b = x.builder
    exponent = b.shl(b.fptosi(whole.value, INTS), ir.Constant(INTS, [23] * LANES))
    return Vector(b, b.bitcast(b.add(b.bitcast(power.value, INTS), exponent), FLOATS))


def gelu(x: Vector) -> Vector:
    """GELU with the tanh formula: x · σ(2u), u = √(2/π)(x + 0.044715 x³)."""
    return x * _gate(x, x * x)


def gelu_slope(x: Vector) -> Vector:
    """The derivative of `gelu`: s + x · s(1 − s) · 2u′, s = σ(2u)."""
    square = x * x
    s = _gate(x, square)
    return s + x * s * (1.0 - s) * (2 * _GELU_SCALE * (1.0 + 3 * _GELU_CUBE * square))


def _gate(x: Vector, square: Vector) -> Vector:
    return 1.0 / (1.0 + exp(x * (-2 * _GELU_SCALE * (1.0 + _GELU_CUBE * square))))


def at(builder: Any, address: Any, kind: Any) -> Any:
    """A pointer to vectors of a kind at an address."""
    return builder.inttoptr(address, kind.as_pointer())


def load(builder: Any, address: Any) -> Vector:
    """Sixteen float32 numbers from an address."""
    return Vector(builder, builder.load(at(builder, address, FLOATS), align=4))


def store(x: Vector, address: Any) -> None:
    """Sixteen float32 numbers to an address."""
    x.builder.store(x.value, at(x.builder, address, FLOATS), align=4)


def load_low(builder: Any, address: Any) -> Vector:
    """Sixteen bfloat16 numbers from an address."""
    shorts = builder.load(at(builder, address, SHORTS), align=2)
    bits = builder.shl(builder.zext(shorts, INTS), ir.Constant(INTS, [16] * LANES))
    return Vector(builder, builder.bitcast(bits, FLOATS))


def store_low(x: Vector, address: Any) -> None:
    """Sixteen numbers to an address as bfloat16, rounded to nearest even."""
    b = x.builder

    def all_lanes(n: int) -> Any:
        return ir.Constant(INTS, [n] * LANES)

    bits = b.bitcast(x.value, INTS)
    odd = b.and_(b.lshr(bits, all_lanes(16)), all_lanes(1))
    rounded = b.lshr(b.add(b.add(bits, all_lanes(0x7FFF)), odd), all_lanes(16))
    b.store(b.trunc(rounded, SHORTS), at(b, address, SHORTS), align=2)
