"""On an NVIDIA card a step and a resumed run give what they give on the CPU; skipped where there is none."""

import numpy as np
import pytest
import torch

from fourhorn.runtime import Runtime
from fourhorn.training.batches import Batch
from fourhorn.training.config import TrainConfig
from fourhorn.training.state import Saver, latest
from fourhorn.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card here")

OPTIONS = TrainConfig(
    n_layer=3, n_head=4, n_embd=256, n_ctx=256, n_vocab=50257, batch_size=8, micro_batch_size=4, max_steps=20,
    learning_rate=1e-3, warmup_steps=1, native="off",
)  # fmt: skip


class RandomSamples:
    """Sample i is a function of i."""

    n_samples = 1000

    def read(self, position: int, count: int) -> Batch:
        tokens = np.stack([np.random.default_rng(position + i).integers(0, 50257, 257) for i in range(count)])
        return Batch(tokens[:, :-1], tokens[:, 1:])


def trainer(device: str, dtype: str, *, compiled: bool = False, **changes) -> Trainer:
    config = OPTIONS.with_options(**changes)
    return Trainer(config, config.model(), Runtime(device, dtype), compiled=compiled)


def weights(one: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu().float() for p in one.model.parameters()])


@pytest.mark.parametrize("recipe", ["paper", "modern"])
@pytest.mark.parametrize(
    ("dtype", "compiled", "allowed"), [("float32", False, 1e-4), ("bfloat16", True, 0.02)]
)
def test_steps_on_the_card_are_those_on_the_cpu(dtype, compiled, allowed, recipe):
    card = trainer("cuda:0", dtype, compiled=compiled, recipe=recipe)
    cpu = trainer("cpu", "float32", recipe=recipe)
    assert torch.equal(weights(card), weights(cpu))
    for _ in range(3):
        ours, theirs = card.train_step(RandomSamples()), cpu.train_step(RandomSamples())
        assert abs(ours.loss - theirs.loss) < allowed
        assert abs(ours.grad_norm / theirs.grad_norm - 1) < 2 * allowed
    held_out = RandomSamples()
    held_out.n_samples = 6
    assert abs(card.held_out_loss(held_out) - cpu.held_out_loss(held_out)) < allowed


def test_a_resumed_run_on_the_card_ends_in_the_same_bits(tmp_path):
    whole = trainer("cuda:0", "bfloat16", dropout=0.1)
    for step in range(6):
        whole.train_step(RandomSamples())
        if step == 2:
            Saver(tmp_path, keep=1).save(whole.step, whole.tensors(), whole.meta(), wait=True)
    resumed = trainer("cuda:0", "bfloat16", dropout=0.1)
    resumed.restore(latest(tmp_path))
    while resumed.step < whole.step:
        resumed.train_step(RandomSamples())
    assert torch.equal(weights(whole), weights(resumed))
