"""The tokenizer: text to ids and back, exactly as GPT-2 does it.

Section 2.2: a byte-level BPE can encode any Unicode string, and decoding what it encoded gives back the same bytes. The
work is done by one of two engines with the same results, `fast.py` (compiled) or `plain.py`. Special tokens follow
tiktoken's contract: in user text `<|endoftext|>` is ordinary text unless it is allowed, and `encode` refuses it.
Text or bytes in, ids out (uint16, or uint32 beyond 65,536 ids). An id outside the vocabulary raises `UserError`.
"""

import codecs
import functools
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.files import sha256_bytes
from fourhorn.tokenizer import formats
from fourhorn.tokenizer.fast import make_engine
from fourhorn.tokenizer.source import PADDING, Batch, batches
from fourhorn.tokenizer.threads import in_order
from fourhorn.tokenizer.vocabulary import EOT, Vocabulary

Tokens = NDArray[Any]


class Tokenizer:
    """A vocabulary and the engine that applies it. Safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary, *, plain: bool = False) -> None:
        self.vocabulary = vocabulary
        self.special_tokens = dict(vocabulary.special_tokens)
        self.n_vocab = vocabulary.n_vocab
        self.dtype = np.dtype(np.uint16 if self.n_vocab <= 65_536 else np.uint32)
        self._plain = plain

    # ------------------------------------------------------------------------------------------- make and keep

    @classmethod
    def load(cls, path: str | Path, *, plain: bool = False) -> "Tokenizer":
        """Read a vocabulary: a folder (encoder.json + vocab.bpe, …), a tokenizer.json or a .tiktoken file."""
        return cls(formats.load(path), plain=plain)

    @classmethod
    def train(
        cls, texts: Iterable[str] | str | Path, *, n_vocab: int = 50257, min_frequency: int = 1
    ) -> "Tokenizer":
        """Learn a vocabulary of `n_vocab` tokens from texts, or from a record file or a folder of shards."""
        from fourhorn.tokenizer.train import learn

        return cls(learn(texts, n_vocab=n_vocab, min_frequency=min_frequency))

    def save(self, folder: str | Path, *, format: str = "openai") -> None:
        """Write the vocabulary into `folder`: as openai (encoder.json + vocab.bpe) or another of `formats.WRITERS`."""
        formats.save(self.vocabulary, Path(folder), format)

    @functools.cached_property
    def _engine(self) -> Any:
        return make_engine(self.vocabulary, self.dtype, plain=self._plain)

    @property
    def engine(self) -> str:
        """What does the work: `compiled` or `plain Python`."""
        return str(self._engine.name)

    @functools.cached_property
    def sha256(self) -> str:
        """A digest of the vocabulary: the SHA-256 of its encoder.json and vocab.bpe, one after the other."""
        if self.vocabulary.known_sha256:
            return self.vocabulary.known_sha256
        text = formats.encoder_text(self.vocabulary) + formats.merges_text(self.vocabulary)
        return sha256_bytes(text.encode())

    @property
    def eot(self) -> int:
        """The id of `<|endoftext|>`, which separates documents."""
        if EOT not in self.special_tokens:
            raise UserError(
                f"This vocabulary has no {EOT} token; its special tokens: {list(self.special_tokens)}."
            )
        return self.special_tokens[EOT]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Tokenizer(n_vocab={self.n_vocab})"

    # ------------------------------------------------------------------------------------------------- encode

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text; `<|endoftext|>` in it is text like any other."""
        ids = self._engine.encode(utf8(text))
        return ids if isinstance(ids, list) else ids.tolist()  # type: ignore[no-any-return]

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | Collection[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """The ids of a text, with tiktoken's contract for special tokens.

        Those in `allowed_special` become their id; those in `disallowed_special` (by default all others) raise
        `UserError`; with `disallowed_special=()` what is not allowed is encoded as ordinary text.
        """
        known = set(self.special_tokens)
        allowed = known if allowed_special == "all" else known & set(allowed_special)
        refused = known - allowed if disallowed_special == "all" else set(disallowed_special)
        found = refused and _any_of(refused).search(text)
        if found:
            raise UserError(
                f"The text holds the special token {found[0]!r}. Pass allowed_special={{{found[0]!r}}} to encode it as "
                "that token, or disallowed_special=() to encode it as ordinary text."
            )
        if not allowed:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for part in _any_of(allowed).split(text):
            if part in allowed:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self.encode_ordinary(part)
        return ids

    def encode_to_numpy(self, text: str | bytes, *, n_threads: int = 1) -> Tokens:
        """The ids of a text or of any bytes as an array; special tokens are ordinary text."""
        data = utf8(text) if isinstance(text, str) else bytes(text)
        tokens, _ = self.encode_documents([data], n_threads=n_threads)
        return tokens

    def encode_batch(self, texts: Sequence[str], *, n_threads: int = 2) -> list[list[int]]:
        """`encode_ordinary` of each text, with several threads."""
        tokens, starts = self.encode_documents([utf8(text) for text in texts], n_threads=n_threads)
        ids = tokens.tolist()
        return [ids[a:b] for a, b in itertools.pairwise(starts.tolist())]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a text and for each the characters it covers, as `(start, end)`.

        A token that holds only a part of a character covers the whole of it, so neighbors can overlap.
        """
        data = utf8(text)
        ids = self.encode_to_numpy(data)
        lengths = np.fromiter((len(self.vocabulary.bytes_of_id[i]) for i in ids.tolist()), np.int64, len(ids))
        ends = np.cumsum(lengths)
        begins_char = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        char_of_byte = np.cumsum(begins_char) - 1  # the number of the character that each byte belongs to
        first = char_of_byte[ends - lengths]
        last = char_of_byte[ends - 1]
        return ids.tolist(), list(zip(first.tolist(), (last + 1).tolist()))

    def encode_parts(
        self, batch: Batch, *, separator: int | None = None, out: Tokens | None = None
    ) -> tuple[Tokens, NDArray[np.int64]]:
        """The ids of a batch of documents in one array, each after `separator`, and where each begins.

        They are written into `out`, if given, which needs room for `batch.room` ids.
        """
        return self._engine.encode_batch(batch, separator, out)  # type: ignore[no-any-return]

    def encode_documents(
        self, documents: Sequence[bytes], *, separator: int | None = None, n_threads: int = 1
    ) -> tuple[Tokens, NDArray[np.int64]]:
        """The ids of many documents in one array, each after the id `separator`; and where each begins.

        The second array has one entry more than there are documents: `tokens[starts[i]:starts[i + 1]]` is document i.
        """
        # Room for the worst case, an id per byte, and for what the engine asks beyond; untouched memory costs nothing.
        tokens = np.empty(sum(map(len, documents)) + len(documents) + PADDING, self.dtype)
        begins, end = [], 0

        def encode(batch: Batch) -> tuple[bool, Tokens, NDArray[np.int64]]:
            # One thread writes where the ids belong; of several, each into its own buffer, small and always warm.
            out = tokens[end:] if n_threads == 1 else None
            # The text is not given back, so that the next one lies in the same memory, which is still in the cache.
            return batch.continues, *self._engine.encode_batch(batch, separator, out)

        for continues, ids, starts in in_order(encode, batches(documents), n_threads):
            if n_threads > 1:
                tokens[end : end + len(ids)] = ids
            begins.append(starts[int(continues) : -1] + end)
            end += len(ids)
        return tokens[:end], np.concatenate([*begins, np.array([end], np.int64)])

    # ------------------------------------------------------------------------------------------------- decode

    def decode(self, tokens: Sequence[int] | Tokens, *, errors: str = "replace") -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, or raise with `errors="strict"`."""
        return self.decode_bytes(tokens).decode("utf-8", errors)

    def decode_bytes(self, tokens: Sequence[int] | Tokens) -> bytes:
        """The bytes of ids, exactly."""
        try:
            narrow = isinstance(tokens, np.ndarray) and tokens.dtype == np.uint16
            ids = np.asarray(tokens, dtype=np.uint16 if narrow else np.uint32).ravel()
            return self._engine.decode(ids)  # type: ignore[no-any-return]
        except (KeyError, OverflowError, IndexError):
            bad = [t for t in np.asarray(tokens).ravel().tolist() if t not in self.vocabulary.bytes_of_id]
            raise UserError(f"{bad[0]} is no id of this vocabulary, which has {self.n_vocab:,}.") from None

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one id, without the way through the kernel, which pays for many."""
        try:
            return self.vocabulary.bytes_of_id[token]
        except KeyError:
            return self.decode_bytes([token])  # names the id

    def stream_decoder(self) -> "StreamDecoder":
        """A decoder to be fed one id at a time."""
        return StreamDecoder(self)


class StreamDecoder:
    """Decodes ids as they come and never gives out a part of a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The characters that this id completes, possibly none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def utf8(text: str) -> bytes:
    """UTF-8 of a text; surrogate pairs are joined and a lone surrogate becomes U+FFFD, as in tiktoken."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


@functools.lru_cache(maxsize=64)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("(" + "|".join(map(re.escape, texts)) + ")")


def _any_of(texts: Collection[str]) -> re.Pattern[str]:
    """A pattern that finds any of some texts, the longest first."""
    return _pattern(tuple(sorted(texts, key=lambda text: (-len(text), text))))
