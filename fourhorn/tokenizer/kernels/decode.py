"""Decoding: the bytes of ids, one after the other.

Section 2.2. A table has 16 bytes for each id: up to 15 bytes of text and in the last byte how many they are. All 16 are
copied to the output, and the output advances by what counts. For a longer token the last byte is LONG, the first eight
are the address of its text, the next four its length.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import apart, inlined, kernel
from fourhorn.tokenizer.kernels.intrinsics import copy16, load8, load16, load32, load64, store8
from fourhorn.tokenizer.kernels.state import get, put

# The state: which ids, how many, their size as a shift, which is next; where its bytes go, where the room ends, how
# much more is needed; the table, and how many ids it has.
IDS, N_IDS, ID_SHIFT, AT, OUT, END, NEEDED, TABLE, N_VOCAB = range(0, 72, 8)
N_FIELDS = 9
DONE, FULL, NO_BYTES = 0, 1, 2

ENTRY_BYTES = 16
SHORT_BYTES = 15
ABSENT, LONG = 254, 255  # in place of a length
BLOCK = 8  # ids that are written without looking whether one of them is long


@inlined
def entry_of(ids, i, id_shift, table, n_vocab):
    """The entry of id number `i`, of two or four bytes; ids beyond the vocabulary have the last one."""
    if id_shift == 1:
        return table + ENTRY_BYTES * min(load16(ids + 2 * i), n_vocab)
    return table + ENTRY_BYTES * min(load32(ids + 4 * i), n_vocab)


@inlined
def decode_block(ids, i, id_shift, table, n_vocab, out):
    """Write the bytes of a block of ids; returns where the next go, and a number over 127 if one was not short."""
    lengths = 0
    for j in range(BLOCK):
        entry = entry_of(ids, i + j, id_shift, table, n_vocab)
        length = load8(entry + SHORT_BYTES)
        copy16(out, entry)
        out += length & SHORT_BYTES  # of a long one anything: it is written again
        lengths |= length
    return out, lengths


@inlined
def decode_some(state, id_shift):
    """What `decode_tokens` does, for ids of one size."""
    ids, n, table, n_vocab = get(state, IDS), get(state, N_IDS), get(state, TABLE), get(state, N_VOCAB)
    i, out = get(state, AT), get(state, OUT)
    last = get(state, END) - BLOCK * ENTRY_BYTES  # before it there is room for a block
    status = DONE
    while i < n and status == DONE:
        whole = 0
        if i + BLOCK <= n and out <= last:
            after, lengths = decode_block(ids, i, id_shift, table, n_vocab, out)
            if lengths < 128:
                i, out = i + BLOCK, after
                whole = 1
        if whole == 0:
            entry = entry_of(ids, i, id_shift, table, n_vocab)
            source, length = entry, load8(entry + SHORT_BYTES)
            if length == LONG:
                source, length = load64(entry), load32(entry + 8)
            if length == ABSENT and source == entry:
                status = NO_BYTES
            elif out + length > get(state, END):
                put(state, NEEDED, length)
                status = FULL
            else:
                copy_bytes(out, source, length)
                i, out = i + 1, out + length
    put(state, AT, i)
    put(state, OUT, out)
    return status


@apart
def copy_bytes(out, source, length):
    """Copy a token that is long, or among the last."""
    for j in range(length):
        store8(out + j, load8(source + j))


@kernel
def decode_tokens(state):
    """Write the bytes of ids AT to N_IDS - 1 to OUT, not beyond END.

    Returns DONE, FULL if there is no room for the next id's NEEDED bytes, or NO_BYTES if it has none.
    """
    if get(state, ID_SHIFT) == 1:
        return decode_some(state, 1)
    return decode_some(state, 2)
