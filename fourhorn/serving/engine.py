"""The batching engine seen from the event loop: submit, await events, cancel, count.

The engine steps in its own thread and calls back for every token; here each sequence gets a queue in the event loop.
Whoever stops reading, by leaving or by an error, cancels its sequence, and the engine drops it before its next step.

In: prompts and `SamplingParams`. Out: `TokenEvent`s. Raises: `ApiError` 400 for what the context cannot hold, 429 when
too many wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fourhorn.errors import UserError
from fourhorn.runtime import give_back_freed
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.request import Request, TokenEvent
from fourhorn.sampling.settings import SamplingParams
from fourhorn.serving.metrics import Metrics
from fourhorn.serving.protocol import ApiError

RETRY_SECONDS = 2
LONG_TEXT = 20_000  # characters; encoding longer ones would hold up the event loop


def warm(engine: BatchEngine) -> None:
    """Run every path once, so that what is compiled on first use does not keep the first client waiting."""
    sampled = SamplingParams(max_new_tokens=2, top_k=5, top_p=0.9, n_logprobs=1, prompt_logprobs=True, seed=1)
    for params in (sampled, sampled.but(top_k=0, top_p=1.0), sampled.but(temperature=0.0)):
        for request in [engine.submit("", params) for _ in range(2)]:
            request.wait()
    while engine.n_running:
        time.sleep(0.001)
    engine.n_prompt_tokens = engine.n_reused_tokens = engine.n_new_tokens = engine.n_steps = (
        engine.n_finished
    ) = 0
    give_back_freed()  # what loading the compiled code took


class Stream:
    """One sequence and its events; leaving the `async with` cancels what is still running."""

    def __init__(self, served: Served, prompt: list[int], params: SamplingParams) -> None:
        loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[TokenEvent] = asyncio.Queue()
        self.started = self.last = time.perf_counter()
        self.n_new = 0
        self.metrics = served.metrics

        def forward(event: TokenEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(self.events.put_nowait, event)

        self.request: Request = served.engine.submit(prompt, params, on_event=forward)

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        while True:
            event = await self.events.get()
            if event.token is not None:
                now = time.perf_counter()
                if self.n_new == 0:
                    self.metrics.first_token_seconds.observe(now - self.started)
                else:
                    self.metrics.inter_token_seconds.observe(now - self.last)
                self.n_new, self.last = self.n_new + 1, now
            yield event
            if event.finish_reason is not None:
                return

    def cancel(self) -> None:
        """End it before the engine's next step."""
        self.request.cancel()


@dataclass
class Served:
    """One model with its engine, as the routes see it."""

    name: str
    engine: BatchEngine
    tokenizer: Any
    created: int
    metrics: Metrics
    max_waiting: int = 256

    @property
    def n_ctx(self) -> int:
        """Tokens that prompt and completion may have together."""
        return self.engine.n_ctx

    async def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Tokens of a prompt; text is ordinary text, also `<|endoftext|>`; an empty one starts from the separator."""
        if isinstance(prompt, str):
            encode = self.tokenizer.encode_ordinary
            tokens = await asyncio.to_thread(encode, prompt) if len(prompt) > LONG_TEXT else encode(prompt)
        else:
            tokens = list(prompt)
            wrong = next((token for token in tokens if token >= self.engine.decoder.n_vocab), None)
            if wrong is not None:
                n_vocab = self.engine.decoder.n_vocab
                raise ApiError(
                    400, f"Token {wrong} is not in the vocabulary of {n_vocab} tokens.", param="prompt"
                )
        return [int(token) for token in tokens] or [self.tokenizer.eot]

    def check_room(self, n_prompt: int, n_new: int, param: str) -> None:
        """Refuse what the context cannot hold, with the numbers."""
        if n_prompt + n_new > self.n_ctx:
            raise ApiError(
                400,
                f"This model's maximum context length is {self.n_ctx} tokens. However, you requested "
                f"{n_prompt + n_new} tokens ({n_prompt} in the prompt, {n_new} in the completion). Ask for less.",
                param=param,
                code="context_length_exceeded",
            )

    def check_queue(self, n_sequences: int) -> None:
        """Refuse what would never fit, and, for now, what does not fit at present."""
        room = self.engine.max_sequences + self.max_waiting
        if n_sequences > room:
            raise ApiError(
                400, f"One request may have {room} sequences (prompts times best_of); this has {n_sequences}."
            )
        busy = self.engine.n_waiting + self.engine.n_running
        if busy + n_sequences > room:
            raise ApiError(
                429,
                f"{busy} sequences are running or waiting, {room} is the limit. Try again in a moment.",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"retry-after": str(RETRY_SECONDS)},
            )

    def submit(self, prompt: list[int], params: SamplingParams) -> Stream:
        """Queue one sequence."""
        try:
            return Stream(self, prompt, params)
        except UserError as error:
            raise ApiError(400, str(error)) from None

    def token_text(self, token: int) -> str:
        """A token as text; one that is only a part of a character as `bytes:\\x..`."""
        data = self.tokenizer.decode_bytes([token])
        try:
            return str(data.decode("utf-8"))
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
