"""`fourhorn reproduce` and the stages under it: a user's mistake is one sentence, exit code 2, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from fourhorn.cli.app import run


def test_an_unknown_stage_is_named_with_all_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", str(tmp_path / "x"), "--to", "crwal"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "fourhorn: There is no stage 'crwal'. Did you mean 'crawl'? Known: web, dump, links"
    )
    assert not (tmp_path / "x").exists()


def test_a_dump_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "RS_2017-11.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(range(256)) * 20)
    assert run(["webtext", "links", str(tmp_path / "dump"), str(tmp_path / "links")]) == 2
    err = capsys.readouterr().err
    assert "RS_2017-11.zst" in err
    assert "Traceback" not in err
    assert not (tmp_path / "links" / "manifest.json").exists()


def test_a_corrupt_archive_of_pages_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "part-00000.warc.gz").write_bytes(b"\x1f\x8b" + b"no gzip at all" * 50)
    code = run(["webtext", "extract", str(tmp_path / "pages"), str(tmp_path / "raw")])
    err = capsys.readouterr().err
    assert code == 2
    assert "part-00000.warc.gz" in err
    assert "Traceback" not in err
    assert not (tmp_path / "raw" / "manifest.json").exists()


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the write fails in the middle."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "from fourhorn.cli.app import main; main(sys.argv[1:])"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "reproduce",
        str(tmp_path / "x"),
        "--scale",
        "smoke",
        "--to",
        "web",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "larger than is allowed" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "x" / "web").glob("*"))
