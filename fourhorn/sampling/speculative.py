"""Speculative decoding: guess the next tokens cheaply, verify all guesses in one pass, keep those that are right.

A guess is right when it is the very token that the model draws there, with the sequence's own uniform number. So the
text is the text without guessing, token for token, and the distribution cannot change; guesses only decide how many
tokens a pass yields. Guesses come from the text itself (prompt look-up: what followed the last words when they occurred
before) or from a smaller model, which draws with the same uniform numbers and so agrees where the distributions do.

In: a sequence's tokens so far. Out: up to n guesses. Whether it pays is measured while running (see `Payoff`).
After Leviathan et al. 2023 and Saxena's prompt look-up decoding 2023; the shared uniform numbers replace their
acceptance test, which preserves the distribution but not the seed's text.
"""

import statistics
import time
from array import array
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Protocol

from fourhorn.model.transformer import GPT2
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.request import Request

N_MEASURED = 3  # passes that measure the time without guesses
PERIOD = 24  # passes with guesses, after which one without measures anew
# In passes without guesses: what each puts into the account, what is in at first, at most, and where a new try begins.
ALLOWANCE, START, MOST, WORTH_A_TRY = 0.01, 1.0, 8.0, 0.5


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
        codes = array("q", context)
        data, size = codes.tobytes(), codes.itemsize
        for length in range(min(self.longest, len(context) - 1), self.shortest - 1, -1):
            suffix = data[-size * length :]
            found = data.rfind(suffix, 0, len(data) - size)
            while found % size > 0 and found > 0:  # between two tokens
                found = data.rfind(suffix, 0, found + len(suffix) - 1)
            if found >= 0:
                after = found // size + length
                return context[after : after + n]
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
    """Are guesses worth their pass? They are tried on an allowance, so that they never cost more than that.

    Each number of sequences has an account, in passes without guesses. Such a pass puts `ALLOWANCE` in, up to what was
    there at first. A pass with guesses takes out what it lasted and puts in what its tokens would have lasted; while
    something is left, the next pass has guesses too: a single one until more is there than at first, which costs little
    to find wrong. So over any stretch guesses lose at most the allowance and one pass beyond the account, while those
    that pay are in every pass but the few that measure the time without.
    """

    def __init__(self) -> None:
        self.n_guesses = self.n_right = 0
        self._accounts: defaultdict[int, _Account] = defaultdict(_Account)

    def n_worth(self, n_sequences: int, most: int) -> int:
        """How many guesses each sequence should have in the next pass, of so many sequences: none, one, or `most`."""
        account = self._accounts[n_sequences]
        if account.balance <= 0:
            account.trying = False
        elif account.balance >= WORTH_A_TRY:
            account.trying = True
        measured = len(account.seconds) >= N_MEASURED and account.n_unmeasured < PERIOD
        if not (measured and account.trying):
            return 0
        return most if account.balance > START else min(1, most)

    def note(self, guessed: bool, n_sequences: int, n_tokens: int, started: float) -> None:
        """A pass ended: how many tokens it yielded since `started` (time.perf_counter)."""
        seconds, account = time.perf_counter() - started, self._accounts[n_sequences]
        if not guessed:
            account.seconds.append(seconds)
            account.n_unmeasured = 0
            account.balance = max(account.balance, min(account.balance + ALLOWANCE, START))
        elif account.seconds:  # else guesses are in every pass, and nothing is to be decided
            lasted = seconds / max(statistics.median(account.seconds), 1e-9)
            account.balance = min(account.balance + n_tokens / n_sequences - lasted, MOST)
            account.n_unmeasured += 1

    @property
    def acceptance(self) -> float:
        """The share of guesses that were right."""
        return self.n_right / self.n_guesses if self.n_guesses else 0.0


@dataclass(slots=True)
class _Account:
    balance: float = START
    trying: bool = True
    n_unmeasured: int = 0  # passes with guesses since the last without
    seconds: deque[float] = field(
        default_factory=lambda: deque(maxlen=N_MEASURED)
    )  # without guesses, the last
