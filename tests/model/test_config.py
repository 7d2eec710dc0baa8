"""Shapes that cannot be are refused in words."""

import pytest

from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config


def test_a_named_size_takes_changes() -> None:
    config = GPT2Config.named("355M", n_ctx=512)
    assert (config.n_layer, config.n_head, config.n_embd, config.n_ctx, config.head_size) == (
        24,
        16,
        1024,
        512,
        64,
    )


def test_unknown_sizes_and_options_name_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean '124M'"):
        GPT2Config.named("124m")
    with pytest.raises(UserError, match="n_layer"):
        GPT2Config.from_dict({"n_layers": 3})


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="n_embd 100 is not a multiple of n_head 3"):
        GPT2Config(1, 3, 100)


def test_a_config_survives_its_dictionary() -> None:
    config = GPT2Config(1, 2, 4, 8, 16, 0.0)
    assert GPT2Config.from_dict(config.to_dict()) == config
