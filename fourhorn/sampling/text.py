"""Tokens come in, text that may be shown comes out: whole characters only, and never a part of a stop text.

§2.2: a byte-level token may end inside a character, so its bytes wait for the rest. A stop text may lie across token
borders, so characters that could begin one wait until they cannot. In: tokens. Out: strings whose concatenation is the
completion up to the first stop text.
"""

from typing import Any


class TextStream:
    """The text of one growing completion."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self._decoder = tokenizer.stream_decoder()
        self._stop = stop
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Add a token; the text that is certain by now."""
        return self._release(self._decoder.feed(token))

    def finish(self) -> str:
        """The text held back so far, when no more tokens come."""
        text = self._release(self._decoder.finish())
        rest, self._held = self._held, ""
        return text if self.stopped else text + rest

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        held = self._held + text
        found = [i for i in (held.find(stop) for stop in self._stop) if i >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)]
        n_kept = len(held) - self._n_doubtful(held)
        self._held = held[n_kept:]
        return held[:n_kept]

    def _n_doubtful(self, text: str) -> int:
        """Length of the longest end of `text` that begins some stop text."""
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        for n in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-n:]) for stop in self._stop):
                return n
        return 0
