"""Sixteen float32 numbers at a time: arithmetic that writes LLVM vector code when the kernels are compiled.

A `Vector` stands for a value in the code being generated; its operators emit one instruction each. The functions here
are what the kernels need of mathematics: exponential, GELU (§2.3's activation) and its slope.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any

from llvmlite import binding, ir

LANES = 16
I16, I32, I64, FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS, INTS, SHORTS = (ir.VectorType(kind, LANES) for kind in (FLOAT, I32, I16))
_FAST = ("fast",)
# 2^f on [-0.5, 0.5]: a minimax polynomial, relative error below 3e-6; its results are rounded to 8 bits or summed.
_POWER = (0.999999261, 0.693121814, 0.240247449, 0.0559178628, 0.00957010033)
_LOG2_E, _GELU_SCALE, _GELU_CUBE = 1.4426950408889634, 0.7978845608028654, 0.044715
_ALL_LANES = ir.Constant(I16, -1)


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


# What the processor's conversions give: bfloat lanes since LLVM 16, plain 16-bit lanes before.
_LOW_LANE = _BFloat() if binding.llvm_version_info[0] >= 16 else I16
_NARROW, _NARROW_PAIR = (ir.VectorType(_LOW_LANE, n) for n in (LANES, 2 * LANES))


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

    def __truediv__(self, other: Any) -> "Vector":
        return self._with(self.builder.fdiv(self.value, self._operand(other), flags=_FAST))

    def __rtruediv__(self, other: Any) -> "Vector":
        return self._with(self.builder.fdiv(self._operand(other), self.value, flags=_FAST))

    __radd__, __rmul__ = __add__, __mul__

    def _call(self, name: str, *others: Any) -> "Vector":
        kind = ir.FunctionType(FLOATS, [FLOATS] * (1 + len(others)))
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self._with(self.builder.call(function, [self.value, *map(self._operand, others)]))

    def at_least(self, low: float) -> "Vector":
        """Each lane, or `low` where it is smaller."""
        return self._call("llvm.maxnum.v16f32", low)

    def at_most(self, high: float) -> "Vector":
        """Each lane, or `high` where it is larger."""
        return self._call("llvm.minnum.v16f32", high)

    def larger(self, other: "Vector") -> "Vector":
        """The larger of each lane."""
        return self._call("llvm.maxnum.v16f32", other)

    def reciprocal(self) -> "Vector":
        """One over each lane, within 2^-14: for results that are rounded to 8 bits."""
        nothing = ir.Constant(FLOATS, [0.0] * LANES)
        name = "llvm.x86.avx512.rcp14.ps.512"
        return self._with(call(self.builder, name, FLOATS, self.value, nothing, _ALL_LANES))

    def root(self) -> "Vector":
        """Each lane's square root."""
        return self._call("llvm.sqrt.v16f32")

    def nearest(self) -> Any:
        """Each lane's nearest whole number, as integers."""
        nothing = ir.Constant(INTS, [0] * LANES)
        name = "llvm.x86.avx512.mask.cvtps2dq.512"
        return call(self.builder, name, INTS, self.value, nothing, _ALL_LANES, ir.Constant(I32, 4))


def call(builder: Any, name: str, returns: Any, *arguments: Any) -> Any:
    """An instruction of the processor by LLVM's name for it."""
    kind = ir.FunctionType(returns, [a.type for a in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def exp(x: Vector) -> Vector:
    """e^x for x ≤ 87; lanes below −60 count as that, so that no product with a weight is subnormal, which is slow."""
    b, t = x.builder, x.at_least(-60.0) * _LOG2_E
    whole = t.nearest()
    f = t - Vector(b, b.sitofp(whole, FLOATS))
    power = f * _POWER[-1] + _POWER[-2]
    for coefficient in _POWER[-3::-1]:
        power = power * f + coefficient
    exponent = b.shl(whole, ir.Constant(INTS, [23] * LANES))
    return Vector(b, b.bitcast(b.add(b.bitcast(power.value, INTS), exponent), FLOATS))


def gelu(x: Vector) -> Vector:
    """GELU with the tanh formula: x · σ(2u), u = √(2/π)(x + 0.044715 x³)."""
    return x * _gate(x, x * x)


def gelu_and_slope(x: Vector) -> tuple[Vector, Vector]:
    """`gelu` and its derivative, s + x · s(1 − s) · 2u′, s = σ(2u)."""
    square = x * x
    s = _gate(x, square)
    result = x * s
    return result, s + result * (1.0 - s) * (2 * _GELU_SCALE * (1.0 + 3 * _GELU_CUBE * square))


def _gate(x: Vector, square: Vector) -> Vector:
    u = x * (square * (-2 * _GELU_SCALE * _GELU_CUBE) + -2 * _GELU_SCALE)
    return (exp(u.at_most(87.0)) + 1.0).reciprocal()


def at(builder: Any, address: Any, kind: Any) -> Any:
    """A pointer to vectors of a kind at an address."""
    return builder.inttoptr(address, kind.as_pointer())


def load(builder: Any, address: Any) -> Vector:
    """Sixteen float32 numbers from an address."""
    return Vector(builder, builder.load(at(builder, address, FLOATS), align=4))


def store(x: Vector, address: Any) -> None:
    """Sixteen float32 numbers to an address."""
    x.builder.store(x.value, at(x.builder, address, FLOATS), align=4)


def every(builder: Any, value: Any) -> Vector:
    """One float32 in every lane."""
    one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), value, ir.Constant(I32, 0))
    return Vector(builder, builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES)))


def load_one(builder: Any, address: Any) -> Vector:
    """The float32 at an address in every lane."""
    return every(builder, builder.load(at(builder, address, FLOAT)))


def load_low(builder: Any, address: Any) -> Vector:
    """Sixteen bfloat16 numbers from an address."""
    shorts = builder.load(at(builder, address, SHORTS), align=2)
    bits = builder.shl(builder.zext(shorts, INTS), ir.Constant(INTS, [16] * LANES))
    return Vector(builder, builder.bitcast(bits, FLOATS))


def store_low(x: Vector, address: Any) -> None:
    """Sixteen numbers to an address as bfloat16, rounded to nearest even."""
    b = x.builder
    low = call(b, "llvm.x86.avx512bf16.cvtneps2bf16.512", _NARROW, x.value)
    b.store(b.bitcast(low, SHORTS), at(b, address, SHORTS), align=2)


def store_pair(low: Vector, high: Vector, address: Any) -> None:
    """Two stretches of sixteen float32 numbers, one after the other, to an address."""
    store(low, address)
    store(high, low.builder.add(address, ir.Constant(I64, 4 * LANES)))


def store_pair_low(low: Vector, high: Vector, address: Any) -> None:
    """The same as bfloat16, a whole cache line at once."""
    b, kind = low.builder, ir.VectorType(I16, 2 * LANES)
    both = call(b, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _NARROW_PAIR, high.value, low.value)
    b.store(b.bitcast(both, kind), at(b, address, kind), align=2)
