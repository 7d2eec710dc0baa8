"""The model with its loss: what a training step differentiates, and what parallelism wraps.

Matrix products run in the run's number format under autocast, the residual stream, layer norms, softmax sums and all
weights stay float32. `torch.compile` is applied where it pays: to the blocks, which are compiled once and not once for
each layer, and on a card to what the loss does between its products.

In: inputs and targets, int64 (B, T); weights, one number or (B, T). Out: the weighted sum of −log p, float32.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from fourhorn.model.transformer import GPT2
from fourhorn.runtime import Runtime
from fourhorn.training.loss import (
    BlockLoss,
    chunked_cross_entropy,
    fusible_loss_and_gradient,
    loss_and_gradient,
)


class Learner(nn.Module):
    """A model and the loss of its predictions."""

    def __init__(self, model: GPT2, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        # A list, not modules of this one: they share the model's weights.
        self.blocks: list[Any] = [torch.compile(block) if compiled else block for block in model.h]
        on_card = model.wte.weight.is_cuda
        self.block_loss: BlockLoss = (
            torch.compile(fusible_loss_and_gradient) if compiled and on_card else loss_and_gradient
        )

    def forward(self, inputs: Tensor, targets: Tensor, weights: Tensor | float) -> Tensor:
        hidden = self._hidden if self.training else self.model.hidden
        low = self.dtype != torch.float32
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=low):
            states = hidden(inputs)
        block_loss = self.block_loss if self.training else loss_and_gradient
        return chunked_cross_entropy(states, self.model.wte.weight, targets, weights, self.dtype, block_loss)

    def _hidden(self, tokens: Tensor) -> Tensor:
        """`GPT2.hidden` through the compiled blocks: (B, T) → (B, T, C)."""
        model = self.model
        x = model.dropout(model.wte(tokens) + model.wpe.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x, None, 0)
        return model.ln_f(x)  # type: ignore[no-any-return]


def use_compile(choice: str, runtime: Runtime, n_flops: float) -> bool:
    """Whether to compile: when asked to, or by itself for work that lasts much longer than compiling does.

    Where it is wanted and does not work, that is said once and the run goes on without it.
    """
    # About a minute of compiling on CPU; below ten minutes of work at 0.5 TFLOP/s it does not come back.
    pays = runtime.is_cuda or n_flops > 10 * 60 * 0.5e12
    if choice == "off" or (choice == "auto" and not pays):
        return False
    reason = why_not_compile(runtime)
    if not reason or choice == "on":
        reason = reason or failed_trial(runtime)
        if reason and runtime.is_main:
            print(f"fourhorn: training goes on without torch.compile ({reason}).", file=sys.stderr)
    return not reason


def why_not_compile(runtime: Runtime) -> str:
    """What torch.compile does not find here; empty when it has everything."""
    if runtime.is_cuda and find_spec("triton") is None:
        return "no Triton found"
    variable, compilers = ("CC", ("gcc", "clang")) if runtime.is_cuda else ("CXX", ("g++", "clang++"))
    found = any(shutil.which(name) for name in (os.environ.get(variable), *compilers) if name)
    return "" if found else f"no compiler found: {' or '.join(compilers)}"


def failed_trial(runtime: Runtime) -> str:
    """What went wrong when a small function was compiled, forward and backward; empty when nothing did."""
    x = torch.ones(64, device=runtime.torch_device, requires_grad=True)
    try:
        torch.compile(lambda x: (x.exp() + 1).sum())(x).backward()
    except Exception as error:  # a compiler that is broken, Python without its headers, …
        return str(error).strip().splitlines()[0]
    return ""
