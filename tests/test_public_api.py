"""The public names of fourhorn are fixed."""

import fourhorn


def test_public_names_are_the_twelve_of_the_design() -> None:
    assert fourhorn.__all__ == [
        "GPT2",
        "GPT2Config",
        "SamplingParams",
        "Tokenizer",
        "TrainConfig",
        "evaluate",
        "finetune",
        "generate",
        "load",
        "save",
        "stream",
        "train",
    ]


def test_every_public_name_loads() -> None:
    assert all(callable(getattr(fourhorn, name)) for name in fourhorn.__all__)
