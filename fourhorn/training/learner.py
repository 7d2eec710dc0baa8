"""The model with its loss: what a training step differentiates, and what parallelism wraps.

Matrix products run in the run's number format under autocast, the residual stream, layer norms, softmax sums and all
weights stay float32. `torch.compile` is applied to the part below the loss where it pays.

In: inputs and targets, int64 (B, T); weights, one number or (B, T). Out: the weighted sum of −log p, float32.
"""

import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fourhorn.model.transformer import GPT2
from fourhorn.runtime import Runtime
from fourhorn.training.loss import chunked_cross_entropy


class Learner(nn.Module):
    """A model and the loss of its predictions."""

    def __init__(self, model: GPT2, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.fast_hidden: Callable[[Tensor], Tensor] = (
            torch.compile(model.hidden) if compiled else model.hidden
        )

    def forward(self, inputs: Tensor, targets: Tensor, weights: Tensor | float) -> Tensor:
        hidden = self.fast_hidden if self.training else self.model.hidden
        low = self.dtype != torch.float32
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=low):
            states = hidden(inputs)
        return chunked_cross_entropy(states, self.model.wte.weight, targets, weights, self.dtype)


def use_compile(choice: str, runtime: Runtime, n_flops: float) -> bool:
    """Whether to compile: when asked to, or by itself for work that lasts much longer than compiling does."""
    if choice == "off":
        return False
    possible = runtime.is_cuda or shutil.which("g++") is not None or shutil.which("clang++") is not None
    if choice == "on":
        if not possible:
            warnings.warn(
                "torch.compile needs a C++ compiler and none was found; going on without it.", stacklevel=2
            )
        return possible
    # About a minute of compiling on CPU; below ten minutes of work at 0.5 TFLOP/s it does not come back.
    return possible and (runtime.is_cuda or n_flops > 10 * 60 * 0.5e12)
