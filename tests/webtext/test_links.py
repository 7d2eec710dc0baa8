import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest, sha256_file
from fourhorn.records import iter_records
from fourhorn.webtext import links as module
from fourhorn.webtext.links import links
from fourhorn.zstd import CompressionParameter, ZstdCompressor


def row(**changes):
    return {
        "url": "http://example.com/a",
        "title": "A",
        "score": 5,
        "created_utc": 1400000000,
        "subreddit": "s",
        "is_self": False,
        **changes,
    }


ROWS = [
    row(),
    row(url="https://www.example.com/a?utm_source=x", score=9, created_utc="1400000500", title="Best"),
    row(url="https://example.com/a#s", score=9, created_utc=1500000000),
    row(is_self=True),
    row(score=2),
    row(score=None),
    row(url="http://en.wikipedia.org/wiki/A"),
    row(url="http://i.imgur.com/a"),
    row(url="https://www.reddit.com/r/x"),
    row(url="http://e.com/late", created_utc=1514764800),
    row(url="http://e.com/in-time", created_utc=1514764799),
    row(url="http://a b/"),
    row(title="[deleted by user]"),
    row(url="http://b.org/?a=1&amp;copy=2", score=3),
]
DUMP = b"\n".join(map(orjson.dumps, ROWS)) + b'\n{"broken\n\n'


def long_window(data: bytes) -> bytes:
    """One frame that declares the real dumps' window of 2 GiB."""
    options = {
        CompressionParameter.compression_level: 1,
        CompressionParameter.window_log: 31,
        CompressionParameter.enable_long_distance_matching: 1,
    }
    stream = ZstdCompressor(options=options)
    return stream.compress(data) + stream.flush()


def test_links_are_judged_counted_and_kept_once_with_the_best_karma(tmp_path):
    (tmp_path / "RS_2014-05.zst").write_bytes(long_window(DUMP))
    manifest = links(tmp_path / "RS_2014-05.zst", tmp_path / "links")
    assert manifest.drops == {
        "after_cutoff": 1,
        "deleted": 1,
        "duplicate": 2,
        "invalid_url": 1,
        "low_karma": 1,
        "malformed_line": 1,
        "media": 1,
        "no_karma": 1,
        "reddit": 1,
        "self_post": 1,
        "wikipedia": 1,
    }
    assert (manifest.n_in, manifest.n_kept) == (15, 3)
    assert read_manifest(tmp_path / "links") == manifest
    assert manifest.details["top_domains"] == {"b.org": 1, "e.com": 1, "example.com": 1}
    rows = {row["key"]: row for row in iter_records(tmp_path / "links")}
    assert rows["example.com/a"] == {
        "id": rows["example.com/a"]["id"],
        "domain": "example.com",
        "url": "https://www.example.com/a?utm_source=x",
        "key": "example.com/a",
        "karma": 9,
        "date": "2014-05-13T17:01:40Z",
        "title": "Best",
        "subreddit": "s",
    }
    assert set(rows) == {"example.com/a", "e.com/in-time", "b.org/?a=1&copy=2"}
    ids = [row["id"] for row in iter_records(tmp_path / "links")]
    assert ids == sorted(ids)


def test_every_compression_gives_the_same_links(tmp_path):
    packers = {
        "zst": long_window,
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "json": bytes,
    }
    hashes = set()
    for suffix, pack in packers.items():
        (tmp_path / f"RS.{suffix}").write_bytes(pack(DUMP))
        links(tmp_path / f"RS.{suffix}", tmp_path / suffix)
        hashes.add(sha256_file(tmp_path / suffix / "part-00000.jsonl.zst"))
    assert len(hashes) == 1


def test_a_folder_of_mixed_sources_is_one_set(tmp_path):
    dump = tmp_path / "dump"
    (dump / "2014").mkdir(parents=True)
    (dump / "2014" / "RS_2014-05.gz").write_bytes(gzip.compress(DUMP))
    (dump / "urls.txt").write_text("http://u.org/1\nhttp://example.com/a\n# no\n")
    (dump / "cc.cdxj").write_text('com,c)/q 20171201000000 {"url": "http://c.com/q", "status": "200"}\n')
    manifest = links(dump, tmp_path / "links", workers=2)
    assert (manifest.n_in, manifest.n_kept) == (18, 5)
    assert sorted(manifest.inputs) == ["2014/RS_2014-05.gz", "cc.cdxj", "urls.txt"]
    assert {r["key"]: r["karma"] for r in iter_records(tmp_path / "links")}["example.com/a"] == 9


def test_options_change_what_is_kept(tmp_path):
    (tmp_path / "d.json").write_bytes(DUMP)
    (tmp_path / "blocked.txt").write_text("b.org\n")
    manifest = links(tmp_path / "d.json", tmp_path / "links", min_karma=9, until="2014-12-31")
    assert [r["key"] for r in iter_records(tmp_path / "links")] == ["example.com/a"]
    assert manifest.drops["after_cutoff"] == 1
    manifest = links(tmp_path / "d.json", tmp_path / "other", blocklist=tmp_path / "blocked.txt")
    assert manifest.drops["blocked_domain"] == 1


def test_many_parts_are_the_same_links_as_one(tmp_path, monkeypatch):
    (tmp_path / "u.txt").write_text("".join(f"http://site{i % 50}.com/{i}\n" for i in range(3000)))
    links(tmp_path / "u.txt", tmp_path / "one")
    monkeypatch.setattr(module, "ROWS_PER_PART", 1000)
    manifest = links(tmp_path / "u.txt", tmp_path / "three")
    assert sorted(manifest.outputs) == [
        "part-00000.jsonl.zst",
        "part-00001.jsonl.zst",
        "part-00002.jsonl.zst",
    ]
    assert list(iter_records(tmp_path / "three")) == list(iter_records(tmp_path / "one"))
    assert manifest.details["top_domains"] == {f"site{i}.com": 60 for i in range(50)}


def test_mistakes_are_said_in_a_sentence(tmp_path):
    for source, word in [("none", "does not exist"), ("empty", "empty folder")]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=word):
            links(tmp_path / source, tmp_path / "links")
    damaged = long_window(DUMP * 100)
    (tmp_path / "cut.zst").write_bytes(damaged[: len(damaged) // 2] + b"\xff" * 40)
    with pytest.raises(UserError, match=r"cut.zst"):
        links(tmp_path / "cut.zst", tmp_path / "links")
    assert read_manifest(tmp_path / "links") is None
    assert not list((tmp_path / "links").glob("part-*"))


KILLED = """
import sys, os, signal, threading, time
from fourhorn.webtext.links import links
def die():
    time.sleep(float(sys.argv[3]))
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=die, daemon=True).start()
links(sys.argv[1], sys.argv[2], workers=1)
"""


def test_a_killed_run_ends_in_the_same_bytes(tmp_path):
    dump = tmp_path / "dump"
    dump.mkdir()
    for i in range(3):
        lines = [orjson.dumps(row(url=f"http://s{j % 99}.com/{i * j}")) for j in range(4000)]
        (dump / f"RS_{i}").write_bytes(b"\n".join(lines))
    whole = links(dump, tmp_path / "whole", workers=1)
    for seconds in (0.7, 1.0, 1.3):
        subprocess.run(
            [sys.executable, "-c", KILLED, dump, tmp_path / "links", str(seconds)], cwd=Path.cwd(), timeout=60
        )
    manifest = links(dump, tmp_path / "links", workers=1)
    assert (manifest.n_in, manifest.drops, manifest.outputs) == (whole.n_in, whole.drops, whole.outputs)
    assert sorted(p.name for p in (tmp_path / "links").iterdir()) == sorted(["manifest.json", *whole.outputs])


def test_a_source_without_any_link_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "RS.zst").write_bytes(b"<html>\nNot Found\n")
    with pytest.raises(UserError, match="none of its 2 lines"):
        links(tmp_path / "RS.zst", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_without_any_link_among_others_are_named(tmp_path, capfd):
    folder = tmp_path / "dumps"
    folder.mkdir()
    (folder / "RS_2014-05").write_bytes(DUMP)
    (folder / "notes.csv").write_bytes(b"a,b\n1,2\n")
    found = links(folder, tmp_path / "links", workers=1)
    assert (
        "1 of 2 files hold no link at all, and their lines count as malformed: notes.csv"
        in capfd.readouterr().err
    )
    assert found.drops["malformed_line"] == 3  # one of them in the dump
    links(folder / "RS_2014-05", tmp_path / "others", workers=1)
    assert "hold no link" not in capfd.readouterr().err
