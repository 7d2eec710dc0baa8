"""Vector registers as Numba types: 16 floats or 16 integers at a time, from Python, without a compiler at install.

Numba has no vector type, but lets a library add one: `Floats` and `Ints` are sixteen 32-bit lanes, and each function
below becomes one or a few instructions of LLVM. Plain lane arithmetic runs on every processor, since LLVM splits the
lanes over whatever registers there are; the dot products of bytes and of bfloat16 pairs use AVX-512 VNNI and BF16 where
the processor has them, and AMX tiles multiply 16×16 blocks at once where the system grants them.

In: addresses (int64) and lanes. Bfloat16 values stay in memory as 16-bit halves; a pair of them fills one integer lane.
"""

import ctypes
import inspect
import platform
import sys
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import config as numba_config
from numba.extending import intrinsic, models, register_model

N_LANES = 16
_f32, _i8, _i16, _i32, _i64 = ir.FloatType(), *(ir.IntType(n) for n in (8, 16, 32, 64))
_floats, _ints = ir.VectorType(_f32, N_LANES), ir.VectorType(_i32, N_LANES)


class _FloatsType(types.Type):
    """16 float32."""


class _IntsType(types.Type):
    """16 int32, or 64 bytes, or 32 bfloat16."""


Floats, Ints = _FloatsType("Floats"), _IntsType("Ints")
_address, _int, _float = types.int64, types.int32, types.float32


@register_model(_FloatsType)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _floats)


@register_model(_IntsType)
class _IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _ints)


def cpu_features() -> set[str]:
    """What Numba compiles for: this processor's features, or those of NUMBA_CPU_FEATURES."""
    if numba_config.CPU_FEATURES is not None:
        return {word[1:] for word in numba_config.CPU_FEATURES.split(",") if word.startswith("+")}
    if numba_config.CPU_NAME == "generic":
        return set()
    return {name for name, present in binding.get_host_cpu_features().items() if present}


def _grant_tiles() -> bool:
    """Ask Linux for the AMX tile registers of this process (they are saved at each task switch only then)."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


_features = cpu_features()
HAS_VNNI = "avx512vnni" in _features
HAS_BF16 = "avx512bf16" in _features
HAS_TILES = {"amx-tile", "amx-int8", "amx-bf16"} <= _features and HAS_VNNI and HAS_BF16 and _grant_tiles()
IS_X86 = platform.machine() in ("x86_64", "AMD64")


def _operation(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
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


def _call(builder: Any, name: str, result: Any, values: list[Any]) -> Any:
    """Call an LLVM intrinsic or a C function by name."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(result, [value.type for value in values]), name)
    return builder.call(function, values)


def _same(type_: Any, value: float) -> Any:
    return ir.Constant(type_, [value] * N_LANES)


def _spread(builder: Any, scalar: Any, type_: Any) -> Any:
    first = builder.insert_element(ir.Constant(type_, ir.Undefined), scalar, _i32(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_i32, N_LANES), [0] * N_LANES))


def _at(builder: Any, address: Any, type_: Any) -> Any:
    return builder.inttoptr(address, type_.as_pointer())


def _load(builder: Any, address: Any, type_: Any) -> Any:
    value = builder.load(_at(builder, address, type_))
    value.align = 1
    return value


# ------------------------------------------------------------------------------------------------- load and store


@_operation(Floats, _address)
def load_floats(b: Any, address: Any) -> Any:
    """16 float32 from memory."""
    return _load(b, address, _floats)


@_operation(Ints, _address)
def load_ints(b: Any, address: Any) -> Any:
    """64 bytes from memory."""
    return _load(b, address, _ints)


@_operation(Floats, _address)
def load_halves(b: Any, address: Any) -> Any:
    """16 bfloat16 from memory, widened."""
    halves = b.zext(_load(b, address, ir.VectorType(_i16, N_LANES)), _ints)
    return b.bitcast(b.shl(halves, _same(_ints, 16)), _floats)


@_operation(types.void, _address, Floats)
def store_floats(b: Any, address: Any, value: Any) -> None:
    """16 float32 to memory."""
    b.store(value, _at(b, address, _floats)).align = 1


@_operation(types.void, _address, Ints)
def store_ints(b: Any, address: Any, value: Any) -> None:
    """64 bytes to memory."""
    b.store(value, _at(b, address, _ints)).align = 1


def _rounded(b: Any, value: Any) -> Any:
    """The bits of floats, rounded to nearest even in the upper 16."""
    bits = b.bitcast(value, _ints)
    odd = b.and_(b.lshr(bits, _same(_ints, 16)), _same(_ints, 1))
    return b.add(bits, b.add(odd, _same(_ints, 0x7FFF)))


@_operation(types.void, _address, Floats)
def store_halves(b: Any, address: Any, value: Any) -> None:
    """16 floats to memory as bfloat16, rounded to nearest even."""
    short = ir.VectorType(_i16, N_LANES)
    b.store(b.trunc(b.lshr(_rounded(b, value), _same(_ints, 16)), short), _at(b, address, short)).align = 1


@_operation(types.void, _address, Ints)
def store_bytes(b: Any, address: Any, value: Any) -> None:
    """The low byte of each lane to 16 bytes of memory."""
    short = ir.VectorType(_i8, N_LANES)
    b.store(b.trunc(value, short), _at(b, address, short)).align = 1


@_operation(_int, _address)
def load_int(b: Any, address: Any) -> Any:
    """One int32."""
    return _load(b, address, _i32)


@_operation(_float, _address)
def load_float(b: Any, address: Any) -> Any:
    """One float32."""
    return _load(b, address, _f32)


@_operation(types.void, _address, _float)
def store_float(b: Any, address: Any, value: Any) -> None:
    """One float32."""
    b.store(value, _at(b, address, _f32)).align = 1


@_operation(types.void, _address, _int)
def store_int(b: Any, address: Any, value: Any) -> None:
    """One int32."""
    b.store(value, _at(b, address, _i32)).align = 1


@_operation(_int, _address)
def load_half(b: Any, address: Any) -> Any:
    """16 bits as an int32."""
    return b.zext(_load(b, address, _i16), _i32)


@_operation(_int, _address)
def load_byte(b: Any, address: Any) -> Any:
    """8 bits as an int32."""
    return b.zext(_load(b, address, _i8), _i32)


@_operation(_float, _int)
def widen_half(b: Any, half: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return b.bitcast(b.shl(half, _i32(16)), _f32)


@_operation(types.void, _address, _int)
def store_half(b: Any, address: Any, value: Any) -> None:
    """The low 16 bits of an int32."""
    b.store(b.trunc(value, _i16), _at(b, address, _i16)).align = 1


@_operation(types.void, _address)
def prefetch(b: Any, address: Any) -> None:
    """Ask for a cache line that will be read soon."""
    pointer = _at(b, address, _i8)
    _call(b, "llvm.prefetch.p0", ir.VoidType(), [pointer, _i32(0), _i32(3), _i32(1)])


# ----------------------------------------------------------------------------------------------------- arithmetic


@_operation(Floats, _float)
def floats(b: Any, value: Any) -> Any:
    """The same number in every lane."""
    return _spread(b, value, _floats)


@_operation(Ints, _int)
def ints(b: Any, value: Any) -> Any:
    """The same integer in every lane."""
    return _spread(b, value, _ints)


@_operation(Floats, Floats, Floats)
def add(b: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return b.fadd(x, y)


@_operation(Floats, Floats, Floats)
def sub(b: Any, x: Any, y: Any) -> Any:
    """x - y."""
    return b.fsub(x, y)


@_operation(Floats, Floats, Floats)
def mul(b: Any, x: Any, y: Any) -> Any:
    """x · y."""
    return b.fmul(x, y)


@_operation(Floats, Floats, Floats)
def div(b: Any, x: Any, y: Any) -> Any:
    """x / y."""
    return b.fdiv(x, y)


@_operation(Floats, Floats, Floats, Floats)
def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once."""
    return _call(b, "llvm.fma.v16f32", _floats, [x, y, z])


@_operation(Floats, Floats, Floats)
def maximum(b: Any, x: Any, y: Any) -> Any:
    """The larger of each lane."""
    return b.select(b.fcmp_ordered(">", x, y), x, y)


@_operation(Floats, Floats)
def absolute(b: Any, x: Any) -> Any:
    """|x|."""
    return b.bitcast(b.and_(b.bitcast(x, _ints), _same(_ints, 0x7FFFFFFF)), _floats)


@_operation(_float, Floats)
def sum_lanes(b: Any, x: Any) -> Any:
    """The sum over the 16 lanes, in a fixed tree order."""
    for half in (8, 4, 2, 1):
        order = ir.Constant(_ints, [(i + half) % N_LANES for i in range(N_LANES)])
        x = b.fadd(x, b.shuffle_vector(x, x, order))
    return b.extract_element(x, _i32(0))


@_operation(_float, Floats)
def max_lanes(b: Any, x: Any) -> Any:
    """The largest of the 16 lanes."""
    for half in (8, 4, 2, 1):
        order = ir.Constant(_ints, [(i + half) % N_LANES for i in range(N_LANES)])
        y = b.shuffle_vector(x, x, order)
        x = b.select(b.fcmp_ordered(">", x, y), x, y)
    return b.extract_element(x, _i32(0))


@_operation(_int, Ints)
def sum_int_lanes(b: Any, x: Any) -> Any:
    """The sum over the 16 integer lanes."""
    return _call(b, "llvm.vector.reduce.add.v16i32", _i32, [x])


@_operation(Ints, Ints, Ints)
def add_ints(b: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return b.add(x, y)


@_operation(Ints, Ints, Ints)
def and_ints(b: Any, x: Any, y: Any) -> Any:
    """x & y."""
    return b.and_(x, y)


@_operation(Ints, Ints, _int)
def shift_right(b: Any, x: Any, n: Any) -> Any:
    """x >> n, without sign."""
    return b.lshr(x, _spread(b, n, _ints))


@_operation(Floats, Floats, _int, _float)
def keep_first(b: Any, x: Any, n: Any, other: Any) -> Any:
    """The first n lanes of x, and `other` in the rest."""
    lanes = ir.Constant(_ints, list(range(N_LANES)))
    return b.select(b.icmp_signed("<", lanes, _spread(b, n, _ints)), x, _spread(b, other, _floats))


@_operation(Floats, Ints)
def to_floats(b: Any, x: Any) -> Any:
    """Integers as floats."""
    return b.sitofp(x, _floats)


@_operation(Ints, Floats)
def round_to_ints(b: Any, x: Any) -> Any:
    """Floats to the nearest integers, ties to even; |x| must be below 2^22."""
    magic = _same(_floats, 12582912.0)  # 1.5 · 2^23: adding it leaves the rounded integer in the low bits
    return b.sub(b.bitcast(b.fadd(x, magic), _ints), b.bitcast(magic, _ints))


@_operation(Floats, Floats)
def exp(b: Any, x: Any) -> Any:
    """e^x to about 1e-7 of itself, for x ≤ 88; below -87 it is e^-87, next to nothing."""
    below = b.fcmp_ordered("<", x, _same(_floats, -87.0))
    x = b.select(below, _same(_floats, -87.0), x)
    magic = _same(_floats, 12582912.0)  # 1.5 · 2^23: adding and subtracting it rounds to an integer
    n = b.fsub(b.fadd(b.fmul(x, _same(_floats, 1.4426950408889634)), magic), magic)
    # ln 2 in two parts, so that n · ln 2 is subtracted exactly enough
    r = _call(b, "llvm.fma.v16f32", _floats, [n, _same(_floats, -0.693359375), x])
    r = _call(b, "llvm.fma.v16f32", _floats, [n, _same(_floats, 2.12194440e-4), r])
    result = _same(_floats, 1 / 5040)
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):  # Taylor's series on ±ln 2 / 2
        result = _call(b, "llvm.fma.v16f32", _floats, [result, r, _same(_floats, coefficient)])
    power = b.shl(b.add(b.fptosi(n, _ints), _same(_ints, 127)), _same(_ints, 23))
    return b.fmul(result, b.bitcast(power, _floats))


# --------------------------------------------------------------------------------------------------- dot products


@_operation(Ints, Ints, Ints, Ints)
def dot_bytes(b: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add to each lane the four products of its unsigned and signed bytes."""
    if HAS_VNNI:
        return _call(b, "llvm.x86.avx512.vpdpbusd.512", _ints, [total, unsigned, signed])
    for byte in range(4):
        x = b.and_(b.lshr(unsigned, _same(_ints, 8 * byte)), _same(_ints, 255))
        y = b.ashr(b.shl(signed, _same(_ints, 24 - 8 * byte)), _same(_ints, 24))
        total = b.add(total, b.mul(x, y))
    return total


@_operation(Floats, Floats, Ints, Ints)
def dot_halves(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Add to each lane the two products of its bfloat16 pairs."""
    if HAS_BF16:
        return _call(b, "llvm.x86.avx512bf16.dpbf16ps.512", _floats, [total, x, y])
    high = _same(_ints, -65536)
    for part in (lambda v: b.shl(v, _same(_ints, 16)), lambda v: b.and_(v, high)):
        values = [b.bitcast(part(x), _floats), b.bitcast(part(y), _floats), total]
        total = _call(b, "llvm.fma.v16f32", _floats, values)
    return total


@_operation(Ints, Floats, Floats)
def pair_halves(b: Any, low: Any, high: Any) -> Any:
    """Round two floats of each lane to bfloat16 and put them side by side."""
    upper = b.and_(_rounded(b, high), _same(_ints, -65536))
    return b.or_(upper, b.lshr(_rounded(b, low), _same(_ints, 16)))


# ---------------------------------------------------------------------------------------------------------- tiles


def _tile(number: int, name: str) -> Any:
    """`name` on the tile register `number`, with an address and the bytes between two rows of 64 bytes."""

    @_operation(types.void, _address, _address)
    def move(b: Any, address: Any, stride: Any) -> None:
        _call(b, name, ir.VoidType(), [_i8(number), _at(b, address, _i8), stride])

    return move


def _tile_zero(number: int) -> Any:
    @_operation(types.void)
    def zero(b: Any) -> None:
        _call(b, "llvm.x86.tilezero", ir.VoidType(), [_i8(number)])

    return zero


def _tile_dot(total: int, x: int, y: int, name: str) -> Any:
    @_operation(types.void)
    def dot(b: Any) -> None:
        _call(b, name, ir.VoidType(), [_i8(total), _i8(x), _i8(y)])

    return dot


# Tiles 0–3 hold totals (16 × 16), 4 and 5 activations of 16 rows each, 6 and 7 weights of 16 outputs each.
_move, _halves, _bytes = "llvm.x86.tileloadd64", "llvm.x86.tdpbf16ps", "llvm.x86.tdpbsud"
zero_0, zero_1, zero_2, zero_3 = (_tile_zero(n) for n in range(4))
store_0, store_1, store_2, store_3 = (_tile(n, "llvm.x86.tilestored64") for n in range(4))
load_4, load_5, load_6, load_7 = (_tile(n, _move) for n in range(4, 8))
dot_halves_046, dot_halves_147 = _tile_dot(0, 4, 6, _halves), _tile_dot(1, 4, 7, _halves)
dot_halves_256, dot_halves_357 = _tile_dot(2, 5, 6, _halves), _tile_dot(3, 5, 7, _halves)
dot_bytes_046, dot_bytes_147 = _tile_dot(0, 4, 6, _bytes), _tile_dot(1, 4, 7, _bytes)


@_operation(types.void, _address)
def tile_configure(b: Any, address: Any) -> None:
    """Set the shapes of all tiles from 64 bytes (see `TILE_SHAPES`)."""
    _call(b, "llvm.x86.ldtilecfg", ir.VoidType(), [_at(b, address, _i8)])


@_operation(types.void)
def tile_release(b: Any) -> None:
    """Give the tiles back, so that task switches need not save them."""
    _call(b, "llvm.x86.tilerelease", ir.VoidType(), [])


# palette 1; eight tiles of 16 rows × 64 bytes
TILE_SHAPES = bytes([1] + [0] * 15 + [64, 0] * 8 + [0] * 16 + [16] * 8 + [0] * 8)


# -------------------------------------------------------------------------------------------------------- threads


@_operation(_address, _address, _address)
def take(b: Any, address: Any, n: Any) -> Any:
    """Add n to a counter that several threads share; its value before."""
    return b.atomic_rmw("add", _at(b, address, _i64), n, "acq_rel")


@_operation(_address, _address)
def look(b: Any, address: Any) -> Any:
    """A shared counter's value; what was written before it was raised is visible."""
    return b.load_atomic(_at(b, address, _i64), "acquire", 8)


@_operation(types.void)
def pause(b: Any) -> None:
    """Wait a moment in a spinning loop."""
    if IS_X86:
        _call(b, "llvm.x86.sse2.pause", ir.VoidType(), [])


@_operation(types.void)
def give_way(b: Any) -> None:
    """Let the system run another thread on this core."""
    if sys.platform != "win32":
        _call(b, "sched_yield", _i32, [])
