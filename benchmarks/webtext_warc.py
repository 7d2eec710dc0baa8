"""How fast are WARC files written and read, beside warcio and fastwarc?

    python benchmarks/webtext_warc.py [--pages FOLDER]

Every writer writes the same pages as `response` records, one gzip member each, with digests. Pages are
real HTML where a folder of `.html.gz` is given (default: ../shared/data/article-extraction/html), else made up.
"""

import argparse
import gzip
import importlib.metadata
import io
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from table import write_table

from fourhorn.webtext import warc
from fourhorn.webtext.archive import page_members, response_block
from fourhorn.webtext.fetch import Answer
from fourhorn.webtext.frontier import Visit
from fourhorn.webtext.urls import parse

ROUNDS = 5
DATE = "2017-12-31T00:00:00Z"
URL = "http://www.example.com/a/page.html"


def load_pages(folder: Path) -> list[bytes]:
    """The HTML pages of a folder, or made-up ones."""
    found = sorted(folder.glob("*.html.gz"))
    if found:
        return [gzip.decompress(path.read_bytes()) for path in found]
    generator = random.Random(1)
    words = [f"<p>word{generator.randrange(9999)}</p>\n" for _ in range(5000)]
    return ["".join(generator.choices(words, k=8000)).encode() for _ in range(100)]


def answer(body: bytes) -> Answer:
    """A page as it was fetched."""
    headers = ((b"Content-Type", b"text/html; charset=utf-8"), (b"Content-Length", b"%d" % len(body)))
    return Answer(200, "OK", headers, body, b"GET /a/page.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n")


def ours(pages: list[bytes]) -> int:
    """fourhorn, the response record alone."""
    n = 0
    for body in pages:
        fields = {
            "WARC-Record-ID": warc.new_id(),
            "WARC-Date": DATE,
            "WARC-Target-URI": URL,
            "Content-Type": "application/http; msgtype=response",
            "WARC-Payload-Digest": warc.digest(body),
        }
        n += len(warc.member("response", fields, response_block(answer(body))))
    return n


def ours_whole(pages: list[bytes]) -> int:
    """fourhorn as the crawl writes: response, request and metadata records."""
    line = b'{"id":"00000000000000000000000000000000","url":"http://www.example.com/a/page.html","karma":5}'
    visit = Visit(0, "0" * 32, line, parse(URL))
    return sum(len(page_members(visit, answer(body), "text/html")) for body in pages)


def theirs_warcio(pages: list[bytes]) -> int:
    """warcio's writer."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    for body in pages:
        headers = StatusAndHeaders(
            "200 OK",
            [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))],
            protocol="HTTP/1.1",
        )
        writer.write_record(
            writer.create_warc_record(URL, "response", payload=io.BytesIO(body), http_headers=headers)
        )
    return out.tell()


def theirs_fastwarc(pages: list[bytes], **options: int) -> int:
    """fastwarc's writer; its default level is 9."""
    from fastwarc.stream_io import GzipWriter
    from fastwarc.warc import WarcRecord, WarcRecordType

    out = io.BytesIO()
    stream = GzipWriter(out, **options)
    for body in pages:
        record = WarcRecord()
        record.init_headers(WarcRecordType.response)
        record.headers["WARC-Target-URI"] = URL
        record.set_bytes_content(response_block(answer(body)))
        record.write(stream, checksum_data=True)
        stream.finish()
    return out.tell()


def best_seconds(functions: dict[str, Callable[[], int]]) -> tuple[dict[str, float], dict[str, int]]:
    """The least CPU time of each over some rounds, taken in turn, and what each returned."""
    seconds = dict.fromkeys(functions, 1e9)
    results = {}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            started = time.process_time()
            results[name] = function()
            seconds[name] = min(seconds[name], time.process_time() - started)
    return seconds, results


def reading(path: Path) -> dict[str, Callable[[], int]]:
    """The readers; each reads every byte and checks what it can."""

    def by_fourhorn() -> int:
        return sum(len(record.block) for record in warc.read_records(path, Counter()))

    def by_warcio() -> int:
        from warcio.archiveiterator import ArchiveIterator

        with path.open("rb") as file:
            iterator = ArchiveIterator(file, no_record_parse=True, check_digests=True)
            return sum(len(record.raw_stream.read()) for record in iterator)

    def by_fastwarc() -> int:
        from fastwarc.warc import ArchiveIterator

        records = ArchiveIterator(str(path), parse_http=False)
        return sum(len(record.reader.read()) for record in records if record.verify_block_digest() or True)

    return {"fourhorn": by_fourhorn, "warcio": by_warcio, "fastwarc": by_fastwarc}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser()
    here = Path(__file__).parent.parent
    parser.add_argument("--pages", type=Path, default=here.parent / "shared/data/article-extraction/html")
    pages = load_pages(parser.parse_args().pages)
    n_bytes = sum(map(len, pages))
    writers: dict[str, Callable[[], int]] = {
        "fourhorn (isal 1)": lambda: ours(pages),
        "fourhorn, 3 records a page": lambda: ours_whole(pages),
        "warcio": lambda: theirs_warcio(pages),
        "fastwarc, default (9)": lambda: theirs_fastwarc(pages),
        "fastwarc, level 6": lambda: theirs_fastwarc(pages, compression_level=6),
        "fastwarc, level 1": lambda: theirs_fastwarc(pages, compression_level=1),
    }
    seconds, sizes = best_seconds(writers)
    base = seconds["fourhorn (isal 1)"]
    rows = [
        [
            name,
            f"{len(pages) / s:,.0f}",
            f"{n_bytes / s / 1e6:,.0f}",
            f"{s / base:.1f}×",
            f"{sizes[name] / n_bytes:.3f}",
        ]
        for name, s in seconds.items()
    ]
    path = Path("/tmp") / "fourhorn-benchmark.warc.gz"
    line = b'{"id":"00000000000000000000000000000000","url":"http://www.example.com/a/page.html","karma":5}'
    visit = Visit(0, "0" * 32, line, parse(URL))
    path.write_bytes(b"".join(page_members(visit, answer(body), "text/html") for body in pages))
    read_seconds, read_sizes = best_seconds(reading(path))
    path.unlink()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("warcio", "fastwarc", "isal")
    )
    notes = [
        f"{len(pages)} pages, {n_bytes / 1e6:.1f} MB of HTML; one core, CPU time, best of {ROUNDS}; {versions}."
    ]
    notes += ["", "Reading the same pages, three records each, with digests checked:", ""]
    notes += ["| reader | pages/s | MB/s |", "| --- | --- | --- |"]
    notes += [
        f"| {name} | {len(pages) / s:,.0f} | {read_sizes[name] / s / 1e6:,.0f} |"
        for name, s in read_seconds.items()
    ]
    head = ["writer", "pages/s", "MB/s", "time", "size"]
    write_table(__file__, "WARC files", head, rows, notes)


if __name__ == "__main__":
    main()
