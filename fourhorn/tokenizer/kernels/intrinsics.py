"""What Numba lacks: loads and stores at any address, bit masks of 64 bytes at a time, prefetching.

Section 2.2's fast path. Each function is a few instructions of LLVM, for any processor; addresses and values are int64.
`kernel` compiles a function and keeps the machine code on disk under a name that holds the digest of all kernels'
sources, because Numba itself would not notice an edit in a file that the function only calls.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit
from numba import types as numba_types
from numba.core import cgutils as numba_cgutils
from numba.core.errors import NumbaWarning
from numba.extending import intrinsic as numba_intrinsic

intrinsic: Any = numba_intrinsic
types: Any = numba_types
cgutils: Any = numba_cgutils

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
BYTES_32, BYTES_64 = ir.VectorType(I8, 32), ir.VectorType(I8, 64)

_SOURCES = hashlib.sha256(
    b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()[:12]
cached = True  # False once Numba finds no folder that it may write to


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call; it becomes a part of them."""
    return njit(nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Like `inner`, always copied into its caller."""
    return njit(nogil=True, forceinline=True)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls: without the GIL, kept on disk where that is possible."""
    global cached
    function.__qualname__ = f"{function.__qualname__}_{_SOURCES}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaWarning)
            return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "no locator available": neither this folder nor the user's cache can be written
        cached = False
        return njit(nogil=True)(function)


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typing_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            value.align = 1
            return value if bits == 64 else builder.zext(value, I64)

        return types.int64(types.int64), code

    return load


def _storer(bits: int) -> Any:
    @intrinsic
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.IntType(bits)
            value = arguments[1] if bits == 64 else builder.trunc(arguments[1], kind)
            builder.store(value, builder.inttoptr(arguments[0], kind.as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), code

    return store


load8, load16, load32, load64 = _loader(8), _loader(16), _loader(32), _loader(64)
store8, store16, store32, store64 = _storer(8), _storer(16), _storer(32), _storer(64)


@intrinsic
def copy32(typing_context: Any, destination: Any, source: Any) -> Any:
    """Copy 32 bytes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source = (builder.inttoptr(a, BYTES_32.as_pointer()) for a in arguments)
        value = builder.load(source)
        value.align = 1
        builder.store(value, to).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def copy_masked(typing_context: Any, destination: Any, source: Any, mask_and_tag: Any) -> Any:
    """Copy 32 bytes, keeping the bits of a mask and setting those of a tag, which stands behind the mask."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source, mask = (builder.inttoptr(a, BYTES_32.as_pointer()) for a in arguments)
        tag = builder.gep(mask, [ir.Constant(I64, 1)])
        loaded = [builder.load(pointer) for pointer in (source, mask, tag)]
        for value in loaded:
            value.align = 1
        builder.store(builder.or_(builder.and_(loaded[0], loaded[1]), loaded[2]), to).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def differ24(typing_context: Any, a: Any, b: Any) -> Any:
    """Not zero where the first 24 of the (readable) 32 bytes at two addresses differ."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = [builder.load(builder.inttoptr(a, BYTES_32.as_pointer())) for a in arguments]
        for value in loaded:
            value.align = 1
        bits = builder.bitcast(builder.icmp_unsigned("!=", loaded[0], loaded[1]), I32)
        return builder.zext(builder.and_(bits, ir.Constant(I32, 0xFFFFFF)), I64)

    return types.int64(types.int64, types.int64), code


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address that will be read soon."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(arguments[0], pointer), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic
def lowest_bit(typing_context: Any, mask: Any) -> Any:
    """The position of the lowest set bit; 64 when there is none."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), code


@intrinsic
def count_bits(typing_context: Any, mask: Any) -> Any:
    """How many bits are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), code


@intrinsic
def shift_right(typing_context: Any, value: Any, n: Any) -> Any:
    """Shift to the right by `n` < 64 bits, zeros coming in from the left."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], arguments[1])

    return types.int64(types.int64, types.int64), code


@intrinsic
def ascii_masks(typing_context: Any, address: Any) -> Any:
    """The 64 bytes at an address as bit masks: letters, digits, white space, spaces, apostrophes, beyond ASCII."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text = builder.load(builder.inttoptr(arguments[0], BYTES_64.as_pointer()))
        text.align = 1

        def all_of(byte: int) -> Any:
            return ir.Constant(BYTES_64, [byte] * 64)

        def within(value: Any, first: int, n: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(value, all_of(first)), all_of(n))

        letters = within(builder.or_(text, all_of(0x20)), ord("a"), 26)
        digits = within(text, ord("0"), 10)
        spaces = builder.icmp_unsigned("==", text, all_of(0x20))
        white = builder.or_(spaces, within(text, 9, 5))
        apostrophes = builder.icmp_unsigned("==", text, all_of(ord("'")))
        high = builder.icmp_signed("<", text, all_of(0))
        masks = (letters, digits, white, spaces, apostrophes, high)
        return cgutils.pack_array(builder, [builder.bitcast(mask, I64) for mask in masks])

    return types.UniTuple(types.int64, 6)(types.int64), code
