"""Pages: what the crawl fetched, read back from its WARC files, from other programs' or from tables of HTML.

The source of §2.1's text extraction. `list_page_shards(source)` names the shards of a folder, a file or a Common
Crawl listing (`warc.paths[.gz]`); `iter_pages(shard)` yields its HTML pages, decompressed under a byte budget.
Whatever holds no page is counted in `drops` by reason (`http_404`, `not_html`, `bad_encoding`, `too_large`,
`truncated`, …), so that pages + drops = response records. A shard of fourhorn's own crawl is read in the order of
its ids, so that nothing behind it depends on which page happened to be fetched first.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fourhorn.errors import UserError
from fourhorn.files import iter_lines
from fourhorn.records import iter_records, kind
from fourhorn.webtext import urls, warc
from fourhorn.webtext.inflate import BadEncoding, TooLarge, inflate
from fourhorn.webtext.work import check_finished

MAX_PAGE_BYTES = 10 << 20
HTML_TYPES = frozenset(["text/html", "application/xhtml+xml"])
COMMON_CRAWL = "https://data.commoncrawl.org/"
INDEX_SUFFIX = ".index.jsonl"
_WARC_SUFFIXES = (".warc", ".warc.gz", ".warc.zst")
_LISTING_SUFFIXES = (".paths", ".paths.gz")
_HTML_COLUMNS = ("html", "body", "content", "raw_content")
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})(?: |$)")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """One HTML page: content decompressed, still in its own character set; `date`, `karma`, `title` are the link's."""

    id: str
    url: str
    domain: str
    date: str | None
    karma: int | None
    title: str | None
    content_type: str
    charset: str | None
    body: bytes


def list_page_shards(source: str | Path) -> list[str]:
    """The shards of `source`: WARC files, tables of pages, or the files a Common Crawl listing names."""
    path = Path(source)
    if path.is_file():
        return _listed(path) if path.name.endswith(_LISTING_SUFFIXES) else [str(_checked(path))]
    if not path.is_dir():
        raise UserError(f"{path} does not exist. Give a WARC file, a folder of them, or a table of pages.")
    check_finished(path)
    entries = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    shards = [p for p in entries if p.name.endswith(_WARC_SUFFIXES)]
    shards = shards or [
        p for p in entries if kind(p) in (".jsonl", ".parquet") and INDEX_SUFFIX not in p.name
    ]
    listings = [p for p in entries if p.name.endswith(_LISTING_SUFFIXES)]
    if not shards and not listings:
        raise UserError(
            f"{path} holds no .warc.gz, .parquet or .jsonl of pages. Run: fourhorn webtext crawl links {path}"
        )
    return [str(p) for p in shards] + [shard for listing in listings for shard in _listed(listing)]


def iter_pages(
    shard: str | Path, drops: Counter[str] | None = None, *, max_page_bytes: int = MAX_PAGE_BYTES
) -> Iterator[Page]:
    """The HTML pages of one shard; what is none is counted in `drops` by reason."""
    drops = Counter() if drops is None else drops
    path = Path(shard)
    if not path.name.endswith(_WARC_SUFFIXES):
        yield from _table_pages(path, drops, max_page_bytes)
        return
    index = index_path(path)
    found = _indexed_responses(path, index) if index.exists() else _streamed_responses(shard, drops)
    for record, link in found:
        try:
            yield _page(record, link, max_page_bytes)
        except _NoPage as no_page:
            drops[no_page.reason] += 1


def index_path(warc_path: Path) -> Path:
    """Where the crawl keeps the index of a WARC file: beside it."""
    return warc_path.with_name(warc_path.name.removesuffix(".warc.gz") + INDEX_SUFFIX)


# ------------------------------------------------------------------------------------------------ HTTP messages


class _NoPage(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason


def is_html(content_type: str, start: bytes) -> bool:
    """Whether a media type is HTML's; where none is given, whether the content begins like a tag."""
    return content_type in HTML_TYPES if content_type else start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def media_type(content_type_header: str) -> tuple[str, str | None]:
    """`("text/html", "iso-8859-1")` of a `Content-Type` header."""
    charset = _CHARSET.search(content_type_header)
    return content_type_header.partition(";")[0].strip().lower(), charset[1].lower() if charset else None


def _page(record: warc.Record, link: dict[str, Any], max_page_bytes: int) -> Page:
    url = urls.parse(record.url)
    if url is None:
        raise _NoPage("not_http")
    if record.type == "resource":
        content_type, charset = media_type(record.headers.get("content-type", ""))
        body = record.block
    else:
        content_type, charset, body = _response_body(record, max_page_bytes)
    if not body.strip():
        raise _NoPage("empty")
    if not is_html(content_type, body[:512]):
        raise _NoPage("not_html")
    original = link.get("url") or record.url
    return Page(
        id=link.get("id") or urls.key_id(urls.page_key(url)),
        url=original,
        domain=link.get("domain") or urls.registered_domain(url.hostname),
        date=link.get("date"),
        karma=link.get("karma"),
        title=link.get("title"),
        content_type=content_type,
        charset=charset,
        body=body,
    )


def _response_body(record: warc.Record, max_page_bytes: int) -> tuple[str, str | None, bytes]:
    head, gap, body = record.block.partition(b"\r\n\r\n")
    if not gap:
        head, gap, body = record.block.partition(b"\n\n")
    status = _STATUS_LINE.match(head)
    if not status or not gap:
        raise _NoPage("bad_http")
    if status[1] != b"200":
        raise _NoPage(f"http_{status[1].decode()}")
    headers = _http_headers(head)
    content_type, charset = media_type(headers.get("content-type", ""))
    if content_type and content_type not in HTML_TYPES:
        raise _NoPage("not_html")
    raw = body
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunk(body)
    if "warc-block-digest" not in record.headers and not (
        warc.payload_digest_agrees(record, raw) or warc.payload_digest_agrees(record, body)
    ):
        raise _NoPage("bad_digest")
    try:
        return (
            content_type,
            charset,
            inflate(body, headers.get("content-encoding", ""), max_bytes=max_page_bytes),
        )
    except TooLarge:
        raise _NoPage("too_large") from None
    except BadEncoding:
        raise _NoPage("bad_encoding") from None


def _http_headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.strip().lower().decode("latin-1"), value.strip().decode("latin-1"))
    return headers


def _unchunk(body: bytes) -> bytes:
    """A chunked body put together; one that is not chunked after all (some programs undo it first) as it is."""
    parts: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\r\n", position, position + 80)
        size_text = body[position:end].partition(b";")[0].strip() if end >= 0 else b""
        try:
            size = int(size_text, 16)
        except ValueError:
            return body if not parts else b"".join(parts)
        if size <= 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        position = end + 2 + size + 2


# ----------------------------------------------------------------------------------------------------- sources


def _streamed_responses(
    shard: str | Path, drops: Counter[str]
) -> Iterator[tuple[warc.Record, dict[str, Any]]]:
    """Responses in file order, each with the link row of the metadata record that follows it, if there is one."""
    waiting: warc.Record | None = None
    link: dict[str, Any] = {}
    for record in warc.read_records(shard, drops):
        if record.type == "response" or (record.type == "resource" and record.url.startswith("http")):
            if waiting:
                yield waiting, link
            waiting, link = record, {}
        elif record.type == "revisit":
            drops["revisit"] += 1
        elif record.type == "metadata" and waiting and record.headers.get("warc-refers-to") == waiting.id:
            link = _link_row(record)
    if waiting:
        yield waiting, link


def _indexed_responses(path: Path, index: Path) -> Iterator[tuple[warc.Record, dict[str, Any]]]:
    rows = [row for row in map(orjson.loads, iter_lines(index)) if row["outcome"] == "kept"]
    rows.sort(key=lambda row: row["id"])
    with open(path, "rb") as file:
        for row in rows:
            records = warc.read_record_at(file, row["offset"], row["n_bytes"])
            by_type = {record.type: record for record in records}
            if "response" not in by_type:
                raise UserError(f"{path} and its index disagree at byte {row['offset']:,}. Crawl it again.")
            yield by_type["response"], _link_row(by_type["metadata"]) if "metadata" in by_type else {}


def _link_row(record: warc.Record) -> dict[str, Any]:
    """The link row in a metadata record; nothing from other programs' metadata or from fields of a wrong type."""
    if record.headers.get("content-type") != "application/json":
        return {}
    try:
        row = orjson.loads(record.block)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(row, dict):
        return {}
    kinds = {"id": str, "url": str, "domain": str, "date": str, "karma": int, "title": str}
    return {name: row[name] for name, type in kinds.items() if isinstance(row.get(name), type)}


def _table_pages(path: Path, drops: Counter[str], max_page_bytes: int) -> Iterator[Page]:
    """Pages of a parquet or jsonl table: `url` and one of `html`, `body`, `content`, `raw_content`."""
    for number, row in enumerate(iter_records(path), start=1):
        html = next((row[name] for name in _HTML_COLUMNS if row.get(name) is not None), None)
        if html is None:
            raise UserError(
                f"Row {number} of {path} has no page: name its column one of {', '.join(_HTML_COLUMNS)}."
            )
        body = html.encode("utf-8", "replace") if isinstance(html, str) else bytes(html)
        url = str(row.get("url") or "")
        parsed = urls.parse(url) if url else None
        if not body.strip():
            drops["empty"] += 1
        elif len(body) > max_page_bytes:
            drops["too_large"] += 1
        else:
            yield Page(
                id=row.get("id")
                or (urls.url_id(url) if url else urls.key_id(body.decode("utf-8", "replace"))),
                url=url,
                domain=urls.registered_domain(parsed.hostname) if parsed else "",
                date=row.get("date"),
                karma=row.get("karma"),
                title=row.get("title"),
                content_type="text/html",
                charset="utf-8" if isinstance(html, str) else row.get("charset"),
                body=body,
            )


def _listed(listing: Path) -> list[str]:
    shards = []
    for line in iter_lines(listing):
        name = line.decode("utf-8", "replace").strip()
        if not name:
            continue
        local = listing.parent / name
        shards.append(name if "://" in name else str(local) if local.exists() else COMMON_CRAWL + name)
    return shards


def _checked(path: Path) -> Path:
    if path.name.endswith(_WARC_SUFFIXES) or kind(path) in (".jsonl", ".parquet"):
        return path
    raise UserError(
        f"{path} is no source of pages. Give .warc[.gz], .parquet, .jsonl[.zst] or warc.paths[.gz]."
    )
