"""Learning merges: `bpe.train` with exact counts kept up to date, the second half of training.

Section 2.2. All distinct pieces stand in one row of places, a place per byte, with end marks between them. A token is
written at the first and at the last place of the bytes it covers, so its neighbors are found without links. What makes
this fast and exact: an occurrence of a pair (x, y) comes into being in the step that makes the younger of x and y.
So the places of a pair are one ascending list, written once; entries that are no longer true are told by the pair noted
at the place; and a pair's count only falls after its step, so a heap with stale counts is put right when one surfaces.
"""

# mypy: disable-error-code="no-untyped-def"
from fourhorn.tokenizer.kernels.functions import apart, inlined, inner, kernel
from fourhorn.tokenizer.kernels.intrinsics import load32, load64, prefetch, store32, store64

OK, MORE_PAIRS, MORE_LIST, MORE_BORN = 0, 1, 2, 3

# Fields of the state, whose address every function gets: where things are, how many there are, how many there may be.
# ROW: 16 bytes a place: token, pair (32 bits each), how often the piece occurs.
# PAIRS: 32 bytes a pair: left, right (32 bits), count, where its list of places begins (64), how long it is (32).
# HEAP: 24 bytes an item: a count, perhaps stale, its pair's two tokens, the pair.
# LIST: the places of all pairs, 32 bits each. LENGTHS: how many bytes each token has, 32 bits. MERGES: 8 bytes each.
# WITH_LEFT, WITH_RIGHT: for each token the pair born in this step that begins with it, or ends with it, or NONE.
# BORN: 8 bytes for every pair and place that is noted in this step.
ROW, PAIRS, HEAP, LIST, LENGTHS, WITH_LEFT, WITH_RIGHT, BORN, MERGES = 0, 8, 16, 24, 32, 40, 48, 56, 64
N_PLACES, N_PAIRS, N_HEAP, N_LIST, N_MERGES = 72, 80, 88, 96, 104
MAX_PAIRS, MAX_LIST, MAX_BORN, NEEDED, MIN_FREQUENCY = 112, 120, 128, 136, 144
N_FIELDS = 19
NONE = 0xFFFFFFFF
ITEM_BYTES = 24
PAIR_SHIFT, COUNT, BEGIN, LENGTH = 5, 8, 16, 24
AHEAD = 12  # places of a list that are fetched before they are needed


@inlined
def get(w, field):
    """Read one field."""
    return load64(w + field)


@inlined
def put(w, field, value):
    """Write one field."""
    store64(w + field, value)


@inlined
def pair_at(w, pair):
    """Where a pair's entry stands."""
    return get(w, PAIRS) + (pair << PAIR_SHIFT)


@inlined
def tokens_of(w, pair):
    """The two tokens of a pair as one number that orders like them."""
    at = pair_at(w, pair)
    return load32(at) << 32 | load32(at + 4)


@inlined
def comes_first(count_a, tokens_a, count_b, tokens_b):
    """Whether one pair is merged before another: by count, then by smaller left token, then by smaller right one."""
    return count_a > count_b or (count_a == count_b and tokens_a < tokens_b)


@inlined
def put_item(at, count, tokens, pair):
    """Write an item of the heap."""
    store64(at, count)
    store64(at + 8, tokens)
    store64(at + 16, pair)


@inner
def push(w, count, pair):
    """Put a pair into the heap."""
    heap, i, tokens = get(w, HEAP), get(w, N_HEAP), tokens_of(w, pair)
    put(w, N_HEAP, i + 1)
    while i > 0:
        up = (i - 1) >> 1
        parent = heap + ITEM_BYTES * up
        if not comes_first(count, tokens, load64(parent), load64(parent + 8)):
            break
        put_item(heap + ITEM_BYTES * i, load64(parent), load64(parent + 8), load64(parent + 16))
        i = up
    put_item(heap + ITEM_BYTES * i, count, tokens, pair)


@inner
def sift_down(w, n, count, tokens, pair):
    """Put a pair at the top of a heap of `n` items, or below."""
    heap, i = get(w, HEAP), 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        at = heap + ITEM_BYTES * child
        other = at + ITEM_BYTES
        if child + 1 < n and comes_first(load64(other), load64(other + 8), load64(at), load64(at + 8)):
            child += 1
            at = other
        if not comes_first(load64(at), load64(at + 8), count, tokens):
            break
        put_item(heap + ITEM_BYTES * i, load64(at), load64(at + 8), load64(at + 16))
        i = child
    put_item(heap + ITEM_BYTES * i, count, tokens, pair)


@inner
def drop_top(w):
    """Take the first pair off the heap."""
    n = get(w, N_HEAP) - 1
    put(w, N_HEAP, n)
    last = get(w, HEAP) + ITEM_BYTES * n
    sift_down(w, n, load64(last), load64(last + 8), load64(last + 16))


@inlined
def new_pair(w, left, right):
    """Number a pair that was not there before."""
    pair = get(w, N_PAIRS)
    put(w, N_PAIRS, pair + 1)
    at = pair_at(w, pair)
    store32(at, left)
    store32(at + 4, right)
    store64(at + COUNT, 0)
    store64(at + LENGTH, 0)
    return pair


@kernel
def first_pairs(w, pair_of):
    """Find the pairs of bytes. `pair_of` is 256 * 256 times NONE; the list has room for all places."""
    row, n_places = get(w, ROW), get(w, N_PLACES)
    for p in range(1, n_places - 1):
        place = row + 16 * p
        left, right = load32(place), load32(place + 16)
        if left == NONE or right == NONE:
            continue
        known = pair_of + 4 * (256 * left + right)
        pair = load32(known)
        if pair == NONE:
            pair = new_pair(w, left, right)
            store32(known, pair)
        store32(place + 4, pair)
        at = pair_at(w, pair)
        store64(at + COUNT, load64(at + COUNT) + load64(place + 8))
        store64(at + LENGTH, load64(at + LENGTH) + 1)
    give_places(w, 0)
    for p in range(1, n_places - 1):
        pair = load32(row + 16 * p + 4)
        if pair != NONE:
            list_place(w, pair, p)
    for pair in range(get(w, N_PAIRS)):
        count = load64(pair_at(w, pair) + COUNT)
        if count >= get(w, MIN_FREQUENCY):
            push(w, count, pair)


@inner
def give_places(w, first):
    """Give each pair from number `first` on its part of the list, as long as its length, which begins anew at 0."""
    begin = get(w, N_LIST)
    for pair in range(first, get(w, N_PAIRS)):
        at = pair_at(w, pair)
        store64(at + BEGIN, begin)
        begin += load64(at + LENGTH)
        store64(at + LENGTH, 0)
    put(w, N_LIST, begin)


@inlined
def list_place(w, pair, place):
    """Append a place to the list of a pair."""
    at = pair_at(w, pair)
    length = load64(at + LENGTH)
    store32(get(w, LIST) + 4 * (load64(at + BEGIN) + length), place)
    store64(at + LENGTH, length + 1)


@kernel
def learn(w, n_merges):
    """Learn until there are `n_merges` merges, or no pair is left, or there is too little room; returns which.

    NEEDED then says how much is needed. All is consistent whenever this returns.
    """
    while get(w, N_MERGES) < n_merges and get(w, N_HEAP) > 0:
        top = get(w, HEAP)
        count, pair = load64(top), load64(top + 16)
        now = load64(pair_at(w, pair) + COUNT)
        if now != count:
            if now >= get(w, MIN_FREQUENCY):
                sift_down(w, get(w, N_HEAP), now, load64(top + 8), pair)
            else:
                drop_top(w)
            continue
        token = 256 + get(w, N_MERGES)
        n_born = 2 * load64(pair_at(w, pair) + LENGTH)
        if get(w, N_PAIRS) + 2 * (token + 1) > get(w, MAX_PAIRS):
            put(w, NEEDED, get(w, N_PAIRS) + 2 * (token + 1))
            return MORE_PAIRS
        if n_born > get(w, MAX_BORN):
            put(w, NEEDED, n_born)
            return MORE_BORN
        if get(w, N_LIST) + n_born > get(w, MAX_LIST):
            put(w, NEEDED, get(w, N_LIST) + n_born)
            return MORE_LIST
        drop_top(w)
        first = get(w, N_PAIRS)
        note_born(w, first, merge(w, pair, token))
    return OK


@apart
def merge(w, pair, token):
    """Make a pair a token; returns how many pairs were noted as born."""
    at, lengths = pair_at(w, pair), get(w, LENGTHS)
    left, right = load32(at), load32(at + 4)
    store32(lengths + 4 * token, load32(lengths + 4 * left) + load32(lengths + 4 * right))
    n = get(w, N_MERGES)
    store32(get(w, MERGES) + 8 * n, left)
    store32(get(w, MERGES) + 8 * n + 4, right)
    put(w, N_MERGES, n + 1)
    return replace(w, pair, token, load32(lengths + 4 * left), load32(lengths + 4 * right))


@inlined
def born(w, n, pair, row, place):
    """Note that a pair stands at a place since this step."""
    at = row + 16 * place
    store32(at + 4, pair)
    lose(w, pair, -load64(at + 8))
    store64(get(w, BORN) + 8 * n, pair << 32 | place)


@inlined
def lose(w, pair, count):
    """Take from the count of a pair."""
    at = pair_at(w, pair) + COUNT
    store64(at, load64(at) - count)


@inlined
def born_with(w, known, left, right):
    """The pair of two tokens, which is noted at `known` if it was born in this step already."""
    pair = load32(known)
    if pair == NONE:
        pair = new_pair(w, left, right)
        store32(known, pair)
    return pair


@inlined
def replace(w, pair, token, n_left, n_right):
    """Replace all occurrences of a pair by a token, from left to right; returns how many pairs were noted as born."""
    row, lengths, n = get(w, ROW), get(w, LENGTHS), 0
    at = get(w, LIST) + 4 * load64(pair_at(w, pair) + BEGIN)
    end = at + 4 * load64(pair_at(w, pair) + LENGTH)
    while at < end:
        prefetch(row + 16 * load32(at + 4 * AHEAD))
        place = load32(at)
        at += 4
        here = row + 16 * place
        if load32(here + 4) != pair:
            continue
        count = load64(here + 8)
        middle = place + n_left
        after = middle + n_right
        before = load32(here - 16)
        if before != NONE:
            place_before = place - load32(lengths + 4 * before)
            lose(w, load32(row + 16 * place_before + 4), count)
            born(w, n, born_with(w, get(w, WITH_LEFT) + 4 * before, before, token), row, place_before)
            n += 1
        follower = load32(row + 16 * after)
        store32(here + 4, NONE)
        if follower != NONE:
            lose(w, load32(row + 16 * middle + 4), count)
            born(w, n, born_with(w, get(w, WITH_RIGHT) + 4 * follower, token, follower), row, place)
            n += 1
        store32(row + 16 * middle + 4, NONE)
        store32(here, token)
        store32(row + 16 * (after - 1), token)
    store64(pair_at(w, pair) + COUNT, 0)
    store64(pair_at(w, pair) + LENGTH, 0)
    return n


@apart
def note_born(w, first, n):
    """Write the lists of the pairs born in this step, from number `first` on, and put them into the heap."""
    row, end = get(w, ROW), get(w, BORN) + 8 * n
    for at in range(get(w, BORN), end, 8):
        pair = load32(at + 4)
        if load32(row + 16 * load32(at) + 4) == pair:
            length = pair_at(w, pair) + LENGTH
            store64(length, load64(length) + 1)
    give_places(w, first)
    for at in range(get(w, BORN), end, 8):
        pair, place = load32(at + 4), load32(at)
        if load32(row + 16 * place + 4) == pair:
            list_place(w, pair, place)
    for pair in range(first, get(w, N_PAIRS)):
        at = pair_at(w, pair)
        store32(get(w, WITH_LEFT) + 4 * load32(at), NONE)
        store32(get(w, WITH_RIGHT) + 4 * load32(at + 4), NONE)
        if load64(at + COUNT) >= get(w, MIN_FREQUENCY):
            push(w, load64(at + COUNT), pair)


@kernel
def compact(w):
    """Drop stale places, and all of pairs too rare to be merged, from the list, in place."""
    places, to = get(w, LIST), 0
    for pair in range(get(w, N_PAIRS)):
        at, begin = pair_at(w, pair), to
        if load64(at + COUNT) >= get(w, MIN_FREQUENCY):
            first = load64(at + BEGIN)
            for k in range(first, first + load64(at + LENGTH)):
                place = load32(places + 4 * k)
                if load32(get(w, ROW) + 16 * place + 4) == pair:
                    store32(places + 4 * to, place)
                    to += 1
        store64(at + BEGIN, begin)
        store64(at + LENGTH, to - begin)
    put(w, N_LIST, to)
