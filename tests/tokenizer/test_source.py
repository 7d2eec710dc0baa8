import random
from pathlib import Path

import pytest

from fourhorn.records import write_records
from fourhorn.tokenizer.bpe import split_bytes
from fourhorn.tokenizer.source import Batch, InputHashes, batches, read_batches, safe_cut


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
    assert max(sum(map(len, batch.parts)) for batch in found) <= 4 * batch_bytes + 32


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
