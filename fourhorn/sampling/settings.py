"""What a sample is asked for: one frozen value that the command line, Python and the server share.

§3.6 and §8: the paper's samples use temperature 1 with top-k 40, its summaries top-k 2. Greedy is temperature 0.
In: numbers and strings. Out: `SamplingParams`, checked. Raises `UserError` for a value outside its range.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from fourhorn.errors import UserError, unknown

Overflow = Literal["stop", "refuse", "window"]


@dataclass(frozen=True)
class SamplingParams:
    """How one completion is drawn and when it ends."""

    max_new_tokens: int = 256
    """Tokens to add at most; 0 only scores the prompt."""
    temperature: float = 1.0
    """Logits are divided by this; 0 takes the likeliest token every time."""
    top_k: int = 0
    """Draw among this many likeliest tokens; 0 is all of them."""
    top_p: float = 1.0
    """Draw among the fewest likeliest tokens that hold this much probability; 1 is all of them."""
    seed: int = 0
    """The same seed gives the same text, alone or among others."""
    stop: tuple[str, ...] = ()
    """Texts that end the completion; they are not part of it."""
    stop_at_eot: bool = True
    """End where the model writes <|endoftext|>."""
    overflow: Overflow = "stop"
    """At a full context: "stop" there, "refuse" if prompt + max_new_tokens could reach it, or slide a "window"."""
    n_logprobs: int | None = None
    """Likeliest alternatives to report beside each token's own log-probability; None reports none at all."""
    prompt_logprobs: bool = False
    """Report the log-probability of every prompt token as well."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        checks = (
            ("max_new_tokens", self.max_new_tokens >= 0, "0 or more"),
            ("temperature", 0.0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("n_logprobs", self.n_logprobs is None or self.n_logprobs >= 0, "0 or more"),
            ("stop", all(self.stop), "texts of at least one character"),
        )
        for name, holds, right in checks:
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {right}.")
        if self.overflow not in ("stop", "refuse", "window"):
            raise unknown("overflow", self.overflow, ("stop", "refuse", "window"))

    def but(self, **changes: Any) -> "SamplingParams":
        """The same settings with some of them changed."""
        return replace(self, **changes)


PRESETS: dict[str, dict[str, Any]] = {
    # §8.1: 768-token WebText contexts, 256-token completions, top-k 40
    "appendix": {"max_new_tokens": 256, "top_k": 40, "temperature": 1.0},
    # Table 13: the unicorns, "best of 10"
    "unicorns": {"max_new_tokens": 256, "top_k": 40, "temperature": 1.0, "best_of": 10},
    # §3.6: 100 tokens with top-k 2 after "TL;DR:"
    "summary": {"max_new_tokens": 100, "top_k": 2, "temperature": 1.0},
    "greedy": {"temperature": 0.0},
}


def preset(name: str) -> dict[str, Any]:
    """The options of one of the paper's settings: `appendix`, `unicorns`, `summary`; or `greedy`."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return dict(PRESETS[name])
