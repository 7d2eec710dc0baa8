"""Learning merges: `bpe.train` with exact counts kept up to date, the second half of training.

Section 2.2. All distinct pieces stand in one row of places, a place per byte, with end marks between them. A token is
written at the first and at the last place of the bytes it covers, so its neighbors are found without links. What makes
this fast and exact: an occurrence of a pair (x, y) comes into being in the step that makes the younger of x and y.
So the places of a pair are one ascending list, written once; entries that are no longer true are told by the pair noted
at the place; and a pair's count only falls after its step, so a heap with stale counts is put right when one surfaces.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import Any, NamedTuple

from fourhorn.tokenizer.kernels.intrinsics import inlined, inner, kernel

OK, MORE_PAIRS, MORE_LIST, MORE_BORN = 0, 1, 2, 3
N_PAIRS, N_HEAP, N_LIST, N_MERGES, NEEDED = range(5)


class Work(NamedTuple):
    """The arrays of one training. `row` is int32: token, pair, and the count of the piece as two halves."""

    row: Any  # (4 * places,) int32
    counts: Any  # (2 * places,) int64, the same memory: the count of place p is counts[2p + 1]
    left: Any  # (pairs,) int32, and so on: a pair's tokens, its count, where its list of places begins, how long it is
    right: Any
    count: Any  # int64
    begin: Any  # int64
    length: Any  # int32
    heap_count: Any  # (pairs,) int64: a count, perhaps stale
    heap_pair: Any  # (pairs,) int32
    list: Any  # int32: the places of all pairs
    n_bytes: Any  # (tokens,) int32: the length of each token
    with_left: Any  # (tokens,) int32: the pair born in this step that begins with a token, or -1
    with_right: Any  # (tokens,) int32: the one that ends with it
    born_pair: Any  # int32: pairs and places noted in this step
    born_place: Any  # int32
    numbers: (
        Any  # (5,) int64: how many pairs, items in the heap, places in the list, merges; how many are needed
    )


@inlined
def comes_first(w, count_a, a, count_b, b):
    """Whether pair `a` is merged before pair `b`: by count, then by smaller left token, then by smaller right one."""
    if count_a != count_b:
        return count_a > count_b
    if w.left[a] != w.left[b]:
        return w.left[a] < w.left[b]
    return w.right[a] < w.right[b]


@inner
def push(w, count, pair):
    """Put a pair into the heap."""
    i = w.numbers[N_HEAP]
    w.numbers[N_HEAP] += 1
    while i > 0:
        parent = (i - 1) >> 1
        if not comes_first(w, count, pair, w.heap_count[parent], w.heap_pair[parent]):
            break
        w.heap_count[i], w.heap_pair[i] = w.heap_count[parent], w.heap_pair[parent]
        i = parent
    w.heap_count[i], w.heap_pair[i] = count, pair


@inner
def drop_top(w):
    """Take the first pair off the heap."""
    w.numbers[N_HEAP] -= 1
    n = w.numbers[N_HEAP]
    count, pair = w.heap_count[n], w.heap_pair[n]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and comes_first(
            w, w.heap_count[child + 1], w.heap_pair[child + 1], w.heap_count[child], w.heap_pair[child]
        ):
            child += 1
        if not comes_first(w, w.heap_count[child], w.heap_pair[child], count, pair):
            break
        w.heap_count[i], w.heap_pair[i] = w.heap_count[child], w.heap_pair[child]
        i = child
    w.heap_count[i], w.heap_pair[i] = count, pair


@inner
def new_pair(w, left, right):
    """Number a pair that was not there before."""
    pair = w.numbers[N_PAIRS]
    w.numbers[N_PAIRS] += 1
    w.left[pair], w.right[pair] = left, right
    w.count[pair], w.length[pair] = 0, 0
    return pair


@kernel
def first_pairs(w, pair_of, n_places, min_frequency):
    """Find the pairs of bytes. `pair_of` is (256 * 256,) int32 of -1; the list has room for all places."""
    for p in range(1, n_places - 1):
        left, right = w.row[4 * p], w.row[4 * p + 4]
        if left < 0 or right < 0:
            continue
        pair = pair_of[256 * left + right]
        if pair < 0:
            pair = new_pair(w, left, right)
            pair_of[256 * left + right] = pair
        w.row[4 * p + 1] = pair
        w.count[pair] += w.counts[2 * p + 1]
        w.length[pair] += 1
    give_places(w, 0)
    for p in range(1, n_places - 1):
        pair = w.row[4 * p + 1]
        if pair >= 0:
            w.list[w.begin[pair] + w.length[pair]] = p
            w.length[pair] += 1
    for pair in range(w.numbers[N_PAIRS]):
        if w.count[pair] >= min_frequency:
            push(w, w.count[pair], pair)


@inner
def give_places(w, first):
    """Give each pair from number `first` on its part of the list, as long as its `length`, which begins anew at 0."""
    at = w.numbers[N_LIST]
    for pair in range(first, w.numbers[N_PAIRS]):
        w.begin[pair] = at
        at += w.length[pair]
        w.length[pair] = 0
    w.numbers[N_LIST] = at


@kernel
def learn(w, merges, n_merges, min_frequency):
    """Learn until there are `n_merges` merges, or no pair is left, or an array is too short; returns which.

    NEEDED then says how long the array must be. All arrays are consistent whenever this returns.
    """
    while w.numbers[N_MERGES] < n_merges and w.numbers[N_HEAP] > 0:
        count, pair = w.heap_count[0], w.heap_pair[0]
        if w.count[pair] != count or count < min_frequency:
            drop_top(w)
            if count != w.count[pair] and w.count[pair] >= min_frequency:
                push(w, w.count[pair], pair)
            continue
        token = 256 + w.numbers[N_MERGES]
        n_born = 2 * w.length[pair]
        if w.numbers[N_PAIRS] + 2 * (token + 1) > len(w.left):
            w.numbers[NEEDED] = w.numbers[N_PAIRS] + 2 * (token + 1)
            return MORE_PAIRS
        if n_born > len(w.born_pair):
            w.numbers[NEEDED] = n_born
            return MORE_BORN
        if w.numbers[N_LIST] + n_born > len(w.list):
            w.numbers[NEEDED] = w.numbers[N_LIST] + n_born
            return MORE_LIST
        drop_top(w)
        w.n_bytes[token] = w.n_bytes[w.left[pair]] + w.n_bytes[w.right[pair]]
        merges[w.numbers[N_MERGES], 0], merges[w.numbers[N_MERGES], 1] = w.left[pair], w.right[pair]
        w.numbers[N_MERGES] += 1
        first = w.numbers[N_PAIRS]
        note_born(w, first, replace(w, pair, token), min_frequency)
    return OK


@inner
def born(w, n, pair, place):
    """Note that a pair stands at a place since this step."""
    w.row[4 * place + 1] = pair
    w.count[pair] += w.counts[2 * place + 1]
    w.born_pair[n], w.born_place[n] = pair, place
    return n + 1


@inner
def replace(w, pair, token):
    """Replace all occurrences of a pair by a token, from left to right; returns how many pairs were noted as born."""
    row, n = w.row, 0
    n_left, n_right = w.n_bytes[w.left[pair]], w.n_bytes[w.right[pair]]
    for k in range(w.begin[pair], w.begin[pair] + w.length[pair]):
        place = w.list[k]
        if row[4 * place + 1] != pair:
            continue
        count = w.counts[2 * place + 1]
        middle = place + n_left
        after = middle + n_right
        before = row[4 * (place - 1)]
        if before >= 0:
            place_before = place - w.n_bytes[before]
            w.count[row[4 * place_before + 1]] -= count
            if w.with_left[before] < 0:
                w.with_left[before] = new_pair(w, before, token)
            n = born(w, n, w.with_left[before], place_before)
        follower = row[4 * after]
        row[4 * place + 1] = -1
        if follower >= 0:
            w.count[row[4 * middle + 1]] -= count
            if w.with_right[follower] < 0:
                w.with_right[follower] = new_pair(w, token, follower)
            n = born(w, n, w.with_right[follower], place)
        row[4 * middle + 1] = -1
        row[4 * place] = token
        row[4 * (after - 1)] = token
    w.count[pair], w.length[pair] = 0, 0
    return n


@inner
def note_born(w, first, n, min_frequency):
    """Write the lists of the pairs born in this step, from number `first` on, and put them into the heap."""
    for k in range(n):
        pair = w.born_pair[k]
        if w.row[4 * w.born_place[k] + 1] == pair:
            w.length[pair] += 1
    give_places(w, first)
    for k in range(n):
        pair, place = w.born_pair[k], w.born_place[k]
        if w.row[4 * place + 1] == pair:
            w.list[w.begin[pair] + w.length[pair]] = place
            w.length[pair] += 1
    for pair in range(first, w.numbers[N_PAIRS]):
        w.with_left[w.left[pair]] = -1
        w.with_right[w.right[pair]] = -1
        if w.count[pair] >= min_frequency:
            push(w, w.count[pair], pair)


@kernel
def compact(w, min_frequency):
    """Drop stale places, and all of pairs too rare to be merged, from the list, in place."""
    at = 0
    for pair in range(w.numbers[N_PAIRS]):
        begin = at
        if w.count[pair] >= min_frequency:
            for k in range(w.begin[pair], w.begin[pair] + w.length[pair]):
                place = w.list[k]
                if w.row[4 * place + 1] == pair:
                    w.list[at] = place
                    at += 1
        w.begin[pair], w.length[pair] = begin, at - begin
    w.numbers[N_LIST] = at
