import json
from pathlib import Path

import numpy as np
import pytest

from fourhorn.errors import UserError
from fourhorn.records import write_records
from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer import tokens as module
from fourhorn.tokenizer.tokens import TokenShards, tokens

TEXTS = [f"document {i}: " + "naïve words, 渡轮 " * (i % 7) for i in range(60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_records(tmp_path / "texts" / "part-00000.jsonl.zst", [{"text": text} for text in TEXTS[:30]])
    write_records(
        tmp_path / "texts" / "part-00001.jsonl", [{"text": text} for text in [*TEXTS[30:], "", " \n"]]
    )
    return tmp_path / "texts"


@pytest.fixture
def vocabulary(small: Tokenizer, tmp_path: Path) -> Path:
    small.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def expected(small: Tokenizer) -> list[int]:
    return [token for text in TEXTS for token in [small.eot, *small.encode_ordinary(text)]]


def test_documents_follow_one_another_each_after_a_separator(
    small: Tokenizer, source: Path, vocabulary: Path, tmp_path: Path
) -> None:
    manifest = tokens(source, tmp_path / "out", tokenizer=vocabulary, tokens_per_shard=500)
    assert (manifest.n_in, manifest.n_kept, manifest.drops) == (62, 60, {"empty": 2})
    shards = TokenShards(tmp_path / "out")
    ids = expected(small)
    assert shards.read(0, len(shards)).tolist() == ids
    assert len(shards.index["shards"]) > 3
    assert shards.n_documents == 60
    assert shards.n_bytes_text == sum(len(text.encode()) for text in TEXTS)
    for shard in shards.index["shards"]:
        data = np.fromfile(tmp_path / "out" / shard["name"], np.uint16)
        assert data[0] == small.eot
        assert (data == small.eot).sum() == shard["n_documents"]
        assert shard["n_tokens"] < 500 + 100
    for start, count in ((0, 1), (490, 600), (len(ids) - 3, 3), (7, 0)):
        assert shards.read(start, count).tolist() == ids[start : start + count]
    shards.verify()


def test_shards_do_not_depend_on_threads_or_batches(
    source: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens(source, tmp_path / "a", tokenizer=vocabulary, tokens_per_shard=400, n_threads=1)
    monkeypatch.setattr(module, "SYNC_BYTES", 50)
    monkeypatch.setattr("fourhorn.tokenizer.source.BATCH_BYTES", 100)
    tokens(source, tmp_path / "b", tokenizer=vocabulary, tokens_per_shard=400, n_threads=3)
    for path in (tmp_path / "a").glob("part-*"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a" / "index.json").read_bytes() == (tmp_path / "b" / "index.json").read_bytes()


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    source: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokens(source, tmp_path / "whole", tokenizer=vocabulary, tokens_per_shard=300)
    write = module.ShardWriter.write
    calls = 0

    def interrupted(self: module.ShardWriter, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        write(self, *arguments)  # type: ignore[arg-type]
        if calls == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.ShardWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokens(source, tmp_path / "out", tokenizer=vocabulary, tokens_per_shard=300)
    assert not (tmp_path / "out" / "manifest.json").exists()
    n_before = len(json.loads((tmp_path / "out" / "unfinished.json").read_bytes())["shards"])
    assert n_before >= 1
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(UserError, match="unfinished result of other options"):
        tokens(source, tmp_path / "out", tokenizer=vocabulary, tokens_per_shard=301)
    again = tokens(source, tmp_path / "out", tokenizer=vocabulary, tokens_per_shard=300)
    assert again.outputs == whole.outputs
    assert (again.n_in, again.n_kept, again.drops) == (whole.n_in, whole.n_kept, whole.drops)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_a_document_longer_than_a_batch_stays_one_document(
    small: Tokenizer, vocabulary: Path, tmp_path: Path
) -> None:
    text = "one long document, again and again. " * 150_000
    (tmp_path / "a.txt").write_text(text + "<|endoftext|>short")
    manifest = tokens(tmp_path / "a.txt", tmp_path / "out", tokenizer=vocabulary, tokens_per_shard=1000)
    assert manifest.n_in == 2
    shards = TokenShards(tmp_path / "out")
    assert [shard["n_documents"] for shard in shards.index["shards"]] == [1, 1]
    assert small.decode(shards.read(1, shards.index["shards"][0]["n_tokens"] - 1)) == text


def test_the_vocabulary_is_kept_beside_the_shards(
    small: Tokenizer, source: Path, vocabulary: Path, tmp_path: Path
) -> None:
    small.save(tmp_path / "other", format="huggingface")
    tokens(source, tmp_path / "a", tokenizer=vocabulary)
    tokens(source, tmp_path / "b", tokenizer=tmp_path / "other")
    for name in ("encoder.json", "vocab.bpe"):
        data = (vocabulary / name).read_bytes()
        assert [(tmp_path / folder / name).read_bytes() for folder in "ab"] == [data, data]
    encoder = json.loads((vocabulary / "encoder.json").read_bytes())
    (vocabulary / "encoder.json").write_text(json.dumps(encoder, indent=1))
    tokens(source, tmp_path / "c", tokenizer=vocabulary)  # the same vocabulary, written otherwise
    assert (
        Tokenizer.load(tmp_path / "c").sha256 == TokenShards(tmp_path / "c").tokenizer_sha256 == small.sha256
    )


def test_finished_work_returns_at_once(source: Path, vocabulary: Path, tmp_path: Path) -> None:
    first = tokens(source, tmp_path / "out", tokenizer=vocabulary)
    assert tokens(source, tmp_path / "out", tokenizer=vocabulary) == first


def test_damage_is_named(source: Path, vocabulary: Path, tmp_path: Path) -> None:
    tokens(source, tmp_path / "out", tokenizer=vocabulary)
    path = tmp_path / "out" / "part-00000.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-2])
    with pytest.raises(UserError, match=r"part-00000\.bin is damaged: .* bytes"):
        TokenShards(tmp_path / "out")
    path.write_bytes(b"\1\1" + data[2:])
    with pytest.raises(UserError, match="SHA-256"):
        TokenShards(tmp_path / "out").verify()
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        TokenShards(tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        TokenShards(tmp_path)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    shard = index["shards"][0]
    for damage in (
        {"dtype": "int64"},
        {"n_vocab": None},
        {"n_tokens": -1},
        {"shards": 1},
        {"shards": [1]},
        {"shards": [{**shard, "name": "../part-00000.bin"}]},
        {"shards": [{**shard, "n_tokens": "7"}]},
    ):
        (tmp_path / "out" / "index.json").write_text(json.dumps(index | damage))
        with pytest.raises(UserError, match=r"index\.json is damaged"):
            TokenShards(tmp_path / "out")
    (tmp_path / "out" / "index.json").write_text("{}")
    with pytest.raises(UserError, match="is no index of token shards"):
        TokenShards(tmp_path / "out")


def test_reading_beyond_the_end_is_refused(source: Path, vocabulary: Path, tmp_path: Path) -> None:
    tokens(source, tmp_path / "out", tokenizer=vocabulary)
    shards = TokenShards(tmp_path / "out")
    for start, count in ((-1, 1), (len(shards), 1), (0, len(shards) + 1)):
        with pytest.raises(UserError, match="are outside of the"):
            shards.read(start, count)


def test_no_text_gives_no_shards(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(UserError, match="no text"):
        tokens(tmp_path / "a.txt", tmp_path / "out", tokenizer=vocabulary)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["tokens_per_shard", "n_threads"])
def test_options_below_one_are_refused(source: Path, vocabulary: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} 0 is impossible: give 1 or more"):
        tokens(source, tmp_path / "out", tokenizer=vocabulary, **{option: 0})
    assert not (tmp_path / "out").exists()
