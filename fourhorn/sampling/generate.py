"""`generate` and `stream`: prompts in, text out.

§3.6, §8. Everything runs through the continuous-batching engine, so many prompts of different lengths share each pass
over the weights. Prompt i of a list uses seed + i, so each gives the text it would give alone with that seed.

In: prompts as text, or as lists of tokens. Out: text, or `Completion`s with tokens and log-probabilities.
Raises `UserError` for settings out of range and for prompts that the context cannot hold.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, overload

from fourhorn.errors import UserError, unknown
from fourhorn.model.transformer import GPT2
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.request import Alternatives, Request
from fourhorn.sampling.settings import SamplingParams

__all__ = ["Completion", "SamplingParams", "complete", "generate", "stream"]

Prompt = str | Sequence[int]


@dataclass(slots=True)
class Completion:
    """A finished sample; log-probabilities are the model's own, in nats."""

    prompt: list[int]
    tokens: list[int]
    text: str
    finish_reason: str
    seed: int
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[Alternatives] = field(default_factory=list)
    prompt_logprobs: list[float | None] = field(default_factory=list)
    prompt_top_logprobs: list[Alternatives] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request) -> "Completion":
        """What came of a finished request."""
        return cls(
            request.prompt,
            request.tokens,
            request.text,
            str(request.finish_reason),
            request.params.seed,
            request.logprobs,
            request.top_logprobs,
            request.prompt_logprobs,
            request.prompt_top_logprobs,
        )

    @property
    def mean_logprob(self) -> float:
        """The average log-probability of a completion's token: what best-of ranks by."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else float("-inf")


@overload
def generate(model: GPT2, tokenizer: Any, prompt: str = "", **options: Any) -> str:
    """One completion."""


@overload
def generate(model: GPT2, tokenizer: Any, prompt: list[str], **options: Any) -> list[str]:
    """One for each prompt."""


def generate(model: GPT2, tokenizer: Any, prompt: str | list[str] = "", **options: Any) -> str | list[str]:
    """Complete one prompt or many; an empty prompt gives an unconditional sample.

    Options are the fields of `SamplingParams` (`max_new_tokens=256, temperature=1.0, top_k=0, top_p=1.0, seed=0,
    stop=()` …), and `best_of`, `max_sequences`, `precision` of `complete`.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    texts = [group[0].text for group in complete(model, tokenizer, prompts, **options)]
    return texts[0] if isinstance(prompt, str) else texts


def complete(
    model: GPT2 | None,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    n: int = 1,
    best_of: int | None = None,
    max_sequences: int = 16,
    precision: str = "float32",
    engine: BatchEngine | None = None,
    **options: Any,
) -> list[list[Completion]]:
    """The `n` best of `best_of` completions of each prompt, likeliest first.

    Completion j of prompt i is drawn with seed + i · best_of + j.

    Args:
        n: Completions to return for each prompt.
        best_of: Completions to draw for each prompt, ranked by their mean log-probability; `n` unless given.
        max_sequences: Sequences that decode together.
        precision: float32 (exact), bfloat16, int8 or int4; the model is packed anew, unless an engine is given.
        engine: A `BatchEngine` to use instead of making one; the model may then be None.
        options: Fields of `SamplingParams`.
    """
    best_of = n if best_of is None else best_of
    if not 1 <= n <= best_of:
        raise UserError(f"n is {n} and best_of {best_of}; it must be 1 ≤ n ≤ best_of.")
    params = make_params(options)
    if best_of > n and params.n_logprobs is None:
        params = params.but(n_logprobs=0)
    with evaluating(model):
        n_sequences = min(max_sequences, max(1, best_of * len(prompts)))
        engine = engine or BatchEngine(model, tokenizer, max_sequences=n_sequences, precision=precision)
        requests = [
            [engine.submit(p, params.but(seed=params.seed + i * best_of + j)) for j in range(best_of)]
            for i, p in enumerate(prompts)
        ]
        engine.run()
    groups = [[Completion.of(request) for request in group] for group in requests]
    if best_of > n:
        groups = [sorted(group, key=lambda c: -c.mean_logprob)[:n] for group in groups]
    return groups


def stream(
    model: GPT2 | None,
    tokenizer: Any,
    prompt: Prompt = "",
    *,
    precision: str = "float32",
    engine: BatchEngine | None = None,
    **options: Any,
) -> Iterator[str]:
    """Yield the completion's text as it grows: whole characters, never a part of a stop text.

    With an `engine`, which has the weights in its own form, the model may be None.
    """
    params = make_params(options)
    with evaluating(model):
        engine = engine or BatchEngine(model, tokenizer, max_sequences=1, precision=precision)
        request = engine.submit(prompt, params)
        more = True
        while more:
            more = engine.step()
            yield from (event.text for event in request.pending() if event.text)


def make_params(options: dict[str, Any]) -> SamplingParams:
    """`SamplingParams` from keyword options, or the one given as `params=`."""
    if "params" in options:
        params = cast(SamplingParams, options.pop("params"))
        return params.but(**options) if options else params
    try:
        return SamplingParams(**options)
    except TypeError:
        known = list(SamplingParams.__dataclass_fields__)
        raise unknown("sampling option", next(o for o in options if o not in known), known) from None


@contextlib.contextmanager
def evaluating(model: GPT2 | None) -> Iterator[None]:
    """Turn dropout off for a while."""
    if model is None:
        yield
        return
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
