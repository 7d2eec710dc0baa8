"""Every choice of a training run, in one flat frozen dataclass.

§2.3 gives the batch (512 sequences of 1,024 tokens), the sizes and the hand-tuned learning rate. Where it is silent it
builds on GPT-1 (Radford et al., 2018, §4.1: Adam, linear warm-up over 2,000 updates, cosine to zero, weight decay 0.01
on matrices), and so do the defaults here, but for GPT-1's dropout of 0.1: it guards against learning a small corpus by
heart, and the paper's models, for which it names no dropout, still underfit WebText. `0` means "chosen for you" where
the help says so.

Raises `UserError` for a value outside its range; nothing here imports torch.
"""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fourhorn.errors import UserError, unknown
from fourhorn.model.config import GPT2Config

RECIPES = ("paper", "modern")
DTYPES = ("auto", "float32", "bfloat16")
SWITCHES = ("auto", "on", "off")
PARALLELS = ("auto", "ddp", "fsdp")
TRACKERS = ("", "tensorboard", "wandb", "trackio")

# What may differ between the two halves of a resumed run without changing what is learned.
FREE_ON_RESUME = {
    "max_steps", "micro_batch_size", "eval_every", "eval_tokens", "save_every", "sample_every", "sample_prompt", "keep",
    "device", "compile", "native", "parallel", "n_threads", "track",
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """The options of `train`. Intervals are in steps; one step sees `batch_size` sequences of `n_ctx` tokens."""

    size: str = "124M"
    """One of the paper's four sizes: 124M, 355M, 774M or 1558M."""
    n_layer: int = 0
    """Layers; 0 takes those of `size`."""
    n_head: int = 0
    """Attention heads; 0 takes those of `size`."""
    n_embd: int = 0
    """Width; 0 takes that of `size`."""
    n_ctx: int = 1024
    """Context length in tokens."""
    n_vocab: int = 0
    """Vocabulary; 0 takes that of the tokens."""
    dropout: float = 0.0
    """Probability of dropping a value in embeddings, attention and residuals (GPT-1: 0.1)."""
    batch_size: int = 512
    """Sequences per step over all processes."""
    micro_batch_size: int = 0
    """Sequences per process at a time; 0 chooses what fits in memory."""
    max_steps: int = 100_000
    """Steps in the whole run."""
    recipe: str = "paper"
    """paper (AdamW) or modern (Muon on the matrices, AdamW on the rest)."""
    learning_rate: float = 0.0
    """Peak learning rate; 0 takes the best of the sweep, or a formula by size when there is none."""
    min_learning_rate: float = 0.0
    """Learning rate at the last step."""
    warmup_steps: int = 2000
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices."""
    beta1: float = 0.9
    """Adam's first decay rate."""
    beta2: float = 0.999
    """Adam's second decay rate."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    sweep: tuple[float, ...] = ()
    """Peak learning rates to try on a held-out split before the run (§2.3); empty tries none."""
    sweep_steps: int = 0
    """Steps of each try; 0 is a twentieth of `max_steps`, at least 20."""
    held_out: float = 0.05
    """Share of the training tokens held out for the sweep (§2.3: 5 %)."""
    seed: int = 1
    """Seed of the weights, the order of the samples and dropout."""
    eval_every: int = 500
    """Steps between measurements of the held-out loss; 0 only at the end."""
    eval_tokens: int = 200_000
    """Tokens of the validation split used by a measurement."""
    save_every: int = 1000
    """Steps between training states; 0 only at the end."""
    keep: int = 2
    """Training states kept."""
    sample_every: int = 0
    """Steps between samples; 0 draws none."""
    sample_prompt: str = ""
    """Text the samples go on from; empty starts a new document."""
    early_stop: int = 0
    """Stop after this many measurements of the held-out loss without a new best; 0 never."""
    max_bad_steps: int = 5
    """Steps in a row with a loss or gradient that is not finite before the run stops."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: str = "auto"
    """Matrix products in float32 or bfloat16; auto takes bfloat16 where the hardware has it."""
    compile: str = "auto"
    """torch.compile: auto where it pays, on or off."""
    native: str = "auto"
    """This package's own kernels for CPUs with AMX: auto where they exist, on or off."""
    n_threads: int = 0
    """Processor threads of each process; 0 takes OMP_NUM_THREADS, or all cores there are."""
    parallel: str = "auto"
    """Several processes: ddp (a whole model each), fsdp (shards), or auto by memory."""
    track: str = ""
    """Also log to tensorboard, wandb or trackio."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise UserError(f"{f.name} {value!r} must be a whole number of at least 0.")
            if f.type is float and not (
                isinstance(value, int | float) and math.isfinite(value) and value >= 0
            ):
                raise UserError(f"{f.name} {value!r} must be a number of at least 0.")
        object.__setattr__(self, "sweep", tuple(float(rate) for rate in self.sweep))
        closed = (
            ("recipe", RECIPES), ("dtype", DTYPES), ("compile", SWITCHES), ("native", SWITCHES),
            ("parallel", PARALLELS), ("track", TRACKERS),
        )  # fmt: skip
        for name, choices in closed:
            if getattr(self, name) not in choices:
                raise unknown(name, getattr(self, name), choices)
        for name in ("batch_size", "n_ctx", "keep", "max_bad_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} must be at least 1.")
        for name in ("dropout", "beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise UserError(f"{name} {getattr(self, name)} must be below 1.")
        if not 0 < self.held_out < 0.5:
            raise UserError(f"held_out {self.held_out} must be between 0 and 0.5.")
        if any(rate <= 0 for rate in self.sweep):
            raise UserError(f"sweep {self.sweep} must hold learning rates above 0, such as 0.0003.")

    def model(self, n_vocab: int = 0) -> GPT2Config:
        """The shape of the model: `size`, changed by what is given beside it."""
        own = {name: getattr(self, name) for name in ("n_layer", "n_head", "n_embd") if getattr(self, name)}
        return GPT2Config.named(
            self.size, **own, n_ctx=self.n_ctx, n_vocab=self.n_vocab or n_vocab or 50257, dropout=self.dropout
        )

    @property
    def tokens_per_step(self) -> int:
        """Training tokens one step sees over all processes."""
        return self.batch_size * self.n_ctx

    def grad_accum_steps(self, world_size: int) -> int:
        """Micro-batches per process in one step; a batch that does not divide is a `UserError`."""
        unit = self.micro_batch_size * world_size
        if self.micro_batch_size and self.batch_size % unit == 0:
            return self.batch_size // unit
        below = max(self.batch_size // max(unit, 1) * unit, unit)
        raise UserError(
            f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size} × "
            f"{world_size} processes = {unit}. Use {below}, or change --micro-batch-size."
        )

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON, a valid `--config` file."""
        return {**asdict(self), "sweep": list(self.sweep)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """From `options.json`; unknown keys are refused."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown("training option", key, known)
        return cls(**values)

    def with_options(self, **changes: Any) -> "TrainConfig":
        """A copy with some options changed."""
        return replace(self, **changes)

    def differences(self, other: "TrainConfig") -> dict[str, tuple[Any, Any]]:
        """Options whose change would make a resumed run another run: name → (this, other)."""
        mine, theirs = json.loads(json.dumps(self.to_dict())), json.loads(json.dumps(other.to_dict()))
        return {k: (mine[k], theirs[k]) for k in mine if k not in FREE_ON_RESUME and mine[k] != theirs[k]}


# Small steps on little text: a fine-tuned model should not forget what it knew.
FINETUNE = TrainConfig(
    batch_size=8, max_steps=200, learning_rate=5e-5, warmup_steps=10, dropout=0.0, eval_every=20, eval_tokens=50_000,
    save_every=100, sample_every=50, early_stop=5, keep=1,
)  # fmt: skip


def default_learning_rate(n_params: int) -> float:
    """A peak rate by size, from the fit of Kaplan et al. (2020), equation D.1: 0.003239 − 0.0001395 ln N."""
    return max(0.003239 - 0.0001395 * math.log(n_params), 1e-4)
