"""Speculative decoding: guess the next tokens cheaply, verify all guesses in one pass, keep those that are right.

A guess is right when it is the very token that the model draws there, with the sequence's own uniform number. So the
text is the text without guessing, token for token, and the distribution cannot change; guesses only decide how many
tokens a pass yields. Guesses come from the text itself (prompt look-up: what followed the last words when they occurred
before) or from a smaller model, which draws with the same uniform numbers and so agrees where the distributions do.

In: a sequence's tokens so far. Out: up to n guesses. Whether it pays is measured while running (see `Payoff`).
After Leviathan et al. 2023 and Saxena's prompt look-up decoding 2023; the shared uniform numbers replace their
acceptance test, which preserves the distribution but not the seed's text.
"""

import time
from typing import Protocol

from fourhorn.model.transformer import GPT2
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.request import Request

TRIAL, PERIOD = 6, 96  # passes that measure the way not taken, and after how many passes again


class Drafter(Protocol):
    """Where guesses come from."""

    def propose(self, request: Request, n: int) -> list[int]:
        """Up to n tokens that may follow the request's context."""
        ...


class PromptLookup:
    """What followed the longest recent stretch of tokens when it last occurred."""

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        self.longest, self.shortest = longest, shortest

    def propose(self, request: Request, n: int) -> list[int]:
        """See `Drafter`."""
        context = request.context
        for length in range(min(self.longest, len(context) - 1), self.shortest - 1, -1):
            suffix, last = context[-length:], context[-1]
            for end in range(len(context) - 2, length - 2, -1):
                if context[end] == last and context[end - length + 1 : end + 1] == suffix:
                    return context[end + 1 : end + 1 + n]
        return []


class DraftModel:
    """A smaller model with the same vocabulary, and a cache of its own for each slot of the engine."""

    def __init__(self, model: GPT2, n_slots: int, *, precision: str = "float32") -> None:
        self.decoder = make_decoder(model, n_slots, precision=precision)
        self._contents: list[list[int]] = [[] for _ in range(n_slots)]

    def propose(self, request: Request, n: int) -> list[int]:
        """See `Drafter`."""
        context, slot = request.context, request.slot
        n = min(n, self.decoder.n_ctx - len(context))
        if n <= 0:
            return []
        held = self._contents[slot]
        shared = min(len(held), len(context) - 1, self.decoder.lengths[slot])
        shared = next((i for i in range(shared) if held[i] != context[i]), shared)
        self.decoder.truncate(slot, shared)
        unread, guesses = context[shared:], list[int]()
        for i in range(n):
            logits = self.decoder.read([slot], [unread])[-1:]
            unread = self.decoder.choose(logits, [request.params], [request.peek(i)])
            guesses += unread
        self._contents[slot] = context + guesses[:-1]
        return guesses


class Payoff:
    """Are guesses worth their pass? Compares tokens per second with and without, and tries again now and then."""

    def __init__(self) -> None:
        self.rates: dict[bool, float] = {}
        self.n_passes = self.n_guesses = self.n_right = 0
        self._trial = {True: TRIAL, False: TRIAL}

    def guess(self) -> bool:
        """Should the next pass have guesses?"""
        self.n_passes += 1
        for way in (False, True):
            if self._trial[way] > 0:
                self._trial[way] -= 1
                return way
        better = self.rates.get(True, 0.0) > self.rates.get(False, 0.0)
        if self.n_passes % PERIOD == 0:
            self._trial[not better] = TRIAL
        return better

    def note(self, guessed: bool, n_tokens: int, started: float) -> None:
        """A pass ended: how many tokens it yielded since `started` (time.perf_counter)."""
        rate = n_tokens / max(time.perf_counter() - started, 1e-9)
        self.rates[guessed] = 0.8 * self.rates.get(guessed, rate) + 0.2 * rate

    @property
    def acceptance(self) -> float:
        """The share of guesses that were right."""
        return self.n_right / self.n_guesses if self.n_guesses else 0.0
