"""What the tests of section 2.2 share: the released vocabulary where it is at hand, a small one, and oracles."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer.compare import SAMPLES

SHARED = Path(__file__).parents[3] / "shared" / "data"
RELEASE = SHARED / "gpt2-vocab"

# tiktoken's spelling of the split pattern, with possessive quantifiers, which it needs for long runs of spaces.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


@pytest.fixture(scope="session")
def release() -> Path:
    """The folder of the released vocabulary."""
    if not (RELEASE / "vocab.bpe").exists():
        pytest.skip("the released vocabulary is not at ../shared/data/gpt2-vocab")
    return RELEASE


@pytest.fixture(scope="session")
def gpt2(release: Path) -> Tokenizer:
    return Tokenizer.load(release)


@pytest.fixture(scope="session")
def small() -> Tokenizer:
    """A vocabulary of 600 tokens learned from the built-in samples."""
    return Tokenizer.train(SAMPLES.values(), n_vocab=600, min_frequency=1)


@pytest.fixture(scope="session")
def small_plain(small: Tokenizer) -> Tokenizer:
    """The same vocabulary on the plain engine."""
    return Tokenizer(small.vocabulary, plain=True)


def oracle(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """tiktoken with the same vocabulary, made from its bytes without any download."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {
        d: i
        for i, d in tokenizer.vocabulary.bytes_of_id.items()
        if i not in tokenizer.special_tokens.values()
    }
    encoding = tiktoken.Encoding(
        "t", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=tokenizer.special_tokens
    )
    encode: Callable[[str], list[int]] = encoding.encode_ordinary
    return encode
