"""Splits: shares as asked, sides for ever, everything somewhere once."""

import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.split import side_of, split


def documents(n: int) -> list[dict]:
    return [
        {"id": f"{i:032x}", "text": f"Text number {i}.", "url": f"http://a.example/{i}"} for i in range(n)
    ]


def sides(folder) -> dict[str, str]:
    return {d["id"]: side for side in ("train", "val", "test") for d in iter_records(folder / side)}


def test_every_document_is_on_one_side_with_its_provenance(tmp_path):
    rows = documents(400)
    for shard in range(2):
        write_records(tmp_path / "in" / f"part-{shard:05d}.jsonl", rows[shard::2])
    manifest = split(tmp_path / "in", tmp_path / "out", workers=1)
    found = sides(tmp_path / "out")
    assert len(found) == 400
    assert manifest.details["documents"] == {
        side: list(found.values()).count(side) for side in ("train", "val", "test")
    }
    assert sum(read_manifest(tmp_path / "out" / side).n_kept for side in ("train", "val", "test")) == 400
    assert sorted(manifest.outputs)[:2] == ["test/part-00000.jsonl.zst", "test/part-00001.jsonl.zst"]
    assert next(iter_records(tmp_path / "out" / "train"))["domain"] == "a.example"
    assert "| train | " in (tmp_path / "out" / "README.md").read_text()


def test_a_document_keeps_its_side_as_the_set_grows(tmp_path):
    write_records(tmp_path / "small.jsonl", documents(300)[::3])
    write_records(tmp_path / "large.jsonl", documents(300)[::-1])
    split(tmp_path / "small.jsonl", tmp_path / "a", workers=1)
    split(tmp_path / "large.jsonl", tmp_path / "b", workers=1)
    small, large = sides(tmp_path / "a"), sides(tmp_path / "b")
    assert {id: large[id] for id in small} == small


def test_shares_are_as_asked():
    found = [side_of(f"id {i}", 0.05, 0.1) for i in range(20_000)]
    assert found.count("val") == pytest.approx(1000, abs=100)
    assert found.count("test") == pytest.approx(2000, abs=140)


def test_a_side_is_written_in_stone():
    assert [side_of(f"{i:032x}", 0.2, 0.2) for i in range(12)] == [
        "train",
        "test",
        "train",
        "test",
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
    ]


def test_parquet_and_no_held_out_part(tmp_path):
    write_records(tmp_path / "in.jsonl", documents(20))
    manifest = split(tmp_path / "in.jsonl", tmp_path / "out", val=0, test=0, format="parquet", workers=1)
    assert manifest.details["documents"] == {"train": 20, "val": 0, "test": 0}
    assert len(list(iter_records(tmp_path / "out" / "train"))) == 20


def test_wrong_shares_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="must be below 1"):
        split(tmp_path, tmp_path / "out", val=0.5, test=0.5)
    with pytest.raises(UserError, match="not one of jsonl, parquet"):
        split(tmp_path, tmp_path / "out", format="csv")
