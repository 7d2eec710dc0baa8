"""Vector code for one row of numbers: softmax, layer norm, sums and the update, in stretches of sixteen.

Each kernel takes addresses and a count that is a multiple of 16; what lies beyond a row's true end must already be so
low that its exponential is zero (`LOWEST`). float32 rows unless the name says `low` (bfloat16).
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fourhorn.training.kernels import vector as v

LOWEST = -1e30
LOWEST_LOW = 0xFF00  # -1.7e38 as bfloat16


def _constant(n: int) -> Any:
    return ir.Constant(v.I64, n)


def _reduce(x: v.Vector, name: str, start: Any = None) -> Any:
    kind = ir.FunctionType(v.FLOAT, [v.FLOAT, v.FLOATS] if start is not None else [v.FLOATS])
    module = x.builder.module
    function = module.globals.get(name) or ir.Function(module, kind, name)
    arguments = [start, x.value] if start is not None else [x.value]
    return x.builder.call(function, arguments, fastmath=("fast",))


def _row_kernel(body: Callable[..., Any], n_addresses: int, n_floats: int, result: str = "") -> Any:
    """A kernel that calls `body` for every sixteen numbers; its results are gathered by `result`: "max", "sum" or none.

    `body(builder, addresses, floats, i)` gets addresses, broadcast floats and the number of lanes before.
    """
    kinds = [types.int64] * n_addresses + [types.int64] + [types.float32] * n_floats

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if len(signature.args) == 1:  # numba hands variable arguments over as one tuple
            arguments = cgutils.unpack_tuple(builder, arguments[0])
        addresses, count = arguments[:n_addresses], arguments[n_addresses]
        floats = [v.every(builder, x) for x in arguments[n_addresses + 1 :]]
        start = LOWEST if result == "max" else 0.0
        gathered = cgutils.alloca_once_value(builder, ir.Constant(v.FLOATS, [start] * v.LANES))
        with cgutils.for_range_slice(builder, _constant(0), count, _constant(v.LANES), v.I64) as (i, _):
            out = body(builder, addresses, floats, i)
            if result:
                before = v.Vector(builder, builder.load(gathered))
                builder.store((before.larger(out) if result == "max" else before + out).value, gathered)
        if not result:
            return context.get_dummy_value()
        total = v.Vector(builder, builder.load(gathered))
        if result == "max":
            return _reduce(total, "llvm.vector.reduce.fmax.v16f32")
        return _reduce(total, "llvm.vector.reduce.fadd.v16f32", ir.Constant(v.FLOAT, 0.0))

    returns = types.float32 if result else types.void
    names = [f"a{i}" for i in range(len(kinds))]
    namespace: dict[str, Any] = {"signature": returns(*kinds), "generate": generate}
    # An intrinsic's parameters are read from its own signature, so it is made with as many as it needs.
    exec(f"def kernel(typing_context, {', '.join(names)}):\n    return signature, generate", namespace)
    return intrinsic(namespace["kernel"])


def _four(builder: Any, address: Any, i: Any) -> v.Vector:
    return v.load(builder, builder.add(address, builder.shl(i, _constant(2))))


def _two(builder: Any, address: Any, i: Any) -> v.Vector:
    return v.load_low(builder, builder.add(address, builder.shl(i, _constant(1))))


def _put_four(x: v.Vector, address: Any, i: Any) -> None:
    v.store(x, x.builder.add(address, x.builder.shl(i, _constant(2))))


def _put_two(x: v.Vector, address: Any, i: Any) -> None:
    v.store_low(x, x.builder.add(address, x.builder.shl(i, _constant(1))))


def _in_block(builder: Any, address: Any, i: Any) -> Any:
    """Where number `i` of a row lies in packed blocks of 32 × 32 bfloat16, `address` being its place in the first."""
    block, column = builder.lshr(i, _constant(5)), builder.and_(i, _constant(31))
    offset = builder.add(builder.shl(block, _constant(11)), builder.shl(column, _constant(1)))
    return builder.add(address, offset)


def _exponentials(b: Any, at: Any, floats: Any, i: Any) -> v.Vector:
    scale, shift = floats
    value = v.exp(_four(b, at[0], i) * scale - shift)
    v.store_low(value, _in_block(b, at[1], i))
    return value


def _slopes(b: Any, at: Any, floats: Any, i: Any) -> None:
    scale, log_sum, inner = floats
    chance = v.exp(_four(b, at[0], i) * scale - log_sum)
    v.store_low(chance, _in_block(b, at[2], i))
    v.store_low(chance * (_four(b, at[1], i) - inner) * scale, _in_block(b, at[3], i))


def _square(b: Any, at: Any, floats: Any, i: Any) -> v.Vector:
    apart = _four(b, at[0], i) - floats[0]
    return apart * apart


def _normalized(b: Any, at: Any, floats: Any, i: Any) -> None:
    normal = (_four(b, at[0], i) - floats[0]) * floats[1]
    _put_two(normal * _four(b, at[1], i) + _four(b, at[2], i), at[3], i)


def _norm_sums(b: Any, at: Any, floats: Any, i: Any) -> v.Vector:
    d, normal = _four(b, at[0], i), (_four(b, at[1], i) - floats[0]) * floats[1]
    _put_four(_four(b, at[3], i) + d * normal, at[3], i)
    _put_four(_four(b, at[4], i) + d, at[4], i)
    return d * _four(b, at[2], i) * normal


def _norm_slopes(b: Any, at: Any, floats: Any, i: Any) -> None:
    middle, factor, first, second = floats
    normal = (_four(b, at[1], i) - middle) * factor
    slope = _four(b, at[0], i) * _four(b, at[2], i) - first - normal * second
    value = _four(b, at[3], i) + factor * slope
    _put_four(value, at[3], i)
    _put_two(value, at[4], i)


def _updated(b: Any, at: Any, floats: Any, i: Any) -> None:
    kept, clip, beta1, new1, beta2, new2, size, root_size, epsilon = floats
    gradient = _four(b, at[1], i) * clip
    first = _four(b, at[2], i) * beta1 + gradient * new1
    second = _four(b, at[3], i) * beta2 + gradient * gradient * new2
    _put_four(first, at[2], i)
    _put_four(second, at[3], i)
    _put_four(_four(b, at[0], i) * kept - first * size / (second.root() * root_size + epsilon), at[0], i)


def _four_rows(b: Any, at: Any, floats: Any, i: Any) -> None:
    one, two, three, four = (_two(b, place, i) for place in at[:4])
    _put_four(_four(b, at[4], i) + ((one + two) + (three + four)), at[4], i)


@intrinsic
def number_at(typing_context, address):  # type: ignore[no-untyped-def]
    """The float32 at an address."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(v.at(builder, arguments[0], v.FLOAT))

    return types.float32(types.int64), generate


@intrinsic
def put_number(typing_context, address, value):  # type: ignore[no-untyped-def]
    """Store a float32 at an address."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[1], v.at(builder, arguments[0], v.FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


largest = _row_kernel(lambda b, at, floats, i: _four(b, at[0], i), 1, 0, "max")
largest_low = _row_kernel(lambda b, at, floats, i: _two(b, at[0], i), 1, 0, "max")
# (row, out, count, scale, shift): out = exp(row · scale − shift) in packed blocks; their sum
exponentials = _row_kernel(_exponentials, 2, 2, "sum")
# (row, count, shift): Σ exp(row − shift), the row unchanged
sum_exponentials_low = _row_kernel(lambda b, at, floats, i: v.exp(_two(b, at[0], i) - floats[0]), 1, 1, "sum")
# (scores, d_chances, chances, d_scores, count, scale, log_sum, inner): softmax again and its gradient, in blocks
slopes = _row_kernel(_slopes, 4, 3)
# (row, count, log_sum, weight): row = weight · exp(row − log_sum)
chances_low = _row_kernel(
    lambda b, at, floats, i: _put_two(v.exp(_two(b, at[0], i) - floats[0]) * floats[1], at[0], i), 1, 2
)
# (a, b, count): Σ a · b
dot = _row_kernel(lambda b, at, floats, i: _four(b, at[0], i) * _four(b, at[1], i), 2, 0, "sum")
dot_low = _row_kernel(lambda b, at, floats, i: _two(b, at[0], i) * _two(b, at[1], i), 2, 0, "sum")
# (row, out, count): the row as bfloat16
narrowed = _row_kernel(lambda b, at, floats, i: _put_two(_four(b, at[0], i), at[1], i), 2, 0)
# (a, b, c, d, out, count): four bfloat16 rows added to a float32 one
add_four_rows_low = _row_kernel(_four_rows, 5, 0)
# (row, count), (row, count, mean): Σ row, Σ (row − mean)²
total = _row_kernel(lambda b, at, floats, i: _four(b, at[0], i), 1, 0, "sum")
squares = _row_kernel(_square, 1, 1, "sum")
# (row, gain, bias, out, count, mean, factor): a layer norm's result as bfloat16
normalized = _row_kernel(_normalized, 4, 2)
# (d, row, gain, d_gain, d_bias, count, mean, factor): adds to both gradients; Σ d · gain · normal
norm_sums = _row_kernel(_norm_sums, 5, 2, "sum")
# (d, row, gain, dx, dx_low, count, mean, factor, first, second): adds the gradient by the row to dx, also as bfloat16
norm_slopes = _row_kernel(_norm_slopes, 5, 4)
# (a, b, out, count): out = a + b
sum_of_two = _row_kernel(
    lambda b, at, floats, i: _put_four(_four(b, at[0], i) + _four(b, at[1], i), at[2], i), 3, 0
)
# (row, other, count): row += other
added = _row_kernel(
    lambda b, at, floats, i: _put_four(_four(b, at[0], i) + _four(b, at[1], i), at[0], i), 2, 0
)
# (weights, gradients, first, second, count, kept, clip, β1, 1 − β1, β2, 1 − β2, size, root_size, ε): one AdamW update
updated = _row_kernel(_updated, 4, 9)
