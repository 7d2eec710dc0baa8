"""Vector code for one row of numbers: softmax and its gradient, in stretches of sixteen.

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


def _all(builder: Any, value: Any) -> v.Vector:
    """One float32 in every lane."""
    one = builder.insert_element(ir.Constant(v.FLOATS, ir.Undefined), value, ir.Constant(v.I32, 0))
    mask = ir.Constant(ir.VectorType(v.I32, v.LANES), [0] * v.LANES)
    return v.Vector(builder, builder.shuffle_vector(one, one, mask))


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
        floats = [_all(builder, x) for x in arguments[n_addresses + 1 :]]
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


def _exponentials(b: Any, at: Any, floats: Any, i: Any) -> v.Vector:
    scale, shift = floats
    value = v.exp(_four(b, at[0], i) * scale - shift)
    _put_four(value, at[0], i)
    return value


def _slopes(b: Any, at: Any, floats: Any, i: Any) -> None:
    scale, log_sum, inner = floats
    chance = v.exp(_four(b, at[0], i) * scale - log_sum)
    _put_two(chance, at[2], i)
    _put_two(chance * (_four(b, at[1], i) - inner) * scale, at[3], i)


largest = _row_kernel(lambda b, at, floats, i: _four(b, at[0], i), 1, 0, "max")
largest_low = _row_kernel(lambda b, at, floats, i: _two(b, at[0], i), 1, 0, "max")
# (row, count, scale, shift): row = exp(row · scale − shift); their sum
exponentials = _row_kernel(_exponentials, 1, 2, "sum")
# (row, count, shift): Σ exp(row − shift), the row unchanged
sum_exponentials_low = _row_kernel(lambda b, at, floats, i: v.exp(_two(b, at[0], i) - floats[0]), 1, 1, "sum")
# (row, out, count, factor): out = row · factor
scaled_low = _row_kernel(lambda b, at, floats, i: _put_two(_four(b, at[0], i) * floats[0], at[1], i), 2, 1)
# (scores, d_chances, chances, d_scores, count, scale, log_sum, inner): softmax again and its gradient
slopes = _row_kernel(_slopes, 4, 3)
# (row, count, log_sum, weight): row = weight · exp(row − log_sum)
chances_low = _row_kernel(
    lambda b, at, floats, i: _put_two(v.exp(_two(b, at[0], i) - floats[0]) * floats[1], at[0], i), 1, 2
)
# (a, b, count): Σ a · b
dot_low = _row_kernel(lambda b, at, floats, i: _two(b, at[0], i) * _two(b, at[1], i), 2, 0, "sum")
