import random
from pathlib import Path

import numpy as np
import pytest

from fourhorn.records import write_records
from fourhorn.tokenizer import source as module
from fourhorn.tokenizer.bpe import split_bytes
from fourhorn.tokenizer.memory import Buffers
from fourhorn.tokenizer.source import (
    PADDING,
    Batch,
    InputHashes,
    batches,
    last_cut,
    read_batches,
    safe_cut,
    separators,
)


def joined(found: list[Batch]) -> list[bytes]:
    documents: list[bytes] = []
    for batch in found:
        parts = list(batch.parts)
        if batch.continues:
            documents[-1] += parts.pop(0)
        documents += parts
    return documents


def test_a_cut_changes_no_piece() -> None:
    rng = random.Random(0)
    words = ["a", " ", "\n", "\u3000", "\u00a0", "'s", "é", "1", ".", "\u2003", "\u0085"]
    for _ in range(300):
        data = "".join(rng.choice(words) for _ in range(60)).encode()
        cut = safe_cut(data, 0, rng.randrange(len(data)))
        assert split_bytes(data[:cut]) + split_bytes(data[cut:]) == split_bytes(data)
        assert 0 < cut <= len(data)


def test_where_there_is_no_safe_cut_the_text_stays_whole() -> None:
    assert safe_cut(b"a" * 100, 0, 50) == 100
    assert safe_cut(b" " * 100, 0, 50) == 100
    assert safe_cut(b"abc def", 0, 5) == 3
    assert safe_cut(b"abcdef ghi", 0, 3) == 6


def test_the_last_cut_lies_within_what_is_asked() -> None:
    data = b"a b" + b"c" * 1000 + b" d"
    assert [last_cut(data, 0, n) for n in (1, 2, 3, 1003, 1004, 1005)] == [None, 1, 1, 1, 1003, 1003]
    assert last_cut(data, 1, 1003) is None


def test_separators_are_found_at_every_place_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    parts = [b"<|endoftext|>", b"<|endoftext|", b"<", b"<|", b"|>", b"x", b"endoftext", b"y" * 61]
    text = b"".join(rng.choice(parts) for _ in range(2000))
    array = np.frombuffer(text + b"<|endoftext|>" + bytes(PADDING), np.uint8)
    for start, end in ((0, len(text)), (5, len(text) + 12), (77, len(text) + 13), (3, 3), (9, 22)):
        found = separators(array, start, end).tolist()
        with monkeypatch.context() as patch:
            patch.setattr(module, "kernels", lambda: None)
            assert separators(array, start, end).tolist() == found
        assert len(found) == text[start:end].count(b"<|endoftext|>") + (end == len(text) + 13)


def test_memory_is_taken_again_where_it_is_large_enough() -> None:
    memory = Buffers()
    first = memory.take(100)
    memory.give(first)
    memory.give(b"no array")
    assert memory.take(100) is first
    memory.give(first)
    assert len(memory.take(1000)) >= 1000


@pytest.mark.parametrize("batch_bytes", [1, 7, 64, 1000])
def test_batches_hold_all_documents_in_order(batch_bytes: int) -> None:
    rng = random.Random(batch_bytes)
    documents = [b"word " * rng.randrange(60) for _ in range(50)]
    found = list(batches(documents, batch_bytes))
    assert joined(found) == documents
    assert sum(batch.n_documents for batch in found) == len(documents)


@pytest.mark.parametrize("batch_bytes", [16, 100, 5000])
def test_plain_text_is_read_in_bounded_batches(tmp_path: Path, batch_bytes: int) -> None:
    documents = [b"one two three", b"x y " * 700, b"\xff\xfe no utf-8", b"last one here"]
    (tmp_path / "a.txt").write_bytes(b"<|endoftext|>".join(documents) + b"<|endoftext|>")
    found = list(read_batches(tmp_path / "a.txt", batch_bytes=batch_bytes))
    assert joined(found) == documents
    assert max(batch.n_bytes for batch in found) <= 4 * batch_bytes + 32


def test_text_without_white_space_is_read_whole_and_blank_documents_are_left_out(tmp_path: Path) -> None:
    documents = [b"x" * 5000, b" \n" * 300, b"", b"y" * 700 + b" ", b"\n\n z", b" " * 999]
    (tmp_path / "a.txt").write_bytes(b"<|endoftext|>".join(documents))
    for batch_bytes in (16, 100, 1 << 20):
        assert joined(list(read_batches(tmp_path, batch_bytes=batch_bytes))) == [
            d for d in documents if d.strip()
        ], batch_bytes


def test_records_of_a_folder_are_read_and_hashed(tmp_path: Path) -> None:
    write_records(tmp_path / "part-00000.jsonl.zst", [{"text": "a"}, {"text": ""}])
    write_records(tmp_path / "part-00001.jsonl", [{"text": "é"}])
    assert joined(list(read_batches(tmp_path))) == [b"a", b"", "é".encode()]
    assert list(InputHashes(tmp_path).result()) == ["part-00000.jsonl.zst", "part-00001.jsonl"]


def test_a_separator_across_chunks_is_found(tmp_path: Path) -> None:
    documents = [b"a" * n + b" b" for n in (1, 50, 90, 7, 64, 51)]
    (tmp_path / "a.txt").write_bytes(b"<|endoftext|>".join(documents))
    for batch_bytes in range(40, 140):
        found: list[bytes] = []
        for batch in read_batches(tmp_path, batch_bytes=batch_bytes):
            if batch.continues:
                found[-1] += batch.parts[0]
            found += batch.parts[int(batch.continues) :]
        assert found == documents, batch_bytes
