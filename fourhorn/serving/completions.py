"""/v1/completions: from a request to sequences, and from their tokens to OpenAI's answer, whole or streamed.

Scoring clients read prompt log-probabilities off `echo` with `logprobs`; for them the lists must be exact, one entry
per token, the first `null`, and a completion that ends by <|endoftext|> must show that token, or everything counted
from the end shifts by one. So with `logprobs` the separator is listed, though it is no part of the text.

In: a `CompletionRequest` and the served model. Out: a dictionary, or chunks of a stream. Raises: `ApiError`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fourhorn.errors import UserError
from fourhorn.sampling.settings import SamplingParams
from fourhorn.serving.engine import Served, Stream
from fourhorn.serving.protocol import ApiError, CompletionRequest, Sampling

DEFAULT_MAX_TOKENS = 16
MIN_TEMPERATURE = 1e-4  # below this a draw is greedy, and dividing by it would overflow
MIN_TOP_P = 1e-9  # OpenAI allows 0, which means the likeliest token alone
Alternatives = list[tuple[int, float]]


@dataclass
class TokenRow:
    """One token of an answer: its log-probability (none for a prompt's first) and alternatives, likeliest first."""

    token: int
    logprob: float | None
    alternatives: Alternatives


@dataclass
class Piece:
    """What one step adds to a completion."""

    text: str
    rows: list[TokenRow] = field(default_factory=list)
    finish_reason: str | None = None


@dataclass
class Job:
    """One sequence to run: which choice of the answer it may become, its prompt and settings."""

    choice: int
    prompt: list[int]
    params: SamplingParams


def settings_of(
    body: Sampling, max_new_tokens: int, n_logprobs: int | None, prompt_logprobs: bool
) -> SamplingParams:
    """Our settings for a request; with log-probabilities the separator is shown, see above."""
    temperature = 1.0 if body.temperature is None else body.temperature
    try:
        return SamplingParams(
            max_new_tokens=max_new_tokens,
            temperature=temperature if temperature >= MIN_TEMPERATURE else 0.0,
            top_k=body.top_k or 0,
            top_p=1.0 if body.top_p is None else max(body.top_p, MIN_TOP_P),
            seed=secrets.randbits(63) if body.seed is None else body.seed,
            stop=body.stops,
            stop_at_eot=n_logprobs is None,
            overflow="refuse",
            n_logprobs=n_logprobs,
            prompt_logprobs=prompt_logprobs,
        )
    except UserError as error:
        raise ApiError(400, str(error)) from None


async def plan(served: Served, body: CompletionRequest) -> list[list[Job]]:
    """The sequences of each prompt: best_of many, drawn with seed + i · best_of + j."""
    n_new = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    best_of = max(body.best_of or 1, body.n or 1)
    n_logprobs = body.logprobs
    if n_logprobs is None and best_of > (body.n or 1):
        n_logprobs = 0
    scores_prompt = bool(body.echo) and body.logprobs is not None
    params = settings_of(body, n_new, n_logprobs, scores_prompt)
    served.check_queue(len(body.prompts) * best_of)
    groups = []
    for i, prompt in enumerate(body.prompts):
        tokens = await served.encode(prompt)
        served.check_room(len(tokens), n_new, "prompt")
        jobs = [Job(i, tokens, params.but(seed=params.seed + i * best_of + j)) for j in range(best_of)]
        groups.append(jobs)
    return groups


async def pieces(served: Served, stream: Stream) -> AsyncIterator[Piece]:
    """A sequence's events as pieces of an answer."""
    request, written, eot = stream.request, 0, served.tokenizer.eot
    hides_eot = not request.params.stop_at_eot
    async for event in stream:
        if event.finish_reason in ("cancelled", "error"):
            raise ApiError(500, "The completion could not be finished.", kind="server_error")
        rows = []
        if event.token is not None and request.params.n_logprobs is not None:
            rows = [TokenRow(event.token, event.logprob, event.top_logprobs)]
        if event.token == eot and hides_eot:
            stream.cancel()
            text = served.tokenizer.decode(request.tokens[: request.tokens.index(eot)])
            yield Piece(text[written:], rows, "stop")
            return
        written += len(event.text)
        yield Piece(event.text, rows, event.finish_reason)


def prompt_rows(stream: Stream) -> list[TokenRow]:
    """The prompt's tokens with their log-probabilities, once it has been read."""
    request = stream.request
    pairs = zip(request.prompt, request.prompt_logprobs, request.prompt_top_logprobs, strict=True)
    return [TokenRow(token, logprob, others) for token, logprob, others in pairs]


class Writer:
    """Builds the log-probability lists of one choice; offsets count characters from the choice's beginning."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.decoder = served.tokenizer.stream_decoder()
        self.offset = 0

    def logprobs(self, rows: list[TokenRow]) -> dict[str, Any]:
        """OpenAI's four lists for some more tokens."""
        text = self.served.token_text
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for row in rows:
            name = text(row.token)
            others = {text(token): logprob for token, logprob in row.alternatives}
            lists["tokens"].append(name)
            lists["token_logprobs"].append(row.logprob)
            lists["top_logprobs"].append(None if row.logprob is None else others | {name: row.logprob})
            lists["text_offset"].append(self.offset)
            self.offset += len(self.decoder.feed(row.token))
        return lists


def envelope(served: Served, name: str, kind: str) -> dict[str, Any]:
    """What every answer begins with."""
    identity = f"{name}-{secrets.token_hex(12)}"
    return {"id": identity, "object": kind, "created": int(time.time()), "model": served.name}


def usage(n_prompt: int, n_new: int) -> dict[str, int]:
    """Token counts."""
    return {"prompt_tokens": n_prompt, "completion_tokens": n_new, "total_tokens": n_prompt + n_new}


async def finish(served: Served, stream: Stream) -> tuple[str, list[TokenRow], str]:
    """Read a sequence to its end: text, tokens, reason."""
    text, rows, reason = "", [], "length"
    async for piece in pieces(served, stream):
        text += piece.text
        rows += piece.rows
        reason = piece.finish_reason or reason
    return text, rows, reason


async def whole(served: Served, body: CompletionRequest, groups: list[list[Job]]) -> dict[str, Any]:
    """The complete answer; whatever still runs is cancelled when the caller gives up."""
    streams = [[served.submit(job.prompt, job.params) for job in jobs] for jobs in groups]
    flat = [stream for group in streams for stream in group]
    try:
        ends = await asyncio.gather(*(finish(served, stream) for stream in flat))
    finally:
        for stream in flat:
            stream.cancel()
    choices: list[dict[str, Any]] = []
    best_of, n = len(groups[0]), body.n or 1
    for i, group in enumerate(streams):
        found = list(zip(group, ends[i * best_of : (i + 1) * best_of], strict=True))
        if best_of > n:
            found.sort(key=lambda pair: -mean_logprob(pair[1][1]))
        for stream, (text, rows, reason) in found[:n]:
            choices.append(choice(served, body, stream, text, rows, reason, len(choices)))
    counts = usage(
        sum(len(jobs[0].prompt) for jobs in groups), sum(len(stream.request.tokens) for stream in flat)
    )
    return envelope(served, "cmpl", "text_completion") | {"choices": choices, "usage": counts}


def choice(
    served: Served,
    body: CompletionRequest,
    stream: Stream,
    text: str,
    rows: list[TokenRow],
    reason: str,
    index: int,
) -> dict[str, Any]:
    """One entry of `choices`."""
    prompt = served.tokenizer.decode(stream.request.prompt) if body.echo else ""
    lists = None
    if body.logprobs is not None:
        if body.echo:
            rows = prompt_rows(stream) + rows
        lists = Writer(served).logprobs(rows)
        if reason == "stop" and body.stops:  # tokens of the stop text are no part of the answer
            end = len(prompt) + len(text)
            keep = [
                at < end or i < len(stream.request.prompt) * bool(body.echo)
                for i, at in enumerate(lists["text_offset"])
            ]
            keep = [kept or row.token == served.tokenizer.eot for kept, row in zip(keep, rows, strict=True)]
            lists = {
                name: [x for x, kept in zip(values, keep, strict=True) if kept]
                for name, values in lists.items()
            }
    return {"index": index, "text": prompt + text, "logprobs": lists, "finish_reason": reason}


def mean_logprob(rows: list[TokenRow]) -> float:
    """What best_of ranks by."""
    found = [row.logprob for row in rows if row.logprob is not None]
    return sum(found) / len(found) if found else float("-inf")


async def streamed(
    served: Served, body: CompletionRequest, groups: list[list[Job]]
) -> AsyncIterator[dict[str, Any]]:
    """Chunks of the answer as they come, all choices interleaved; leaving early cancels the rest."""
    head = envelope(served, "cmpl", "text_completion")
    jobs = [job for group in groups for job in group]
    streams = [served.submit(job.prompt, job.params) for job in jobs]
    writers = [Writer(served) for _ in streams]
    begun = [False] * len(streams)
    try:
        async for i, piece in merged(served, streams):
            rows, text = piece.rows, piece.text
            if body.echo and not begun[i]:
                text = served.tokenizer.decode(streams[i].request.prompt) + text
                rows = prompt_rows(streams[i]) + rows if body.logprobs is not None else rows
            begun[i] = True
            if not (text or rows or piece.finish_reason):
                continue
            lists = writers[i].logprobs(rows) if body.logprobs is not None else None
            part = {"index": i, "text": text, "logprobs": lists, "finish_reason": piece.finish_reason}
            yield head | {"choices": [part]}
        if body.stream_options and body.stream_options.include_usage:
            n_new = sum(len(stream.request.tokens) for stream in streams)
            yield head | {"choices": [], "usage": usage(sum(len(group[0].prompt) for group in groups), n_new)}
    finally:
        for stream in streams:
            stream.cancel()


async def merged(served: Served, streams: list[Stream]) -> AsyncIterator[tuple[int, Piece]]:
    """Pieces of several sequences in the order they come, with the number of each."""
    if len(streams) == 1:
        async for piece in pieces(served, streams[0]):
            yield 0, piece
        return
    queue: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue()

    async def pump(i: int) -> None:
        try:
            async for piece in pieces(served, streams[i]):
                queue.put_nowait((i, piece))
            queue.put_nowait((i, None))
        except ApiError as error:
            queue.put_nowait((i, error))

    tasks = [asyncio.create_task(pump(i)) for i in range(len(streams))]
    try:
        n_open = len(tasks)
        while n_open:
            i, found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                n_open -= 1
            else:
                yield i, found
    finally:
        for task in tasks:
            task.cancel()
