"""Encoding: look up what is remembered of each piece, merge what is new, write ids.

Section 2.2's fast path. A piece that occurred before costs one look-up. Slots of short pieces are 64 bytes, one line of
the processor's cache: three words of key, 32 bytes of ids, and how many bytes of them count (0: slot is free). All 32
are copied to the output, and the output advances by what counts. Long pieces keep their ids in the arena.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import inlined, inner, kernel
from fourhorn.tokenizer.kernels.intrinsics import (
    copy32,
    differ24,
    load32,
    load64,
    shift_right,
    store16,
    store32,
    store64,
)
from fourhorn.tokenizer.kernels.merge import MERGE_BYTES, merge_long, merge_short, put_pair
from fourhorn.tokenizer.kernels.pieces import (
    KEY_BYTES,
    SHORT_BYTES,
    find_long,
    find_short,
    hash_long,
    next_pieces,
)
from fourhorn.tokenizer.kernels.state import (
    ARENA,
    ARENA_BYTES,
    ARENA_USED,
    AT,
    BASE,
    BEGINS,
    BEGUN,
    CONTINUES,
    ENDED,
    FROM,
    ID_SHIFT,
    IDS,
    KEYS,
    LONG,
    LONG_LIMIT,
    LONG_MASK,
    LONG_ROOM,
    LONG_WORK,
    LONGEST,
    N_LONG,
    N_PARTS,
    N_SHORT,
    N_STARTS,
    NEXT,
    OUT,
    PART,
    SEPARATOR,
    SHORT,
    SHORT_LIMIT,
    SHORT_SHIFT,
    STARTS,
    TEXT,
    TEXT_BYTES,
    TO,
    WIDE_CLASS,
    WORK,
    get,
    put,
)

SLOT_SHIFT = 6  # 64 bytes
SLOT_IDS, SLOT_COUNT = 24, 56
ARENA_ROOM = 1 << 19  # what one batch of pieces can add at most
SWAP_MASK = 0xF0  # one displaced piece in 16 is moved to the front of its chain
DONE, SHORT_FULL, LONG_FULL, WORK_FULL = 0, 1, 2, 3


@inlined
def write_ids(state, tokens, count, out):
    """Write `count` tokens as public ids of two or four bytes; returns how many bytes."""
    ids = get(state, IDS)
    if get(state, ID_SHIFT) == 1:
        for i in range(count):
            store16(out + 2 * i, load32(ids + 4 * load32(tokens + 4 * i)))
        return 2 * count
    for i in range(count):
        store32(out + 4 * i, load32(ids + 4 * load32(tokens + 4 * i)))
    return 4 * count


@inner
def long_piece(state, address, length, out):
    """Write the ids of a piece of more than 23 bytes; returns how many bytes."""
    if length > MERGE_BYTES:
        count = merge_long(state, address, length)
        return write_ids(state, get(state, LONG_WORK), count, out)
    arena, h = get(state, ARENA), hash_long(address, length)
    slot = find_long(get(state, LONG), get(state, LONG_MASK), arena, address, length, h)
    padded = (length + 7) & ~7
    if load64(slot):
        n_bytes, ids = load64(slot + 24), arena + load64(slot + 8) + padded
        for i in range(0, n_bytes, 32):
            copy32(out + i, ids + i)
        return n_bytes
    n_bytes = write_ids(state, get(state, WORK), merge_short(state, address, length), out)
    used = get(state, ARENA_USED)
    for i in range(0, length, 8):
        store64(arena + used + i, load64(address + i))
    for i in range(0, n_bytes, 8):
        store64(arena + used + padded + i, load64(out + i))
    store64(slot, h)
    store64(slot + 8, used)
    store64(slot + 16, length)
    store64(slot + 24, n_bytes)
    put(state, ARENA_USED, used + padded + ((n_bytes + 7) & ~7))
    put(state, N_LONG, get(state, N_LONG) + 1)
    return n_bytes


@inner
def add_short(state, slot, key, address, length, out):
    """Merge a new short piece, write its ids and remember them; returns how many bytes were written.

    If they are too many for the slot, only the key is kept there (count 0) and the ids are kept as a long piece's.
    """
    n_bytes = write_ids(state, get(state, WORK), merge_short(state, address, length), out)
    for i in range(0, 24, 8):
        store64(slot + i, load64(key + i))
    put(state, N_SHORT, get(state, N_SHORT) + 1)
    if n_bytes > SLOT_COUNT - SLOT_IDS:
        store64(slot + SLOT_COUNT, 0)
        return long_piece(state, address, length, out)
    copy32(slot + SLOT_IDS, out)
    store64(slot + SLOT_COUNT, n_bytes)
    return n_bytes


@inner
def swap_slots(a, b):
    """Exchange two slots of one chain, so that a frequent piece comes to stand where it is looked for first."""
    for i in range(0, 64, 8):
        kept = load64(a + i)
        store64(a + i, load64(b + i))
        store64(b + i, kept)


@inner
def other_piece(state, i, home, key, out):
    """Write the ids of piece `i`, which is not in its home slot: displaced, new or long; returns how many bytes."""
    both = load64(get(state, STARTS) + 4 * i)
    start = both & 0xFFFFFFFF
    length = shift_right(both, 32) - start
    address = get(state, TEXT) + start
    if length > SHORT_BYTES:
        return long_piece(state, address, length, out)
    slot = home
    if differ24(key, home):
        slot = find_short(get(state, SHORT), get(state, SHORT_SHIFT), SLOT_SHIFT, key, home)
        if load64(slot + 16) == 0:
            return add_short(state, slot, key, address, length, out)
        if out & SWAP_MASK == 0:
            swap_slots(home, slot)
            slot = home
    n_bytes = load64(slot + SLOT_COUNT)
    if n_bytes == 0:
        return long_piece(state, address, length, out)
    copy32(out, slot + SLOT_IDS)
    return n_bytes


@inner
def encode_batch(state, out):
    """Write the ids of all pieces of a batch; returns where the output ends."""
    key = get(state, KEYS)
    for i in range(get(state, N_STARTS)):
        slot = load64(key + 24)
        n_bytes = load64(slot + SLOT_COUNT)
        copy32(out, slot + SLOT_IDS)
        if differ24(slot, key) or n_bytes == 0:
            n_bytes = other_piece(state, i, slot, key, out)
        out += n_bytes
        key += KEY_BYTES
    put(state, NEXT, get(state, N_STARTS))
    return out


@inlined
def begin_part(state, part):
    """Set the scan to the beginning of a part."""
    begin, end = load64(get(state, FROM) + 8 * part), load64(get(state, TO) + 8 * part)
    put(state, TEXT, get(state, BASE) + begin)
    put(state, TEXT_BYTES, end - begin)
    for field in range(AT, WIDE_CLASS + 8, 8):
        put(state, field, 0)
    for field in range(NEXT, ENDED + 8, 8):
        put(state, field, 0)
    put(state, BEGUN, 1)


@kernel
def encode_parts(state):
    """Encode parts PART to N_PARTS - 1 to OUT and note where each begins; each is preceded by SEPARATOR.

    There is none if SEPARATOR is negative, nor before the first part if it CONTINUES a document. Returns DONE, or which
    table is full: then the caller makes it larger and calls again.
    """
    part, n_parts, out = get(state, PART), get(state, N_PARTS), get(state, OUT)
    status = DONE
    while part < n_parts and status == DONE:
        if not get(state, BEGUN):
            store64(get(state, BEGINS) + 8 * part, out)
            if get(state, SEPARATOR) >= 0 and not (part == 0 and get(state, CONTINUES)):
                store32(out, get(state, SEPARATOR))
                out += 1 << get(state, ID_SHIFT)
            begin_part(state, part)
        while status == DONE and not (get(state, ENDED) and get(state, NEXT) == get(state, N_STARTS)):
            if get(state, N_SHORT) > get(state, SHORT_LIMIT):
                status = SHORT_FULL
            elif get(state, N_LONG) > get(state, LONG_LIMIT) or get(state, ARENA_USED) + ARENA_ROOM > get(
                state, ARENA_BYTES
            ):
                status = LONG_FULL
            else:
                if get(state, NEXT) == get(state, N_STARTS):
                    next_pieces(state, SLOT_SHIFT)
                if get(state, LONGEST) > get(state, LONG_ROOM):
                    status = WORK_FULL
                else:
                    out = encode_batch(state, out)
        if status == DONE:
            put(state, BEGUN, 0)
            part += 1
    put(state, PART, part)
    put(state, OUT, out)
    store64(get(state, BEGINS) + 8 * n_parts, out)
    return status


@kernel
def fill_pairs(merges, n_merges, pairs, mask):
    """Fill the table of pairs: merge i, two 32-bit numbers, makes token 256 + i. Returns 0 if it is too small."""
    for i in range(n_merges):
        if not put_pair(pairs, mask, load32(merges + 8 * i), load32(merges + 8 * i + 4), 256 + i):
            return 0
    return 1
