"""The slower engine, in plain Python: what encodes and decodes where kernels cannot be compiled.

Section 2.2, the algorithms of `bpe.py` with two things a working engine needs: pieces once encoded are remembered, and
long pieces are merged with a heap, so that no text takes quadratic time. Same interface as `fast.FastEngine`.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.tokenizer.bpe import Pair, count_pieces, encode_piece, split_bytes, train
from fourhorn.tokenizer.bytes import TOKEN_OF_BYTE
from fourhorn.tokenizer.source import Batch
from fourhorn.tokenizer.vocabulary import Vocabulary

LONG_PIECE_BYTES = 128
MAX_REMEMBERED = 200_000  # pieces; then the memory is emptied and fills anew


class PlainEngine:
    """Encodes and decodes bytes with dictionaries."""

    name = "plain Python"

    def __init__(self, vocabulary: Vocabulary, dtype: np.dtype[Any]) -> None:
        self.vocabulary, self.dtype = vocabulary, dtype
        self.ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
        self.remembered: dict[bytes, list[int]] = {}

    def encode(self, data: bytes) -> list[int]:
        """The ids of one document."""
        remembered, ids = self.remembered, self.vocabulary.ids
        out: list[int] = []
        for piece in split_bytes(data):
            tokens = remembered.get(piece)
            if tokens is None:
                long = len(piece) > LONG_PIECE_BYTES
                tokens = encode_long_piece(piece, self.ranks) if long else encode_piece(piece, self.ranks)
                if ids is not None:
                    tokens = [ids[token] for token in tokens]
                if not long:
                    if len(remembered) >= MAX_REMEMBERED:
                        remembered.clear()
                    remembered[piece] = tokens
            out += tokens
        return out

    def encode_batch(
        self, batch: Batch, separator: int | None = None, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all documents in one array, each after `separator` (not the first, if it continues another).

        The second array says where each begins, and ends with the number of ids. The ids are written into `out`, if
        given.
        """
        tokens: list[int] = []
        starts = [0]
        for i, document in enumerate(batch.parts):
            if separator is not None and not (batch.continues and i == 0):
                tokens.append(separator)
            tokens += self.encode(document)
            starts.append(len(tokens))
        ids = np.empty(len(tokens), self.dtype) if out is None else out[: len(tokens)]
        ids[:] = tokens
        return ids, np.array(starts, dtype=np.int64)

    def decode(self, tokens: NDArray[np.uint32]) -> bytes:
        """The bytes of ids; raises `KeyError` for an id without bytes."""
        return b"".join(map(self.vocabulary.bytes_of_id.__getitem__, tokens.tolist()))


class PlainCounter:
    """Counts pieces and learns merges with the reference itself."""

    def __init__(self) -> None:
        self.pieces: Counter[bytes] = Counter()

    @property
    def n_pieces(self) -> int:
        """How many distinct pieces were counted."""
        return len(self.pieces)

    def count(self, source: Iterable[Batch]) -> None:
        """Count the pieces of all batches."""
        for batch in source:
            self.pieces.update(count_pieces(batch.parts))

    def merge(self, n_merges: int, min_frequency: int, progress: Callable[[int], None]) -> list[Pair]:
        """Learn up to `n_merges` merges."""
        merges = train(self.pieces, n_merges, min_frequency)
        progress(len(merges))
        return merges


def encode_long_piece(piece: bytes, ranks: Mapping[Pair, int]) -> list[int]:
    """`bpe.encode_piece` in O(n log n): a linked list of tokens and a heap of the merges that are possible."""
    tokens = [TOKEN_OF_BYTE[byte] for byte in piece]
    n = len(tokens)
    following, previous = list(range(1, n + 1)), list(range(-1, n - 1))
    # Equal ranks surface from left to right. An entry whose pair is no longer there is skipped.
    heap = [(ranks[pair], i) for i, pair in enumerate(itertools.pairwise(tokens)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = following[i]
        if tokens[i] < 0 or j >= n or ranks.get((tokens[i], tokens[j])) != rank:
            continue
        tokens[i], tokens[j] = 256 + rank, -1
        following[i] = k = following[j]
        if k < n:
            previous[k] = i
        for left, right in ((previous[i], i), (i, k)):
            if left >= 0 and right < n:
                new = ranks.get((tokens[left], tokens[right]))
                if new is not None:
                    heapq.heappush(heap, (new, left))
    return [token for token in tokens if token >= 0]
