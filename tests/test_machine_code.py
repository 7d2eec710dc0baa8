from pathlib import Path

import pytest

from fourhorn import machine_code

CPU = ("znver4", "+avx512f")


def test_a_name_stands_for_sources_and_processor(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1")
    first = machine_code.file_name("kernels", tmp_path, *CPU)
    assert first == machine_code.file_name("kernels", tmp_path, *CPU)
    assert first != machine_code.file_name("kernels", tmp_path, "haswell", "+avx2")
    (tmp_path / "a.py").write_text("a = 2")
    assert first != machine_code.file_name("kernels", tmp_path, *CPU)


def test_a_damaged_file_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOURHORN_CACHE_DIR", str(tmp_path / "new"))
    assert machine_code.stored("a.o") is None
    machine_code.keep("a.o", b"code", seconds="no time")
    assert machine_code.stored("a.o") == b"code"
    [path] = (tmp_path / "new").iterdir()
    for damaged in (path.read_bytes()[:-1] + b"x", b""):
        path.write_bytes(damaged)
        assert machine_code.stored("a.o") is None
    machine_code.keep("a.o", b"code", seconds="no time")
    assert machine_code.stored("a.o") == b"code"


def test_without_a_folder_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FOURHORN_CACHE_DIR", str(tmp_path / "file" / "folder"))
    machine_code.keep("a.o", b"code", seconds="2 seconds")
    assert machine_code.stored("a.o") is None
    error = capsys.readouterr().err
    assert "compiles it anew (2 seconds). Set FOURHORN_CACHE_DIR to a folder that can be written to." in error
