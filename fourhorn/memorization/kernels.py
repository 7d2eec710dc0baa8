# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,call-arg,var-annotated"
"""The inner loops of §4 in Numba: from text or tokens to one 64-bit hash per n-gram.

In: UTF-8 bytes of many documents, each followed by a zero byte and the last by BLOCK more, with the offsets of their
first bytes (uint8 (N,), int64 (D+1,)), or tokens with a separator token between documents. Out: uint64,
one per n-gram; an n-gram never spans two documents.

A word is a maximal run of alphanumeric characters, lower-cased character by character. Its hash folds eight bytes at
a time through `mix`, so words of at most eight bytes never collide; the hash of an n-gram is a polynomial of its word
(or token) hashes modulo 2^64, rolled from one n-gram to the next, then mixed. `ngrams.py` says it in plain Python.

Every loop releases the GIL and works on arrays that the caller made; none raises. `mix` is the
64-bit finalizer of MurmurHash3 (Appleby, public domain).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

U64 = np.uint64
SEED = U64(0x9E3779B97F4A7C15)
FOLD = U64(0xD6E8FEB86659FD93)
BASE = U64(0xA0761D6478BD642F)
MIX_1, MIX_2 = U64(0xFF51AFD7ED558CCD), U64(0xC4CEB9FE1A85EC53)

EACH = U64(0x0101010101010101)  # a one in each of eight bytes
LOW_BITS, TOP_BITS, CASE_BITS = EACH * U64(0x7F), EACH * U64(0x80), EACH * U64(0x20)

ALL = U64(0xFFFFFFFFFFFFFFFF)

BLOCK = 64  # bytes told apart at once; as many zeros must follow the last document
SEPARATOR, NOT_ASCII = 0, 255  # entries of the byte table that are no lower-case character
CACHED: dict[str, Any] = {"nogil": True, "cache": True}


@intrinsic
def load8(typing: Any, array: Any, index: Any) -> Any:
    """Eight bytes from `index` on as one integer, first byte lowest (the processor's order on x86 and ARM)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(view.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.PointerType(ir.IntType(64))), align=1)

    return types.uint64(array, types.intp), generate


@intrinsic
def store8(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write one integer as eight bytes from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(view.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(address, ir.PointerType(ir.IntType(64))), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), generate


@intrinsic
def trailing_zeros(typing: Any, value: Any) -> Any:
    """How many zero bits lie below the lowest one; 64 for zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic
def letters_and_others(typing: Any, array: Any, index: Any) -> Any:
    """Of BLOCK bytes from `index` on a bit each, first byte lowest: ASCII letters and digits; bytes above 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(view.data, [arguments[1]])
        block = ir.VectorType(ir.IntType(8), BLOCK)

        def each(byte: int) -> Any:
            return ir.Constant(block, [byte] * BLOCK)

        def among(values: Any, first: str, n: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(values, each(ord(first))), each(n))

        data = builder.load(builder.bitcast(address, ir.PointerType(block)), align=1)
        letters = among(builder.or_(data, each(0x20)), "a", 26)
        flags = builder.or_(letters, among(data, "0", 10)), builder.icmp_signed("<", data, each(0))
        bits = [builder.bitcast(each_flag, ir.IntType(BLOCK)) for each_flag in flags]
        return context.make_tuple(builder, signature.return_type, bits)

    return types.UniTuple(types.uint64, 2)(array, types.intp), generate


@njit(inline="always")
def mix(h):
    """A bijection of 64-bit integers in which every input bit moves every output bit."""
    h ^= h >> U64(33)
    h *= MIX_1
    h ^= h >> U64(33)
    h *= MIX_2
    return h ^ (h >> U64(33))


@njit(inline="always")
def code_point(data, i, stop):
    """The character that starts at byte `i` and how many bytes it takes; U+FFFD for a cut-off one."""
    b = np.int64(data[i])
    if b >= 0xF0 and i + 3 < stop:
        return (
            (b & 7) << 18
            | (np.int64(data[i + 1]) & 63) << 12
            | (np.int64(data[i + 2]) & 63) << 6
            | np.int64(data[i + 3]) & 63
        ), 4
    if 0xE0 <= b < 0xF0 and i + 2 < stop:
        return (b & 15) << 12 | (np.int64(data[i + 1]) & 63) << 6 | np.int64(data[i + 2]) & 63, 3
    if 0xC0 <= b < 0xE0 and i + 1 < stop:
        return (b & 31) << 6 | np.int64(data[i + 1]) & 63, 2
    return np.int64(0xFFFD), 1


@njit(inline="always")
def utf8(c):
    """A character's UTF-8 bytes as one integer, first byte highest, and their number."""
    if c < 0x80:
        return c, 1
    if c < 0x800:
        return (0xC0 | c >> 6) << 8 | 0x80 | c & 63, 2
    if c < 0x10000:
        return (0xE0 | c >> 12) << 16 | (0x80 | c >> 6 & 63) << 8 | 0x80 | c & 63, 3
    return (0xF0 | c >> 18) << 24 | (0x80 | c >> 12 & 63) << 16 | (0x80 | c >> 6 & 63) << 8 | 0x80 | c & 63, 4


@njit(inline="always")
def leading_word(x):
    """Of eight bytes: all lower-cased, and how many ASCII letters and digits lead, from the lowest byte up.

    Eight comparisons in one register: a byte b < 128 is at least v when b + 128 - v carries into its top bit.
    """
    plain = x & LOW_BITS
    lower = plain | CASE_BITS
    letter = (lower + EACH * U64(128 - 97)) & ~(lower + EACH * U64(128 - 123))
    digit = (plain + EACH * U64(128 - 48)) & ~(plain + EACH * U64(128 - 58))
    return x | CASE_BITS, trailing_zeros(~(letter | digit) & TOP_BITS | x & TOP_BITS) >> U64(3)


@njit(inline="always")
def lower_character(data, i, stop, ascii_table, lower_table):
    """The lower-cased character at byte `i`, or SEPARATOR, and the bytes it takes."""
    c = np.int64(ascii_table[data[i]])
    if c != NOT_ASCII:
        return c, 1
    point, width = code_point(data, i, stop)
    return np.int64(lower_table[point]) if point < len(lower_table) else np.int64(SEPARATOR), width


@njit(inline="always")
def fold_bytes(h, packed, n_packed, encoded, n_bytes):
    """Append up to four bytes to a word's running hash, eight at a time."""
    for k in range(n_bytes):
        packed |= U64(encoded >> 8 * (n_bytes - 1 - k) & 255) << U64(8 * n_packed)
        n_packed += 1
        if n_packed == 8:
            h, packed, n_packed = mix(h + packed) * FOLD, U64(0), 0
    return h, packed, n_packed


@njit(inline="always")
def ascii_word(data, i, n):
    """The hash of the word of `n` ASCII letters and digits at byte `i`."""
    h = SEED
    while n >= 8:
        h = mix(h + (load8(data, i) | CASE_BITS)) * FOLD
        i += 8
        n -= 8
    return mix(h + ((load8(data, i) | CASE_BITS) & ~(ALL << U64(8 * n))))


@njit(nogil=True)
def any_word(data, i, stop, ascii_table, lower_table):
    """The hash of the word at byte `i`, in any script and of any length, where it ends, and whether there is one."""
    word, n_lead = leading_word(load8(data, i))
    start, h = i, SEED
    while n_lead == 8:
        h = mix(h + word) * FOLD
        i += 8
        word, n_lead = leading_word(load8(data, i))
    packed, n_packed = word & ~(ALL << (n_lead << U64(3))), np.int64(n_lead)
    i += n_packed
    is_word = i > start
    while i < stop:
        c, width = lower_character(data, i, stop, ascii_table, lower_table)
        i += width
        if c == SEPARATOR:
            break
        encoded, n_bytes = utf8(c)
        h, packed, n_packed = fold_bytes(h, packed, n_packed, encoded, n_bytes)
        is_word = True
    return mix(h + packed), i, is_word


@njit(**CACHED)
def hash_words(data, offsets, ascii_table, lower_table, n, hashes, counts):
    """Hashes of the word n-grams of each document; returns how many. `counts[d]` becomes that of document d.

    A block of bytes is told apart at once into words and what separates them, so that a word waits for no other. A word
    that goes on behind its block begins the next one; a word with bytes above 127 is read character by character.
    """
    ring = np.zeros(n, dtype=U64)
    leave = BASE  # BASE ** n, the weight with which the oldest word leaves
    for _ in range(n - 1):
        leave *= BASE
    n_out = 0
    for d in range(len(counts)):
        i, stop, first = offsets[d], offsets[d + 1] - 1, n_out
        polynomial, n_words, slot = U64(0), 0, 0
        while i < stop:
            letters, others = letters_and_others(data, i)
            runs = letters | others  # of bytes that may be in words
            if stop - i < BLOCK:
                runs &= ~(ALL << U64(stop - i))
            following = i + BLOCK
            while runs != 0:
                start = trailing_zeros(runs)
                length = trailing_zeros(~(runs >> start))
                end = start + length
                if end < U64(BLOCK) and (others >> start) & ~(ALL << length) == 0:
                    value = ascii_word(data, i + np.int64(start), np.int64(length))
                    runs &= ALL << end
                elif end == U64(BLOCK) and start > 0:
                    following = i + np.int64(start)
                    break
                else:
                    value, following, is_word = any_word(
                        data, i + np.int64(start), stop, ascii_table, lower_table
                    )
                    runs = U64(0)
                    if not is_word:
                        break
                polynomial = polynomial * BASE + value - ring[slot] * leave
                ring[slot] = value
                slot = slot + 1 if slot + 1 < n else 0
                n_words += 1
                hashes[n_out] = mix(polynomial)
                n_out += n_words >= n
            i = following
        ring[:] = U64(0)
        counts[d] = n_out - first
    return n_out


@njit(**CACHED)
def normalize(data, offsets, ascii_table, lower_table, out, counts):
    """Each document with a word as ` word`, ended by a newline; returns the bytes written. `counts[d]` = its words."""
    n_out = 0
    for d in range(len(counts)):
        i, stop, n_words = offsets[d], offsets[d + 1] - 1, 0
        while i < stop:
            word, n_lead = leading_word(load8(data, i))
            if n_lead == 0 and data[i] < 128:
                i += 1
                continue
            out[n_out] = 32
            n_out += 1
            start = n_out
            while n_lead == 8:
                store8(out, n_out, word)
                i, n_out = i + 8, n_out + 8
                word, n_lead = leading_word(load8(data, i))
            store8(out, n_out, word)
            i, n_out = i + np.int64(n_lead), n_out + np.int64(n_lead)
            if data[i] < 128:
                i += 1
            else:
                while i < stop:
                    c, width = lower_character(data, i, stop, ascii_table, lower_table)
                    i += width
                    if c == SEPARATOR:
                        break
                    encoded, n_bytes = utf8(c)
                    for k in range(n_bytes):
                        out[n_out] = encoded >> 8 * (n_bytes - 1 - k) & 255
                        n_out += 1
                if n_out == start:
                    n_out -= 1
                    continue
            n_words += 1
        if n_words:
            out[n_out] = 10
            n_out += 1
        counts[d] = n_words
    return n_out


@njit(**CACHED)
def hash_tokens(tokens, separator, n, hashes, has_tokens, counts):
    """Hashes of the token n-grams between separators; `has_tokens[d]` says which documents left any text."""
    ring = np.zeros(n, dtype=U64)
    leave = BASE
    for _ in range(n - 1):
        leave *= BASE
    n_out, first, d, n_seen, slot, polynomial = 0, 0, 0, 0, 0, U64(0)
    for token in tokens:
        if token == separator:
            while has_tokens[d] == 0:
                counts[d] = 0
                d += 1
            counts[d] = n_out - first
            d, first, n_seen, slot, polynomial = d + 1, n_out, 0, 0, U64(0)
            ring[:] = U64(0)
            continue
        word = mix(SEED + U64(token))
        polynomial = polynomial * BASE + word - ring[slot] * leave
        ring[slot] = word
        slot = slot + 1 if slot + 1 < n else 0
        n_seen += 1
        if n_seen >= n:
            hashes[n_out] = mix(polynomial)
            n_out += 1
    counts[d:] = 0
    return n_out
