"""Log-likelihoods of many requests under one model, each token read once and logits made only where needed.

§3 of the paper turns every task but the generated ones into log-probabilities of a continuation after a context.
Three shapes of work: `loglikelihoods` (independent requests, sorted by length), `choices` (many continuations of
one context, which is read once and whose keys and values every continuation shares) and `rolling` windows over a
text.

Tokens are lists of ids, log-likelihoods are sums in nats, float64. Results do not depend on the batch size or the
order of requests beyond float rounding. A context too long for the model loses its oldest tokens; the loss is
counted in `Score.n_dropped`. Raises `ValueError` for an empty continuation or one longer than the model's context.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from fourhorn.evaluation.branches import Branches, layout
from fourhorn.evaluation.forward import Forward
from fourhorn.model.cache import KVCache
from fourhorn.model.transformer import GPT2

N_LOGIT_ROWS = 256  # of logits per product, enough for it to run at full speed
# Tokens per pass on a CPU when the batch size is chosen here: what a pass holds stays near the processor.
CPU_PASS_TOKENS = 1024


class TokenizerLike(Protocol):
    """What evaluation asks of a tokenizer."""

    @property
    def n_vocab(self) -> int: ...
    @property
    def eot(self) -> int: ...
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, tokens: Sequence[int]) -> str: ...
    def decode_bytes(self, tokens: Sequence[int]) -> bytes: ...


class Request(NamedTuple):
    """The question "how likely is `continuation` after `context`?"."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass(frozen=True)
class Score:
    """The answer: one log-probability (nats) per token, and whether each token was the model's first choice."""

    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    n_dropped: int = 0

    @property
    def loglikelihood(self) -> float:
        """Log-probability of the whole continuation, nats."""
        return sum(self.logprobs)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding would produce exactly this continuation."""
        return all(self.greedy)


@dataclass
class Scorer:
    """A model with its tokenizer, ready to score; `counts` tells how many tokens were read and would be unshared."""

    model: GPT2
    tokenizer: Any
    batch_size: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        config = self.model.config
        self.model.eval()
        self.pass_tokens = 1 << 30
        if self.batch_size < 1:
            size = 1 << 27
            if self.model.wte.weight.device.type == "cpu":
                self.pass_tokens = CPU_PASS_TOKENS
            if self.model.wte.weight.is_cuda:
                size = 1 << 30  # a card works on more at a time
            self.batch_size = max(1, min(128, size // (config.n_embd * config.n_layer * config.n_ctx)))
        self.n_ctx = config.n_ctx
        weight = self.model.wte.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.eot = self.tokenizer.eot
        self.forward = Forward(self.model)
        self._prefixes: dict[tuple[int, ...], KVCache] = {}

    # ------------------------------------------------------------------------------------------ requests

    @torch.inference_mode()
    def loglikelihoods(self, requests: Sequence[Request]) -> list[Score]:
        """Score independent requests, longest first, each row right-padded to the longest of its batch."""
        fitted = [self.fit(request) for request in requests]
        order = sorted(range(len(fitted)), key=lambda i: (-len(fitted[i][0]) - len(fitted[i][1]), i))
        scores: list[Score | None] = [None] * len(fitted)
        states: list[Tensor] = []
        waiting: list[int] = []
        batches = self._batches(
            [len(context) + len(continuation) for context, continuation, _ in fitted], order
        )
        for n, batch in enumerate(batches):
            states.append(self._read([fitted[i] for i in batch]))
            waiting += batch
            if sum(map(len, states)) >= N_LOGIT_ROWS or n + 1 == len(batches):
                found = self._scores(torch.cat(states), [fitted[i] for i in waiting])
                for i, score in zip(waiting, found, strict=True):
                    scores[i] = score
                states, waiting = [], []
        return [score for score in scores if score is not None]

    def _batches(self, lengths: Sequence[int], order: Sequence[int]) -> list[list[int]]:
        """Consecutive requests of the order, longest first, within the batch size and the tokens of a pass."""
        batches: list[list[int]] = []
        for i in order:
            full = not batches or len(batches[-1]) >= self.batch_size
            if full or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > self.pass_tokens:
                batches.append([])
            batches[-1].append(i)
        return batches

    def fit(self, request: Request) -> tuple[list[int], list[int], int]:
        """The request with an `<|endoftext|>` for an empty context and the oldest context tokens dropped if needed."""
        context, continuation = list(request.context) or [self.eot], list(request.continuation)
        if not continuation:
            raise ValueError("an empty continuation has no log-likelihood")
        if len(continuation) > self.n_ctx:
            raise ValueError(
                f"a continuation of {len(continuation)} tokens exceeds the context of {self.n_ctx}"
            )
        n_dropped = max(0, len(context) + len(continuation) - 1 - self.n_ctx)
        return context[n_dropped:], continuation, n_dropped

    def _read(self, batch: list[tuple[list[int], list[int], int]]) -> Tensor:
        """The states before each token of the continuations, one request after the other: (N, C)."""
        inputs = [context + continuation[:-1] for context, continuation, _ in batch]
        self.counts["forward_tokens"] += sum(map(len, inputs))
        self.counts["unshared_tokens"] += sum(map(len, inputs))
        rows = [row for row, (_, continuation, _) in enumerate(batch) for _ in continuation]
        columns = [
            column
            for (context, _, _), tokens in zip(batch, inputs, strict=True)
            for column in range(len(context) - 1, len(tokens))
        ]
        return self.forward.states(self.pad(inputs), rows, columns)

    def _scores(self, states: Tensor, batch: list[tuple[list[int], list[int], int]]) -> Iterator[Score]:
        logprobs, greedy = self.logprobs(
            states, [token for _, continuation, _ in batch for token in continuation]
        )
        start = 0
        for _, continuation, n_dropped in batch:
            stop = start + len(continuation)
            yield Score(tuple(logprobs[start:stop]), tuple(greedy[start:stop]), n_dropped)
            start = stop

    def logprobs(
        self, states: Tensor, targets: Sequence[int], owners: Sequence[int] | None = None
    ) -> tuple[list[float], list[bool]]:
        """Log-probability of each target and whether no other token is likelier.

        Target i (N,) follows the state owners[i] of states (M, C), or state i.
        """
        wanted = torch.tensor(targets, device=self.device)
        owner = torch.tensor(owners or range(len(targets)), device=self.device)
        chosen = torch.empty(len(wanted), device=self.device)
        highest, total = torch.empty(2, len(states), device=self.device)
        for start in range(0, len(states), N_LOGIT_ROWS):
            logits = self.forward.logits(states[start : start + N_LOGIT_ROWS])  # (N, V)
            here = ((owner >= start) & (owner < start + len(logits))).nonzero()[:, 0]
            chosen[here] = logits[owner[here] - start, wanted[here]].float()
            place = slice(start, start + len(logits))
            highest[place], total[place] = self.forward.operations.sums(logits)
        logprobs = (chosen - highest[owner]).double() - total[owner].double().log()
        return logprobs.tolist(), (chosen >= highest[owner]).tolist()

    def pad(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token rows as one tensor (B, T), right-padded with `<|endoftext|>`."""
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[self.eot] * (longest - len(row))] for row in rows], device=self.device)

    # ------------------------------------------------------------------------------------------- choices

    @torch.inference_mode()
    def choices(self, groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> list[list[Score]]:
        """Score every continuation of every group (context, continuations); each context is read once."""
        fitted = [self._fit_group(context, continuations) for context, continuations in groups]
        order = sorted(range(len(fitted)), key=lambda i: (-len(fitted[i][0]), i))
        n_choices = max((len(continuations) for _, continuations, _ in fitted), default=1)
        n_groups = max(1, self.batch_size // n_choices)
        scores: list[list[Score]] = [[] for _ in fitted]
        for start in range(0, len(order), n_groups):
            batch = order[start : start + n_groups]
            for part in self._fitting_together([fitted[i] for i in batch], batch):
                for i, found in zip(part, self._score_groups([fitted[i] for i in part]), strict=True):
                    scores[i] = found
        return scores

    def _fit_group(
        self, context: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[list[int]], int]:
        longest = max(continuations, key=len)
        fitted, _, n_dropped = self.fit(Request(context, longest))
        if not min(map(len, continuations)):
            raise ValueError("an empty continuation has no log-likelihood")
        return fitted, [list(continuation) for continuation in continuations], n_dropped

    def _fitting_together(
        self, groups: list[tuple[list[int], list[list[int]], int]], batch: list[int]
    ) -> list[list[int]]:
        """The batch whole, or one by one when padding to its longest parts would outgrow the context."""
        longest = max(len(context) for context, _, _ in groups)
        suffix = max(
            len(continuation) - 1 for _, continuations, _ in groups for continuation in continuations
        )
        return [batch] if longest + suffix <= self.n_ctx else [[i] for i in batch]

    def _score_groups(self, groups: list[tuple[list[int], list[list[int]], int]]) -> list[list[Score]]:
        contexts = [context for context, _, _ in groups]
        rows = [(group, continuation) for group, (_, all_, _) in enumerate(groups) for continuation in all_]
        suffix = max(sum(len(continuation) - 1 for continuation in all_) for _, all_, _ in groups)
        cache = self.cache(len(groups), max(map(len, contexts)) + suffix)
        last = self.prefill(cache, contexts)  # (B, C)
        scores: list[list[Score]] = [[] for _ in groups]
        for (group, _), score in zip(rows, self.after(cache, last, rows), strict=True):
            scores[group].append(Score(score.logprobs, score.greedy, groups[group][2]))
        self.counts["unshared_tokens"] += sum(
            len(contexts[g]) + len(continuation) - 1 for g, continuation in rows
        )
        return scores

    def after(self, cache: KVCache, last: Tensor, rows: Sequence[tuple[int, Sequence[int]]]) -> list[Score]:
        """Score continuations of rows already read: each is (row of the cache, tokens); the cache stays as it is."""
        inputs = [continuation[:-1] for _, continuation in rows]
        pending = [
            [i for i, (owner, _) in enumerate(rows) if owner == row and inputs[i]] for row in range(len(last))
        ]
        room = cache.n_ctx - int(cache.lengths.max())
        states, owners = [last], [[row] for row, _ in rows]  # which state stands before each token
        n_states = len(last)
        while any(pending):
            chosen = layout(pending, [len(tokens) for tokens in inputs], room)
            pending = [row[len(taken) :] for row, taken in zip(pending, chosen, strict=True)]
            branches = [[inputs[i] for i in taken] for taken in chosen]
            laid_out = [[token for branch in row for token in branch] for row in branches]
            rows_read = [row for row, tokens in enumerate(laid_out) for _ in tokens]
            columns = [column for tokens in laid_out for column in range(len(tokens))]
            read = self.forward.states(self.pad(laid_out), rows_read, columns, Branches(cache, branches))
            states.append(read)
            for i in (i for taken in chosen for i in taken):
                owners[i] += range(n_states, n_states + len(inputs[i]))
                n_states += len(inputs[i])
            self.counts["forward_tokens"] += len(read)
        targets = [token for _, continuation in rows for token in continuation]
        logprobs, greedy = self.logprobs(torch.cat(states), targets, [i for owner in owners for i in owner])
        scores, start = [], 0
        for _, continuation in rows:
            stop = start + len(continuation)
            scores.append(Score(tuple(logprobs[start:stop]), tuple(greedy[start:stop])))
            start = stop
        return scores

    # ------------------------------------------------------------------------------------------- caches

    def cache(self, n_rows: int, n_ctx: int) -> KVCache:
        """An empty cache of `n_rows` rows of up to `n_ctx` tokens in the model's type."""
        return KVCache(self.model.config, n_rows, n_ctx, dtype=self.dtype, device=self.device)

    def prefill(self, cache: KVCache, rows: Sequence[Sequence[int]]) -> Tensor:
        """Read right-padded rows into an empty cache; the state after the last true token of each, (B, C)."""
        last = self.forward.states(self.pad(rows), range(len(rows)), [len(row) - 1 for row in rows], cache)
        cache.lengths[:] = torch.tensor([len(row) for row in rows], device=self.device)
        self.counts["forward_tokens"] += sum(map(len, rows))
        return last

    @torch.inference_mode()
    def prefix(self, tokens: Sequence[int], n_rows: int, n_ctx: int) -> KVCache:
        """A cache of `n_rows` rows that have all read `tokens`, which are read once and kept for the next call."""
        cache, key = self.cache(n_rows, n_ctx), tuple(tokens)
        if not key:
            return cache
        if key not in self._prefixes:
            kept = self.cache(1, len(key))
            self.forward.states(torch.tensor([key], device=self.device), (), (), kept)
            self.counts["forward_tokens"] += len(key)
            self._prefixes = {key: kept}  # one task's seed at a time
        kept = self._prefixes[key]
        cache.k[:, :, :, : len(key)] = kept.k
        cache.v[:, :, :, : len(key)] = kept.v
        cache.lengths[:] = len(key)
        return cache

    # -------------------------------------------------------------------------------------- vocabulary

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token of the vocabulary; empty for ids the tokenizer does not know."""
        known = min(self.tokenizer.n_vocab, self.model.config.n_vocab)
        return [
            self.tokenizer.decode_bytes([i]) if i < known else b"" for i in range(self.model.config.n_vocab)
        ]

    @cached_property
    def newline_tokens(self) -> frozenset[int]:
        """Tokens that end a line: every one that holds a newline, and `<|endoftext|>`."""
        return frozenset({i for i, piece in enumerate(self.token_bytes) if b"\n" in piece} | {self.eot})

    @cached_property
    def continues_word(self) -> Tensor:
        """(V,) bool: tokens that go on inside a word: first a letter, digit, apostrophe, hyphen or part of one."""
        flags = [_in_word(piece) and i != self.eot for i, piece in enumerate(self.token_bytes)]
        return torch.tensor(flags, device=self.device)

    @cached_property
    def begins_word(self) -> Tensor:
        """(V,) bool: tokens that begin a word after a space."""
        flags = [piece[:1] == b" " and _in_word(piece[1:]) for piece in self.token_bytes]
        return torch.tensor(flags, device=self.device)

    @cached_property
    def digest(self) -> str:
        """A hash of the model's shape and weights: results of other weights are never taken for this one's."""
        found = hashlib.sha256(repr(sorted(self.model.config.to_dict().items())).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            data = weight.detach().cpu().contiguous().view(torch.uint8).reshape(-1)
            found.update(name.encode() + hashlib.blake2b(memoryview(data.numpy())).digest())
        return found.hexdigest()


def _in_word(piece: bytes) -> bool:
    return bool(piece) and (piece[:1].isalnum() or piece[0] >= 0x80 or piece[:1] in (b"'", b"-"))


class Window(NamedTuple):
    """One forward pass over a text: read tokens[start:stop-1], score tokens[first:stop]."""

    start: int
    first: int
    stop: int


def windows(n_tokens: int, n_ctx: int, stride: int) -> list[Window]:
    """Cover a text so that every token is scored once, each pass moving on by `stride` tokens.

    stride = n_ctx is the cheapest: disjoint windows, each token's context between 1 and n_ctx tokens. A smaller
    stride gives every token of later windows at least n_ctx − stride tokens of context and costs n_ctx / stride times
    as much. The first window starts after `<|endoftext|>` (start −1).
    """
    if not 1 <= stride <= n_ctx:
        raise ValueError(f"stride {stride} must lie between 1 and the context length {n_ctx}")
    found = []
    first = 0
    while first < n_tokens:
        stop = min(n_tokens, n_ctx if first == 0 else first + stride)
        found.append(Window(max(-1, stop - 1 - n_ctx), first, stop))
        first = stop
    return found


def window_request(tokens: Sequence[int], window: Window, eot: int) -> Request:
    """The request that scores one window of a text."""
    context = [eot] if window.start < 0 else []
    return Request(
        [*context, *tokens[max(0, window.start) : window.first]], tokens[window.first : window.stop]
    )
