"""The paper's 8-grams as 64-bit hashes: normalize, cut into words or BPE tokens, hash every window.

§4: "lower-cased alphanumeric words with a single space as a delimiter". The unit of the paper's 8-grams is the GPT-2
BPE token of the normalized text (that reproduces Table 6: 2.67 for PTB and 0.66 for WikiText-2); words are the other
choice. A character is alphanumeric when Python's `str.isalnum` says so, in every script, and is lower-cased alone.

In: texts (str). Out: uint64 (n-grams,) and the number of n-grams per text, int64 (texts,). n-grams never span texts.
`normalize_plain` and `hash_plain` are the slow twins, which the tests compare with the kernels.
Raises `UserError` for an unknown unit, or `bpe` without a tokenizer.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fourhorn.errors import UserError, unknown
from fourhorn.memorization import kernels

UNITS = ("bpe", "words")
N_CHARACTERS = 0x40000  # no alphanumeric character lies above
BATCH_BYTES = 1 << 18  # of text at a time, so that its hashes stay in a core's cache
MASK = 2**64 - 1

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


class Encoder(Protocol):
    """What is needed of a tokenizer: `fourhorn.tokenizer.Tokenizer` has it."""

    def encode_to_numpy(self, text: bytes, /) -> npt.NDArray[Any]:
        """Token ids of UTF-8 text."""


@functools.cache
def tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """For each byte and each character: its lower-case character, or 0 when it separates words."""
    lower = np.zeros(N_CHARACTERS, dtype=np.uint32)
    for point in range(N_CHARACTERS):
        character = chr(point)
        if character.isalnum():
            lower[point] = ord(character.lower()[0])
    ascii_table = np.full(256, kernels.NOT_ASCII, dtype=np.uint8)
    ascii_table[:128] = lower[:128]
    return ascii_table, lower


def normalize_plain(text: str) -> str:
    """Lower-cased alphanumeric words with single spaces between: `It's  COLD!` becomes `it s cold`."""
    return " ".join("".join(c.lower()[0] if c.isalnum() else " " for c in text).split())


def hash_plain(units: Sequence[str] | Sequence[int], n: int) -> list[int]:
    """The hashes of every run of `n` words or tokens, in plain integers: the twin of the kernels."""
    values = [_word_hash_plain(u) if isinstance(u, str) else _mix(int(kernels.SEED) + u) for u in units]
    hashes = []
    for start in range(len(values) - n + 1):
        polynomial = 0
        for value in values[start : start + n]:
            polynomial = polynomial * int(kernels.BASE) + value
        hashes.append(_mix(polynomial))
    return hashes


def _word_hash_plain(word: str) -> int:
    h, packed, n_packed = int(kernels.SEED), 0, 0
    for byte in word.encode():
        packed, n_packed = packed | byte << 8 * n_packed, n_packed + 1
        if n_packed == 8:
            h, packed, n_packed = _mix(h + packed) * int(kernels.FOLD) & MASK, 0, 0
    return _mix(h + packed)


def _mix(h: int) -> int:
    h &= MASK
    h = (h ^ h >> 33) * int(kernels.MIX_1) & MASK
    h = (h ^ h >> 33) * int(kernels.MIX_2) & MASK
    return h ^ h >> 33


def batches(texts: Iterable[str], n_bytes: int = BATCH_BYTES) -> Iterator[list[str]]:
    """Lists of texts of about `n_bytes` characters together; a longer text is a list of its own."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= n_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def pieces(text: str, n: int, n_characters: int) -> Iterator[str]:
    """A long text in pieces that share enough words for no n-gram to be lost at a cut; some are seen twice."""
    start = 0
    while len(text) - start > n_characters:
        stop = _cut(text, start + n_characters)
        yield text[start:stop]
        shared = 32 * n
        while shared < n_characters // 2 and len(normalize_plain(text[stop - shared : stop]).split()) < n + 1:
            shared *= 2
        start = _cut(text, stop - shared)
    yield text[start:]


def _cut(text: str, position: int) -> int:
    """The nearest position at or before `position` that is not inside a word."""
    while 0 < position < len(text) and text[position].isalnum() and text[position - 1].isalnum():
        position -= 1
    return position


class NgramHasher:
    """Hashes the n-grams of texts, holding the buffers it needs; one per thread."""

    def __init__(self, *, unit: str = "bpe", n: int = 8, tokenizer: Encoder | None = None) -> None:
        if unit not in UNITS:
            raise unknown("unit", unit, UNITS)
        if unit == "bpe" and tokenizer is None:
            raise UserError(
                "8-grams of BPE tokens need a tokenizer: give --tokenizer FOLDER, or --unit words."
            )
        if not 1 <= n <= 64:
            raise UserError(f"ngram {n} is not between 1 and 64; the paper's is 8.")
        self.unit, self.n, self.tokenizer = unit, n, tokenizer
        self.n_bytes = 0  # of the texts of the last call
        self._buffers: dict[str, npt.NDArray[Any]] = {}
        if tokenizer is not None and unit == "bpe":
            newline = tokenizer.encode_to_numpy(b"\n")
            if len(newline) != 1:
                raise UserError(
                    "This tokenizer has no token for a newline alone; 8-grams need one, or --unit words."
                )
            self._separator = int(newline[0])

    @property
    def digest(self) -> str | None:
        """The vocabulary's hash, which decides what the n-grams are; None for words."""
        return getattr(self.tokenizer, "sha256", None) if self.unit == "bpe" else None

    def twin(self) -> "NgramHasher":
        """Another hasher of the same kind, for another thread."""
        return NgramHasher(unit=self.unit, n=self.n, tokenizer=self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> tuple[Hashes, Counts]:
        """The n-gram hashes of all texts in order, and how many each has; valid until the next call."""
        encoded = [text.encode("utf-8", errors="replace") for text in texts]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(e) + 1 for e in encoded], out=offsets[1:])
        data = np.frombuffer(b"\0".join([*encoded, bytes(kernels.BLOCK)]), dtype=np.uint8)
        self.n_bytes = len(data) - kernels.BLOCK - len(encoded)
        counts = np.zeros(len(encoded), dtype=np.int64)
        if self.unit == "words":
            hashes = self._buffer("hashes", len(data) // 2 + len(encoded) + 1, np.uint64)
            n_out = kernels.hash_words(data, offsets, *tables(), self.n, hashes, counts)
            return hashes[:n_out], counts
        text = self._buffer("text", len(data) * 3 // 2 + 2 * len(encoded) + 16, np.uint8)
        n_words = np.zeros(len(encoded), dtype=np.int64)
        n_bytes = kernels.normalize(data, offsets, *tables(), text, n_words)
        assert self.tokenizer is not None
        tokens = self.tokenizer.encode_to_numpy(text[:n_bytes].tobytes())
        hashes = self._buffer("hashes", len(tokens) + 1, np.uint64)
        n_out = kernels.hash_tokens(
            tokens.astype(np.uint32, copy=False), self._separator, self.n, hashes, n_words, counts
        )
        return hashes[:n_out], counts

    def _buffer(self, name: str, size: int, dtype: type) -> npt.NDArray[Any]:
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = np.empty(size + size // 4, dtype=dtype)
        return self._buffers[name]
