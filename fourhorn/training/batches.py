"""Which tokens each step sees: a pure function of one integer, the number of samples seen so far.

§2.3 trains on contiguous windows of the token stream. In every pass over the data the stream is cut into windows at a
new offset and the windows are shuffled by a keyed permutation that is computed, not stored: any step's samples are
found in constant time and memory, whatever was seen before and however many processes share the work.

In: a position (samples), a count. Out: `inputs` and `targets`, int64 (B, T), targets one token later.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError

_ROUNDS = 6
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class TokenStream(Protocol):
    """Tokens by position: `fourhorn.tokenizer.tokens.TokenShards`, or a part of one."""

    def __len__(self) -> int: ...

    def read(self, start: int, count: int) -> NDArray[np.generic]:
        """`count` tokens from position `start`."""
        ...


@dataclass(frozen=True)
class Span:
    """Tokens [start, stop) of a stream, as a stream."""

    stream: TokenStream
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, start: int, count: int) -> NDArray[np.generic]:
        """`count` tokens from position `start` of the part."""
        return self.stream.read(self.start + start, count)


class Batch(NamedTuple):
    """Token windows: inputs and targets int64 (B, T); weights float32 (B, T) where not every target counts."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None


class BatchSource(Protocol):
    """Samples addressed by number: windows of a stream here, prompt-completion pairs in `finetune`."""

    n_samples: int

    def read(self, position: int, count: int) -> Batch:
        """Samples `position` … `position + count - 1`."""
        ...


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele et al., 2014): every output bit depends on every input bit."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * _MIX_1
        values = (values ^ (values >> np.uint64(27))) * _MIX_2
        return values ^ (values >> np.uint64(31))


def key_of(*parts: int) -> np.uint64:
    """One 64-bit key from several integers."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        with np.errstate(over="ignore"):
            key = mix(key + np.uint64(part % 2**64) + np.uint64(0x9E3779B97F4A7C15))
    return np.uint64(key[0])


def permuted(indices: NDArray[np.int64], n: int, key: np.uint64) -> NDArray[np.int64]:
    """Where a keyed permutation of 0 … n-1 takes each index: a Feistel network that walks on until it is below n."""
    half = np.uint64(max((n - 1).bit_length() + 1, 2) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = indices.astype(np.uint64)
    outside = np.ones(len(values), bool)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        for round_ in range(_ROUNDS):
            with np.errstate(over="ignore"):
                left, right = right, left ^ (mix(right + key * np.uint64(2 * round_ + 1)) & mask)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(n)
    return values.astype(np.int64)


class Batches:
    """The samples of a run, addressed by their number since its start."""

    def __init__(self, stream: TokenStream, *, n_ctx: int, seed: int) -> None:
        self.stream, self.n_ctx, self.seed = stream, n_ctx, seed
        # One token beyond the window is its last target; the last window gives way to the pass's offset.
        self.n_samples = (len(stream) - 1) // n_ctx - 1
        if self.n_samples < 1:
            raise UserError(
                f"{len(stream):,} tokens are too few for a context of {n_ctx}: at least {2 * n_ctx + 1:,} are needed. "
                f"Give more text, or a smaller --n-ctx."
            )

    def starts(self, position: int, count: int) -> NDArray[np.int64]:
        """Token positions where samples `position` … `position + count - 1` begin."""
        numbers = np.arange(position, position + count, dtype=np.int64)
        passes, indices = numbers // self.n_samples, numbers % self.n_samples
        out = np.empty(count, np.int64)
        for one in np.unique(passes):
            here = passes == one
            offset = int(key_of(self.seed, int(one), 1)) % self.n_ctx
            order = permuted(indices[here], self.n_samples, key_of(self.seed, int(one), 2))
            out[here] = order * self.n_ctx + offset
        return out

    def read(self, position: int, count: int) -> Batch:
        """Inputs and targets (count, n_ctx) of samples `position` … `position + count - 1`."""
        windows = [self.stream.read(int(start), self.n_ctx + 1) for start in self.starts(position, count)]
        tokens = np.stack(windows).astype(np.int64)
        return Batch(tokens[:, :-1], tokens[:, 1:])


class Windows:
    """The windows of a stream in order, without overlap: what the held-out loss is measured on."""

    def __init__(self, stream: TokenStream, *, n_ctx: int, n_tokens: int) -> None:
        self.stream = stream
        self.n_ctx = min(n_ctx, len(stream) - 1)
        if self.n_ctx < 1:
            raise UserError("The held-out split has fewer than two tokens; there is nothing to measure on.")
        self.n_samples = max(min(len(stream) - 1, n_tokens) // self.n_ctx, 1)

    def read(self, position: int, count: int) -> Batch:
        """Windows `position` … `position + count - 1`, as far as there are."""
        here = range(position, min(position + count, self.n_samples))
        tokens = np.stack([self.stream.read(i * self.n_ctx, self.n_ctx + 1) for i in here]).astype(np.int64)
        return Batch(tokens[:, :-1], tokens[:, 1:])


def held_out_parts(stream: TokenStream, share: float) -> tuple[Span, Span]:
    """§2.3: the stream without, and only, its last `share` (5 %), for the learning-rate search."""
    cut = int(len(stream) * (1.0 - share))
    return Span(stream, 0, cut), Span(stream, cut, len(stream))
