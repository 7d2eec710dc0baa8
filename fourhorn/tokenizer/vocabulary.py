"""A checked vocabulary: merges, the ids of their tokens, and special tokens.

Section 2.2. Inside the package tokens are numbered as in the release: 256 bytes in `bytes.BYTE_OF_TOKEN`'s order, then
merge i as 256 + i. Other projects put special tokens first or leave gaps, so `ids` maps that number to the public id.
Raises `UserError` for a vocabulary that is no byte-level BPE or contradicts itself.
"""

import functools
import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fourhorn.errors import UserError
from fourhorn.tokenizer.bpe import Pair, token_bytes
from fourhorn.tokenizer.bytes import visible

EOT = "<|endoftext|>"
MAX_TOKENS = 2**21 - 1  # the fast path packs two tokens and their merge into 63 bits


@dataclass(frozen=True, eq=True)
class Vocabulary:
    """Merges in order of priority, public ids, special tokens; `where` is the file named in errors.

    `known_sha256` is given for the vocabulary of files that are known by their digest; it is not checked again.
    """

    merges: Sequence[Pair]
    special_tokens: Mapping[str, int]
    ids: Sequence[int] | None = None  # None: token number and id are the same
    where: str = field(default="this vocabulary", compare=False)
    known_sha256: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, merges: Sequence[Pair], where: str = "this vocabulary") -> "Vocabulary":
        """The release's layout: bytes, merges, and `<|endoftext|>` as the last id."""
        return cls(merges, {EOT: 256 + len(merges)}, None, where)

    def __post_init__(self) -> None:
        if self.known_sha256:
            return
        self._check_merges()
        n = 256 + len(self.merges)
        ids = range(n) if self.ids is None else self.ids
        if len(ids) != n or len(set(ids)) != n or (n and min(ids) < 0):
            raise UserError(f"{self.where} is damaged: two tokens share one id.")
        taken = set(ids)
        for text, token in self.special_tokens.items():
            if token in taken or token < 0:
                raise UserError(
                    f"{self.where} is damaged: special token {text!r} has id {token}, which another token has."
                )
            if not text:
                raise UserError(f"{self.where} is damaged: a special token is empty.")
            taken.add(token)
        if max(taken) >= MAX_TOKENS:
            raise UserError(f"{self.where} has id {max(taken):,}; at most {MAX_TOKENS - 1:,} is possible.")

    def _check_merges(self) -> None:
        known = all(map(operator.lt, map(max, self.merges), itertools.count(256)))
        if not known or min(map(min, self.merges), default=0) < 0 or len(set(self.merges)) < len(self.merges):
            self._name_wrong_merge()
        if len(set(self.token_bytes)) != len(self.token_bytes):
            made: dict[bytes, int] = {}
            for i, data in enumerate(self.token_bytes):
                if made.setdefault(data, i) != i:
                    raise UserError(
                        f"{self.where} is not a vocabulary of GPT-2's kind: merge {i - 255} makes {visible(data)!r}, "
                        f"which {'is a byte' if made[data] < 256 else f'merge {made[data] - 255} makes'} already."
                    )

    def _name_wrong_merge(self) -> None:
        seen: dict[Pair, int] = {}
        for i, pair in enumerate(self.merges):
            if not (0 <= pair[0] < 256 + i and 0 <= pair[1] < 256 + i):
                raise UserError(
                    f"{self.where} is damaged: merge {i + 1} joins a token that no earlier merge makes."
                )
            if pair in seen:
                raise UserError(
                    f"{self.where} is damaged: merge {i + 1} ({self._show(pair)}) repeats merge {seen[pair] + 1}. "
                    "Remove the duplicate or fetch the file again."
                )
            seen[pair] = i

    def _show(self, pair: Pair) -> str:
        return f"{visible(self.token_bytes[pair[0]])} {visible(self.token_bytes[pair[1]])}"

    @functools.cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token but the special ones, by number."""
        return token_bytes(self.merges)

    @functools.cached_property
    def names(self) -> list[str]:
        """Every token but the special ones as vocabulary files write it, by number."""
        characters = visible(b"".join(self.token_bytes))
        ends = itertools.accumulate(map(len, self.token_bytes), initial=0)
        return [characters[start:end] for start, end in itertools.pairwise(ends)]

    @functools.cached_property
    def bytes_of_id(self) -> dict[int, bytes]:
        """The bytes of every id, special tokens in UTF-8."""
        ids = range(len(self.token_bytes)) if self.ids is None else self.ids
        table = dict(zip(ids, self.token_bytes))
        return table | {token: text.encode() for text, token in self.special_tokens.items()}

    @property
    def n_vocab(self) -> int:
        """One more than the largest id: the number of rows of an embedding."""
        largest = 255 + len(self.merges) if self.ids is None else max(self.ids)
        return 1 + max([largest, *self.special_tokens.values()])
