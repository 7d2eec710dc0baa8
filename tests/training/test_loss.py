"""The chunked loss is the plain one, and never holds all logits."""

import pytest
import torch

from fourhorn.training import loss as losses
from fourhorn.training.loss import block_rows, chunked_cross_entropy, plain_cross_entropy


@pytest.mark.parametrize("n_vocab", [7, 300])
def test_loss_and_gradients_are_the_plain_ones(n_vocab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_BYTES", 4 * 64 * n_vocab)
    torch.manual_seed(0)
    targets, weights = torch.randint(0, n_vocab, (3, 50)), torch.rand(3, 50)
    results = []
    for function in (chunked_cross_entropy, plain_cross_entropy):
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
        assert block_rows(n_vocab) * n_vocab * 4 <= losses.BLOCK_BYTES * 1.01
