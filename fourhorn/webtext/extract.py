"""pages/ → raw/: the main text of every page, with a named reason for each page that has none.

§2.1: the text of the linked pages, extracted from HTML. A shard of pages (WARC of the crawl or of another program,
parquet or jsonl with HTML) becomes one shard of documents in the same order. A page that is too large, nested too
deeply, breaks the extractor, or keeps it busy longer than its budget is dropped and counted, never waited for.

In = kept + drops, in pages; a folder that already holds documents' texts needs no extraction: start at `clean`.
Raises `UserError` for an unknown extractor and for a source without pages.
"""

import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import Manifest
from fourhorn.records import write_records
from fourhorn.webtext.charset import decode
from fourhorn.webtext.documents import document_of
from fourhorn.webtext.extractors import extract_text, extractor_named
from fourhorn.webtext.guard import PageGuard
from fourhorn.webtext.pages import Page, iter_pages, list_page_shards
from fourhorn.webtext.stage import WORK, Counts, Where, begin, finish, open_source, run_shards

MEMORY_LIMIT_BYTES = 3 << 30
MAX_DEATHS = (
    1_000_000  # a shard may lose a worker to each of its pages; the guard sees that each loss is the last
)
_TAG = re.compile(
    rb"<(/?)(?:div|span|table|tbody|tr|ul|ol|dl|section|article|font|b|i|em|strong|a|blockquote|center)\b",
    re.I,
)


def extract(
    source: Path,
    destination: Path,
    *,
    extractor: str = "trafilatura",
    page_seconds: float = 10.0,
    max_page_bytes: int = 5_000_000,
    max_depth: int = 500,
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Extract the main text of crawled pages.

    Args:
        source: folder of WARC files (the crawl's or another program's), one such file, a Common Crawl listing
            (`warc.paths.gz`), or parquet or jsonl with HTML.
        destination: folder for shards of documents.
        extractor: `trafilatura`, `consensus` (with readability: fewest foreign parts, a third of the speed),
            `resiliparse` (six times the speed, more foreign parts) or `paper` (Newspaper first).
        page_seconds: processor seconds one page may take before it is cut off.
        max_page_bytes: larger pages are dropped, in bytes of decompressed HTML.
        max_depth: pages with more open elements inside one another are dropped.
        workers: processes at a time, default one per CPU.
        engine: `local` or `ray`.
    """
    started = time.monotonic()
    extractor_named(extractor)
    if page_seconds <= 0:
        raise UserError(f"page_seconds is {page_seconds:g}; give a positive number of seconds.")
    options: dict[str, Any] = {
        "extractor": extractor,
        "page_seconds": page_seconds,
        "max_page_bytes": max_page_bytes,
        "max_depth": max_depth,
    }
    pages = open_source(source, list_page_shards(source))
    if (done := begin(destination, "extract", options, pages.inputs)) is not None:
        return done
    results = run_shards(
        extract_shard,
        pages,
        destination,
        phase="extract",
        where=Where(workers, engine, MEMORY_LIMIT_BYTES, MAX_DEATHS),
        kwargs={**options, "run": uuid.uuid4().hex},
    )
    if results and all(result["n_kept"] == 0 and set(result["drops"]) == {"damaged"} for result in results):
        shutil.rmtree(destination)
        names = ", ".join(Path(shard).name for shard in pages.paths[:3])
        raise UserError(
            f"No page can be read from {source}: {names} is damaged from its first record. Fetch it again."
        )
    return finish(destination, "extract", options, pages.inputs, results, started, {"libraries": _versions()})


def extract_shard(
    shard: str,
    output: Path,
    *,
    extractor: str,
    page_seconds: float,
    max_page_bytes: int,
    max_depth: int,
    run: str,
) -> Counts:
    """Extract one shard of pages into one shard of documents."""
    drops: Counter[str] = Counter()
    details: Counter[str] = Counter()
    journal = output.parent / WORK / "guard" / output.name.split(".")[0]
    journal.parent.mkdir(parents=True, exist_ok=True)

    def documents() -> Iterator[dict[str, Any]]:
        for number, page in enumerate(iter_pages(shard, drops, max_page_bytes=max_page_bytes)):
            if number in guard.condemned:
                drops[guard.condemned[number]] += 1
                continue
            guard.enter(number)
            text, reason = text_of(page, extractor, max_depth)
            guard.leave()
            if text is None:
                drops[reason] += 1
            else:
                details["n_bytes_html"] += len(page.body)
                details["n_bytes_text"] += len(text.encode())
                yield _document(page, text, extractor)

    with PageGuard(journal, page_seconds=page_seconds, run=run) as guard:
        n_kept = write_records(output, documents())
    n_in = n_kept + sum(drops.values())
    return {"n_in": n_in, "n_kept": n_kept, "drops": drops, "details": details}


def text_of(page: Page, extractor: str, max_depth: int) -> tuple[str | None, str]:
    """A page's main text, or None and the reason why there is none."""
    if nesting_depth(page.body, max_depth) > max_depth:
        return None, "nested_too_deeply"
    try:
        text = extract_text(decode(page.body, page.charset), extractor)
    except (MemoryError, RecursionError) as error:
        return None, "out_of_memory" if isinstance(error, MemoryError) else "nested_too_deeply"
    except UserError:
        raise
    except Exception:  # whatever a library raises on this page, the next page is another one
        return None, "extractor_failed"
    if text is None:
        return None, "no_text"
    return text.encode("utf-8", errors="replace").decode(), ""  # lone surrogates have no bytes


def nesting_depth(body: bytes, limit: int) -> int:
    """How deep the tags that must be closed are nested, roughly; 0 without a look where `limit` cannot be reached.

    Parsers and extractors take time that grows with depth squared, so this looks at bytes, not at a tree.
    """
    if body.count(b"<") <= limit:
        return 0
    return max(accumulate(-1 if closing else 1 for closing in _TAG.findall(body)), default=0)


def _document(page: Page, text: str, extractor: str) -> dict[str, Any]:
    fields = {name: getattr(page, name) for name in ("id", "url", "domain", "date", "karma", "title")}
    return document_of({**fields, "text": text, "extractor": extractor})


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("trafilatura", "readability-lxml", "resiliparse", "lxml"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
