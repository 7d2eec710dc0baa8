"""Which texts are prose: the published heuristics, each with its name, threshold and source.

§2.1 says only "some heuristic based cleaning". The rules here are those that later work published with numbers:

    gopher   Rae et al. 2021 (arXiv:2112.11446), appendix A1.1: document statistics and the repetition table
    fineweb  the same, and Penedo et al. 2024 (arXiv:2406.17557) §3.6: three rules on lines; they also remove much
             documentation and poetry, so they are not the default

`reason_to_drop(text, rules)` gives the name of the first rule that a text breaks, or None. Words are split at white
space; lengths and shares are in characters; a text is read a few times, never tokenized.
"""

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np

from fourhorn.errors import unknown
from fourhorn.webtext.words import Hashes, ngram_hashes, word_hashes_and_lengths

RULES = ("gopher", "fineweb")

MIN_WORDS, MAX_WORDS = 50, 100_000
MIN_MEAN_WORD_CHARS, MAX_MEAN_WORD_CHARS = 3.0, 10.0
MAX_SYMBOLS_PER_WORD = 0.1  # for "#" and for "…" alike
MAX_BULLET_LINES, MAX_ELLIPSIS_LINES = 0.9, 0.3
MIN_ALPHABETIC_WORDS = 0.8
MIN_STOP_WORDS = 2
STOP_WORDS = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])

# Gopher's table A1: the largest share of lines, paragraphs and characters that may be repeated.
MAX_DUPLICATE_LINES, MAX_DUPLICATE_PARAGRAPHS = 0.30, 0.30
MAX_DUPLICATE_LINE_CHARS, MAX_DUPLICATE_PARAGRAPH_CHARS = 0.20, 0.20
MAX_TOP_NGRAM_CHARS = {2: 0.20, 3: 0.18, 4: 0.16}
MAX_DUPLICATE_NGRAM_CHARS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

# FineWeb §3.6, on lines.
MIN_PUNCTUATED_LINES, MAX_SHORT_LINES, SHORT_LINE_CHARS, MAX_REPEATED_LINE_CHARS = 0.12, 0.67, 30, 0.10

_BULLETS = ("•", "‣", "◦", "▪", "■", "- ", "* ", "– ", "·")
_ELLIPSES = ("...", "…", "[…]", "[...]")
_LINE_ENDS = (".", "!", "?", '"', "'", "”", "’", "…", ":", ";", ")", "。", "！", "？")


def reason_to_drop(text: str, rules: str = "gopher") -> str | None:
    """The first rule that `text` breaks, or None when it passes all of them."""
    if rules not in RULES:
        raise unknown("set of rules", rules, RULES)
    words = text.split()
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    reason = _statistics(text, words, lines) or _repetition(text, lines)
    if reason is None and rules == "fineweb":
        reason = _line_shapes(lines)
    return reason


def _statistics(text: str, words: list[str], lines: list[str]) -> str | None:
    n = len(words)
    if n < MIN_WORDS:
        return "too_few_words"
    if n > MAX_WORDS:
        return "too_many_words"
    if not MIN_MEAN_WORD_CHARS <= sum(map(len, words)) / n <= MAX_MEAN_WORD_CHARS:
        return "word_length"
    n_ellipses = text.count("...") + text.count("…")
    if max(text.count("#"), n_ellipses) > MAX_SYMBOLS_PER_WORD * n:
        return "too_many_symbols"
    if sum(line.startswith(_BULLETS) for line in lines) > MAX_BULLET_LINES * len(lines):
        return "bullet_lines"
    if sum(line.endswith(_ELLIPSES) for line in lines) > MAX_ELLIPSIS_LINES * len(lines):
        return "ellipsis_lines"
    if sum(any(map(str.isalpha, word)) for word in words) < MIN_ALPHABETIC_WORDS * n:
        return "too_few_alphabetic_words"
    if len(STOP_WORDS.intersection(map(str.lower, words))) < MIN_STOP_WORDS:
        return "too_few_stop_words"
    return None


def _repetition(text: str, lines: list[str]) -> str | None:
    n_chars = len(text)
    paragraphs = [part for part in map(str.strip, text.split("\n\n")) if part]
    for parts, name, max_share, max_chars in (
        (lines, "duplicate_lines", MAX_DUPLICATE_LINES, MAX_DUPLICATE_LINE_CHARS),
        (paragraphs, "duplicate_paragraphs", MAX_DUPLICATE_PARAGRAPHS, MAX_DUPLICATE_PARAGRAPH_CHARS),
    ):
        n_repeated, n_repeated_chars = repeated(parts)
        if n_repeated > max_share * len(parts) or n_repeated_chars > max_chars * n_chars:
            return name
    words, lengths = word_hashes_and_lengths(text)
    for n, share in MAX_TOP_NGRAM_CHARS.items():
        if top_ngram_chars(words, lengths, n) > share * n_chars:
            return "top_ngram"
    for n, share in MAX_DUPLICATE_NGRAM_CHARS.items():
        if duplicate_ngram_chars(words, lengths, n) > share * n_chars:
            return "duplicate_ngrams"
    return None


def _line_shapes(lines: list[str]) -> str | None:
    n_chars = sum(map(len, lines))
    if sum(line.endswith(_LINE_ENDS) for line in lines) <= MIN_PUNCTUATED_LINES * len(lines):
        return "unpunctuated_lines"
    if sum(len(line) <= SHORT_LINE_CHARS for line in lines) >= MAX_SHORT_LINES * len(lines):
        return "short_lines"
    if repeated(lines)[1] >= MAX_REPEATED_LINE_CHARS * n_chars:
        return "repeated_line_chars"
    return None


def repeated(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts have been there before, and how many characters these hold."""
    seen: set[str] = set()
    n_repeated = n_chars = 0
    for part in parts:
        if part in seen:
            n_repeated += 1
            n_chars += len(part)
        seen.add(part)
    return n_repeated, n_chars


def top_ngram_chars(words: Hashes, lengths: Any, n: int) -> int:
    """Characters in all occurrences of the word n-gram that takes up most, if it occurs more than once."""
    if len(words) < n:
        return 0
    hashes = ngram_hashes(words, n)
    return int(
        _ngram_chars(hashes, lengths, n, np.zeros(_table_size(len(hashes)), dtype=np.int64)).max(initial=0)
    )


def duplicate_ngram_chars(words: Hashes, lengths: Any, n: int) -> int:
    """Characters in word n-grams that have been there before, each character counted once."""
    if len(words) < n:
        return 0
    hashes = ngram_hashes(words, n)
    return int(_duplicate_chars(hashes, lengths, n, np.zeros(_table_size(len(hashes)), dtype=np.int64)))


def _table_size(n: int) -> int:
    return 1 << (2 * n).bit_length()


@numba.njit(cache=True, nogil=True, inline="always")
def _slot(hashes: Any, table: Any, i: int) -> Any:
    """Where n-gram `i` is in an open hash table of positions + 1, or the free place where it belongs."""
    mask = len(table) - 1
    slot = np.int64(hashes[i] & np.uint64(mask))
    while table[slot] and hashes[table[slot] - 1] != hashes[i]:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _ngram_chars(hashes: Any, lengths: Any, n: int, table: Any) -> Any:
    counts = np.zeros(len(hashes), dtype=np.int64)
    for i in range(len(hashes)):
        slot = _slot(hashes, table, i)
        if not table[slot]:
            table[slot] = i + 1
        counts[table[slot] - 1] += 1
    for i in range(len(hashes)):
        if counts[i] > 1:
            chars = n - 1  # the spaces between the words
            for k in range(i, i + n):
                chars += lengths[k]
            counts[i] *= chars
        else:
            counts[i] = 0
    return counts


@numba.njit(cache=True, nogil=True)
def _duplicate_chars(hashes: Any, lengths: Any, n: int, table: Any) -> int:
    chars = 0
    counted_to = 0
    for i in range(len(hashes)):
        slot = _slot(hashes, table, i)
        if not table[slot]:
            table[slot] = i + 1
            continue
        for k in range(max(i, counted_to), i + n):
            chars += lengths[k] + 1
        counted_to = i + n
    return chars
