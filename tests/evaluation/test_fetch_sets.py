"""Downloads go on after a break, archives give up only the wanted files, wrong files are refused."""

import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation import datasets, fetch

LINES = b'{"question": "who", "answer": ["me"]}\n' * 3610


class Handler(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    Handler.files, Handler.ranges = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def served(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """Let a set come from `url`, its hash unknown."""
    spec = datasets.OFFICIAL[name]
    files = tuple(replace(file, sha256=None, n_bytes=None) for file in spec.files)
    monkeypatch.setitem(datasets.OFFICIAL, name, replace(spec, urls=(url,), files=files))


def test_a_broken_download_goes_on_where_it_stopped(host: str, tmp_path: Path) -> None:
    Handler.files["/file"] = bytes(range(256)) * 100
    (tmp_path / "file.part").write_bytes(Handler.files["/file"][:1000])
    path = fetch.download(f"{host}/file", tmp_path / "file")
    assert path.read_bytes() == Handler.files["/file"]
    assert Handler.ranges == ["bytes=1000-"]
    assert not (tmp_path / "file.part").exists()


def test_a_plain_file_is_fetched_checked_and_kept(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handler.files["/NQ-open.dev.jsonl"] = LINES
    served(monkeypatch, "natural_questions", f"{host}/NQ-open.dev.jsonl")
    (path,) = fetch.fetch("natural_questions", tmp_path)
    assert path.read_bytes() == LINES
    fetch.fetch("natural_questions", tmp_path)
    assert len(Handler.ranges) == 1


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_archives_give_up_the_wanted_file_only(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    buffer = io.BytesIO()
    members = {"deep/NQ-open.dev.jsonl": LINES, "../evil.txt": b"x", "other": b"y"}
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tarred:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tarred.addfile(entry, io.BytesIO(data))
    Handler.files[f"/set.{kind}"] = buffer.getvalue()
    served(monkeypatch, "natural_questions", f"{host}/set.{kind}")
    folder = tmp_path / "data"
    (path,) = fetch.fetch("natural_questions", folder)
    assert path == folder / "natural_questions" / "NQ-open.dev.jsonl"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [f"set.{kind}", "NQ-open.dev.jsonl"]
    )


def test_a_wrong_file_is_refused_with_both_figures(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handler.files["/NQ-open.dev.jsonl"] = LINES[:-40]
    served(monkeypatch, "natural_questions", f"{host}/NQ-open.dev.jsonl")
    with pytest.raises(UserError, match="line 3609"):
        fetch.fetch("natural_questions", tmp_path)
    Handler.files["/NQ-open.dev.jsonl"] = LINES + LINES
    with pytest.raises(UserError, match="7,220 questions, expected 3,610"):
        fetch.fetch("natural_questions", tmp_path / "other")


def test_a_missing_file_or_host_is_one_sentence(host: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answered 404"):
        fetch.download(f"{host}/none", tmp_path / "none")
    with pytest.raises(UserError, match="cannot be reached"):
        fetch.download("http://127.0.0.1:9/none", tmp_path / "none")
    with pytest.raises(UserError, match="Did you mean 'lambada'"):
        fetch.fetch("lambda", tmp_path)
