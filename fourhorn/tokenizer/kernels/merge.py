"""Applying merges to one piece: `bpe.encode_piece` on memory.

Section 2.2. Short pieces look for the best pair by a vectorized minimum over `token << 8 | position`, which finds the
earliest-learned merge and its leftmost place at once. Pieces over 96 bytes keep a list of places for each merge that is
possible. A merge makes only pairs whose merges were learned later, and makes them from left to right, so the lists are
worked off in order of merges and each from its beginning, in time that is linear in the piece.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import apart, inlined, inner
from fourhorn.tokenizer.kernels.intrinsics import (
    load8,
    load16,
    load32,
    load64,
    lowest_bit,
    shift_right,
    smallest_of,
    store32,
    store64,
)
from fourhorn.tokenizer.kernels.pieces import MIX_1
from fourhorn.tokenizer.kernels.state import (
    BYTE_PAIRS,
    BYTE_TOKENS,
    LONG_WORK,
    MERGE_BITS,
    MERGE_LISTS,
    N_ENTRIES,
    N_MERGE_WORDS,
    PAIR_MASK,
    PAIRS,
    WORK,
    get,
    put,
)

MERGE_BYTES = 96
NONE = 0xFFFFFFFF
TOKEN_BITS = 21
TOKEN_MASK = (1 << TOKEN_BITS) - 1
NO_TOKEN = TOKEN_MASK  # beside the ends of a piece: nothing merges with it
MAX_MOVES = 500  # of entries of the table of pairs, to make room for one
BEST, FOLLOWING, BEFORE = 512, 1024, 1536  # rows of WORK behind the tokens, of 128 32-bit numbers
WORK_BYTES = 2048
# Of LONG_WORK, for each byte of a piece: token, the next token's place, one more than that of the token before, the
# merge with the next; and three entries of lists, each a place and the next entry.
LONG_WORK_BYTES = 40


@inlined
def places(key, mask):
    """The two places in the table of pairs at one of which a key stands: a look-up never has to search."""
    h = key * MIX_1
    return shift_right(h, 40) & mask, (h ^ shift_right(h, 32)) & mask


@inlined
def find_entry(pairs, mask, left, right):
    """What the table of pairs says of two neighbors: left, right and token in 21 bits each, or 0. No branch."""
    key = left << TOKEN_BITS | right
    first, second = places(key, mask)
    a, b = load64(pairs + 8 * first), load64(pairs + 8 * second)
    return a & -(a >> TOKEN_BITS == key) | b & -(b >> TOKEN_BITS == key)


@inlined
def find_merge(pairs, mask, left, right):
    """The token that two neighbors merge into, or NONE."""
    entry = find_entry(pairs, mask, left, right)
    return entry & TOKEN_MASK | NONE & -(entry == 0)


@inlined
def candidate(pairs, mask, left, right, position):
    """`token << 8 | position` for a pair that merges, else NONE."""
    entry = find_entry(pairs, mask, left, right)
    return (entry & TOKEN_MASK) << 8 | position | NONE & -(entry == 0)


@apart
def merge_short(state, address, n):
    """Merge a piece of `n` <= 96 bytes; its tokens are left in WORK, their count is returned.

    Places are 1 to n. Beside them stands NO_TOKEN, so that the first and the last token have neighbors, too.
    """
    pairs, mask, byte_tokens = get(state, PAIRS), get(state, PAIR_MASK), get(state, BYTE_TOKENS)
    byte_pairs = get(state, BYTE_PAIRS)
    tokens = get(state, WORK)
    best_of, following, before = tokens + BEST, tokens + FOLLOWING, tokens + BEFORE
    padded = (n + 15) & ~15
    store32(tokens, NO_TOKEN)
    store32(tokens + 4 * n + 4, NO_TOKEN)
    store32(best_of, NONE)
    for i in range(1, n + 1):
        store32(tokens + 4 * i, load32(byte_tokens + 4 * load8(address + i - 1)))
        store32(following + 4 * i, i + 1)
        store32(before + 4 * i, i - 1)
    for i in range(1, n):
        store32(best_of + 4 * i, load32(byte_pairs + 4 * load16(address + i - 1)) | i)
    for i in range(n, padded):
        store32(best_of + 4 * i, NONE)
    best = smallest_of(best_of, padded, 0, NONE, 0, NONE, 0, NONE)
    while best != NONE:
        place, token = best & 0xFF, best >> 8
        gone = load32(following + 4 * place)
        after = load32(following + 4 * gone)
        left = load32(before + 4 * place)
        store32(tokens + 4 * place, token)
        store32(following + 4 * place, after)
        store32(before + 4 * after, place)
        with_left = candidate(pairs, mask, load32(tokens + 4 * left), token, left)
        with_right = candidate(pairs, mask, token, load32(tokens + 4 * after), place)
        best = smallest_of(best_of, padded, left, with_left, place, with_right, gone, NONE)
    return gather(tokens, following, 1, n + 1)


@inlined
def gather(tokens, following, i, end):
    """Move the tokens that are left, from place `i` on, to the front; returns how many."""
    count = 0
    while i < end:
        store32(tokens + 4 * count, load32(tokens + 4 * i))
        i = load32(following + 4 * i)
        count += 1
    return count


@inlined
def note_merge(state, ranks, entries, place, token):
    """Note that the token at a place may merge with the next one into `token` (or NONE)."""
    store32(ranks + 4 * place, token)
    if token != NONE:
        entry, listed = get(state, N_ENTRIES), get(state, MERGE_LISTS) + 8 * token
        put(state, N_ENTRIES, entry + 1)
        store64(entries + 8 * entry, place)
        word, bit = get(state, MERGE_BITS) + 8 * (token >> 6), 1 << (token & 63)
        bits = load64(word)
        if bits & bit:
            store32(entries + 8 * load32(listed + 4) + 4, entry)
        else:
            store64(word, bits | bit)
            store32(listed, entry)
        store32(listed + 4, entry)


@apart
def merge_long(state, address, n):
    """Merge a piece of any length; its tokens are left in LONG_WORK, their count is returned."""
    pairs, mask, byte_tokens = get(state, PAIRS), get(state, PAIR_MASK), get(state, BYTE_TOKENS)
    tokens = get(state, LONG_WORK)
    following, before, ranks, entries = tokens + 4 * n, tokens + 8 * n, tokens + 12 * n, tokens + 16 * n
    for i in range(n):
        store32(tokens + 4 * i, load32(byte_tokens + 4 * load8(address + i)))
        store32(following + 4 * i, i + 1)
        store32(before + 4 * i, i)
    put(state, N_ENTRIES, 0)
    for i in range(n - 1):
        left, right = load32(tokens + 4 * i), load32(tokens + 4 * i + 4)
        note_merge(state, ranks, entries, i, find_merge(pairs, mask, left, right))
    store32(ranks + 4 * (n - 1), NONE)
    word = get(state, MERGE_BITS)
    end_of_words = word + 8 * get(state, N_MERGE_WORDS)
    while word < end_of_words:
        bits = load64(word)
        if bits == 0:
            word += 8
            continue
        store64(word, bits & (bits - 1))
        token = (word - get(state, MERGE_BITS)) * 8 + lowest_bit(bits)
        listed = get(state, MERGE_LISTS) + 8 * token
        entry, end = load32(listed), load32(listed + 4)
        while True:
            i = load32(entries + 8 * entry)
            if load32(ranks + 4 * i) == token:  # else the pair there was changed since
                merge_at(state, tokens, n, i, token)
            if entry == end:
                break
            entry = load32(entries + 8 * entry + 4)
    return gather(tokens, following, 0, n)


@inlined
def merge_at(state, tokens, n, i, token):
    """Merge the token at place `i` with the next one, and note the merges that this makes possible."""
    pairs, mask = get(state, PAIRS), get(state, PAIR_MASK)
    following, before, ranks, entries = tokens + 4 * n, tokens + 8 * n, tokens + 12 * n, tokens + 16 * n
    gone = load32(following + 4 * i)
    after = load32(following + 4 * gone)
    store32(tokens + 4 * i, token)
    store32(following + 4 * i, after)
    store32(ranks + 4 * gone, NONE)
    left = load32(before + 4 * i) - 1
    if left >= 0:
        found = find_merge(pairs, mask, load32(tokens + 4 * left), token)
        note_merge(state, ranks, entries, left, found)
    if after < n:
        store32(before + 4 * after, i + 1)
        found = find_merge(pairs, mask, token, load32(tokens + 4 * after))
        note_merge(state, ranks, entries, i, found)
    else:
        store32(ranks + 4 * i, NONE)


@inner
def put_pair(pairs, mask, left, right, token):
    """Put a merge into the table of pairs, moving others to their second place; returns 0 if there is no room."""
    entry = (left << TOKEN_BITS | right) << TOKEN_BITS | token
    place, _ = places(entry >> TOKEN_BITS, mask)
    for _move in range(MAX_MOVES):
        slot = pairs + 8 * place
        moved = load64(slot)
        store64(slot, entry)
        if moved == 0:
            return 1
        first, second = places(moved >> TOKEN_BITS, mask)
        place = first ^ second ^ place
        entry = moved
    return 0
