"""A running server on a free port of this machine, with two tiny models of random weights."""

import contextlib
import socket
import threading
import time

import pytest
import torch
import uvicorn

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.sampling.batching import BatchEngine
from fourhorn.serving.app import guarded, make_app
from fourhorn.serving.engine import warm
from fourhorn.serving.limits import LOOPBACK, Limits, TimedProtocol
from fourhorn.tokenizer.bytes import BYTE_OF_TOKEN
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.vocabulary import Vocabulary

WORDS = ["the", " the", " unicorn", " horn", "ing", " four", " valley", "User", "Assistant"]


def make_tokenizer() -> Tokenizer:
    """Merges that build each word from left to right."""
    numbers = {bytes([byte]): number for number, byte in enumerate(BYTE_OF_TOKEN)}
    merges: list[tuple[int, int]] = []
    for word in WORDS:
        data = word.encode()
        for end in range(2, len(data) + 1):
            if data[:end] not in numbers:
                merges.append((numbers[data[: end - 1]], numbers[data[end - 1 : end]]))
                numbers[data[:end]] = 255 + len(merges)
    return Tokenizer(Vocabulary.of(merges))


def make_model(tokenizer: Tokenizer, seed: int, **sizes: int) -> GPT2:
    """Random weights, larger than a fresh model's, so that its choices are clear."""
    torch.manual_seed(seed)
    options = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_ctx": 128} | sizes
    model = GPT2(GPT2Config(**options, n_vocab=tokenizer.n_vocab)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape) * 0.1
    return model


class Running:
    """A server, its address, and what it serves."""

    def __init__(self, models, limits: Limits, *, header_seconds: float = 10.0) -> None:
        self.models, self.limits = models, limits
        self.app = make_app(
            {name: (engine, tokenizer) for name, (engine, tokenizer, _) in models.items()}, limits
        )
        protocol = type("Protocol", (TimedProtocol,), {"header_seconds": header_seconds})
        config = uvicorn.Config(
            guarded(self.app),
            http=protocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            h11_max_incomplete_event_size=32768,
        )
        self.server = uvicorn.Server(config)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> "Running":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(5)
        for engine, _, _ in self.models.values():
            engine.close()

    @property
    def engine(self) -> BatchEngine:
        return next(iter(self.models.values()))[0]

    @property
    def tokenizer(self) -> Tokenizer:
        return next(iter(self.models.values()))[1]

    @property
    def model(self) -> GPT2:
        return next(iter(self.models.values()))[2]


@contextlib.contextmanager
def running(names=("tiny",), limits: Limits | None = None, max_sequences=8, header_seconds=10.0, **sizes):
    """Start a server for a while."""
    tokenizer = make_tokenizer()
    models = {}
    for seed, name in enumerate(names):
        model = make_model(tokenizer, seed, **sizes)
        models[name] = (BatchEngine(model, tokenizer, max_sequences=max_sequences).start(), tokenizer, model)
    for engine, _, _ in models.values():
        warm(engine)
    with Running(models, limits or Limits(hosts=LOOPBACK), header_seconds=header_seconds) as server:
        yield server


@pytest.fixture(scope="session")
def start():
    return running


@pytest.fixture(scope="session")
def server():
    with running(("tiny", "other")) as it:
        yield it
