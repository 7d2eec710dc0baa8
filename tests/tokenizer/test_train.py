from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest
from fourhorn.records import write_records
from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer.compare import SAMPLES
from fourhorn.tokenizer.train import train


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_records(tmp_path / "texts" / "part-00000.jsonl.zst", [{"text": text} for text in SAMPLES.values()])
    return tmp_path / "texts"


def test_a_vocabulary_and_its_manifest_are_written(source: Path, tmp_path: Path) -> None:
    manifest = train(source, tmp_path / "tokenizer", n_vocab=400, min_frequency=1)
    assert manifest == read_manifest(tmp_path / "tokenizer")
    assert (manifest.n_in, manifest.n_kept) == (9, 9)
    assert manifest.details["n_vocab"] == 400
    assert sorted(manifest.outputs) == ["encoder.json", "vocab.bpe"]
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    assert tokenizer == Tokenizer.train(SAMPLES.values(), n_vocab=400, min_frequency=1)
    assert tokenizer == Tokenizer.train(source, n_vocab=400, min_frequency=1)
    assert (tokenizer.n_vocab, tokenizer.eot) == (400, 399)


def test_the_same_work_is_not_done_twice_and_other_work_is_refused(source: Path, tmp_path: Path) -> None:
    first = train(source, tmp_path / "tokenizer", n_vocab=300)
    assert train(source, tmp_path / "tokenizer", n_vocab=300) == first
    with pytest.raises(UserError, match="other options"):
        train(source, tmp_path / "tokenizer", n_vocab=301)


def test_too_little_text_gives_fewer_tokens(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab ab cd")
    manifest = train(tmp_path / "a.txt", tmp_path / "tokenizer", n_vocab=1000)
    assert manifest.details["n_merges"] == 1
    assert Tokenizer.load(tmp_path / "tokenizer").n_vocab == 258


@pytest.mark.parametrize("n_vocab", [0, 256, 2**21])
def test_impossible_sizes_are_refused(source: Path, tmp_path: Path, n_vocab: int) -> None:
    with pytest.raises(UserError, match="is impossible"):
        train(source, tmp_path / "tokenizer", n_vocab=n_vocab)


def test_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(UserError, match="no text"):
        train(tmp_path / "a.txt", tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()


def test_the_separator_in_text_is_ordinary_text(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", [{"text": "x<|endoftext|>y " * 30}])
    train(tmp_path / "a.jsonl", tmp_path / "tokenizer", n_vocab=300)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    assert tokenizer.eot not in tokenizer.encode_ordinary("x<|endoftext|>y")
    assert tokenizer.decode(tokenizer.encode_ordinary("x<|endoftext|>y")) == "x<|endoftext|>y"
