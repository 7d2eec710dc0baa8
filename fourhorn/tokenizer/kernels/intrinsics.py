"""What Python lacks: loads and stores at any address, bit masks of 64 bytes at a time, prefetching.

Section 2.2's fast path. Each function writes a few instructions of LLVM, for any processor; addresses and values are
64-bit integers. `load8` and its like read without sign.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import Any

from fourhorn.tokenizer.kernels.functions import Function, instruction


def _types() -> Any:
    from llvmlite import ir  # only where something is compiled

    return ir


def _at(builder: Any, address: Any, n_bytes: int) -> Any:
    """A pointer to `n_bytes` bytes."""
    ir = _types()
    return builder.inttoptr(address, ir.VectorType(ir.IntType(8), n_bytes).as_pointer())


def _load(builder: Any, address: Any, n_bytes: int) -> Any:
    value = builder.load(_at(builder, address, n_bytes))
    value.align = 1
    return value


def _store(builder: Any, value: Any, address: Any, n_bytes: int) -> None:
    builder.store(value, _at(builder, address, n_bytes)).align = 1


def _loader(bits: int) -> Function:
    def load(builder: Any, address: Any) -> Any:
        ir = _types()
        value = builder.load(builder.inttoptr(address, ir.IntType(bits).as_pointer()))
        value.align = 1
        return value if bits == 64 else builder.zext(value, ir.IntType(64))

    return instruction(load)


def _storer(bits: int) -> Function:
    def store(builder: Any, address: Any, value: Any) -> None:
        kind = _types().IntType(bits)
        value = value if bits == 64 else builder.trunc(value, kind)
        builder.store(value, builder.inttoptr(address, kind.as_pointer())).align = 1

    return instruction(store)


load8, load16, load32, load64 = _loader(8), _loader(16), _loader(32), _loader(64)
store8, store16, store32, store64 = _storer(8), _storer(16), _storer(32), _storer(64)


@instruction
def copy16(builder, destination, source):
    """Copy 16 bytes."""
    _store(builder, _load(builder, source, 16), destination, 16)


@instruction
def copy32(builder, destination, source):
    """Copy 32 bytes."""
    _store(builder, _load(builder, source, 32), destination, 32)


@instruction
def copy_masked(builder, destination, source, mask_and_tag):
    """Copy 32 bytes, keeping the bits of a mask and setting those of a tag, which stands behind the mask."""
    tag = builder.add(mask_and_tag, mask_and_tag.type(32))
    kept = builder.and_(_load(builder, source, 32), _load(builder, mask_and_tag, 32))
    _store(builder, builder.or_(kept, _load(builder, tag, 32)), destination, 32)


@instruction
def differ24(builder, a, b):
    """Not zero where the first 24 of the (readable) 32 bytes at two addresses differ."""
    bits = _types().IntType(32)
    unequal = builder.icmp_unsigned("!=", _load(builder, a, 32), _load(builder, b, 32))
    return builder.zext(builder.and_(builder.bitcast(unequal, bits), bits(0xFFFFFF)), a.type)


@instruction
def smallest_of(builder, address, n, place_1, value_1, place_2, value_2, place_3, value_3):
    """Write three values at three places of `n` 32-bit numbers without sign, then find the smallest of all.

    `n` is a multiple of 16 and not zero; what lies beyond is not written. Sixteen numbers are read and written at once:
    a narrow write before a wide read would make the processor wait.
    """
    ir = _types()
    word, kind = ir.IntType(32), ir.VectorType(ir.IntType(32), 16)

    def spread(value: Any) -> Any:
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), builder.trunc(value, word), word(0))
        return builder.shuffle_vector(one, one, ir.Constant(kind, [0] * 16))

    changes = [
        (spread(p), spread(v)) for p, v in ((place_1, value_1), (place_2, value_2), (place_3, value_3))
    ]
    before, block = builder.block, builder.append_basic_block()
    after = builder.append_basic_block()
    builder.branch(block)
    builder.position_at_end(block)
    i, best = builder.phi(n.type), builder.phi(kind)
    pointer = builder.inttoptr(builder.add(address, builder.shl(i, n.type(2))), kind.as_pointer())
    values = builder.load(pointer)
    values.align = 4
    lanes = builder.add(spread(i), ir.Constant(kind, list(range(16))))
    for place, value in changes:
        values = builder.select(builder.icmp_unsigned("==", lanes, place), value, values)
    builder.store(values, pointer).align = 4
    least = builder.select(builder.icmp_unsigned("<", values, best), values, best)
    following = builder.add(i, n.type(16))
    i.add_incoming(n.type(0), before)
    i.add_incoming(following, block)
    best.add_incoming(ir.Constant(kind, [0xFFFFFFFF] * 16), before)
    best.add_incoming(least, block)
    builder.cbranch(builder.icmp_unsigned("<", following, n), block, after)
    builder.position_at_end(after)
    name = "llvm.vector.reduce.umin.v16i32"
    reduce = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(word, [kind]), name
    )
    return builder.zext(builder.call(reduce, [least]), n.type)


@instruction
def prefetch(builder, address):
    """Ask for the cache line at an address that will be read soon."""
    ir = _types()
    pointer, bits = ir.IntType(8).as_pointer(), ir.IntType(32)
    name = "llvm.prefetch.p0"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer, bits, bits, bits]), name
    )
    builder.call(function, [builder.inttoptr(address, pointer), bits(0), bits(3), bits(1)])


@instruction
def lowest_bit(builder, mask):
    """The position of the lowest set bit; 64 when there is none."""
    return builder.cttz(mask, _types().IntType(1)(0))


@instruction
def count_bits(builder, mask):
    """How many bits are set."""
    return builder.ctpop(mask)


@instruction
def shift_right(builder, value, n):
    """Shift to the right by `n` < 64 bits, zeros coming in from the left."""
    return builder.lshr(value, n)


@instruction
def pair_mask(builder, address, pair):
    """Where in the 64 bytes at an address two bytes begin that are a number below 65,536, as a bit mask."""
    ir = _types()
    kind = ir.VectorType(ir.IntType(8), 64)

    def equal(offset: int) -> Any:
        text = _load(builder, builder.add(address, address.type(offset)), 64)
        byte = builder.trunc(builder.lshr(pair, pair.type(8 * offset)), ir.IntType(8))
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), byte, ir.IntType(32)(0))
        spread = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        return builder.icmp_unsigned("==", text, spread)

    return builder.bitcast(builder.and_(equal(0), equal(1)), address.type)


@instruction
def ascii_masks(builder, address):
    """The 64 bytes at an address as bit masks: letters, digits, white space, spaces, apostrophes, beyond ASCII."""
    text = _load(builder, address, 64)

    def all_of(byte: int) -> Any:
        return _types().Constant(text.type, [byte] * 64)

    def within(value: Any, first: int, n: int) -> Any:
        return builder.icmp_unsigned("<", builder.sub(value, all_of(first)), all_of(n))

    letters = within(builder.or_(text, all_of(0x20)), ord("a"), 26)
    digits = within(text, ord("0"), 10)
    spaces = builder.icmp_unsigned("==", text, all_of(0x20))
    white = builder.or_(spaces, within(text, 9, 5))
    apostrophes = builder.icmp_unsigned("==", text, all_of(ord("'")))
    high = builder.icmp_signed("<", text, all_of(0))
    return [
        builder.bitcast(mask, address.type) for mask in (letters, digits, white, spaces, apostrophes, high)
    ]
