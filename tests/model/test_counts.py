"""The counts are the paper's models'."""

import pytest

from fourhorn.model.config import GPT2Config
from fourhorn.model.counts import flops_per_token, n_params, training_memory
from fourhorn.model.transformer import GPT2


@pytest.mark.parametrize(
    ("size", "count"), [("124M", 124439808), ("355M", 354823168), ("774M", 774030080), ("1558M", 1557611200)]
)
def test_the_four_sizes_have_their_parameters(size: str, count: int) -> None:
    assert n_params(GPT2Config.named(size)) == count


def test_the_count_is_that_of_a_built_model() -> None:
    config = GPT2Config(3, 2, 48, n_ctx=20, n_vocab=77)
    assert n_params(config) == sum(p.numel() for p in GPT2(config).parameters())


def test_operations_follow_the_palm_convention() -> None:
    config = GPT2Config.named("124M")
    assert flops_per_token(config) == 6 * (124439808 - 1024 * 768) + 12 * 12 * 768 * 1024


def test_sharding_divides_weights_gradients_and_optimizer() -> None:
    one, eight = (training_memory(GPT2Config.named("1558M"), 1, n_shards=n) for n in (1, 8))
    assert eight.optimizer * 8 == pytest.approx(one.optimizer)
    assert eight.activations == one.activations
