"""Sketches whose agreement estimates how much two documents share: one-permutation MinHash over word n-grams.

Broder 1997: the share of equal minimum hashes of two sets estimates their Jaccard similarity. One hash of each n-gram
is enough (Li, Owen, Zhang 2012): its low bits choose a bin, each bin keeps its smallest hash, and an empty bin borrows
from a random full one (Shrivastava 2017, "optimal densification"), so a sketch costs one pass over the text. The
estimate from k bins has the standard error √(J(1 − J)/k).

`signature(text)` gives `n_hashes` uint32; a text of fewer than n words is one n-gram, and a text of no words at all
is described by its own hash, so every document has a signature.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import xxhash

from fourhorn.webtext.words import Hashes, mix, ngram_hashes, word_hashes

NGRAM_WORDS = 5
N_HASHES = 128
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


def signature(text: str, *, ngram: int = NGRAM_WORDS, n_hashes: int = N_HASHES) -> npt.NDArray[np.uint32]:
    """The MinHash signature of a text's word n-grams."""
    return sketch(shingles(text, word_hashes(text), ngram), n_hashes)


def shingles(text: str, words: Hashes, ngram: int = NGRAM_WORDS) -> Hashes:
    """The hashes of a text's word n-grams, never none."""
    hashes = ngram_hashes(words, ngram)
    return hashes if len(hashes) else np.array([xxhash.xxh3_64_intdigest(text.encode())], dtype=np.uint64)


def sketch(hashes: Hashes, n_hashes: int = N_HASHES) -> npt.NDArray[np.uint32]:
    """The signature of a set of hashes; `n_hashes` is a power of two."""
    bins = np.empty(n_hashes, dtype=np.uint64)
    out = np.empty(n_hashes, dtype=np.uint32)
    _sketch(hashes, bins, out)
    return out


def similarity(a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> float:
    """The estimated Jaccard similarity of two signatures."""
    return float(np.mean(a == b))


def jaccard(a: Hashes, b: Hashes) -> float:
    """The Jaccard similarity of two sorted arrays of distinct hashes, exactly."""
    return float(_jaccard(a, b))


def exact_key(text: str, words: Hashes) -> tuple[int, int]:
    """128 bits that are equal for texts of the same words in the same order, whatever stands between them."""
    digest = xxhash.xxh3_128_intdigest(words.tobytes() if len(words) else text.encode())
    return digest >> 64, digest & 0xFFFFFFFFFFFFFFFF


@numba.njit(cache=True, nogil=True)
def _sketch(hashes: Any, bins: Any, out: Any) -> None:
    n = np.uint64(len(bins))
    bins[:] = _EMPTY
    for h in hashes:
        bin = h & (n - np.uint64(1))
        value = h >> np.uint64(32)
        if value < bins[bin]:
            bins[bin] = value
    for i in range(len(bins)):
        j = np.uint64(i)
        attempt = np.uint64(0)
        while bins[j] == _EMPTY:
            attempt += np.uint64(1)
            j = mix(np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + attempt) & (n - np.uint64(1))
        out[i] = bins[j]


@numba.njit(cache=True, nogil=True)
def _jaccard(a: Any, b: Any) -> float:
    i = j = common = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            common += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return common / max(1, len(a) + len(b) - common)
