"""Files are whole or absent, and manifests add up."""

import bz2
import gzip
import lzma
import tracemalloc
from pathlib import Path

import pytest

from fourhorn import files, zstd
from fourhorn.errors import UserError
from fourhorn.files import (
    Manifest,
    atomic_folder,
    atomic_write,
    finished,
    iter_lines,
    open_compressed,
    read_json,
    read_manifest,
    write_manifest,
)

TEXT = b"one\ntwo\n" * 5000


def test_failed_write_leaves_the_previous_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_failed_folder_leaves_the_previous_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("2")
        raise RuntimeError
    assert (tmp_path / "f" / "x").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for value in ("1", "2"):
        with atomic_folder(tmp_path / "f") as folder:
            (folder / value).write_text(value)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["2"]


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_lines_are_read_from_every_compression(tmp_path: Path, compress) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "lines"
    path.write_bytes(compress(TEXT))
    assert list(iter_lines(path)) == TEXT.split(b"\n")[:-1]


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"]
)
def test_a_cut_file_is_named_as_damaged(tmp_path: Path, compress) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "cut"
    path.write_bytes(compress(TEXT)[:-20])
    with pytest.raises(UserError, match="cut is damaged or cut off"):
        list(iter_lines(path))


def test_a_cut_zstd_file_is_named_as_damaged(tmp_path: Path) -> None:
    import random

    path = tmp_path / "cut.zst"
    noise = random.Random(0).randbytes(300_000)
    path.write_bytes(zstd.compress(noise)[:-5000])
    with pytest.raises(UserError, match="damaged or cut off"):
        list(iter_lines(path))


def test_zstd_frames_in_a_row_are_one_file_and_skippable_ones_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "frames.zst"
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    path.write_bytes(skippable + zstd.compress(TEXT) + skippable + zstd.compress(b"") + zstd.compress(TEXT))
    assert list(iter_lines(path)) == TEXT.split(b"\n")[:-1] * 2


def test_a_zstd_bomb_costs_the_memory_of_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zst"
    path.write_bytes(zstd.compress(bytes(1 << 28)))  # 256 MiB in 8 KiB of file
    tracemalloc.start()
    with open_compressed(path) as file:
        assert sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b"")) == 1 << 28
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * 3_000_000)
    with pytest.raises(UserError, match="line of more than 1,000 bytes"):
        list(iter_lines(path, max_line_bytes=1000))


def test_lines_longer_than_a_chunk_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LINES_BYTES", 7)
    lines = [b"", b"a" * 6, b"b" * 7, b"c" * 5000, b"", b"d"]
    path = tmp_path / "lines"
    for end in (b"", b"\n"):
        path.write_bytes(b"\n".join(lines) + end)
        assert list(iter_lines(path)) == lines
    with pytest.raises(UserError, match="more than 4,999 bytes"):
        list(iter_lines(path, max_line_bytes=4999))


def test_manifest_that_does_not_add_up_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10 in is not 5 kept \\+ 4 dropped"):
        write_manifest(tmp_path, Manifest("links", {}, n_in=10, n_kept=5, drops={"media": 4}))


def test_manifest_comes_back_as_written(tmp_path: Path) -> None:
    manifest = Manifest("links", {"min_karma": 3}, {"a": "00"}, 10, 6, {"media": 4}, {}, 1.5)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_finished_tells_same_other_and_open_work_apart(tmp_path: Path) -> None:
    assert finished(tmp_path, "links", {"min_karma": 3}, {}) is None
    write_manifest(tmp_path, Manifest("links", {"min_karma": 3}))
    assert finished(tmp_path, "links", {"min_karma": 3}, {}) is not None
    with pytest.raises(UserError, match="other options"):
        finished(tmp_path, "links", {"min_karma": 4}, {})
    with pytest.raises(UserError, match="other input"):
        finished(tmp_path, "links", {"min_karma": 3}, {"a": "00"})


def test_damaged_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        read_json(path)
