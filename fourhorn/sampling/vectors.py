"""Vector registers as Numba types: 16 floats or 16 integers at a time, from Python, without a compiler at install.

Numba has no vector type, but lets a library add one: `Floats` and `Ints` are sixteen 32-bit lanes, and each function
below becomes one or a few instructions of LLVM. Plain lane arithmetic runs on every processor, since LLVM splits the
lanes over whatever registers there are; the dot products of bytes and of bfloat16 pairs use AVX-512 VNNI and BF16 where
the processor has them.

In: addresses (int64) and lanes. Bfloat16 values stay in memory as 16-bit halves; a pair of them fills one integer lane.
"""

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from fourhorn.sampling.processor import HAS_BF16, HAS_VNNI

N_LANES = 16
_f32, _i8, _i16, _i32, _i64 = ir.FloatType(), *(ir.IntType(n) for n in (8, 16, 32, 64))
_floats, _ints = ir.VectorType(_f32, N_LANES), ir.VectorType(_i32, N_LANES)


class _FloatsType(types.Type):
    """16 float32."""


class _IntsType(types.Type):
    """16 int32, or 64 bytes, or 32 bfloat16."""


Floats, Ints = _FloatsType("Floats"), _IntsType("Ints")
ADDRESS, _int, _float = types.int64, types.int32, types.float32


@register_model(_FloatsType)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _floats)  # type: ignore[no-untyped-call]


@register_model(_IntsType)
class _IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _ints)  # type: ignore[no-untyped-call]


def operation(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Turn a function that emits LLVM instructions for its arguments into one that Numba code can call."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_context: Any, *_given: Any) -> Any:
            def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if value is None else value

            return result(*arguments), generate

        names = ["context", *(f"value_{i}" for i in range(len(arguments)))]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__name__ = emit.__name__
        return intrinsic(typed)

    return decorate


def call(builder: Any, name: str, result: Any, values: list[Any]) -> Any:
    """Call an LLVM intrinsic or a C function by name."""
    module, kind = builder.module, ir.FunctionType(result, [value.type for value in values])
    return builder.call(module.globals.get(name) or ir.Function(module, kind, name), values)


def _same(type_: Any, value: float) -> Any:
    return ir.Constant(type_, [value] * N_LANES)


def spread(builder: Any, scalar: Any, type_: Any) -> Any:
    """A scalar in every lane."""
    first = builder.insert_element(ir.Constant(type_, ir.Undefined), scalar, _i32(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_i32, N_LANES), [0] * N_LANES))


def at(builder: Any, address: Any, type_: Any) -> Any:
    """An address as a pointer to `type_`."""
    return builder.inttoptr(address, type_.as_pointer())


def load(builder: Any, address: Any, type_: Any) -> Any:
    """What lies at an address of any alignment."""
    value = builder.load(at(builder, address, type_))
    value.align = 1
    return value


# ------------------------------------------------------------------------------------------------- load and store


@operation(Floats, ADDRESS)
def load_floats(b: Any, address: Any) -> Any:
    """16 float32 from memory."""
    return load(b, address, _floats)


@operation(Ints, ADDRESS)
def load_ints(b: Any, address: Any) -> Any:
    """64 bytes from memory."""
    return load(b, address, _ints)


def widened(b: Any, address: Any) -> Any:
    """16 bfloat16 from memory as floats."""
    halves = b.zext(load(b, address, ir.VectorType(_i16, N_LANES)), _ints)
    return b.bitcast(b.shl(halves, _same(_ints, 16)), _floats)


@operation(Floats, ADDRESS)
def load_halves(b: Any, address: Any) -> Any:
    """16 bfloat16 from memory, widened."""
    return widened(b, address)


@operation(types.void, ADDRESS, Floats)
def store_floats(b: Any, address: Any, value: Any) -> None:
    """16 float32 to memory."""
    b.store(value, at(b, address, _floats)).align = 1


@operation(types.void, ADDRESS, Ints)
def store_ints(b: Any, address: Any, value: Any) -> None:
    """64 bytes to memory."""
    b.store(value, at(b, address, _ints)).align = 1


class _BFloatType(ir.Type):
    """LLVM's bfloat16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloatType)

    def __hash__(self) -> int:
        return hash(_BFloatType)


_shorts, _bfloats = ir.VectorType(_i16, N_LANES), ir.VectorType(_BFloatType(), N_LANES)


def _rounded(b: Any, value: Any) -> Any:
    """The bfloat16 bits of floats, rounded to nearest even."""
    if HAS_BF16:
        return b.bitcast(b.fptrunc(value, _bfloats), _shorts)
    bits = b.bitcast(value, _ints)
    odd = b.and_(b.lshr(bits, _same(_ints, 16)), _same(_ints, 1))
    return b.trunc(b.lshr(b.add(bits, b.add(odd, _same(_ints, 0x7FFF))), _same(_ints, 16)), _shorts)


@operation(types.void, ADDRESS, Floats)
def store_halves(b: Any, address: Any, value: Any) -> None:
    """16 floats to memory as bfloat16, rounded to nearest even."""
    b.store(_rounded(b, value), at(b, address, _shorts)).align = 1


@operation(types.void, ADDRESS, Ints)
def store_bytes(b: Any, address: Any, value: Any) -> None:
    """The low byte of each lane to 16 bytes of memory."""
    short = ir.VectorType(_i8, N_LANES)
    b.store(b.trunc(value, short), at(b, address, short)).align = 1


@operation(_int, ADDRESS)
def load_int(b: Any, address: Any) -> Any:
    """One int32."""
    return load(b, address, _i32)


@operation(_float, ADDRESS)
def load_float(b: Any, address: Any) -> Any:
    """One float32."""
    return load(b, address, _f32)


@operation(types.void, ADDRESS, _float)
def store_float(b: Any, address: Any, value: Any) -> None:
    """One float32."""
    b.store(value, at(b, address, _f32)).align = 1


@operation(types.void, ADDRESS, _int)
def store_int(b: Any, address: Any, value: Any) -> None:
    """One int32."""
    b.store(value, at(b, address, _i32)).align = 1


@operation(_int, ADDRESS)
def load_half(b: Any, address: Any) -> Any:
    """16 bits as an int32."""
    return b.zext(load(b, address, _i16), _i32)


@operation(_int, ADDRESS)
def load_byte(b: Any, address: Any) -> Any:
    """8 bits as an int32."""
    return b.zext(load(b, address, _i8), _i32)


@operation(_float, _int)
def widen_half(b: Any, half: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return b.bitcast(b.shl(half, _i32(16)), _f32)


@operation(types.void, ADDRESS, _int)
def store_half(b: Any, address: Any, value: Any) -> None:
    """The low 16 bits of an int32."""
    b.store(b.trunc(value, _i16), at(b, address, _i16)).align = 1


# ----------------------------------------------------------------------------------------------------- arithmetic


@operation(Floats, _float)
def floats(b: Any, value: Any) -> Any:
    """The same number in every lane."""
    return spread(b, value, _floats)


@operation(Ints, _int)
def ints(b: Any, value: Any) -> Any:
    """The same integer in every lane."""
    return spread(b, value, _ints)


@operation(Floats, Floats, Floats)
def add(b: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return b.fadd(x, y)


@operation(Floats, Floats, Floats)
def sub(b: Any, x: Any, y: Any) -> Any:
    """x - y."""
    return b.fsub(x, y)


@operation(Floats, Floats, Floats)
def mul(b: Any, x: Any, y: Any) -> Any:
    """x · y."""
    return b.fmul(x, y)


@operation(Floats, Floats, Floats)
def div(b: Any, x: Any, y: Any) -> Any:
    """x / y."""
    return b.fdiv(x, y)


@operation(Floats, Floats, Floats, Floats)
def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once."""
    return call(b, "llvm.fma.v16f32", _floats, [x, y, z])


@operation(Floats, Floats, Floats)
def maximum(b: Any, x: Any, y: Any) -> Any:
    """The larger of each lane."""
    return b.select(b.fcmp_ordered(">", x, y), x, y)


@operation(Floats, Floats)
def absolute(b: Any, x: Any) -> Any:
    """|x|."""
    return b.bitcast(b.and_(b.bitcast(x, _ints), _same(_ints, 0x7FFFFFFF)), _floats)


@operation(_float, Floats)
def sum_lanes(b: Any, x: Any) -> Any:
    """The sum over the 16 lanes, in a fixed tree order."""
    for half in (8, 4, 2, 1):
        order = ir.Constant(_ints, [(i + half) % N_LANES for i in range(N_LANES)])
        x = b.fadd(x, b.shuffle_vector(x, x, order))
    return b.extract_element(x, _i32(0))


@operation(_float, Floats)
def max_lanes(b: Any, x: Any) -> Any:
    """The largest of the 16 lanes."""
    for half in (8, 4, 2, 1):
        order = ir.Constant(_ints, [(i + half) % N_LANES for i in range(N_LANES)])
        y = b.shuffle_vector(x, x, order)
        x = b.select(b.fcmp_ordered(">", x, y), x, y)
    return b.extract_element(x, _i32(0))


@operation(_int, Ints)
def sum_int_lanes(b: Any, x: Any) -> Any:
    """The sum over the 16 integer lanes."""
    return call(b, "llvm.vector.reduce.add.v16i32", _i32, [x])


@operation(Ints, Ints, Ints)
def add_ints(b: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return b.add(x, y)


@operation(Ints, Ints, Ints)
def and_ints(b: Any, x: Any, y: Any) -> Any:
    """x & y."""
    return b.and_(x, y)


@operation(Ints, Ints, Ints)
def xor_ints(b: Any, x: Any, y: Any) -> Any:
    """x ^ y."""
    return b.xor(x, y)


@operation(Ints, Ints, _int)
def shift_right(b: Any, x: Any, n: Any) -> Any:
    """x >> n, without sign."""
    return b.lshr(x, spread(b, n, _ints))


@operation(Ints, Ints)
def divide_by_16(b: Any, x: Any) -> Any:
    """x / 16, rounded down."""
    return b.ashr(x, _same(_ints, 4))


@operation(Floats, Floats, _int, _float)
def keep_first(b: Any, x: Any, n: Any, other: Any) -> Any:
    """The first n lanes of x, and `other` in the rest."""
    lanes = ir.Constant(_ints, list(range(N_LANES)))
    return b.select(b.icmp_signed("<", lanes, spread(b, n, _ints)), x, spread(b, other, _floats))


@operation(types.boolean, Floats, Floats)
def any_above(b: Any, x: Any, y: Any) -> Any:
    """Is x > y in any lane?"""
    lanes = b.zext(b.fcmp_ordered(">", x, y), ir.VectorType(_i8, N_LANES))
    found = call(b, "llvm.vector.reduce.or.v16i8", _i8, [lanes])
    return b.icmp_unsigned("!=", found, _i8(0))


@operation(Floats, Floats, Floats)
def zero_below(b: Any, x: Any, least: Any) -> Any:
    """x where it is at least `least`, else 0."""
    return b.select(b.fcmp_ordered(">=", x, least), x, _same(_floats, 0.0))


@operation(Floats, Ints)
def to_floats(b: Any, x: Any) -> Any:
    """Integers as floats."""
    return b.sitofp(x, _floats)


@operation(Ints, Floats)
def round_to_ints(b: Any, x: Any) -> Any:
    """Floats to the nearest integers, ties to even; |x| must be below 2^22."""
    magic = _same(_floats, 12582912.0)  # 1.5 · 2^23: adding it leaves the rounded integer in the low bits
    return b.sub(b.bitcast(b.fadd(x, magic), _ints), b.bitcast(magic, _ints))


# --------------------------------------------------------------------------------------------------- dot products


@operation(Ints, Ints, Ints, Ints)
def dot_bytes(b: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add to each lane the four products of its unsigned and signed bytes."""
    if HAS_VNNI:
        return call(b, "llvm.x86.avx512.vpdpbusd.512", _ints, [total, unsigned, signed])
    for byte in range(4):
        x = b.and_(b.lshr(unsigned, _same(_ints, 8 * byte)), _same(_ints, 255))
        y = b.ashr(b.shl(signed, _same(_ints, 24 - 8 * byte)), _same(_ints, 24))
        total = b.add(total, b.mul(x, y))
    return total


@operation(Floats, Floats, Ints, Ints)
def dot_halves(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Add to each lane the two products of its bfloat16 pairs."""
    if HAS_BF16:
        return call(b, "llvm.x86.avx512bf16.dpbf16ps.512", _floats, [total, x, y])
    high = _same(_ints, -65536)
    low_x, low_y = (b.bitcast(b.shl(v, _same(_ints, 16)), _floats) for v in (x, y))
    high_x, high_y = (b.bitcast(b.and_(v, high), _floats) for v in (x, y))
    total = call(b, "llvm.fma.v16f32", _floats, [low_x, low_y, total])
    return call(b, "llvm.fma.v16f32", _floats, [high_x, high_y, total])


@operation(Ints, Floats, Floats)
def pair_halves(b: Any, low: Any, high: Any) -> Any:
    """Round two floats of each lane to bfloat16 and put them side by side."""
    upper, lower = (b.zext(_rounded(b, value), _ints) for value in (high, low))
    return b.or_(b.shl(upper, _same(_ints, 16)), lower)
