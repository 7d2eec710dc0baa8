"""Downloads from a server on this machine: resume, damage, sizes, offline."""

import hashlib
import http.server
import threading
from typing import ClassVar

import pytest

from fourhorn.checkpoints import released
from fourhorn.checkpoints.load import load
from fourhorn.checkpoints.openai import write
from fourhorn.errors import UserError


class Handler(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    cut_after: int | None = None
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        name, wanted = self.path.rsplit("/", 1)[1], self.headers.get("Range")
        self.asked.append((name, wanted))
        if name not in self.files:
            self.send_error(404)
            return
        data = self.files[name]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        data = data[start:]
        self.wfile.write(data[: self.cut_after] if self.cut_after is not None else data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(checkpoint, tmp_path, monkeypatch):
    folder = write(checkpoint, tmp_path / "origin")
    Handler.files = {path.name: path.read_bytes() for path in folder.iterdir()} | {
        "model.ckpt.meta": b"graph"
    }
    Handler.cut_after, Handler.asked = None, []
    for name in ("encoder.json", "vocab.bpe"):
        digest = hashlib.sha256(Handler.files[name]).hexdigest()
        monkeypatch.setitem(released.RELEASED_SHA256, name, digest)
    monkeypatch.setenv("FOURHORN_HOME", str(tmp_path / "home"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/124M"
        httpd.shutdown()


def test_a_download_is_loaded_by_its_size(server, checkpoint):
    folder = released.download("124M", base_url=server)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*released.OPENAI_FILES, "download.json"])
    model, tokenizer = load("124M")
    assert model.config.n_embd == 64
    assert tokenizer == checkpoint.tokenizer


def test_an_interrupted_download_goes_on_where_it_stopped(server):
    Handler.cut_after = 1000
    with pytest.raises(UserError, match="Run the command again"):
        released.download("124M", base_url=server)
    Handler.cut_after = None
    Handler.asked.clear()
    released.download("124M", base_url=server)
    assert ("encoder.json", "bytes=1000-") in Handler.asked
    load("124M")


def test_a_finished_download_asks_the_server_nothing(server):
    released.download("124M", base_url=server)
    Handler.asked.clear()
    released.download("124M", base_url=server)
    released.download("124M", base_url=server, offline=True)
    assert Handler.asked == []


def test_a_piece_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "checkpoint.part").write_bytes(bytes(10_000))
    released.download("124M", tmp_path / "here", base_url=server)
    assert (tmp_path / "here" / "checkpoint").read_bytes() == Handler.files["checkpoint"]


def test_a_wrong_vocabulary_is_removed_and_named(server):
    Handler.files["vocab.bpe"] += b"x"
    with pytest.raises(UserError, match=r"vocab.bpe was not the published file"):
        released.download("124M", base_url=server)
    assert not (released.cache_folder() / "124M" / "vocab.bpe").exists()


def test_a_missing_file_at_the_server_is_named(server):
    del Handler.files["model.ckpt.index"]
    with pytest.raises(UserError, match=r"model.ckpt.index answered 404"):
        released.download("124M", base_url=server)


def test_offline_says_what_is_missing(server, tmp_path):
    with pytest.raises(UserError, match=r"checkpoint is missing and --offline"):
        released.download("124M", tmp_path / "here", offline=True)


def test_a_size_that_is_not_here_says_how_to_fetch_it(server):
    with pytest.raises(UserError, match="fourhorn download 355M"):
        load("355M")


def test_an_unreachable_place_ends_in_one_sentence(server, tmp_path):
    with pytest.raises(UserError, match="could not be reached"):
        released.download("124M", tmp_path / "x", base_url="http://127.0.0.1:9/none")
    with pytest.raises(UserError, match="no web address"):
        released.download("124M", tmp_path / "x", base_url="file:///etc")
