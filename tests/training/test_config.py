"""Options are checked where they are given."""

import pytest

from fourhorn.errors import UserError
from fourhorn.training.config import TrainConfig, default_learning_rate


def test_a_batch_that_does_not_divide_says_what_would() -> None:
    config = TrainConfig(batch_size=500, micro_batch_size=16)
    message = (
        r"batch_size 500 is not a multiple of micro_batch_size 16 × 8 processes = 128. "
        r"Use 384, or change --micro-batch-size."
    )
    with pytest.raises(UserError, match=message):
        config.grad_accum_steps(8)
    assert TrainConfig(micro_batch_size=16).grad_accum_steps(8) == 4


def test_the_defaults_are_the_papers() -> None:
    config = TrainConfig()
    assert config.tokens_per_step == 524288
    assert (config.model().n_layer, config.model().n_vocab, config.dropout) == (12, 50257, 0.0)


def test_options_survive_their_file() -> None:
    config = TrainConfig(sweep=(1e-3, 2e-3), n_layer=3)
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UserError, match="Did you mean 'warmup_steps'"):
        TrainConfig.from_dict({"warmup_step": 3})


def test_a_wrong_value_names_its_option() -> None:
    for changes, words in (
        ({"recipe": "papr"}, "paper"), ({"max_steps": -1}, "max_steps"), ({"dropout": 1.0}, "dropout 1.0"),
        ({"beta2": 1.0}, "beta2 1.0"), ({"held_out": 0.5}, "held_out 0.5"),
        ({"learning_rate": float("nan")}, "learning_rate"), ({"sweep": (0.0,)}, "sweep"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            TrainConfig(**changes)


def test_only_what_changes_learning_counts_as_a_difference() -> None:
    one = TrainConfig(seed=1, eval_every=10)
    assert one.differences(TrainConfig(seed=1, eval_every=20, max_steps=7)) == {}
    assert one.differences(TrainConfig(seed=2)) == {"seed": (1, 2)}


def test_larger_models_get_smaller_rates() -> None:
    rates = [default_learning_rate(n) for n in (1_000_000, 124_000_000, 1_558_000_000)]
    assert rates == sorted(rates, reverse=True)
