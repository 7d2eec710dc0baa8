"""Completions for whole sets of prompts: greedy or top-k, batched, each independent of the others in its batch.

§3.5–3.8: CoQA, translation and question answering decode greedily, summaries sample from the two most likely tokens.
Tokens that all prompts share (`prefix`: the example pairs) are read once for the whole set; `extend` grows caches of
conversations turn by turn. A random draw depends on (seed, item) alone, so a completion is the same in any batch.

Tokens are lists of ids. Raises `ValueError` when prompt and completion together exceed the model's context.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourhorn.evaluation.scoring import Scorer
from fourhorn.model.cache import KVCache


@dataclass
class Completion:
    """The generated tokens, without the newline that ended them, and the log-probability of each (nats)."""

    tokens: list[int]
    logprobs: list[float]
    stopped: bool = False

    @property
    def loglikelihood(self) -> float:
        """Log-probability of the completion, nats: the paper's confidence is its exponential (§3.8)."""
        return sum(self.logprobs)


def generate(
    scorer: Scorer,
    prompts: Sequence[Sequence[int]],
    *,
    prefix: Sequence[int] = (),
    max_new_tokens: int,
    stop: frozenset[int],
    top_k: int = 1,
    seeds: Sequence[int] | None = None,
    done: Callable[[list[int]], bool] | None = None,
) -> list[Completion]:
    """Complete every prompt after the shared `prefix`; `seeds` holds one per prompt where top_k > 1.

    A completion ends before a token of `stop`, or after the token that makes `done(tokens)` true.
    """
    completions: list[Completion] = [Completion([], []) for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    for start in range(0, len(order), scorer.batch_size):
        batch = order[start : start + scorer.batch_size]
        rows = [prompts[i] for i in batch]
        n_ctx = len(prefix) + max(map(len, rows)) + max_new_tokens
        if n_ctx > scorer.n_ctx:
            raise ValueError(f"prompt and completion of {n_ctx} tokens exceed the context of {scorer.n_ctx}")
        with torch.inference_mode():
            cache = scorer.prefix(prefix, len(rows), n_ctx)
            last = _read(scorer, cache, rows)
            draws = [np.random.default_rng([seeds[i], 17]) for i in batch] if seeds is not None else None
            found = decode(
                scorer,
                cache,
                last,
                max_new_tokens=max_new_tokens,
                stop=stop,
                top_k=top_k,
                draws=draws,
                done=done,
            )
        scorer.counts["unshared_tokens"] += sum(len(prefix) + len(row) for row in rows)
        for i, completion in zip(batch, found, strict=True):
            completions[i] = completion
    return completions


def _read(scorer: Scorer, cache: KVCache, rows: Sequence[Sequence[int]]) -> Tensor:
    """Read right-padded rows after what the cache holds; the state after the last true token of each, (B, C)."""
    tokens, ends = scorer.pad(rows), [len(row) - 1 for row in rows]
    last = scorer.forward.states(tokens, range(len(rows)), ends, cache)
    cache.lengths += torch.tensor(ends, device=scorer.device) + 1 - tokens.shape[1]
    scorer.counts["forward_tokens"] += sum(map(len, rows))
    return last


def decode(
    scorer: Scorer,
    cache: KVCache,
    last: Tensor,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    top_k: int = 1,
    draws: Sequence[np.random.Generator] | None = None,
    done: Callable[[list[int]], bool] | None = None,
) -> list[Completion]:
    """Continue every row of the cache from its last state (B, C); finished rows leave the batch as they stop."""
    completions = [Completion([], []) for _ in range(last.shape[0])]
    alive = list(range(last.shape[0]))
    for step in range(max_new_tokens):
        tokens, logprobs = _next_tokens(scorer, last, top_k, [draws[i] for i in alive] if draws else None)
        going = []
        for row, i in enumerate(alive):
            if tokens[row] in stop:
                completions[i].stopped = True
                continue
            completions[i].tokens.append(tokens[row])
            completions[i].logprobs.append(logprobs[row])
            if done is not None and done(completions[i].tokens):
                completions[i].stopped = True
                continue
            going.append(row)
        if not going or step + 1 == max_new_tokens:
            break
        if len(going) < len(alive):
            cache = cache.select(torch.tensor(going, device=scorer.device))
            alive = [alive[row] for row in going]
        new = torch.tensor([[tokens[row]] for row in going], device=scorer.device)
        last = scorer.forward.states(new, range(len(going)), [0] * len(going), cache)  # (B, C)
        scorer.counts["generated_tokens"] += len(going)
    return completions


def _next_tokens(
    scorer: Scorer, last: Tensor, top_k: int, draws: Sequence[np.random.Generator] | None
) -> tuple[list[int], list[float]]:
    """The next token of each row and its log-probability under the whole distribution."""
    logits = scorer.forward.logits(last).float()  # (B, V)
    total = torch.logsumexp(logits, 1, keepdim=True)
    best = logits.topk(top_k, dim=1)
    logprobs = (best.values - total).double().cpu().numpy()  # (B, k)
    if top_k == 1 or draws is None:
        chosen = np.zeros(len(logprobs), dtype=np.int64)
    else:
        weights = np.exp(logprobs - logprobs.max(1, keepdims=True)).cumsum(1)
        chosen = np.array(
            [np.searchsorted(row, draw.random() * row[-1]) for row, draw in zip(weights, draws, strict=True)]
        )
    rows = np.arange(len(chosen))
    return best.indices.cpu().numpy()[rows, chosen].tolist(), logprobs[rows, chosen].tolist()


def extend(
    scorer: Scorer, cache: KVCache, histories: Sequence[Sequence[int]], n_known: Sequence[int]
) -> Tensor:
    """Bring every row of the cache to the end of its history, of which it has read `n_known` tokens; (B, C).

    Rows with less to read than the longest step back and read their last known tokens again instead of padding: every
    row ends exactly at its own length, and no padding ever passes the end of the context.
    """
    width = max(len(history) - known for history, known in zip(histories, n_known, strict=True))
    n_new = [min(width, len(history)) for history in histories]
    cache.lengths[:] = torch.tensor(
        [len(h) - n for h, n in zip(histories, n_new, strict=True)], device=scorer.device
    )
    inputs = [list(history[len(history) - n :]) for history, n in zip(histories, n_new, strict=True)]
    last = scorer.forward.states(scorer.pad(inputs), range(len(inputs)), [n - 1 for n in n_new], cache)
    cache.lengths[:] = torch.tensor([len(history) for history in histories], device=scorer.device)
    scorer.counts["forward_tokens"] += sum(n_new)
    return last
