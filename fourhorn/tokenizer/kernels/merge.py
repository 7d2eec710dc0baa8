"""Applying merges to one piece: `bpe.encode_piece` on arrays.

Section 2.2. Short pieces look for the best pair by a vectorized minimum over `rank << 8 | position`, which finds the
earliest-learned merge and its leftmost place at once. Pieces over 96 bytes use a linked list and a heap of the merges
that are possible, so the time is O(n log n) whatever the text.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from fourhorn.tokenizer.kernels.intrinsics import inlined, inner, load8, load32, load64, shift_right
from fourhorn.tokenizer.kernels.pieces import MIX_1
from fourhorn.tokenizer.kernels.state import BYTE_TOKENS, PAIR_MASK, PAIRS, get

MERGE_BYTES = 96
NONE = 0xFFFFFFFF
TOKEN_BITS = 21
TOKEN_MASK = (1 << TOKEN_BITS) - 1


@inlined
def find_merge(pairs, mask, left, right):
    """The token that two neighbors merge into, or NONE. A slot holds left, right and token in 21 bits each."""
    key = left << TOKEN_BITS | right
    i = shift_right(key * MIX_1, 32) & mask
    while True:
        entry = load64(pairs + 8 * i)
        if entry == 0:
            return NONE
        if entry >> TOKEN_BITS == key:
            return entry & TOKEN_MASK
        i = (i + 1) & mask


@inlined
def candidate(pairs, mask, left, right, position):
    """`token << 8 | position` for a pair that merges, else NONE."""
    token = find_merge(pairs, mask, left, right)
    return np.uint32(NONE if token == NONE else token << 8 | position)


@inner
def merge_short(state, address, n, tokens, work):
    """Merge a piece of `n` <= 96 bytes; its tokens are left in `tokens`, their count is returned.

    `work` has three rows of uint32: candidates, and for each token which follows it and which is before it.
    """
    pairs, mask, byte_tokens = get(state, PAIRS), get(state, PAIR_MASK), get(state, BYTE_TOKENS)
    best_of, following, before = work[0], work[1], work[2]
    padded = (n + 15) & ~15
    for i in range(n):
        tokens[i] = load32(byte_tokens + 4 * load8(address + i))
        following[i] = i + 1
        before[i] = i - 1
    for i in range(n - 1):
        best_of[i] = candidate(pairs, mask, tokens[i], tokens[i + 1], i)
    for i in range(n - 1, padded):
        best_of[i] = NONE
    while True:
        best = np.uint32(NONE)
        for i in range(padded):
            best = min(best, best_of[i])
        if best == np.uint32(NONE):
            break
        place, token = np.int64(best) & 0xFF, np.int64(best) >> 8
        gone = following[place]
        after = following[gone]
        tokens[place] = token
        following[place] = after
        best_of[gone] = NONE
        best_of[place] = NONE
        if after < n:
            before[after] = place
            best_of[place] = candidate(pairs, mask, token, tokens[after], place)
        if place > 0:
            left = before[place]
            best_of[left] = candidate(pairs, mask, tokens[left], token, left)
    count, i = 0, 0
    while i < n:
        tokens[count] = tokens[i]
        i = following[i]
        count += 1
    return count


@inner
def sift_up(heap, n, item):
    """Put an item into a min-heap of `n` items."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if heap[parent] <= item:
            break
        heap[i] = heap[parent]
        i = parent
    heap[i] = item


@inner
def sift_down(heap, n, i, item):
    """Put an item at place `i` of a min-heap of `n` items, or below."""
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = item


@inner
def merge_long(state, address, n):
    """Merge a piece of any length; returns its tokens."""
    pairs, mask, byte_tokens = get(state, PAIRS), get(state, PAIR_MASK), get(state, BYTE_TOKENS)
    tokens = np.empty(n, np.int32)
    following = np.empty(n, np.int32)
    before = np.empty(n, np.int32)
    rank = np.full(n, NONE, np.int64)  # the merge of each token with the one after it
    heap = np.empty(3 * n + 8, np.int64)  # rank << 40 | position
    size = 0
    for i in range(n):
        tokens[i] = load32(byte_tokens + 4 * load8(address + i))
        following[i], before[i] = i + 1, i - 1
    for i in range(n - 1):
        rank[i] = find_merge(pairs, mask, np.int64(tokens[i]), np.int64(tokens[i + 1]))
        if rank[i] != NONE:
            heap[size] = rank[i] << 40 | i
            size += 1
    for i in range(size // 2 - 1, -1, -1):
        sift_down(heap, size, i, heap[i])
    while size > 0:
        best = heap[0]
        size -= 1
        if size > 0:
            sift_down(heap, size, 0, heap[size])
        i, token = best & ((1 << 40) - 1), best >> 40
        if rank[i] != token:
            continue  # this pair was changed since
        gone = following[i]
        after = following[gone]
        tokens[i], following[i] = token, after
        rank[i] = rank[gone] = NONE
        if after < n:
            before[after] = i
        left = before[i]
        for side in range(2):
            a, b = (left, i) if side == 0 else (i, after)
            if a < 0 or b >= n:
                continue
            rank[a] = find_merge(pairs, mask, np.int64(tokens[a]), np.int64(tokens[b]))
            if rank[a] != NONE:
                sift_up(heap, size, rank[a] << 40 | a)
                size += 1
    count, i = 0, 0
    while i < n:
        tokens[count] = tokens[i]
        i = following[i]
        count += 1
    return tokens[:count]


@inner
def build_pairs(lefts, rights, pairs, mask):
    """Fill the table of pairs: merge number i makes token 256 + i."""
    for i in range(len(lefts)):
        key = np.int64(lefts[i]) << TOKEN_BITS | np.int64(rights[i])
        slot = shift_right(key * MIX_1, 32) & mask
        while load64(pairs.ctypes.data + 8 * slot) != 0:
            slot = (slot + 1) & mask
        pairs[slot] = key << TOKEN_BITS | (256 + i)
