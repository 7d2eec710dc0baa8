"""One's own text in, a model that says it out."""

import json
from pathlib import Path

import pytest
import torch

from fourhorn.checkpoints.load import load
from fourhorn.checkpoints.native import save
from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer import Tokenizer
from fourhorn.training.config import TrainConfig
from fourhorn.training.finetune import Pairs, finetune, read_rows, sources

TEXT = "the quick brown fox jumps over the lazy dog and the lazy dog sleeps on. " * 20
CONFIG = TrainConfig(
    batch_size=4, micro_batch_size=2, max_steps=25, learning_rate=3e-3, warmup_steps=2, dropout=0.0, eval_every=0,
    save_every=0, dtype="float32", device="cpu", compile="off", n_threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tokenizer = Tokenizer.train([TEXT], n_vocab=300)
    torch.manual_seed(0)
    save(GPT2(GPT2Config(2, 2, 32, n_ctx=32, n_vocab=tokenizer.n_vocab, dropout=0.0)), tokenizer, folder)
    return folder


def test_a_text_file_is_learned(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text(TEXT)
    summary = finetune(tmp_path / "my.txt", tmp_path / "run", model=checkpoint, config=CONFIG)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert summary["train_loss"] < rows[0]["loss"] - 1.0
    model, tokenizer = load(tmp_path / "run")
    assert model.config.n_embd == 32
    assert tokenizer.n_vocab == 298


def test_only_completions_count(checkpoint: Path) -> None:
    _, _tokenizer = load(checkpoint)
    pairs = [([5, 6, 7], [8, 9])]
    batch = Pairs(pairs, n_ctx=32, eot=0, seed=None).read(0, 4)
    assert batch.inputs[0, :6].tolist() == [0, 5, 6, 7, 8, 9]
    assert batch.targets[0, :6].tolist() == [5, 6, 7, 8, 9, 0]
    assert batch.weights[0, :7].tolist() == [0, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_pairs_are_read_and_learned(checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    pairs = [(f"question {i}?", f" answer {i}") for i in range(30)]
    path = tmp_path / f"pairs.{suffix}"
    if suffix == "csv":
        path.write_text("prompt,completion\n" + "".join(f"{p},{c}\n" for p, c in pairs))
    else:
        path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs))
    assert list(read_rows(path, "text")) == pairs
    summary = finetune(path, tmp_path / "run", model=checkpoint, config=CONFIG.with_options(max_steps=4))
    assert summary["val_loss"] is not None


def test_held_out_documents_are_not_trained_on(checkpoint: Path) -> None:
    _, tokenizer = load(checkpoint)
    rows = [f"document number {i} about the fox " * 8 for i in range(40)]
    config = CONFIG.with_options(n_ctx=32)
    source, held = sources(rows, tokenizer, config)
    assert held is not None
    assert len(source.stream) + len(held.stream) == sum(
        len(tokenizer.encode_ordinary(row)) + 1 for row in rows
    )


def test_training_stops_when_the_held_out_loss_no_longer_falls(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text(TEXT)
    config = CONFIG.with_options(learning_rate=0.5, eval_every=1, early_stop=2, max_steps=60)
    summary = finetune(tmp_path / "my.txt", tmp_path / "run", model=checkpoint, config=config)
    assert summary["stopped"] == "early"
    assert summary["steps"] < 60


def test_unusable_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(UserError, match="has neither 'text' nor prompt and completion; it has body"):
        list(read_rows(tmp_path / "rows.jsonl", "text"))
    with pytest.raises(UserError, match="does not exist"):
        list(read_rows(tmp_path / "none.txt", "text"))
