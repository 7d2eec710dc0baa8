"""A tiny model, a tokenizer of all bytes and a few words, and the real data where it is at hand."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from fourhorn.evaluation.scoring import Scorer
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of official evaluation files."""
    if not (REAL / "eval").is_dir():
        pytest.skip("no real evaluation data beside the repository")
    return REAL / "eval"


COMMON = """
the of and to in a is that it was for on are with as his they be at one have this from or had by hot but some what
there we can out other were all your when up use word how said an each
"""


class WordTokenizer:
    """Tokens 0 … 255 are bytes, 256 is the end of text, then common words with the space before them."""

    words = COMMON.split()

    def __init__(self) -> None:
        self.pieces = (
            [bytes([b]) for b in range(256)] + [b""] + [b" " + word.encode() for word in self.words[:43]]
        )
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}
        self.n_vocab, self.eot, self.sha256 = len(self.pieces), 256, "words"

    def encode_ordinary(self, text: str) -> list[int]:
        found: list[int] = []
        for piece in re.findall(r" ?[^\W\d_]+| ?[^\s\w]+|\s+(?!\S)|.|\s", text, re.DOTALL):
            data = piece.encode()
            found += [self.ids[data]] if data in self.ids else list(data)
        return found

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.pieces[token] for token in tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.decode_bytes(tokens).decode("utf-8", errors="replace")


@pytest.fixture(scope="session")
def tokenizer() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture(scope="session")
def model(tokenizer: WordTokenizer) -> GPT2:
    torch.manual_seed(7)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, n_ctx=64, n_vocab=tokenizer.n_vocab)
    network = GPT2(config).eval()
    for parameter in network.parameters():  # far from uniform, so that choices differ
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture(scope="session")
def wide(tokenizer: WordTokenizer) -> GPT2:
    """A model with room for whole prompts."""
    torch.manual_seed(7)
    return GPT2(GPT2Config(n_layer=2, n_head=2, n_embd=16, n_ctx=512, n_vocab=tokenizer.n_vocab)).eval()


@pytest.fixture
def scorer(model: GPT2, tokenizer: WordTokenizer) -> Scorer:
    return Scorer(model, tokenizer)
