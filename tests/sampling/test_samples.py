import json

import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest
from fourhorn.records import write_records
from fourhorn.sampling import samples as module
from fourhorn.sampling.samples import read_samples, samples


@pytest.fixture
def documents(tmp_path):
    texts = [{"text": f"document {i} " * i} for i in range(1, 12)]
    write_records(tmp_path / "documents.jsonl", texts)
    return tmp_path / "documents.jsonl"


def test_documents_are_continued_from_three_quarters_of_the_context(model, tokenizer, documents, tmp_path):
    manifest = samples(model, tokenizer, tmp_path / "s", prompts=documents, n_per_prompt=2)
    rows = list(read_samples(tmp_path / "s"))
    assert (manifest.n_in, manifest.n_kept, manifest.drops) == (11, 7, {"too short": 4})
    assert len(rows) == 14
    for row in rows:
        assert len(row["prompt_tokens"]) == 48
        assert 1 <= len(row["tokens"]) <= 16
        name = row["prompt"].split()[1]
        assert row["prompt"] + row["reference"] == (f"document {name} " * int(name))[:64]
    assert [row["seed"] for row in rows] == list(range(14))
    assert rows[0]["settings"] == {"temperature": 1.0, "top_k": 40, "top_p": 1.0, "max_new_tokens": 16}


def test_prompts_are_continued_as_they_are(model, tokenizer, tmp_path):
    write_records(tmp_path / "p.jsonl", [{"prompt": "one"}, {"prompt": "x" * 99}, {"prompt": ""}])
    manifest = samples(model, tokenizer, tmp_path / "s", prompts=tmp_path / "p.jsonl", max_new_tokens=3)
    rows = list(read_samples(tmp_path / "s"))
    assert [(row["prompt"], len(row["tokens"])) for row in rows] == [("one", 3), ("", 3)]
    assert manifest.drops == {"too long": 1}


def test_an_interrupted_run_ends_in_the_same_bytes(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_SAMPLES", 4)
    options = {"n_prompts": 10, "max_new_tokens": 6, "max_sequences": 3}
    whole = samples(model, tokenizer, tmp_path / "whole", **options)

    class Stop(Exception):
        pass

    def stop_at_second(path, rows):
        if path.name == "part-00001.jsonl":
            raise Stop
        return write_records(path, rows)

    monkeypatch.setattr(module, "write_records", stop_at_second)
    with pytest.raises(Stop):
        samples(model, tokenizer, tmp_path / "resumed", **options)
    assert read_manifest(tmp_path / "resumed") is None
    monkeypatch.setattr(module, "write_records", write_records)
    with pytest.raises(UserError, match="unfinished samples of other options"):
        samples(model, tokenizer, tmp_path / "resumed", **{**options, "top_k": 3})
    resumed = samples(model, tokenizer, tmp_path / "resumed", **options)
    assert resumed.outputs == whole.outputs
    assert sorted(whole.outputs) == ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"]
    assert (
        samples(model, tokenizer, tmp_path / "resumed", **options).seconds == resumed.seconds
    )  # done already


def test_the_published_dumps_rows(model, tokenizer, tmp_path):
    samples(model, tokenizer, tmp_path / "s", n_prompts=20, row_format="output-dataset", top_k=0)
    rows = [json.loads(line) for line in (tmp_path / "s" / "part-00000.jsonl").read_text().splitlines()]
    assert [sorted(row) for row in rows] == [["ended", "id", "length", "text"]] * 20
    assert {row["ended"] for row in rows} == {True, False}
    assert all(row["length"] == 63 for row in rows if not row["ended"])


def test_records_without_text_are_refused(model, tokenizer, tmp_path):
    write_records(tmp_path / "p.jsonl", [{"question": "one"}])
    with pytest.raises(UserError, match="neither `prompt` nor `text`; it has \\['question'\\]"):
        samples(model, tokenizer, tmp_path / "s", prompts=tmp_path / "p.jsonl")
