"""Pieces as keys: how a table finds what it remembers of a piece.

A short piece (up to 23 bytes) is its own key: three 64-bit words, padded with zeros, its length in the last byte. A
long one is found by a 64-bit hash and then compared with its copy in the arena. Tables are open-addressed and a power
of two in size; an entry is never removed.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import inlined, inner, kernel
from fourhorn.tokenizer.kernels.intrinsics import (
    copy_masked,
    differ24,
    load32,
    load64,
    prefetch,
    shift_right,
    store64,
)
from fourhorn.tokenizer.kernels.split import find_starts
from fourhorn.tokenizer.kernels.state import (
    AT,
    ENDED,
    KEY_MASKS,
    KEYS,
    LONGEST,
    N_STARTS,
    NEXT,
    SHORT,
    SHORT_SHIFT,
    STARTS,
    TEXT,
    TEXT_BYTES,
    get,
    put,
)

SHORT_BYTES = 23
KEY_BYTES = 32  # three words and the address of the slot to look into first
NO_KEY = 1  # the last word in place of a long piece's key: no slot has it

# Odd numbers with bits well spread, as int64.
MIX_1 = 0x1E3779B97F4A7C15
MIX_2 = 0x42B2AE3D27D4EB4F
MIX_3 = 0x56E8FEB86659FD93


@inlined
def home_slot(key, table, shift, slot_shift):
    """Where a short piece's key is looked for first: its hash's highest bits say which slot."""
    h = (load64(key) * MIX_1) ^ (load64(key + 8) * MIX_2) ^ (load64(key + 16) * MIX_3)
    return table + (shift_right(h, shift) << slot_shift)


@inner
def hash_long(address, length):
    """A hash of `length` bytes, never zero."""
    h = length * MIX_3
    i = 0
    while i + 8 <= length:
        h = (h ^ load64(address + i)) * MIX_1
        h ^= shift_right(h, 31)
        i += 8
    if i < length:
        h = (h ^ (load64(address + i) & ((1 << 8 * (length - i)) - 1))) * MIX_2
        h ^= shift_right(h, 31)
    return h | 1


@inner
def same_bytes(a, b, length):
    """Whether `length` bytes at two addresses are the same."""
    i = 0
    while i + 8 <= length:
        if load64(a + i) != load64(b + i):
            return False
        i += 8
    return i == length or (load64(a + i) ^ load64(b + i)) & ((1 << 8 * (length - i)) - 1) == 0


@inner
def find_long(table, mask, arena, address, length, h):
    """The slot (32 bytes: hash, offset in the arena, length, value) that holds a long piece, or the free one for it."""
    i = shift_right(h, 1) & mask
    while True:
        slot = table + (i << 5)
        known = load64(slot)
        if known == 0:
            return slot
        if (
            known == h
            and load64(slot + 16) == length
            and same_bytes(arena + load64(slot + 8), address, length)
        ):
            return slot
        i = (i + 1) & mask


@inner
def next_pieces(state, slot_shift):
    """Find the next batch of pieces, write their keys, and fetch the slots that they will be looked up in.

    Afterwards pieces NEXT to N_STARTS - 1 are to be worked on; piece i goes from STARTS[i] to STARTS[i + 1]. When all
    were worked on and the text has ended, ENDED is 1.
    """
    starts, keys, text = get(state, STARTS), get(state, KEYS), get(state, TEXT)
    n = 0
    if get(state, AT):
        store64(starts, load32(starts + 4 * get(state, N_STARTS)))  # the last start has no end yet
        n = 1
    n = find_starts(state, n)
    if get(state, AT) >= get(state, TEXT_BYTES):
        store64(starts + 4 * n, get(state, TEXT_BYTES))
        put(state, ENDED, 1)
    else:
        n -= 1
    put(state, NEXT, 0)
    put(state, N_STARTS, n)
    masks, table, shift = get(state, KEY_MASKS), get(state, SHORT), get(state, SHORT_SHIFT)
    longest = 0
    for i in range(n):
        both = load64(starts + 4 * i)
        start = both & 0xFFFFFFFF
        length = shift_right(both, 32) - start
        key = keys + KEY_BYTES * i
        if length <= SHORT_BYTES:
            copy_masked(key, text + start, masks + 64 * length)
            slot = home_slot(key, table, shift, slot_shift)
            store64(key + 24, slot)
            prefetch(slot)
        else:
            store64(key + 16, NO_KEY)
            store64(key + 24, table)
            longest = max(longest, length)
    put(state, LONGEST, longest)


@inner
def find_short(table, shift, slot_shift, key, slot):
    """The slot that holds a key, or the free one for it; `slot` is its home."""
    end = table + (1 << (64 - shift + slot_shift))
    while load64(slot + 16) != 0 and differ24(slot, key):
        slot += 1 << slot_shift
        if slot == end:
            slot = table
    return slot


@kernel
def move_short(old, n_slots, new, shift, slot_shift):
    """Move all slots of short pieces into a larger, empty table."""
    for i in range(n_slots):
        slot = old + (i << slot_shift)
        if load64(slot + 16) == 0:
            continue
        free = find_short(new, shift, slot_shift, slot, home_slot(slot, new, shift, slot_shift))
        for byte in range(0, 1 << slot_shift, 8):
            store64(free + byte, load64(slot + byte))


@kernel
def move_long(old, n_slots, new, mask):
    """Move all slots of long pieces into a larger, empty table."""
    for i in range(n_slots):
        slot = old + 32 * i
        if load64(slot) == 0:
            continue
        j = shift_right(load64(slot), 1) & mask
        while load64(new + 32 * j) != 0:
            j = (j + 1) & mask
        for byte in range(0, 32, 8):
            store64(new + 32 * j + byte, load64(slot + byte))
