"""The chunked loss is the plain one, and never holds all logits."""

from functools import partial

import pytest
import torch

from fourhorn.training import loss as losses
from fourhorn.training.loss import (
    BlockLoss,
    block_rows,
    chunked_cross_entropy,
    fusible_loss_and_gradient,
    loss_and_gradient,
    plain_cross_entropy,
)


@pytest.mark.parametrize("block_loss", [loss_and_gradient, fusible_loss_and_gradient])
@pytest.mark.parametrize("even", [1, 128])
@pytest.mark.parametrize("n_vocab", [7, 300])
def test_loss_and_gradients_are_the_plain_ones(
    n_vocab: int, even: int, block_loss: BlockLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses.EVEN, "cpu", even)  # as on a card: a vocabulary padded with logits of −∞
    monkeypatch.setitem(losses.BLOCK_BYTES, "cpu", 4 * 64 * n_vocab)
    torch.manual_seed(0)
    targets, weights = torch.randint(0, n_vocab, (3, 50)), torch.rand(3, 50)
    results = []
    for function in (partial(chunked_cross_entropy, block_loss=block_loss), plain_cross_entropy):
        torch.manual_seed(1)
        hidden = torch.randn(3, 50, 16, requires_grad=True)
        weight = torch.randn(n_vocab, 16, requires_grad=True)
        value = function(hidden, weight, targets, weights)
        (value * 2.0).backward()
        results.append((value, hidden.grad, weight.grad))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_block_holds_the_same_bytes_whatever_the_vocabulary() -> None:
    for n_vocab in (1000, 50257, 200_000):
        for device, n_bytes in losses.BLOCK_BYTES.items():
            assert block_rows(n_vocab, device) * n_vocab * 4 <= n_bytes * 1.01
