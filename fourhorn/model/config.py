"""The shape of a model: the four sizes of the paper, or any other.

§2.3, Table 2. The names are those of OpenAI's own `hparams.json`. The paper's labels 117M, 345M, 762M and 1542M were
later corrected by its authors; the true counts are 124, 355, 774 and 1558 million parameters.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from fourhorn.errors import UserError, unknown

SIZES = {
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}


@dataclass(frozen=True)
class GPT2Config:
    """Layers, heads, width, context length (tokens), vocabulary and dropout probability of a model."""

    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    n_ctx: int = 1024
    n_vocab: int = 50257
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "n_ctx", "n_vocab"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{name} {value!r} must be a whole number of at least 1.")
        if self.n_embd % self.n_head:
            raise UserError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}.")
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"dropout {self.dropout} must be at least 0 and below 1.")

    @classmethod
    def named(cls, size: str, **changes: Any) -> "GPT2Config":
        """One of the paper's four sizes: "124M", "355M", "774M" or "1558M"."""
        if size not in SIZES:
            raise unknown("model size", size, SIZES)
        n_layer, n_head, n_embd = SIZES[size]
        return cls(**{"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GPT2Config":
        """From a `config.json`; unknown keys are refused."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown("model option", key, known)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return asdict(self)

    @property
    def head_size(self) -> int:
        """Width of one attention head, D."""
        return self.n_embd // self.n_head
