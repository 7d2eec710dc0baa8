"""Byte-pair encoding in plain Python: the specification that the fast path is tested against.

Section 2.2. A vocabulary is a list of merges: merge number i joins two neighboring tokens into token 256 + i, and
tokens 0 to 255 are the bytes (`bytes.py`). Training repeats "join the most frequent pair"; encoding cuts the text into
pieces (`pattern.py`) and applies the merges inside each, the earliest-learned first. Pieces are bytes, tokens are ids.
Sources: Gage 1994, "A New Algorithm for Data Compression"; Sennrich, Haddow and Birch 2016, arXiv:1508.07909.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fourhorn.tokenizer.bytes import BYTE_OF_TOKEN, TOKEN_OF_BYTE
from fourhorn.tokenizer.pattern import split

Pair = tuple[int, int]


def split_bytes(data: bytes) -> list[bytes]:
    """The pieces of any bytes, UTF-8 or not."""
    return [
        piece.encode("utf-8", "surrogateescape") for piece in split(data.decode("utf-8", "surrogateescape"))
    ]


def count_pieces(documents: Iterable[bytes]) -> Counter[bytes]:
    """How often each piece occurs in all documents together."""
    counts: Counter[bytes] = Counter()
    for document in documents:
        counts.update(split_bytes(document))
    return counts


def train(counts: Mapping[bytes, int], n_merges: int, min_frequency: int = 1) -> list[Pair]:
    """Learn merges: always the most frequent pair; among equals the smaller left id, then the smaller right id.

    Stops early when no pair occurs `min_frequency` times. A piece is touched only when a merge changes it, and the heap
    keeps stale entries that are refreshed when they surface: a pair's count never rises once its tokens exist.
    """
    pieces = [[TOKEN_OF_BYTE[byte] for byte in piece] for piece in counts]
    weights = list(counts.values())
    pairs: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, piece in enumerate(pieces):
        for pair in itertools.pairwise(piece):
            pairs[pair] += weights[number]
            where[pair].add(number)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        count, best = heapq.heappop(heap)
        if pairs[best] != -count:
            heapq.heappush(heap, (-pairs[best], best))
            continue
        if -count < max(min_frequency, 1):
            break
        token = 256 + len(merges)
        merges.append(best)
        born = set()
        for number in where.pop(best):
            old = pieces[number]
            new = pieces[number] = join(old, best, token)
            for pair in itertools.pairwise(old):
                pairs[pair] -= weights[number]
            for pair in itertools.pairwise(new):
                pairs[pair] += weights[number]
                if token in pair:
                    where[pair].add(number)
                    born.add(pair)
        for pair in born:
            heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def join(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    """`tokens` with every occurrence of `pair`, from left to right, replaced by `token`."""
    joined: list[int] = []
    i = 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            joined.append(token)
            i += 2
        else:
            joined.append(tokens[i])
            i += 1
    return joined


def encode_piece(piece: bytes, ranks: Mapping[Pair, int]) -> list[int]:
    """Apply the merges to one piece: while any neighbors can merge, join the earliest-learned pair."""
    tokens = [TOKEN_OF_BYTE[byte] for byte in piece]
    while len(tokens) > 1:
        best = min(itertools.pairwise(tokens), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        tokens = join(tokens, best, 256 + ranks[best])
    return tokens


def encode(data: bytes, ranks: Mapping[Pair, int]) -> list[int]:
    """The tokens of any bytes. `ranks` is `{merge: its number}`."""
    return [token for piece in split_bytes(data) for token in encode_piece(piece, ranks)]


def token_bytes(merges: Iterable[Pair]) -> list[bytes]:
    """The bytes of every token: the 256 bytes, then one token per merge."""
    tokens = [bytes([byte]) for byte in BYTE_OF_TOKEN]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def decode(tokens: Iterable[int], merges: Iterable[Pair]) -> bytes:
    """The bytes of a sequence of tokens."""
    table = token_bytes(merges)
    return b"".join(table[token] for token in tokens)
