"""Decoding: the bytes of ids, one after the other.

Section 2.2. A table has 16 bytes for each id: up to 15 bytes of text and in the last byte how many they are. All 16 are
copied to the output, and the output advances by what counts. For a longer token the last byte is LONG, the first eight
are the address of its text, the next four its length.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import apart, inlined, kernel
from fourhorn.tokenizer.kernels.intrinsics import copy16, load8, load16, load32, load64, store8

ENTRY_BYTES = 16
SHORT_BYTES = 15
LONG, ABSENT = 255, 254  # in place of a length


@inlined
def id_at(ids, i, id_shift):
    """Id number `i`, of two or four bytes."""
    if id_shift == 1:
        return load16(ids + 2 * i)
    return load32(ids + 4 * i)


@kernel
def decoded_bytes(ids, n, id_shift, table, lengths, n_vocab):
    """How many bytes `n` ids stand for; -1 if one of them has none. `lengths` are the last bytes of the table."""
    total = 0
    for i in range(n):
        token = id_at(ids, i, id_shift)
        if token >= n_vocab:
            return -1
        length = load8(lengths + token)
        if length >= ABSENT:
            if length == ABSENT:
                return -1
            length = load32(table + ENTRY_BYTES * token + 8)
        total += length
    return total


@kernel
def decode_tokens(ids, n, id_shift, table, out, end):
    """Write the bytes of `n` ids at an address to `out`, not beyond `end`."""
    last = end - ENTRY_BYTES
    for i in range(n):
        entry = table + ENTRY_BYTES * id_at(ids, i, id_shift)
        length = load8(entry + SHORT_BYTES)
        if length < LONG and out <= last:
            copy16(out, entry)
            out += length
        else:
            out = decode_slowly(entry, length, out)


@apart
def decode_slowly(entry, length, out):
    """Write a token that is long, or among the last; returns where the next one goes."""
    source = entry
    if length == LONG:
        source, length = load64(entry), load32(entry + 8)
    for j in range(length):
        store8(out + j, load8(source + j))
    return out + length
