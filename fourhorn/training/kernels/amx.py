"""Intel's AMX matrix unit from Python: 32 × 32 blocks of bfloat16 products summed in float32.

Numba compiles these functions with the processor's own instructions, written as LLVM intermediate code. One block needs
eight tiles of 16 rows × 64 bytes: four hold the result, two each the operands. The operands lie packed, 1,024 numbers
per block of 32 × 32: the left one row by row; the right one with pairs of rows interleaved, as the unit wants them.

Addresses are in bytes (`array.ctypes.data` or `address`); bfloat16 is held in uint16 arrays.
Source of the formats: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

BLOCK = 32  # rows and columns of a block
BLOCK_NUMBERS = BLOCK * BLOCK
_BLOCK_BYTES = BLOCK_NUMBERS * 2
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "fastmath": True,
    "error_model": "numpy",
    "boundscheck": False,
}

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


def available() -> bool:
    """Whether this Linux machine has AMX with bfloat16 and lets this process use it; asks the kernel for it."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
        if "amx_bf16" not in flags or "avx512_bf16" not in flags:
            return False
        return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0
    except (OSError, AttributeError):
        return False


def _call(builder: Any, name: str, arguments: list[tuple[Any, Any]]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [type_ for type_, _ in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [v if isinstance(v, ir.Value) else ir.Constant(t, v) for t, v in arguments])


def _pointer(builder: Any, address: Any, offset: Any = 0) -> Any:
    if offset:
        address = builder.add(address, ir.Constant(_I64, offset))
    return builder.inttoptr(address, _I8.as_pointer())


def _load(builder: Any, tile: int, address: Any, offset: int, row_bytes: Any = 64) -> None:
    place = _pointer(builder, address, offset)
    _call(builder, "llvm.x86.tileloadd64", [(_I8, tile), (_I8.as_pointer(), place), (_I64, row_bytes)])


def _quarters(builder: Any, address: Any, row_bytes: Any) -> list[Any]:
    """Where the four tiles of a block of 32 × 32 float32 begin: top left, top right, bottom left, bottom right."""
    below = builder.add(address, builder.shl(row_bytes, ir.Constant(_I64, 4)))
    right = ir.Constant(_I64, 64)
    return [address, builder.add(address, right), below, builder.add(below, right)]


@intrinsic
def _load_configuration(typing_context, address):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _call(builder, "llvm.x86.ldtilecfg", [(_I8.as_pointer(), _pointer(builder, arguments[0]))])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _release_tiles(typing_context):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _call(builder, "llvm.x86.tilerelease", [])
        return context.get_dummy_value()

    return types.void(), generate


def _fetch(builder: Any, address: Any, *, level: int, to_write: bool) -> None:
    """Ask for the cache line at an address that will be needed soon, into a level of cache; any address will do."""
    closeness = 4 - level  # LLVM's word for it
    _call(
        builder, "llvm.prefetch.p0",
        [(_I8.as_pointer(), _pointer(builder, address)), (_I32, int(to_write)), (_I32, closeness), (_I32, 1)],
    )  # fmt: skip


def _fetch_lines(builder: Any, index: Any, lines: Any, n_lines: Any) -> None:
    """Ask for `n_lines` cache lines to read, the `index`-th such part of what begins at `lines`."""
    with cgutils.for_range(builder, n_lines) as loop:
        line = builder.add(builder.mul(index, n_lines), loop.index)
        place = builder.add(lines, builder.shl(line, ir.Constant(_I64, 6)))
        _fetch(builder, place, level=2, to_write=False)


def _fetch_rows(builder: Any, index: Any, rows: Any, row_bytes: Any, apart: Any, n_rows: Any) -> None:
    """Ask for `n_rows` rows of a block to change, the `index`-th such part of them.

    Of each row, `row_bytes` after the one before, the line at its beginning and the one `apart` bytes on.
    """
    with cgutils.for_range(builder, n_rows) as loop:
        number = builder.add(builder.mul(index, n_rows), loop.index)
        place = builder.add(rows, builder.mul(number, row_bytes))
        _fetch(builder, place, level=1, to_write=True)
        _fetch(builder, builder.add(place, apart), level=1, to_write=True)


def _multiply(builder: Any, left: Any, right: Any) -> None:
    """Add the product of two packed blocks to the result's tiles; loads stand between the products they serve."""
    _load(builder, 4, left, 0)
    for right_half in range(2):
        _load(builder, 6 + right_half, right, 1024 * right_half)
        _call(builder, "llvm.x86.tdpbf16ps", [(_I8, right_half), (_I8, 4), (_I8, 6 + right_half)])
    _load(builder, 5, left, 1024)
    for right_half in range(2):
        _call(builder, "llvm.x86.tdpbf16ps", [(_I8, 2 + right_half), (_I8, 5), (_I8, 6 + right_half)])


def _block_product(builder: Any, arguments: Any, meanwhile: Callable[[Any], None] | None = None) -> None:
    """The code of `add_block_product`; `meanwhile(index)` writes what else is done with each of the products."""
    out, out_row, start, start_row, left, right, n_blocks = arguments
    with builder.if_else(builder.icmp_signed("==", start, ir.Constant(_I64, 0))) as (zero, go_on):
        with zero:
            for tile in range(4):
                _call(builder, "llvm.x86.tilezero", [(_I8, tile)])
        with go_on:
            for tile, place in enumerate(_quarters(builder, start, start_row)):
                _load(builder, tile, place, 0, start_row)
    with cgutils.for_range(builder, n_blocks) as loop:
        step = builder.mul(loop.index, ir.Constant(_I64, _BLOCK_BYTES))
        _multiply(builder, builder.add(left, step), builder.add(right, step))
        if meanwhile is not None:
            meanwhile(loop.index)
    for tile, place in enumerate(_quarters(builder, out, out_row)):
        target = _pointer(builder, place)
        _call(builder, "llvm.x86.tilestored64", [(_I8, tile), (_I8.as_pointer(), target), (_I64, out_row)])


@intrinsic
def add_block_product(typing_context, out, out_row, start, start_row, left, right, n_blocks):  # type: ignore[no-untyped-def]
    """Sum `n_blocks` products of packed blocks at `left` and `right` into a block of 32 × 32 float32 at `out`.

    The sum begins with the block at `start`, at zero where that is 0; rows are `out_row` and `start_row` bytes apart.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _block_product(builder, arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@intrinsic
def add_block_product_and_fetch(  # type: ignore[no-untyped-def]
    typing_context, out, out_row, start, start_row, left, right, n_blocks, lines, n_lines, first, first_row,
    first_apart, n_first, second, second_row, second_apart, n_second
):  # fmt: skip
    """`add_block_product` that asks for `n_lines` lines and rows of two other blocks with each of the products."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        def meanwhile(index: Any) -> None:
            _fetch_lines(builder, index, *arguments[7:9])
            _fetch_rows(builder, index, *arguments[9:13])
            _fetch_rows(builder, index, *arguments[13:])

        _block_product(builder, arguments[:7], meanwhile)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 17), generate


@intrinsic
def address(typing_context, array):  # type: ignore[no-untyped-def]
    """The address of an array's first number, in bytes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(view.data, _I64)

    return types.int64(array), generate


@njit(**OPTIONS)
def configure_tiles() -> None:
    """Shape this thread's eight tiles as 16 rows of 64 bytes."""
    layout = np.zeros(64, np.uint8)
    layout[0] = 1
    for tile in range(8):
        layout[16 + 2 * tile] = 64
        layout[48 + tile] = 16
    _load_configuration(address(layout))


@njit(**OPTIONS)
def release_tiles() -> None:
    """Give the tiles back, so that the system need not save them."""
    _release_tiles()


@njit(**OPTIONS)
def keep_busy(operands: Any, out: Any, n: int) -> None:
    """Multiply twelve blocks of operands from the first-level cache `n` times: the most the unit can do."""
    configure_tiles()
    for _ in range(n):
        add_block_product(address(out), 4 * BLOCK, 0, 0, address(operands), address(operands), 12)
    release_tiles()
