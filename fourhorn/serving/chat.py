"""/v1/chat/completions: a conversation written out as a plain transcript, which GPT-2 then continues.

GPT-2 was never trained to talk; a transcript with speakers' names is the prompt that comes nearest to its training text
(§3.7 of the paper prompts translation and question answering in the same way).

    System: …

    User: Who was the first man on the moon?
    Assistant:

In: a `ChatRequest` and the served model. Out: a dictionary, or chunks of a stream. Raises: `ApiError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fourhorn.serving.completions import Piece, TokenRow, envelope, finish, merged, settings_of, usage
from fourhorn.serving.engine import Served
from fourhorn.serving.protocol import ChatRequest, Message

SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}
END_OF_TURN = "\nUser:"
DEFAULT_MAX_TOKENS = 256


def transcript(messages: list[Message]) -> str:
    """The conversation as text, ending where the assistant is to speak."""
    turns = [f"{SPEAKERS[message.role]}: {message.text.strip()}" for message in messages]
    return "\n".join([*turns, "Assistant:"])


async def plan(served: Served, body: ChatRequest) -> tuple[list[int], Any]:
    """The transcript's tokens and the settings."""
    prompt = await served.encode(transcript(body.messages))
    wanted = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    room = max(1, served.n_ctx - len(prompt))
    n_new = min(DEFAULT_MAX_TOKENS, room) if wanted is None else wanted
    served.check_room(len(prompt), n_new, "messages")
    served.check_queue(body.n or 1)
    n_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    params = settings_of(body, n_new, n_logprobs, prompt_logprobs=False)
    return prompt, params.but(stop=(*params.stop, END_OF_TURN))


def token_rows(served: Served, rows: list[TokenRow]) -> dict[str, Any]:
    """The chat interface's log-probabilities."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        data = served.tokenizer.decode_bytes([token])
        return {"token": served.token_text(token), "logprob": logprob, "bytes": list(data)}

    content = [
        entry(row.token, row.logprob or 0.0)
        | {"top_logprobs": [entry(token, value) for token, value in row.alternatives]}
        for row in rows
    ]
    return {"content": content}


async def whole(served: Served, body: ChatRequest, prompt: list[int], params: Any) -> dict[str, Any]:
    """The complete answer; what still runs is cancelled when the caller gives up."""
    streams = [served.submit(prompt, params.but(seed=params.seed + j)) for j in range(body.n or 1)]
    try:
        ends = await asyncio.gather(*(finish(served, stream) for stream in streams))
    finally:
        for stream in streams:
            stream.cancel()
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text.removeprefix(" ")},
            "logprobs": token_rows(served, rows) if body.logprobs else None,
            "finish_reason": reason,
        }
        for i, (text, rows, reason) in enumerate(ends)
    ]
    counts = usage(len(prompt), sum(len(stream.request.tokens) for stream in streams))
    return envelope(served, "chatcmpl", "chat.completion") | {"choices": choices, "usage": counts}


async def streamed(
    served: Served, body: ChatRequest, prompt: list[int], params: Any
) -> AsyncIterator[dict[str, Any]]:
    """Chunks of the answer: the role, then text as it comes, then the reason of its end."""
    head = envelope(served, "chatcmpl", "chat.completion.chunk")
    streams = [served.submit(prompt, params.but(seed=params.seed + j)) for j in range(body.n or 1)]
    begun = [False] * len(streams)
    try:
        for i in range(len(streams)):
            yield head | {
                "choices": [chunk(served, body, i, Piece(""), {"role": "assistant", "content": ""})]
            }
        async for i, piece in merged(served, streams):
            text = piece.text if begun[i] else piece.text.removeprefix(" ")
            begun[i] = begun[i] or bool(piece.text)
            if text or piece.rows or piece.finish_reason:
                yield head | {"choices": [chunk(served, body, i, piece, {"content": text} if text else {})]}
        if body.stream_options and body.stream_options.include_usage:
            n_new = sum(len(stream.request.tokens) for stream in streams)
            yield head | {"choices": [], "usage": usage(len(prompt), n_new)}
    finally:
        for stream in streams:
            stream.cancel()


def chunk(
    served: Served, body: ChatRequest, index: int, piece: Piece, delta: dict[str, str]
) -> dict[str, Any]:
    """One entry of `choices` in a chunk."""
    logprobs = token_rows(served, piece.rows) if body.logprobs and piece.rows else None
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": piece.finish_reason}
