"""The split pattern on 64 bytes at a time: where pieces start, as bits.

Section 2.2, `pattern.py` as Boolean algebra. For a block of 64 bytes there is one bit mask per class; a piece starts
where a class begins that the byte before does not have. What spaces, white space and contractions add to that is in
`starts_in_block` and `contractions`. Characters beyond ASCII are classified one by one and all of their bytes get the
class, so that the algebra needs no special case. A byte that is no UTF-8 is a character of class "other".
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import inlined, inner, kernel
from fourhorn.tokenizer.kernels.intrinsics import (
    ascii_masks,
    count_bits,
    load8,
    load64,
    lowest_bit,
    pair_mask,
    shift_right,
    store32,
    store64,
)
from fourhorn.tokenizer.kernels.state import (
    AT,
    BATCH_PIECES,
    CLASS_INDEX,
    CLASS_LETTER,
    CLASS_NUMBER,
    CLASS_OTHER,
    CLASS_PAGES,
    CLASS_WHITE,
    CLEAR_BITS,
    LAST_LETTER,
    LAST_NUMBER,
    LAST_OTHER,
    LAST_SPACE,
    LAST_WHITE,
    SET_BITS,
    STARTS,
    TEXT,
    TEXT_BYTES,
    WIDE_CLASS,
    WIDE_LEFT,
    get,
    put,
)

# "<|endoftext|>" as numbers: how it begins, and how it ends.
FIRST_TWO, FIRST_EIGHT, LAST_EIGHT = (
    int.from_bytes(part, "little") for part in (b"<|", b"<|endoft", b"oftext|>")
)


@inlined
def wide_character(address, end):
    """The code point and the length in bytes of a character beyond ASCII; (-1, 1) where there is none."""
    a = load8(address)
    if a < 0xC2 or a > 0xF4 or address + 1 >= end:
        return -1, 1
    b = load8(address + 1)
    if b & 0xC0 != 0x80:
        return -1, 1
    if a < 0xE0:
        return (a & 0x1F) << 6 | (b & 0x3F), 2
    if address + 2 >= end:
        return -1, 1
    c = load8(address + 2)
    if c & 0xC0 != 0x80:
        return -1, 1
    if a < 0xF0:
        point = (a & 0x0F) << 12 | (b & 0x3F) << 6 | (c & 0x3F)
        if point < 0x800:
            return -1, 1
        return point, 3
    if address + 3 >= end:
        return -1, 1
    d = load8(address + 3)
    point = (a & 0x07) << 18 | (b & 0x3F) << 12 | (c & 0x3F) << 6 | (d & 0x3F)
    if d & 0xC0 != 0x80 or point < 0x10000 or point > 0x10FFFF:
        return -1, 1
    return point, 4


@inlined
def class_of(point, class_index, class_pages):
    """The class of a code point, by a table of pages of 256."""
    if point < 0:
        return CLASS_OTHER
    return load8(class_pages + (load8(class_index + (point >> 8)) << 8) + (point & 0xFF))


@inner
def add_wide(state, address, end, high, letters, numbers, white):
    """Add the characters beyond ASCII (whose bytes are `high`) to the masks of a block; and mark inner bytes.

    A character may begin in one block and end in the next: WIDE_LEFT bytes of WIDE_CLASS are still to come.
    """
    class_index, class_pages = get(state, CLASS_INDEX), get(state, CLASS_PAGES)
    inside = 0
    left, kind = get(state, WIDE_LEFT), get(state, WIDE_CLASS)
    if left:
        span = (1 << left) - 1
        inside = span
        high &= ~span
        letters |= span & -(kind == CLASS_LETTER)
        numbers |= span & -(kind == CLASS_NUMBER)
        white |= span & -(kind == CLASS_WHITE)
        left = 0
    while high:
        i = lowest_bit(high)
        point, length = wide_character(address + i, end)
        kind = class_of(point, class_index, class_pages)
        first = 1 << i
        span = ((1 << length) - 1) << i
        high &= ~span
        inside |= span & ~first
        letters |= span & -(kind == CLASS_LETTER)
        numbers |= span & -(kind == CLASS_NUMBER)
        white |= span & -(kind == CLASS_WHITE)
        if i + length > 64:
            left = i + length - 64
    put(state, WIDE_LEFT, left)
    put(state, WIDE_CLASS, kind)
    return letters, numbers, white, inside


@inner
def text_follows(state, address, end):
    """Whether what stands at an address is a character that is no white space."""
    if address >= end:
        return False
    byte = load8(address)
    if byte < 0x80:
        return not (byte == 0x20 or (byte >= 9 and byte <= 13))
    point, _ = wide_character(address, end)
    return class_of(point, get(state, CLASS_INDEX), get(state, CLASS_PAGES)) != CLASS_WHITE


@inlined
def starts_in_block(state, block, end, letters, numbers, white, spaces, others, inside):
    """The bits where pieces start, but for contractions.

    A run of letters, numbers or others starts a piece, unless an ASCII space before it does. A run of white space
    starts one at its first character and, if something follows, at its last: `\\s+(?!\\S)` gives that one back.
    """
    starts = letters & ~(letters << 1 | get(state, LAST_LETTER))
    starts |= numbers & ~(numbers << 1 | get(state, LAST_NUMBER))
    starts |= others & ~(others << 1 | get(state, LAST_OTHER))
    starts &= ~(spaces << 1 | get(state, LAST_SPACE))
    if white == 0:
        return starts
    before_text = shift_right((letters | numbers | others) & ~inside, 1)
    if inside:  # the last white character may have up to three bytes: go back to its first
        before_text |= shift_right(before_text & inside, 1)
        before_text |= shift_right(before_text & inside, 1)
    if white < 0 and text_follows(state, block + 64 + get(state, WIDE_LEFT), end):
        last = 63
        while shift_right(inside, last) & 1:
            last -= 1
        before_text |= 1 << last
    return starts | (white & ~inside & (~(white << 1 | get(state, LAST_WHITE)) | before_text))


@inner
def contractions(state, block, end, apostrophes, starts):
    """Where an apostrophe starts a piece and s, t, m, d, re, ve or ll follows: the piece is exactly that."""
    set_bits, clear_bits = 0, 0
    while apostrophes:
        i = lowest_bit(apostrophes)
        apostrophes &= apostrophes - 1
        room = end - (block + i)
        length = 0
        if room > 1:
            a = load8(block + i + 1)
            if a == 0x73 or a == 0x74 or a == 0x6D or a == 0x64:  # s t m d
                length = 2
            elif room > 2:
                b = load8(block + i + 2)
                if (b == 0x65 and (a == 0x72 or a == 0x76)) or (a == 0x6C and b == 0x6C):  # re ve ll
                    length = 3
        if length:
            if i + 1 < 64:
                starts &= ~(1 << (i + 1))
            else:
                clear_bits = 1
            if length < room:
                if i + length < 64:
                    starts |= 1 << (i + length)
                else:
                    set_bits |= 1 << (i + length - 64)
    put(state, SET_BITS, set_bits)
    put(state, CLEAR_BITS, clear_bits)
    return starts


@inlined
def write_offsets(bits, offset, to):
    """Write `offset` plus the position of each set bit as 32-bit numbers at `to`; returns how many.

    Eight are written whether they are there or not: that is faster than asking.
    """
    n = count_bits(bits)
    for i in range(8):
        store32(to + 4 * i, offset + lowest_bit(bits))
        bits &= bits - 1
    if n > 8:
        for i in range(8, 16):
            store32(to + 4 * i, offset + lowest_bit(bits))
            bits &= bits - 1
        for i in range(16, n):
            store32(to + 4 * i, offset + lowest_bit(bits))
            bits &= bits - 1
    return n


@kernel
def find_separators(text, start, end, found):
    """Write where `<|endoftext|>` stands in a text, from `start` to `end`, to `found`; returns how many."""
    n = 0
    at = start
    while at < end:
        bits = pair_mask(text + at, FIRST_TWO)
        while bits:
            i = at + lowest_bit(bits)
            bits &= bits - 1
            if load64(text + i) == FIRST_EIGHT and load64(text + i + 5) == LAST_EIGHT and i + 13 <= end:
                store64(found + 8 * n, i)
                n += 1
        at += 64
    return n


@inner
def find_starts(state, n):
    """Scan on until more than a batch of piece starts is found or the text ends.

    Offsets are written to STARTS from number `n` on; returns how many there are now.
    """
    text, n_bytes, to = get(state, TEXT), get(state, TEXT_BYTES), get(state, STARTS)
    at, end = get(state, AT), text + n_bytes
    while at < n_bytes and n <= BATCH_PIECES:
        block = text + at
        letters, numbers, white, spaces, apostrophes, high = ascii_masks(block)
        valid = -1 if n_bytes - at >= 64 else (1 << (n_bytes - at)) - 1
        inside = 0
        if (high & valid) | get(state, WIDE_LEFT):
            letters, numbers, white, inside = add_wide(
                state, block, end, high & valid, letters, numbers, white
            )
        letters, numbers, white, spaces = letters & valid, numbers & valid, white & valid, spaces & valid
        others = ~(letters | numbers | white) & valid
        starts = starts_in_block(state, block, end, letters, numbers, white, spaces, others, inside)
        starts = (starts & ~get(state, CLEAR_BITS)) | get(state, SET_BITS)
        apostrophes &= starts
        if apostrophes:
            starts = contractions(state, block, end, apostrophes, starts)
        else:
            put(state, SET_BITS, 0)
            put(state, CLEAR_BITS, 0)
        put(state, LAST_LETTER, shift_right(letters, 63))
        put(state, LAST_NUMBER, shift_right(numbers, 63))
        put(state, LAST_OTHER, shift_right(others, 63))
        put(state, LAST_WHITE, shift_right(white, 63))
        put(state, LAST_SPACE, shift_right(spaces, 63))
        n += write_offsets(starts, at, to + 4 * n)
        at += 64
    put(state, AT, at)
    return n
