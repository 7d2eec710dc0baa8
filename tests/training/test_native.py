"""The kernels compute what the PyTorch path computes, as closely as bfloat16 allows."""

import copy

import numpy as np
import pytest
import torch

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import Runtime
from fourhorn.training import optimizer as optim
from fourhorn.training.batches import Batch
from fourhorn.training.config import TrainConfig
from fourhorn.training.kernels import buffers
from fourhorn.training.learner import Learner
from fourhorn.training.native import NativePass, why_not
from fourhorn.training.trainer import Trainer

# Two groups of strips in attention, more than one panel of rows and chunk of columns in products.
SHAPE = GPT2Config(2, 2, 64, n_ctx=192, n_vocab=1100, dropout=0.0)


def test_what_stands_against_the_kernels_is_said() -> None:
    assert why_not(SHAPE, "cuda:0", "bfloat16") == "they compute in bfloat16 on a CPU"
    assert why_not(GPT2Config(2, 2, 64, dropout=0.1), "cpu", "bfloat16") == "dropout is 0.1"
    assert "multiples of 32" in why_not(GPT2Config(2, 4, 64, dropout=0.0), "cpu", "bfloat16")


@pytest.mark.parametrize("cached", [buffers.CACHED_BYTES, 0])
@pytest.mark.skipif(bool(why_not(SHAPE, "cpu", "bfloat16")), reason="this CPU has no AMX")
def test_loss_and_gradients_are_those_of_the_pytorch_path(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        buffers, "CACHED_BYTES", cached
    )  # a layer works on a sequence, or on all rows, at once
    torch.manual_seed(0)
    model = GPT2(SHAPE)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    rng = np.random.default_rng(0)
    windows, counted = rng.integers(0, 1100, (7, 193)), (rng.random((7, 192)) < 0.7).astype(np.float32)
    batch = Batch(windows[:, :-1], windows[:, 1:], counted)
    scale = 1.0 / float(counted.sum())
    gradients = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.zero_grad()
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        loss = Learner(model, dtype).train()(inputs, targets, torch.from_numpy(counted) * scale)
        loss.backward()
        gradients[dtype] = {name: p.grad.clone() for name, p in model.named_parameters()}
    native = NativePass(model, n_threads=2)
    value = native.accumulate(batch, scale)
    native.finish()
    exact = gradients[torch.float32]
    for name, p in model.named_parameters():
        errors = [
            ((g - exact[name]).norm() / exact[name].norm()).item()
            for g in (p.grad, gradients[torch.bfloat16][name])
        ]
        assert errors[0] < max(1.5 * errors[1], 0.01), name
    assert value == pytest.approx(loss.item(), abs=2e-3)
    assert native.loss(batch, changed=True) * scale == pytest.approx(value, rel=1e-6)
    first = torch.cat([p.grad.flatten() for p in model.parameters()])
    native.accumulate(batch, scale)
    native.finish()
    assert torch.equal(first, torch.cat([p.grad.flatten() for p in model.parameters()]))
    for _ in range(2):  # a step of two micro-batches
        native.accumulate(batch, scale / 2)
    native.finish()
    torch.testing.assert_close(
        torch.cat([p.grad.flatten() for p in model.parameters()]),
        first,
        rtol=0.01,
        atol=1e-4 * first.abs().max().item(),
    )


@pytest.mark.skipif(bool(why_not(SHAPE, "cpu", "bfloat16")), reason="this CPU has no AMX")
def test_updates_are_those_of_torch_and_bad_gradients_are_seen() -> None:
    config = TrainConfig(
        n_layer=2, n_head=2, n_embd=64, n_ctx=64, n_vocab=1100, dropout=0.0, batch_size=2, micro_batch_size=2,
        learning_rate=0.01, weight_decay=0.1, grad_clip=0.5, warmup_steps=0, max_steps=1000,
    )  # fmt: skip
    trainer = Trainer(config, SHAPE, Runtime("cpu", "bfloat16"))
    assert trainer.native is not None
    assert trainer.flat is not None
    twin = copy.deepcopy(trainer.model)
    optimizers = optim.make_optimizers(twin, config)
    rng = np.random.default_rng(0)
    for step in range(3):
        windows = rng.integers(0, 1100, (2, 65))
        trainer.native.accumulate(Batch(windows[:, :-1], windows[:, 1:]), 1 / 128)
        trainer.native.finish()
        for p, mine in zip(twin.parameters(), trainer.model.parameters(), strict=True):
            p.grad = None if mine.grad is None else mine.grad.clone()
        norm = optim.gradient_norm(twin)
        assert trainer.flat.norm() == pytest.approx(norm.item(), rel=1e-6)
        trainer.flat.step(0.01 / (step + 1), norm.item())
        optim.clip_gradients(twin, norm, config.grad_clip)
        optim.set_learning_rate(optimizers, 0.01 / (step + 1))
        optimizers[0].step()
        for p, mine in zip(twin.parameters(), trainer.model.parameters(), strict=True):
            torch.testing.assert_close(mine, p, rtol=1e-5, atol=1e-7)
    for bad in (np.nan, np.inf):
        trainer.native.total[12345] = bad
        assert not np.isfinite(trainer.flat.norm())
