"""A small tokenizer and small models of the paper's four shapes, made here from nothing."""

import functools

import pytest
import torch

from fourhorn.checkpoints.names import Checkpoint
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer.bytes import BYTE_OF_TOKEN
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.vocabulary import Vocabulary

WORDS = ["the", " the", " unicorn", " horn", "ing", " four", " valley", " silver", "é", " 🦄"]


def tokenizer_of(words: list[str]) -> Tokenizer:
    """Merges that build each word from left to right."""
    numbers = {bytes([byte]): number for number, byte in enumerate(BYTE_OF_TOKEN)}
    merges: list[tuple[int, int]] = []
    for word in words:
        data = word.encode()
        for end in range(2, len(data) + 1):
            if data[:end] not in numbers:
                merges.append((numbers[data[: end - 1]], numbers[data[end - 1 : end]]))
                numbers[data[:end]] = 255 + len(merges)
    return Tokenizer(Vocabulary.of(merges))


def random_checkpoint(
    tokenizer: Tokenizer, *, n_layer=2, n_head=4, n_embd=64, n_ctx=32, seed=0
) -> Checkpoint:
    """Weights that are random everywhere, biases and layer norms too, so that no mix-up can hide."""
    config = GPT2Config(n_layer, n_head, n_embd, n_ctx, tokenizer.n_vocab)
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in GPT2(config).state_dict().items():
        noise = torch.randn(value.shape, generator=generator) * 0.1
        weights[name] = noise + 1 if ".ln_" in name or name == "ln_f.weight" else noise
    return Checkpoint(config, weights, tokenizer)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return tokenizer_of(WORDS)


@pytest.fixture(scope="session")
def make_checkpoint(tokenizer):
    return functools.partial(random_checkpoint, tokenizer)


@pytest.fixture(scope="session")
def checkpoint(tokenizer) -> Checkpoint:
    return random_checkpoint(tokenizer)
