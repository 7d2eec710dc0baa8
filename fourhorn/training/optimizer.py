"""From gradients to new weights: AdamW as the paper's line of work uses it, or Muon for the matrices.

§2.3 builds on GPT-1: Adam with decoupled weight decay on matrices, none on biases and layer-norm gains, the whole
gradient clipped to a norm. The `modern` recipe gives the matrices inside the blocks to Muon (Jordan et al., 2024;
`torch.optim.Muon`) with steps scaled to AdamW's size (Liu et al., 2025), so that one learning rate serves both.

In: a model with gradients. Out: the same model, updated in place.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fourhorn.training.config import TrainConfig

NORM_PIECE = 1 << 16  # numbers whose squares are summed in float32


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a recipe; together they hold every parameter exactly once."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and ".h." in f".{name}"]
    embeddings = [p for name, p in named if p.ndim == 2 and ".h." not in f".{name}"]
    vectors = [p for _, p in named if p.ndim < 2]
    rate = config.learning_rate
    if config.recipe == "paper":
        return [_adamw(matrices + embeddings, vectors, rate, config)]
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=config.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, _adamw(embeddings, vectors, rate, config)]


def _adamw(
    decayed: Sequence[Tensor], others: Sequence[Tensor], rate: float, config: TrainConfig
) -> torch.optim.Optimizer:
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in decayed)
    return torch.optim.AdamW(groups, lr=rate, betas=(config.beta1, config.beta2), fused=fused)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Use `rate` for the next update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def gradient_norm(model: nn.Module) -> Tensor:
    """The Euclidean norm of the whole gradient, over all shards where it is sharded; a float32 scalar.

    On a CPU whole tensors go in pieces: a float32 sum over the 38 million squares of an embedding loses 0.2 % there.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if all(g.device.type == "cpu" and not hasattr(g, "full_tensor") for g in gradients):
        gradients = [piece for g in gradients for piece in torch.split(g.flatten(), NORM_PIECE)]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    full = getattr(norm, "full_tensor", None)  # a sharded gradient's norm is a DTensor
    return full() if full else norm


def clip_gradients(model: nn.Module, norm: Tensor, largest: float) -> None:
    """Scale the gradient down to the norm `largest` where it is longer; 0 leaves it."""
    if largest:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm, foreach=True)


def tensors_of(optimizers: Iterable[torch.optim.Optimizer], model: nn.Module) -> dict[str, Tensor]:
    """Every tensor the optimizers keep, named `<kind>.<parameter>`, such as `exp_avg.h.0.ln_1.weight`."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    kept: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for kind, value in state.items():
                kept[f"{kind}.{names[parameter]}"] = value
    return kept


def create_state(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Allocate the optimizers' tensors, all zero, before a first step, so that saved ones can be copied in."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state[p]
                if isinstance(optimizer, torch.optim.Muon):
                    state.setdefault("momentum_buffer", torch.zeros_like(p))
                    continue
                state.setdefault("step", torch.zeros((), dtype=torch.float32, device=p.device))
                state.setdefault("exp_avg", torch.zeros_like(p))
                state.setdefault("exp_avg_sq", torch.zeros_like(p))
