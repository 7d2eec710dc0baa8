"""The extraction stage: every page becomes a document or a counted reason."""

from collections import Counter

import pytest

from fourhorn.errors import UserError
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.extract import extract, nesting_depth

WORDS = "The river rose in the night, and by morning the lower fields were a lake where fence posts stood like birds."


def html(number: int) -> str:
    paragraphs = "".join(f"<p>Part {number}.{i}: {WORDS}</p>" for i in range(4))
    return (
        f"<html><head><title>River {number}</title></head><body><article>{paragraphs}</article></body></html>"
    )


def pages(tmp_path, rows, n_shards=2):
    for index in range(n_shards):
        write_records(tmp_path / "pages" / f"part-{index:05d}.jsonl.zst", rows[index::n_shards])
    return tmp_path / "pages"


HANGS = (
    "<html><body>"
    + "".join(f"<p><a href='{i}'>link {i}</a> word</p>" for i in range(60_000))
    + "</body></html>"
)


def test_every_page_is_kept_or_counted(tmp_path):
    rows = [
        {"url": f"http://river.example/{n}", "html": html(n), "karma": n, "date": "2017-05-01"}
        for n in range(6)
    ]
    rows += [
        {"url": "http://river.example/deep", "html": "<div>" * 2000 + "x"},
        {"url": "http://river.example/large", "html": html(1) + " " * 4_000_000},
        {"url": "http://river.example/bare", "html": "<html><body><script>1</script></body></html>"},
        {"url": "http://river.example/empty", "html": " "},
        {"url": "http://river.example/hangs", "html": HANGS},
        {"url": "http://river.example/last", "html": html(99)},
    ]
    manifest = extract(
        pages(tmp_path, rows), tmp_path / "raw", page_seconds=0.5, max_page_bytes=3_900_000, workers=2
    )
    assert manifest.n_in == 12
    assert manifest.n_kept == 7
    assert manifest.drops == {
        "nested_too_deeply": 1,
        "too_large": 1,
        "no_text": 1,
        "empty": 1,
        "timed_out": 1,
    }
    documents = list(iter_records(tmp_path / "raw"))
    assert sorted(d["url"].rsplit("/", 1)[1] for d in documents) == ["0", "1", "2", "3", "4", "5", "last"]
    first = next(d for d in documents if d["url"].endswith("/3"))
    assert (first["domain"], first["karma"], first["date"], first["extractor"]) == (
        "river.example",
        3,
        "2017-05-01",
        "trafilatura",
    )
    assert first["text"].split("\n\n") == [f"Part 3.{i}: {WORDS}" for i in range(4)]
    assert not list((tmp_path / "raw").glob(".*"))


def test_the_same_pages_give_the_same_bytes(tmp_path):
    source = pages(tmp_path, [{"url": f"http://a.example/{n}", "html": html(n)} for n in range(6)])
    one = extract(source, tmp_path / "one", workers=1)
    two = extract(source, tmp_path / "two", workers=2)
    assert one.outputs == two.outputs


def test_all_extractors_write_documents(tmp_path):
    source = pages(tmp_path, [{"url": "http://a.example/1", "html": html(1)}], 1)
    for name in ("consensus", "resiliparse"):
        extract(source, tmp_path / name, extractor=name, workers=1)
        assert Counter(d["extractor"] for d in iter_records(tmp_path / name)) == {name: 1}


def test_wrong_options_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no extractor 'newspaper'"):
        extract(tmp_path, tmp_path / "raw", extractor="newspaper")
    with pytest.raises(UserError, match="positive number of seconds"):
        extract(tmp_path, tmp_path / "raw", page_seconds=0)


def test_nesting_is_counted_in_tags_that_must_be_closed():
    assert nesting_depth(b"<div><p>a<p>b</div>" * 300, 100) == 1
    assert nesting_depth(b"<div>" * 300 + b"</div>" * 300, 100) == 300
    assert nesting_depth(b"<div>" * 90, 100) == 0  # cannot reach the limit: not looked at
