"""Counting pieces: how often each distinct piece occurs, the first half of training.

Section 2.2. Slots of short pieces are 32 bytes: three words of key and a count. Long pieces, of any length, are copied
to the arena. Afterwards the distinct pieces are laid out as one long row of tokens for `learn.py`.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.encode import DONE, LONG_FULL, SHORT_FULL, begin_part
from fourhorn.tokenizer.kernels.functions import inner, kernel
from fourhorn.tokenizer.kernels.intrinsics import (
    differ24,
    load8,
    load32,
    load64,
    shift_right,
    store64,
)
from fourhorn.tokenizer.kernels.pieces import (
    KEY_BYTES,
    SHORT_BYTES,
    find_long,
    find_short,
    hash_long,
    home_slot,
    next_pieces,
)
from fourhorn.tokenizer.kernels.state import (
    ARENA,
    ARENA_BYTES,
    ARENA_USED,
    BEGUN,
    ENDED,
    KEYS,
    LONG,
    LONG_LIMIT,
    LONG_MASK,
    N_LONG,
    N_PARTS,
    N_SHORT,
    N_STARTS,
    NEXT,
    PART,
    SHORT,
    SHORT_LIMIT,
    SHORT_SHIFT,
    STARTS,
    TEXT,
    get,
    put,
)

SLOT_SHIFT = 5  # 32 bytes
SLOT_COUNT = 24
ROW_BYTES = 16  # of the row of tokens: token, pair (int32 each), count (int64)


@inner
def add_long(state, address, length, h, count):
    """Add to the count of a long piece; False when there is no room for a new one."""
    arena, used = get(state, ARENA), get(state, ARENA_USED)
    slot = find_long(get(state, LONG), get(state, LONG_MASK), arena, address, length, h)
    if load64(slot) == 0:
        if get(state, N_LONG) > get(state, LONG_LIMIT) or used + length + 64 > get(state, ARENA_BYTES):
            return False
        for i in range(0, length, 8):
            store64(arena + used + i, load64(address + i))
        store64(slot, h)
        store64(slot + 8, used)
        store64(slot + 16, length)
        put(state, ARENA_USED, used + ((length + 7) & ~7))
        put(state, N_LONG, get(state, N_LONG) + 1)
    store64(slot + 24, load64(slot + 24) + count)
    return True


@inner
def count_other(state, i, slot, key):
    """Count piece `i`, which is not in its home slot; False when there is no room for it."""
    both = load64(get(state, STARTS) + 4 * i)
    start = both & 0xFFFFFFFF
    length = shift_right(both, 32) - start
    if length > SHORT_BYTES:
        address = get(state, TEXT) + start
        return add_long(state, address, length, hash_long(address, length), 1)
    slot = find_short(get(state, SHORT), get(state, SHORT_SHIFT), SLOT_SHIFT, key, slot)
    add_short(state, slot, key, 1)
    return True


@inner
def add_short(state, slot, key, count):
    """Add to the count in a slot, which is the key's or free."""
    if load64(slot + 16) == 0:
        for byte in range(0, 24, 8):
            store64(slot + byte, load64(key + byte))
        put(state, N_SHORT, get(state, N_SHORT) + 1)
    store64(slot + SLOT_COUNT, load64(slot + SLOT_COUNT) + count)


@inner
def count_batch(state):
    """Count pieces NEXT to N_STARTS - 1; stops, with NEXT set, at one for which there is no room."""
    keys, n = get(state, KEYS), get(state, N_STARTS)
    for i in range(get(state, NEXT), n):
        key = keys + KEY_BYTES * i
        slot = load64(key + 24)
        if differ24(slot, key):
            if not count_other(state, i, slot, key):
                put(state, NEXT, i)
                return
        else:
            store64(slot + SLOT_COUNT, load64(slot + SLOT_COUNT) + 1)
    put(state, NEXT, n)


@kernel
def count_parts(state):
    """Count the pieces of parts PART to N_PARTS - 1; returns DONE, or which table is full."""
    part, n_parts = get(state, PART), get(state, N_PARTS)
    status = DONE
    while part < n_parts and status == DONE:
        if not get(state, BEGUN):
            begin_part(state, part)
        while status == DONE:
            if get(state, NEXT) == get(state, N_STARTS):
                if get(state, ENDED):
                    break
                if get(state, N_SHORT) > get(state, SHORT_LIMIT):
                    status = SHORT_FULL
                    break
                next_pieces(state, SLOT_SHIFT)
            count_batch(state)
            if get(state, NEXT) < get(state, N_STARTS):
                status = LONG_FULL
        if status == DONE:
            put(state, BEGUN, 0)
            part += 1
    put(state, PART, part)
    return status


@kernel
def add_counts(state, short, n_short, long, n_long, arena):
    """Add the tables of another counter; the tables of `state` must have room for all of it."""
    table, shift = get(state, SHORT), get(state, SHORT_SHIFT)
    for i in range(n_short):
        key = short + (i << SLOT_SHIFT)
        if load64(key + 16) != 0:
            home = home_slot(key, table, shift, SLOT_SHIFT)
            add_short(state, find_short(table, shift, SLOT_SHIFT, key, home), key, load64(key + SLOT_COUNT))
    for i in range(n_long):
        slot = long + 32 * i
        if load64(slot) != 0:
            add_long(state, arena + load64(slot + 8), load64(slot + 16), load64(slot), load64(slot + 24))


@kernel
def row_length(short, n_short, long, n_long):
    """How many places the row of tokens needs: pieces of two bytes or more, each with an end mark, and two marks."""
    n = 2
    for i in range(n_short):
        length = load8(short + (i << SLOT_SHIFT) + SHORT_BYTES)
        if length > 1:
            n += length + 1
    for i in range(n_long):
        if load64(long + 32 * i) != 0:
            n += load64(long + 32 * i + 16) + 1
    return n


@inner
def write_piece(row, at, address, length, count, byte_tokens):
    """Write one piece and its end mark into the row; returns the place after it."""
    for i in range(length):
        store64(row + ROW_BYTES * at, load32(byte_tokens + 4 * load8(address + i)) | (-1 << 32))
        store64(row + ROW_BYTES * at + 8, count)
        at += 1
    store64(row + ROW_BYTES * at, -1)
    return at + 1


@kernel
def write_row(short, n_short, long, n_long, arena, byte_tokens, row):
    """Lay out all pieces as one row of places (token, pair -1, count), with -1 before, between and behind them."""
    store64(row, -1)
    at = 1
    for i in range(n_short):
        slot = short + (i << SLOT_SHIFT)
        length = load8(slot + SHORT_BYTES)
        if length > 1:
            at = write_piece(row, at, slot, length, load64(slot + SLOT_COUNT), byte_tokens)
    for i in range(n_long):
        slot = long + 32 * i
        if load64(slot) != 0:
            at = write_piece(
                row, at, arena + load64(slot + 8), load64(slot + 16), load64(slot + 24), byte_tokens
            )
    store64(row + ROW_BYTES * at, -1)
    return at + 1
