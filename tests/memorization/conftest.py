"""What the tests of §4 share: a small text, a tokenizer trained on it, and the real data where it is."""

import random
from pathlib import Path

import pytest

WORDS = [
    "river",
    "stone",
    "lamp",
    "winter",
    "garden",
    "copper",
    "letter",
    "music",
    "island",
    "harbor",
    "window",
]
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def _sentences(n_words, seed):
    """Text of random words in which no 8-gram is likely to come twice."""
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(WORDS)}{draw.randrange(1000)}" for _ in range(n_words))


@pytest.fixture(scope="session")
def tokenizer():
    """A small byte-level vocabulary."""
    from fourhorn.tokenizer import Tokenizer

    return Tokenizer.train([_sentences(2000, 1)], n_vocab=600)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real evaluation data; tests that need it are skipped without it."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data")
    return DATA


@pytest.fixture(scope="session")
def sentences():
    """`sentences(n_words, seed)`: a text of random words, the same for the same seed."""
    return _sentences
