"""Continuous batching: sequences join and leave between two steps, so a finished one never keeps a slot waiting.

Shared by `generate`, `fourhorn sample` and the server. Each step reads a part of the prompts that wait to be read and
then one token of every running sequence, all in one pass over the weights. A prompt that begins like another sequence
copies its keys and values instead of computing them again (best-of-n, chat turns, few-shot prefixes).

    engine = BatchEngine(model, tokenizer, max_sequences=16)
    engine.start()                                   # its own thread; or call engine.step() yourself
    request = engine.submit("Once", SamplingParams(max_new_tokens=20))
    for event in request: print(event.text, end="")

In: prompts, settings. Out: `TokenEvent`s. Raises `UserError` for a prompt the context cannot hold; every seed gives
the same draws at any batch size, because each sequence owns its random numbers and uses one per token.
A `drafter` guesses tokens ahead (see `fourhorn.sampling.speculative`); guesses change the speed, never the text.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fourhorn.errors import UserError
from fourhorn.model.transformer import GPT2
from fourhorn.sampling.decoder import Decoder, make_decoder
from fourhorn.sampling.logits import logprobs, top_logprobs
from fourhorn.sampling.request import Alternatives, Request, TokenEvent
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.speculative import Drafter, Payoff

PREFILL_TOKENS = 256  # prompt tokens read in one step, so that running sequences wait no longer than that
MIN_COPY = 8  # a shared beginning shorter than this is cheaper to read again than to copy


class BatchEngine:
    """Up to `max_sequences` sequences decode together; more wait their turn."""

    def __init__(
        self,
        model: GPT2 | None,
        tokenizer: Any,
        *,
        max_sequences: int = 16,
        n_ctx: int | None = None,
        precision: str = "float32",
        decoder: Decoder | None = None,
        drafter: Drafter | None = None,
        n_guesses: int = 6,
        always_guess: bool = False,
    ) -> None:
        if max_sequences < 1:
            raise UserError(f"max_sequences is {max_sequences}; it must be 1 or more.")
        if decoder is None:
            if model is None:
                raise ValueError("give a model or a decoder")
            decoder = make_decoder(model, max_sequences, n_ctx, precision=precision)
        self.decoder, self.tokenizer = decoder, tokenizer
        self.n_ctx, self.max_sequences = decoder.n_ctx, decoder.n_slots
        self.n_prompt_tokens = self.n_reused_tokens = self.n_new_tokens = self.n_steps = self.n_finished = 0
        self.drafter, self.n_guesses, self.always_guess, self.payoff = (
            drafter,
            n_guesses,
            always_guess,
            Payoff(),
        )
        self._running: list[Request | None] = [None] * decoder.n_slots
        self._contents: list[list[int]] = [[] for _ in range(decoder.n_slots)]
        self._n_as_prompt = [0] * decoder.n_slots
        self._last_logits: Any = None
        self._waiting: deque[Request] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    # ------------------------------------------------------------------------------------------ from any thread

    def submit(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams | None = None,
        *,
        on_event: Callable[[TokenEvent], None] | None = None,
    ) -> Request:
        """Queue one sequence. `on_event` is called from the engine's thread; without it, iterate the request.

        An empty prompt starts from <|endoftext|>, as an unconditional sample.
        """
        params = params or SamplingParams()
        tokens = (
            self.tokenizer.encode_ordinary(prompt) if isinstance(prompt, str) else [int(t) for t in prompt]
        )
        tokens = fit(tokens or [self.tokenizer.eot], params, self.n_ctx, self.decoder.n_vocab)
        request = Request(tokens, params, self.tokenizer, on_event)
        with self._wake:
            if self._closing:
                raise RuntimeError("the engine is closed")
            self._waiting.append(request)
            self._wake.notify()
        return request

    @property
    def n_waiting(self) -> int:
        """Sequences that wait for a slot."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Sequences that have a slot."""
        return sum(request is not None for request in self._running)

    def start(self) -> "BatchEngine":
        """Step in a thread of its own whenever there is work."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="fourhorn-engine", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End the thread; what is still running or waiting ends as cancelled."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        for request in [*self._waiting, *filter(None, self._running)]:
            if request.finish_reason is None:
                request.finish("cancelled")

    # --------------------------------------------------------------------------------------- the engine's thread

    def step(self) -> bool:
        """Read some prompt tokens, then one token of every running sequence; whether there is more to do."""
        self._leave()
        self._admit()
        self._prefill()
        self._decode()
        self._leave()
        self.n_steps += 1
        return self.n_running > 0 or self.n_waiting > 0

    def run(self) -> None:
        """Step until nothing is left to do."""
        while self.step():
            pass

    def reset(self) -> None:
        """Forget what earlier sequences read, so that what comes next does not depend on them."""
        for slot in range(self.max_sequences):
            if self._running[slot] is None:
                self.decoder.truncate(slot, 0)
                self._n_as_prompt[slot] = 0

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._waiting or self.n_running)
                if self._closing:
                    return
            try:
                self.step()
            except Exception as error:  # one broken step must not silence every later request
                for request in filter(None, self._running):
                    request.error = error
                    request.finish("error")
                self._leave()

    def _leave(self) -> None:
        """Free the slots of sequences that ended or were cancelled."""
        for slot, request in enumerate(self._running):
            if request is None:
                continue
            if request.cancelled and request.finish_reason is None:
                request.finish("cancelled")
            if request.finish_reason is not None:
                self._running[slot] = None
                self.n_finished += 1

    def _admit(self) -> None:
        """Give waiting sequences the free slot whose old contents begin most like them."""
        free = [slot for slot, request in enumerate(self._running) if request is None]
        while free and self._waiting:
            request = self._waiting.popleft()
            if request.cancelled or not (request.params.max_new_tokens or request.params.prompt_logprobs):
                request.finish("cancelled" if request.cancelled else "length")
                continue
            slot = max(free, key=lambda s: (self._n_shared(request, s), -s))
            free.remove(slot)
            n = self._n_as_prompt[slot] = self._n_shared(request, slot)
            self.decoder.truncate(slot, n)
            self._running[slot], self._contents[slot], request.slot = request, request.context, slot

    def _n_shared(self, request: Request, slot: int, held: list[int] | None = None) -> int:
        """How many tokens at the beginning of the request `slot` has read, or will have if it reads `held`.

        Only what was read as a prompt counts: single steps round differently in int8, and the text of a seed must not
        depend on who held the slot before. The last token is always read anew, for its logits.
        """
        if request.params.prompt_logprobs:
            return 0
        n_held = self._n_as_prompt[slot] if held is None else len(held)
        held = self._contents[slot] if held is None else held
        n = min(len(request.context) - 1, n_held, len(held))
        return next((i for i in range(n) if held[i] != request.context[i]), n)

    def _reuse(self, request: Request) -> None:
        """Copy a longer beginning from another slot, if one has read it by now."""
        request.started = True
        slot, length = request.slot, self.decoder.lengths[request.slot]
        others = [s for s in range(self.max_sequences) if s != slot]
        best = max(others, key=lambda s: self._n_shared(request, s), default=slot)
        n = self._n_shared(request, best)
        if best != slot and n >= length + MIN_COPY:
            self.decoder.copy(best, slot, n)
            self._n_as_prompt[slot] = n
        request.n_reused = self.decoder.lengths[slot]
        self.n_reused_tokens += request.n_reused
        self.n_prompt_tokens += len(request.context)

    def _unread(self, request: Request) -> list[int]:
        return request.context[self.decoder.lengths[request.slot] :]

    def _prefill(self) -> None:
        """Read up to `PREFILL_TOKENS` tokens of prompts; whoever has read all of its own draws its first token."""
        budget, chunks = PREFILL_TOKENS, list[tuple[Request, list[int]]]()
        for request in filter(None, list(self._running)):
            if self._has_read(request) or budget <= 0:
                continue
            if not request.started:
                if any(self._n_shared(request, r.slot, r.context) >= MIN_COPY for r, _ in chunks):
                    continue  # it begins like one that is being read now: copy that in the next step
                self._reuse(request)
            chunk = self._unread(request)[:budget]
            budget -= len(chunk)
            if request.params.prompt_logprobs and not request.tokens:
                self._score_prompt(
                    request, self.decoder.read([request.slot], [chunk], every=True, as_steps=False)
                )
                self._after_prompt([request], None)
            else:
                chunks.append((request, chunk))
        if chunks:
            requests, tokens = zip(*chunks, strict=True)
            self._after_prompt(
                requests, self.decoder.read([r.slot for r in requests], tokens, as_steps=False)
            )

    def _after_prompt(self, requests: Sequence[Request], logits: Any) -> None:
        """Draw the first token of those that have read all of their prompt."""
        for row, request in enumerate(requests):
            self._n_as_prompt[request.slot] = self.decoder.lengths[request.slot]
            if not self._has_read(request):
                continue
            if request.params.max_new_tokens == 0:
                request.finish("length")
            else:
                self._draw([request], self._last_logits if logits is None else logits[row : row + 1])

    def _has_read(self, request: Request) -> bool:
        return self.decoder.lengths[request.slot] >= request.n_to_read

    def _decode(self) -> None:
        """One pass over the last token of every sequence that has read all before it."""
        ready = [
            r
            for r in self._running
            if r is not None and r.finish_reason is None and len(self._unread(r)) == 1
        ]
        ready = [r for r in ready if not r.cancelled]
        if not ready:
            return
        started, before = time.perf_counter(), self.n_new_tokens
        n_guesses = 0
        if self.drafter is not None:
            worth = self.payoff.n_worth(len(ready), self.n_guesses)
            n_guesses = self.n_guesses if self.always_guess else worth
        guesses = [self._guesses(r, n_guesses) for r in ready]
        tokens = [self._unread(r) + guess for r, guess in zip(ready, guesses, strict=True)]
        if any(guesses):
            logits = self.decoder.read([r.slot for r in ready], tokens, every=True, as_steps=True)
            self._verify(ready, guesses, logits)
        else:
            self._draw(ready, self.decoder.read([r.slot for r in ready], tokens))
        if self.drafter is not None:
            self.payoff.note(n_guesses > 0, len(ready), self.n_new_tokens - before, started)

    def _guesses(self, request: Request, n: int) -> list[int]:
        """Up to n tokens that may follow: no more than are wanted, and than the context holds."""
        room = self.n_ctx - len(request.context) - 1
        n = min(n, request.params.max_new_tokens - len(request.tokens) - 1, room)
        return self.drafter.propose(request, n) if self.drafter is not None and n > 0 else []

    def _verify(self, requests: list[Request], guesses: list[list[int]], logits: Any) -> None:
        """Draw at each guess in turn; the first draw that differs ends what this pass yields."""
        row = 0
        for request, guess in zip(requests, guesses, strict=True):
            for i in range(len(guess) + 1):
                self._draw([request], logits[row + i : row + i + 1])
                if request.finish_reason is not None or i == len(guess) or request.context[-1] != guess[i]:
                    break
            self.payoff.n_guesses += len(guess)
            self.payoff.n_right += i
            self.decoder.truncate(request.slot, len(request.context) - 1)
            row += len(guess) + 1

    def _draw(self, requests: list[Request], logits: Any) -> None:
        """Draw the next token of each sequence from its row of (M, V)."""
        params = [request.params for request in requests]
        tokens = self.decoder.choose(logits, params, [request.uniform() for request in requests])
        asked = [row for row, p in enumerate(params) if p.n_logprobs is not None]
        scores: dict[int, float] = {}
        others: dict[int, Alternatives] = {}
        if asked:
            some = logits[asked]
            scores = dict(zip(asked, logprobs(some, [tokens[row] for row in asked]), strict=True))
            n = max(params[row].n_logprobs or 0 for row in asked)
            others = dict(zip(asked, top_logprobs(some, n), strict=True))
        for row, (request, token) in enumerate(zip(requests, tokens, strict=True)):
            self._accept(request, token, scores.get(row), others.get(row, [])[: params[row].n_logprobs or 0])

    def _accept(self, request: Request, token: int, logprob: float | None, others: Alternatives) -> None:
        if request.params.stop_at_eot and token == self.tokenizer.eot:
            request.finish("stop")
            return
        self.n_new_tokens += 1
        request.accept(token, logprob, others)
        if request.finish_reason is None and len(request.context) >= self.n_ctx:
            if request.params.overflow != "window":
                request.finish("length")
                return
            # learned positions end at n_ctx: go on from the newer half, read again from position 0
            del request.context[: len(request.context) - self.n_ctx // 2]
            self.decoder.truncate(request.slot, 0)
            self._n_as_prompt[request.slot], request.n_to_read = 0, len(request.context)

    def _score_prompt(self, request: Request, logits: Any) -> None:
        """Log-probabilities of the prompt's tokens, as far as they are read; the first token has none."""
        done = len(request.prompt_logprobs)
        if done == 0:
            request.prompt_logprobs.append(None)
            request.prompt_top_logprobs.append([])
            done = 1
        following = request.prompt[done : self.decoder.lengths[request.slot] + 1]
        rows, self._last_logits = logits[: len(following)], logits[-1:]
        if following:
            request.prompt_logprobs += logprobs(rows, following)
            request.prompt_top_logprobs += top_logprobs(rows, request.params.n_logprobs or 0)


def fit(tokens: list[int], params: SamplingParams, n_ctx: int, n_vocab: int) -> list[int]:
    """The prompt as it can be read, or a `UserError` with the numbers."""
    bad = next((t for t in tokens if not 0 <= t < n_vocab), None)
    if bad is not None:
        raise UserError(f"token {bad} is not in the vocabulary of {n_vocab} tokens.")
    ways_out = "Shorten the prompt, lower max_new_tokens, or choose overflow window."
    if params.overflow == "refuse" and len(tokens) + params.max_new_tokens > n_ctx:
        raise UserError(
            f"{len(tokens)} prompt tokens + {params.max_new_tokens} new ones exceed the context of {n_ctx}. {ways_out}"
        )
    longest = n_ctx - (1 if params.max_new_tokens else 0)
    if len(tokens) <= longest:
        return tokens
    if params.overflow != "window":
        raise UserError(f"{len(tokens)} prompt tokens leave no room in the context of {n_ctx}. {ways_out}")
    return tokens[-(n_ctx - min(params.max_new_tokens, n_ctx // 2)) :]
