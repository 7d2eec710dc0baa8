"""Words as 64-bit hashes: the common ground of repetition rules, MinHash and overlap, in compiled loops.

A word is a maximal run of letters and digits of any script, lower-cased (§4 normalizes the same way). `word_hashes`
turns a text into one hash per word, `ngram_hashes` into one per run of n words. Both depend on the text alone and are
the same on every machine and in every process, unlike Python's own salted `hash`.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_N_TABLE = 0x20000  # the planes with nearly every script and all emoji; code points beyond are ideographs
_SEED = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)
_BASE = np.uint64(0xD6E8FEB86659FD93)


def word_hashes(text: str) -> Hashes:
    """One hash per word of `text`."""
    codes = _codes(text)
    out = np.empty(len(codes) // 2 + 1, dtype=np.uint64)
    return out[: _word_hashes(codes, _table(), out)]


def word_hashes_and_lengths(text: str) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """One hash per word, and how many characters each word has."""
    codes = _codes(text)
    out = np.empty(len(codes) // 2 + 1, dtype=np.uint64)
    lengths = np.empty(len(out), dtype=np.int32)
    n = _word_hashes_and_lengths(codes, _table(), out, lengths)
    return out[:n], lengths[:n]


def ngram_hashes(words: Hashes, n: int) -> Hashes:
    """One hash per run of `n` words; a text of fewer words, but not of none, is one run."""
    if not len(words):
        return np.empty(0, dtype=np.uint64)
    n = min(n, len(words))
    out = np.empty(len(words) - n + 1, dtype=np.uint64)
    _ngram_hashes(words, n, out)
    return out


def words_of(text: str) -> list[str]:
    """The slow clear twin: the words themselves."""
    lowered = "".join(c.lower()[0] if c.isalnum() or ord(c) >= _N_TABLE else " " for c in text)
    return lowered.split()


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)


@cache
def _table() -> npt.NDArray[np.uint32]:
    """The lower-cased code point of each letter and digit, 0 for everything else."""
    table = np.zeros(_N_TABLE, dtype=np.uint32)
    for code in range(_N_TABLE):
        character = chr(code)
        if character.isalnum():
            table[code] = ord(character.lower()[0])
    return table


@numba.njit(cache=True, inline="always")
def mix(h: Any) -> Any:
    """splitmix64's finalizer: every bit of the input reaches every bit of the output."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _word_hashes(codes: Any, table: Any, out: Any) -> int:
    n = 0
    h = _SEED
    inside = False
    for code in codes:
        folded = table[code] if code < _N_TABLE else code
        if folded:
            h = (h ^ np.uint64(folded)) * _PRIME
            inside = True
        elif inside:
            out[n] = mix(h)
            n += 1
            h = _SEED
            inside = False
    if inside:
        out[n] = mix(h)
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _word_hashes_and_lengths(codes: Any, table: Any, out: Any, lengths: Any) -> int:
    n = 0
    h = _SEED
    length = 0
    for code in codes:
        folded = table[code] if code < _N_TABLE else code
        if folded:
            h = (h ^ np.uint64(folded)) * _PRIME
            length += 1
        elif length:
            out[n] = mix(h)
            lengths[n] = length
            n += 1
            h = _SEED
            length = 0
    if length:
        out[n] = mix(h)
        lengths[n] = length
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _ngram_hashes(words: Any, n: int, out: Any) -> None:
    leaving = np.uint64(1)
    for _ in range(n):
        leaving *= _BASE
    h = np.uint64(0)
    for i in range(len(words)):
        h = h * _BASE + words[i]
        if i >= n:
            h -= leaving * words[i - n]
        if i >= n - 1:
            out[i - n + 1] = mix(h)
