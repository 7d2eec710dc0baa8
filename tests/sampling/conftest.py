"""A tiny model with random weights and a tokenizer whose tokens are bytes."""

import codecs

import pytest
import torch

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2


class ByteStream:
    def __init__(self):
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token):
        return self.decoder.decode(bytes([token]) if token < 256 else b"")

    def finish(self):
        return self.decoder.decode(b"", True)


class ByteTokenizer:
    """Token b is byte b; 256 is the end of text."""

    n_vocab, eot = 257, 256

    def encode_ordinary(self, text):
        return list(text.encode())

    def decode_bytes(self, tokens):
        return bytes(t for t in tokens if t < 256)

    def decode(self, tokens):
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def stream_decoder(self):
        return ByteStream()


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Models this small only lose by a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer():
    return ByteTokenizer()


@pytest.fixture(scope="session")
def random_model():
    """Makes models whose weights are large enough that greedy text does not repeat one token."""

    def make(**changes):
        torch.manual_seed(1234)
        shape = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_ctx": 64, "n_vocab": 257}
        model = GPT2(GPT2Config(**{**shape, **changes})).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.15)
        return model

    return make


@pytest.fixture(scope="session")
def model(random_model):
    return random_model()
