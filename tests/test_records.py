"""Shards of text records in every format."""

from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.files import sha256_file
from fourhorn.records import iter_records, iter_texts, list_shards, write_records

ROWS = [{"id": str(i), "text": f"text {i} ünïcode"} for i in range(1000)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.parquet"])
def test_records_come_back_as_written(tmp_path: Path, name: str) -> None:
    assert write_records(tmp_path / name, ROWS) == 1000
    assert list(iter_records(tmp_path / name)) == ROWS
    assert list(iter_records(tmp_path, columns=["id"])) == [{"id": str(i)} for i in range(1000)]


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.parquet"])
def test_the_same_records_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_records(tmp_path / "1" / name, ROWS)
    write_records(tmp_path / "2" / name, iter(ROWS))
    assert sha256_file(tmp_path / "1" / name) == sha256_file(tmp_path / "2" / name)


def test_plain_text_is_cut_at_the_separator(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first<|endoftext|>second\n<|endoftext|>\n")
    assert list(iter_texts(tmp_path / "a.txt")) == ["first", "second\n"]


def test_shards_are_in_name_order_without_strangers(tmp_path: Path) -> None:
    for name in ("part-00001.jsonl", "part-00000.jsonl", "manifest.json", ".hidden.jsonl", "readme.md"):
        (tmp_path / name).write_text("")
    assert [p.name for p in list_shards(tmp_path)] == ["part-00000.jsonl", "part-00001.jsonl"]


def test_an_empty_folder_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        list_shards(tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": \n')
    with pytest.raises(UserError, match=r"a\.jsonl line 2 is not JSON"):
        list(iter_records(tmp_path / "a.jsonl"))


def test_a_record_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(UserError, match="Record 1 .* has no text in column 'text'"):
        list(iter_texts(tmp_path / "a.jsonl"))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"a\.parquet is not a readable parquet file"):
        list(iter_records(tmp_path / "a.parquet"))
