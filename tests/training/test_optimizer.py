"""The gradient's norm is exact however many numbers there are."""

import pytest
import torch
from torch import nn

from fourhorn.training.optimizer import gradient_norm


def test_the_norm_of_an_embeddings_gradient_is_not_lost_in_float32_sums() -> None:
    model = nn.ParameterList([torch.empty(40_000, 768), torch.empty(768)])
    generator = torch.Generator().manual_seed(0)
    for p in model:
        p.grad = torch.randn(p.shape, generator=generator) * 1e-5
    exact = sum(float(p.grad.double().square().sum()) for p in model) ** 0.5
    assert gradient_norm(model).item() == pytest.approx(exact, rel=1e-6)
