"""One sequence on its way through the engine: what was asked for, and what has come of it so far.

A request owns all that makes its text its own: its settings, its random numbers (one per token, from its seed), the
characters held back for a stop text. The engine's thread feeds it; others may read, iterate and cancel it.

In: tokens as they are drawn. Out: a `TokenEvent` for each, the last with a `finish_reason`.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.text import TextStream

Alternatives = list[tuple[int, float]]


@dataclass(slots=True)
class TokenEvent:
    """One step of one completion; the last has a `finish_reason`: stop, length, cancelled or error."""

    token: int | None
    text: str
    logprob: float | None = None
    top_logprobs: Alternatives = field(default_factory=list)
    finish_reason: str | None = None


class Request:
    """One sequence: what was asked, and what has come of it so far. Iterating it waits for its events."""

    def __init__(
        self,
        prompt: list[int],
        params: SamplingParams,
        tokenizer: Any,
        on_event: Callable[[TokenEvent], None] | None,
    ) -> None:
        self.prompt, self.params = prompt, params
        self.tokens: list[int] = []
        self.text = ""
        self.logprobs: list[float] = []
        self.top_logprobs: list[Alternatives] = []
        self.prompt_logprobs: list[float | None] = []
        self.prompt_top_logprobs: list[Alternatives] = []
        self.finish_reason: str | None = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.n_reused = 0
        self.context = list(prompt)  # what the next token depends on; a window slides over it
        self.n_to_read = len(prompt)  # tokens of the context to be read before the first, or next, draw
        self.slot = -1
        self.started = False
        self._stream = TextStream(tokenizer, params.stop)
        self._random = np.random.Generator(np.random.Philox(params.seed & (2**64 - 1)))
        self._events: queue.SimpleQueue[TokenEvent] = queue.SimpleQueue()
        self._on_event = on_event or self._events.put
        self._done = threading.Event()
        self._ahead: deque[float] = deque()

    def uniform(self) -> float:
        """The next of this sequence's own random numbers."""
        return self._ahead.popleft() if self._ahead else float(self._random.random())

    def peek(self, i: int) -> float:
        """The random number that `uniform` will give after i more."""
        while len(self._ahead) <= i:
            self._ahead.append(float(self._random.random()))
        return self._ahead[i]

    def cancel(self) -> None:
        """End it before the engine's next step; safe from any thread, and after its end."""
        self.cancelled = True

    def wait(self, timeout: float | None = None) -> "Request":
        """Block until it has ended (needs `BatchEngine.start`); raises what made it fail."""
        if not self._done.wait(timeout):
            raise TimeoutError("the completion has not ended yet")
        if self.error is not None:
            raise self.error
        return self

    def __iter__(self) -> Iterator[TokenEvent]:
        while True:
            event = self._events.get()
            yield event
            if event.finish_reason is not None:
                return

    def pending(self) -> Iterator[TokenEvent]:
        """The events that are there already."""
        while not self._events.empty():
            yield self._events.get()

    def accept(self, token: int, logprob: float | None, alternatives: Alternatives) -> None:
        """Add a drawn token, and end if it is the last."""
        self.tokens.append(token)
        self.context.append(token)
        text = self._stream.feed(token)
        if logprob is not None:
            self.logprobs.append(logprob)
            self.top_logprobs.append(alternatives)
        reason = "stop" if self._stream.stopped else None
        if reason is None and len(self.tokens) >= self.params.max_new_tokens:
            reason = "length"
        if reason is not None:
            self.finish(reason, TokenEvent(token, text, logprob, alternatives))
        else:
            self._emit(TokenEvent(token, text, logprob, alternatives))

    def finish(self, reason: str, event: TokenEvent | None = None) -> None:
        """End here: the text held back so far goes out with the last event."""
        event = event or TokenEvent(None, "")
        event.text += self._stream.finish()
        event.finish_reason = self.finish_reason = reason
        self._emit(event)
        self._done.set()

    def _emit(self, event: TokenEvent) -> None:
        self.text += event.text
        self._on_event(event)
