"""A token folder small enough to train on in a second, written by hand in the documented format."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fourhorn.training.config import TrainConfig

TINY = {
    "n_layer": 2, "n_head": 2, "n_embd": 32, "n_ctx": 16, "batch_size": 4, "micro_batch_size": 2, "warmup_steps": 2,
    "max_steps": 12, "learning_rate": 0.003, "eval_every": 0, "eval_tokens": 128, "save_every": 5, "device": "cpu",
    "dtype": "float32", "compile": "off", "n_threads": 1,
}  # fmt: skip


def write_shards(folder: Path, ids: np.ndarray, n_vocab: int) -> None:
    folder.mkdir(parents=True)
    data = ids.astype("<u2").tobytes()
    (folder / "part-00000.bin").write_bytes(data)
    shard = {
        "name": "part-00000.bin",
        "n_tokens": len(ids),
        "n_documents": int((ids == 0).sum()),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    index = {
        "magic": "fourhorn-tokens", "version": 1, "dtype": "uint16", "n_tokens": len(ids),
        "n_documents": shard["n_documents"], "n_bytes_text": 4 * len(ids), "tokenizer_sha256": "0" * 64, "eot": 0,
        "n_vocab": n_vocab, "shards": [shard],
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps(index))


def made_up_ids(n: int, n_vocab: int, seed: int) -> np.ndarray:
    """A stream a model can learn something of: each id is mostly a fixed function of the one before."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(n, np.int64)
    for i in range(1, n):
        ids[i] = (3 * ids[i - 1] + 1) % n_vocab if rng.random() < 0.8 else rng.integers(n_vocab)
    return ids


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    write_shards(folder / "train", made_up_ids(4000, 64, 1), 64)
    write_shards(folder / "val", made_up_ids(600, 64, 2), 64)
    return folder


@pytest.fixture(scope="session")
def options() -> Callable[..., TrainConfig]:
    """The options of a run that takes a second, with changes."""
    return lambda **changes: TrainConfig(**{**TINY, **changes})
