"""The fast twin of torch's AdamW where the kernels hold weights and gradients as flat vectors.

The optimizer's tensors become views of flat vectors too, so that states are saved and read as ever; an update is one
pass over each thread's share of the numbers.
"""

import math
from typing import Any

import numpy as np
import torch

from fourhorn.training.config import TrainConfig
from fourhorn.training.native import NativePass, aligned_zeros


class FlatAdamW:
    """Clipping and AdamW over the flat vectors of a `NativePass`, for the one optimizer of the paper's recipe."""

    def __init__(self, native: NativePass, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
        self.native, self.config = native, config
        self.first, self.second = (aligned_zeros(native.n_numbers, np.float32) for _ in range(2))
        names = {p: name for name, p in native.model.named_parameters()}
        decay_at: dict[int, float] = {}
        self.steps = torch.zeros(len(names))
        for group in optimizer.param_groups:
            for p in group["params"]:
                state, at = optimizer.state[p], native.offsets[names[p]]
                for kind, flat in (("exp_avg", self.first), ("exp_avg_sq", self.second)):
                    state[kind] = torch.from_numpy(flat[at : at + p.numel()]).view(p.shape)
                state["step"] = self.steps[len(decay_at)]
                decay_at[at] = group["weight_decay"]
        starts = sorted(decay_at)
        self.parts = np.array([*starts, native.n_numbers], np.int64)
        self.decays = np.array([decay_at[at] for at in starts], np.float64)

    def norm(self) -> float:
        """The Euclidean norm of the whole gradient."""
        from fourhorn.training.kernels.update import sum_of_squares

        total = self.native.total.numpy()
        return math.sqrt(sum(self.native.share(lambda start, stop: sum_of_squares(total, start, stop))))

    def step(self, rate: float, norm: float) -> None:
        """Clip the gradient of this norm and update the weights once."""
        from fourhorn.training.kernels.update import adamw

        config, total = self.config, self.native.total.numpy()
        clip = min(config.grad_clip / (norm + 1e-6), 1.0) if config.grad_clip else 1.0
        self.steps += 1
        n = float(self.steps[0])

        def work(start: int, stop: int) -> Any:
            adamw(
                self.native.flat, total, self.first, self.second, self.parts, self.decays, start, stop,
                clip, config.beta1, config.beta2, rate, n, 1e-8,
            )  # fmt: skip

        self.native.share(work)
