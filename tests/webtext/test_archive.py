from collections import Counter

import orjson
import pytest

from fourhorn.webtext import warc
from fourhorn.webtext.archive import Archive, response_block
from fourhorn.webtext.fetch import Answer
from fourhorn.webtext.frontier import Visit
from fourhorn.webtext.urls import parse

PAGE = Answer(200, "OK", ((b"Content-Type", b"text/html"),), b"<p>x</p>", b"GET / HTTP/1.1\r\n\r\n")


def visit(number: int, attempts: int = 1) -> Visit:
    url = f"http://site{number}.com/"
    return Visit(
        0, f"{number:032x}", orjson.dumps({"id": f"{number:032x}", "url": url}), parse(url), (), attempts
    )


def filled(folder):
    archive = Archive(folder, 0, "test")
    archive.keep(visit(1), PAGE, "text/html", 8)
    archive.drop(visit(2, attempts=3), "timeout")
    archive.keep(visit(3), PAGE, "text/html", 8)
    archive.close()
    return archive


def test_an_archive_opened_again_knows_what_is_done_and_appends(tmp_path):
    filled(tmp_path)
    archive = Archive(tmp_path, 0, "test")
    assert archive.done == {f"{1:032x}": "kept", f"{2:032x}": "timeout", f"{3:032x}": "kept"}
    assert archive.counts == {"kept": 2, "timeout": 1}
    assert archive.failures == {"site2.com": 3}
    archive.keep(visit(4), PAGE, "text/html", 8)
    archive.close()
    drops: Counter[str] = Counter()
    records = list(warc.read_records(archive.warc_path, drops))
    assert [r.url for r in records if r.type == "response"] == [f"http://site{i}.com/" for i in (1, 3, 4)]
    assert not drops


@pytest.mark.parametrize(
    ("tear", "n_done"),
    [
        (lambda index, data: (index + b'{"id":"x","outc', data + b"\x1f\x8b torn"), 3),
        (lambda index, data: (index[:-1], data), 2),
        (lambda index, data: (index, data[:-5]), 2),  # the index reached the disk, the last record did not
        (lambda index, data: (b"", data), 0),
    ],
)
def test_what_was_not_wholly_written_is_cut_off(tmp_path, tear, n_done):
    archive = filled(tmp_path)
    index, data = tear(archive.index_path.read_bytes(), archive.warc_path.read_bytes())
    archive.index_path.write_bytes(index)
    archive.warc_path.write_bytes(data)
    again = Archive(tmp_path, 0, "test")
    assert len(again.done) == n_done
    again.close()
    drops: Counter[str] = Counter()
    n_pages = sum(r.type == "response" for r in warc.read_records(again.warc_path, drops))
    assert (n_pages, drops) == (again.counts["kept"], {})


def test_headers_that_are_no_longer_true_are_renamed():
    headers = ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"999"), (b"X-Other", b"kept"))
    assert response_block(Answer(200, "OK", headers, b"body", b"")).split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"X-Crawler-Transfer-Encoding: chunked",
        b"X-Crawler-Content-Length: 999",
        b"X-Other: kept",
        b"",
        b"body",
    ]
