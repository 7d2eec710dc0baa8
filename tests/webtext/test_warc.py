import base64
import gzip
import hashlib
import os
import random
import subprocess
import time
import uuid
from collections import Counter

import pytest

from fourhorn import zstd
from fourhorn.errors import UserError
from fourhorn.webtext import warc
from fourhorn.webtext.archive import page_members
from fourhorn.webtext.fetch import Answer
from fourhorn.webtext.frontier import Visit
from fourhorn.webtext.urls import parse

HEADERS = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Transfer-Encoding", b"chunked"))
INFO = warc.info_member("fourhorn/test", "2017-01-01T00:00:00Z")


def members(n: int, body: bytes = b"<p>caf\xc3\xa9 and words</p>") -> list[bytes]:
    made = []
    for i in range(n):
        url = f"http://site{i}.com/a?b={i}"
        visit = Visit(
            0, f"{i:032x}", b'{"id":"%032x","url":"%s","karma":%d}' % (i, url.encode(), i), parse(url)
        )
        request = b"GET /a?b=%d HTTP/1.1\r\nHost: site%d.com\r\n\r\n" % (i, i)
        made.append(page_members(visit, Answer(200, "OK", HEADERS, body, request), "text/html"))
    return made


def records(path, **options) -> tuple[list[warc.Record], Counter]:
    drops: Counter[str] = Counter()
    return list(warc.read_records(path, drops, **options)), drops


def test_what_is_written_is_read_in_every_wrapping(tmp_path):
    data = INFO + b"".join(members(3))
    plain = gzip.decompress(data)
    wrappings = {
        "a.warc.gz": data,
        "b.warc": plain,
        "c.warc.gz": gzip.compress(plain),
        "d.warc.zst": zstd.compress(plain),
    }
    for name, content in wrappings.items():
        (tmp_path / name).write_bytes(content)
        found, drops = records(tmp_path / name)
        assert [r.type for r in found] == ["warcinfo"] + ["response", "request", "metadata"] * 3
        assert found[4].url == "http://site1.com/a?b=1"
        assert found[4].block.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/html")
        assert found[4].block.endswith(b"\r\n\r\n<p>caf\xc3\xa9 and words</p>")
        assert not drops


@pytest.mark.parametrize("n_bytes", [0, 1, 65_000, 65_535, 65_536, 400_000])
def test_a_packed_block_is_stored_as_it_is_in_a_member_like_any_other(n_bytes):
    block = os.urandom(n_bytes)
    stored = warc.member("response", {"WARC-Record-ID": "<urn:x>"}, block, packed=True)
    assert gzip.decompress(stored) == gzip.decompress(
        warc.member("response", {"WARC-Record-ID": "<urn:x>"}, block)
    )
    assert len(stored) < n_bytes + 300


def test_warcio_and_fastwarc_read_our_files_and_check_our_digests(tmp_path):
    from fastwarc.warc import ArchiveIterator as FastIterator
    from warcio.archiveiterator import ArchiveIterator
    from warcio.checker import Checker

    path = tmp_path / "ours.warc.gz"
    path.write_bytes(INFO + b"".join(members(5)))
    with path.open("rb") as file:
        theirs = []
        for record in ArchiveIterator(file, check_digests="raise"):
            theirs.append(
                (
                    record.rec_type,
                    record.rec_headers.get_header("WARC-Target-URI"),
                    record.content_stream().read(),
                )
            )
    ours = records(path)[0]
    assert [kind for kind, _, _ in theirs] == [r.type for r in ours]
    assert theirs[1] == ("response", "http://site0.com/a?b=0", b"<p>caf\xc3\xa9 and words</p>")
    with path.open("rb") as file:
        fast = [
            (r.headers["WARC-Type"], r.verify_block_digest()) for r in FastIterator(file, parse_http=False)
        ]
    assert fast == [(r.type, True) for r in ours]

    class Args:
        verbose = False
        inputs = [str(path)]  # noqa: RUF012

    checker = Checker(Args())
    checker.process_all()
    assert checker.exit_value == 0


def test_a_warc_of_wget_is_accepted(web, tmp_path):
    command = ["wget", "-q", "--no-config", "-O", "/dev/null", f"--warc-file={tmp_path / 'wget'}"]
    address = f"http://127.0.0.1:{web.port}"
    try:
        subprocess.run(
            [*command, f"{address}/one", f"{address}/missing", f"{address}/move/two"], timeout=30, check=False
        )
    except FileNotFoundError:
        pytest.skip("wget is not installed")
    found, drops = records(tmp_path / "wget.warc.gz")
    assert not drops
    assert Counter(r.type for r in found)["response"] >= 4
    from fourhorn.webtext.pages import iter_pages

    pages = [
        (page.url, b"Page 127.0.0.1/one" in page.body)
        for page in iter_pages(tmp_path / "wget.warc.gz", drops)
    ]
    assert pages[0] == (f"{address}/one", True)
    assert pages[1][0] == f"{address}/page/two"
    assert drops == {"http_404": 1, "http_301": 1}


def test_damage_is_counted_and_the_records_behind_it_are_read(tmp_path):
    made = members(6)
    broken = bytearray(made[2])
    broken[len(broken) // 8] ^= 0xFF
    path = tmp_path / "a.warc.gz"
    path.write_bytes(INFO + b"".join(made[:2]) + bytes(broken) + b"".join(made[3:]))
    found, drops = records(path)
    assert {r.url for r in found if r.type == "response"} >= {
        f"http://site{i}.com/a?b={i}" for i in (0, 1, 3, 4, 5)
    }
    assert drops.total() >= 1


def test_truncation_a_wrong_length_and_a_wrong_digest_are_noticed(tmp_path):
    plain = gzip.decompress(b"".join(members(2)))
    path = tmp_path / "a.warc"
    cases = {
        "truncated": plain[: len(plain) - 30],
        "bad_digest": plain.replace(b"and words", b"und words", 1),
        "bad_record": plain.replace(b"Content-Length: ", b"Content-Length: x", 1),
        "damaged": b"what is this?\n" + plain,
    }
    for reason, content in cases.items():
        path.write_bytes(content)
        found, drops = records(path)
        assert drops == {reason: 1}
        assert len(found) == (6 if reason == "damaged" else 5)
    path.write_bytes(plain)
    assert records(path, max_record_bytes=100)[1] == {"too_large": 2}
    path.write_bytes(b"")
    assert records(path) == ([], {})


def test_reading_by_offset_finds_the_records_and_names_damage(tmp_path):
    made = members(2)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(made))
    with path.open("rb") as file:
        [response, request, metadata] = warc.read_record_at(file, len(made[0]), len(made[1]))
        assert (response.url, request.type, metadata.type) == (
            "http://site1.com/a?b=1",
            "request",
            "metadata",
        )
        with pytest.raises(UserError, match=r"a\.warc\.gz"):
            warc.read_record_at(file, len(made[0]) + 7, len(made[1]))


def test_mutated_files_never_crash_the_reader_or_take_long(tmp_path):
    random.seed(7)
    data = INFO + b"".join(members(4))
    plain = gzip.decompress(data)
    started = time.monotonic()
    for number in range(300):
        content = bytearray(random.choice([data, plain, gzip.compress(plain)]))
        for _ in range(random.randrange(1, 4)):
            content[random.randrange(len(content))] = random.randrange(256)
        if cut := random.random() < 0.3:
            del content[random.randrange(len(content)) :]
        path = tmp_path / f"{number % 3}.warc"
        path.write_bytes(content)
        found, drops = records(path)
        assert len(found) <= 13
        assert len(found) == 13 or drops.total() >= 1 or cut  # a cut between two records leaves a whole file
    assert time.monotonic() - started < 60


def test_lines_of_any_length_and_endless_headers_are_bounded(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(b"WARC/1.0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n")
    assert records(path)[1]["bad_record"] == 1
    path.write_bytes(b"WARC/1.0\r\nX: " + b"y" * 3_000_000)
    assert records(path)[1].total() >= 1


def test_digests_and_ids_are_what_the_standard_library_would_write():
    for n in (0, 1, 20, 5000):
        data = os.urandom(n)
        assert warc.digest(data) == "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()
        id = uuid.UUID(warc.new_id().removeprefix("<urn:uuid:").removesuffix(">"))
        assert (id.version, id.variant) == (4, uuid.RFC_4122)
        assert warc.new_id() != warc.new_id()
