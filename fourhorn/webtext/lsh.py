"""All pairs of similar signatures without comparing all pairs: locality-sensitive hashing by sorting.

A signature is cut into bands of rows; documents that agree in a whole band meet in a bucket. A pair of similarity s
meets with probability 1 − (1 − s^rows)^bands: with 14 bands of 8 rows half of the pairs at 0.72 and nearly all above
0.85 (Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, §3.4). Each band is one array of keys, sorted on its
own, so memory is two arrays of one band whatever the number of bands, and signatures may be a file mapped from disk.

Every pair in a bucket is compared by its signatures. In a bucket of more than `MAX_NEIGHBORS` documents each is
compared with its first and with so many that follow, so that a template shared by a million pages costs no square.
"""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fourhorn.webtext.words import mix

BANDS, ROWS = 14, 8
MAX_NEIGHBORS = 256
_BUFFER_PAIRS = 1 << 18

PAIR = np.dtype([("a", np.int64), ("b", np.int64), ("agreement", np.int32)])


def meeting_probability(similarity: float, bands: int = BANDS, rows: int = ROWS) -> float:
    """The probability that two documents of this similarity share a bucket."""
    return float(1 - (1 - similarity**rows) ** bands)


def band_keys(
    signatures: npt.NDArray[np.uint32], bands: int = BANDS, rows: int = ROWS
) -> npt.NDArray[np.uint64]:
    """One key per band and document, shape (bands, documents)."""
    keys = np.empty((bands, len(signatures)), dtype=np.uint64)
    _band_keys(signatures, rows, keys)
    return keys


def similar_pairs(
    keys: Any, signatures: Any, rank: npt.NDArray[np.int64], min_agreement: int
) -> Iterator[Any]:
    """Arrays of `PAIR` rows: each pair once, the document of lower `rank` as `a`, with its number of equal hashes.

    `keys` (bands, documents) and `signatures` (documents, hashes) are arrays or memory maps.
    """
    buffer = np.empty(_BUFFER_PAIRS, dtype=PAIR)
    for band in range(len(keys)):
        column = np.asarray(keys[band])
        order = np.argsort(column)
        ordered = column[order]
        meeting = _in_buckets(ordered)
        order, ordered = order[meeting], ordered[meeting]
        order = order[np.lexsort((rank[order], ordered))]  # within a bucket by rank
        start = bucket = 0
        while start < len(order):
            n, start, bucket = _scan(
                ordered, order, keys, signatures, band, min_agreement, start, bucket, MAX_NEIGHBORS, buffer
            )
            if n:
                yield buffer[:n].copy()


def _in_buckets(ordered: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of the sorted keys occur more than once."""
    same = ordered[1:] == ordered[:-1]
    meeting = np.zeros(len(ordered), dtype=np.bool_)
    meeting[1:] = same
    meeting[:-1] |= same
    return meeting


@numba.njit(cache=True, nogil=True)
def _band_keys(signatures: Any, rows: int, keys: Any) -> None:
    for document in range(len(signatures)):
        for band in range(len(keys)):
            h = np.uint64(band)
            for row in range(band * rows, (band + 1) * rows):
                h = mix(h + np.uint64(signatures[document, row]))
            keys[band, document] = h


@numba.njit(cache=True, nogil=True)
def _scan(
    ordered: Any,
    order: Any,
    keys: Any,
    signatures: Any,
    band: int,
    min_agreement: int,
    start: int,
    bucket: int,
    max_neighbors: int,
    buffer: Any,
) -> Any:
    """Compare from position `start` on until the buffer could overflow: pairs found, where to go on, bucket's start."""
    n = 0
    for i in range(start, len(order)):
        if n + max_neighbors + 1 > len(buffer):
            return n, i, bucket
        if ordered[i] != ordered[bucket]:
            bucket = i
        if i - bucket > max_neighbors:
            n = _compare(order[bucket], order[i], keys, signatures, band, min_agreement, buffer, n)
        last = min(len(order), i + max_neighbors + 1)
        j = i + 1
        while j < last and ordered[j] == ordered[i]:
            n = _compare(order[i], order[j], keys, signatures, band, min_agreement, buffer, n)
            j += 1
    return n, len(order), bucket


@numba.njit(cache=True, nogil=True)
def _compare(
    a: int, b: int, keys: Any, signatures: Any, band: int, min_agreement: int, buffer: Any, n: int
) -> int:
    """Add the pair when it agrees enough and no earlier band has met it."""
    agreement = 0
    for k in range(signatures.shape[1]):
        agreement += signatures[a, k] == signatures[b, k]
    if agreement < min_agreement:
        return n
    for earlier in range(band):
        if keys[earlier, a] == keys[earlier, b]:
            return n
    buffer[n].a = a
    buffer[n].b = b
    buffer[n].agreement = agreement
    return n + 1
