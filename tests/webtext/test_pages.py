import gzip
from collections import Counter

import orjson
import pytest

from fourhorn.errors import UserError
from fourhorn.records import write_records
from fourhorn.webtext import urls, warc
from fourhorn.webtext.pages import iter_pages, list_page_shards, media_type

HTML = b"<html><p>text</p></html>"


def http(body: bytes = HTML, *headers: bytes, status: bytes = b"200 OK", kind: bytes = b"text/html") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Type: " + kind, *headers, b"", body])


def record(block: bytes, url: str = "http://e.com/x", type: str = "response", **fields: str) -> bytes:
    headers = {"WARC-Record-ID": "<urn:uuid:1>", "WARC-Target-URI": url, "Content-Type": "application/http"}
    return warc.member(
        type, headers | {name.replace("_", "-"): value for name, value in fields.items()}, block
    )


def read(tmp_path, *records: bytes, **options):
    (tmp_path / "t.warc.gz").write_bytes(b"".join(records))
    drops: Counter[str] = Counter()
    return list(iter_pages(tmp_path / "t.warc.gz", drops, **options)), drops


def test_a_page_of_another_program_has_its_url_type_and_charset(tmp_path):
    [page], drops = read(
        tmp_path, record(http(kind=b'Text/HTML; Charset="ISO-8859-1"'), "<http://www.news.bbc.co.uk/a>")
    )
    assert page.url == "http://www.news.bbc.co.uk/a"
    assert page.id == urls.url_id("http://www.news.bbc.co.uk/a")
    assert (page.domain, page.content_type, page.charset) == ("bbc.co.uk", "text/html", "iso-8859-1")
    assert (page.date, page.karma, page.title, page.body) == (None, None, None, HTML)
    assert not drops


def test_the_link_comes_from_the_metadata_record_that_refers_to_the_response(tmp_path):
    link = {
        "id": "f" * 32,
        "url": "http://o.org/",
        "domain": "o.org",
        "karma": 7,
        "date": "2016-01-01T00:00:00Z",
        "title": "T",
    }
    note = record(
        orjson.dumps(link), type="metadata", WARC_Refers_To="<urn:uuid:1>", Content_Type="application/json"
    )
    other = record(
        orjson.dumps(link), type="metadata", WARC_Refers_To="<urn:uuid:2>", Content_Type="application/json"
    )
    [page, plain], _ = read(tmp_path, record(http()), note, record(http(), "http://e.com/y"), other)
    assert (page.id, page.url, page.domain, page.karma, page.title) == (
        "f" * 32,
        "http://o.org/",
        "o.org",
        7,
        "T",
    )
    assert (plain.url, plain.karma) == ("http://e.com/y", None)


def test_chunks_and_compression_are_undone(tmp_path):
    packed = gzip.compress(HTML)
    chunked = b"a\r\n" + packed[:10] + b"\r\n%x;x=y\r\n" % (len(packed) - 10) + packed[10:] + b"\r\n0\r\n\r\n"
    pages, drops = read(
        tmp_path,
        record(http(chunked, b"Transfer-Encoding: chunked", b"Content-Encoding: gzip")),
        record(http(HTML, b"Transfer-Encoding: chunked")),  # as programs leave it that undo the chunks
        record(HTML, type="resource", Content_Type="text/html"),
    )
    assert [page.body for page in pages] == [HTML] * 3
    assert not drops


def test_what_is_no_page_is_counted_by_reason(tmp_path):
    bomb = gzip.compress(bytes(5 << 20))
    pages, drops = read(
        tmp_path,
        record(http(status=b"404 Not Found")),
        record(http(kind=b"image/png")),
        record(http(b"   ")),
        record(http(bomb, b"Content-Encoding: gzip")),
        record(http(b"\x1f\x8b\x08\0\0\0\0\0", b"Content-Encoding: gzip")),
        record(b"not http at all"),
        record(http(), "dns:e.com"),
        record(http(), type="revisit"),
        record(b"HTTP/1.1 200 OK\r\n\r\n\x7fELF"),
        record(http(), WARC_Type="request", type="request"),
        max_page_bytes=1 << 20,
    )
    assert pages == []
    assert drops == {
        "http_404": 1,
        "not_html": 2,
        "empty": 1,
        "too_large": 1,
        "bad_encoding": 1,
        "bad_http": 1,
        "not_http": 1,
        "revisit": 1,
    }


def test_a_wrong_payload_digest_is_noticed_where_no_block_digest_is(tmp_path):
    block = http()
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.com/\r\nContent-Length: %d\r\n"
        % len(block)
    )
    for digest, n in (
        (warc.digest(HTML), 1),
        (warc.digest(b"other"), 0),
        ("sha1:nonsense!", 0),
        ("crc32:1", 1),
    ):
        content = head + f"WARC-Payload-Digest: {digest}\r\n\r\n".encode() + block + b"\r\n\r\n"
        pages, drops = read(tmp_path, gzip.compress(content))
        assert (len(pages), drops["bad_digest"]) == (n, 1 - n)


def test_tables_of_pages_are_pages(tmp_path):
    rows = [
        {"url": "http://a.com/1", "html": "<p>é</p>"},
        {"url": None, "html": "<p>b</p>"},
        {"url": "x", "html": " "},
    ]
    for name in ("t.jsonl.zst", "t.parquet"):
        write_records(tmp_path / name, rows)
        drops: Counter[str] = Counter()
        first, second = iter_pages(tmp_path / name, drops)
        assert (first.url, first.charset, first.body) == ("http://a.com/1", "utf-8", "<p>é</p>".encode())
        assert (second.url, second.domain, len(second.id)) == ("", "", 32)
        assert drops == {"empty": 1}
    write_records(tmp_path / "bad.jsonl", [{"url": "http://a.com/"}])
    with pytest.raises(UserError, match="html, body, content, raw_content"):
        list(iter_pages(tmp_path / "bad.jsonl"))


def test_shards_of_a_folder_a_file_and_a_common_crawl_listing(tmp_path):
    for name in ("b.warc.gz", "a.warc", "part.index.jsonl", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    assert [s.rsplit("/", 1)[1] for s in list_page_shards(tmp_path)] == ["a.warc", "b.warc.gz"]
    assert list_page_shards(tmp_path / "a.warc") == [str(tmp_path / "a.warc")]
    listing = tmp_path / "cc" / "warc.paths.gz"
    listing.parent.mkdir()
    listing.write_bytes(gzip.compress(b"../a.warc\ncrawl-data/CC-MAIN/x.warc.gz\nhttps://e.com/y.warc.gz\n"))
    assert list_page_shards(listing) == [
        str(tmp_path / "cc" / "../a.warc"),
        "https://data.commoncrawl.org/crawl-data/CC-MAIN/x.warc.gz",
        "https://e.com/y.warc.gz",
    ]
    for source, word in [
        ("none", "does not exist"),
        ("notes.md", "no source of pages"),
        ("empty", "webtext crawl"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=word):
            list_page_shards(tmp_path / source)


def test_media_type():
    assert media_type("text/html;charset=UTF-8") == ("text/html", "utf-8")
    assert media_type("") == ("", None)
