"""A shard of the crawl on disk: a growing WARC file and an append-only index with one row for every URL.

The WARC record is written first, then the index row that names its place. After a kill at any moment the index
tells what is done: a torn last row is cut off, the WARC file is cut to the last place the index names, and the
URLs in the index are not fetched again. Both files are synced every few seconds, so that even a power cut loses
seconds at most. Rows: `{id, url, host, outcome, attempts, …}`; `outcome` is `kept` (with `offset`, `n_bytes` of
the records in the file, and `final_url`, `n_body_bytes`, `content_type`) or the reason of the drop.
"""

import functools
import os
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from fourhorn.errors import UserError
from fourhorn.webtext import warc
from fourhorn.webtext.fetch import Answer
from fourhorn.webtext.frontier import Visit

SYNC_SECONDS = 5.0
KEPT = "kept"


class Archive:
    """One shard, open for appending; opening it takes up where the last run stopped."""

    def __init__(self, folder: Path, number: int, software: str) -> None:
        self.name = f"part-{number:05d}"
        self.warc_path = folder / f"{self.name}.warc.gz"
        self.index_path = folder / f"{self.name}.index.jsonl"
        self.counts: Counter[str] = Counter()
        self.done: dict[str, str] = {}  # id → outcome
        self.failures: dict[str, int] = {}  # host → failed attempts in a row, as a host's health is told on
        self.n_body_bytes = 0
        self._end = 0
        self._synced = time.monotonic()
        self._recover()
        self._warc = os.open(self.warc_path, os.O_WRONLY | os.O_CREAT, 0o644)
        self._index = os.open(self.index_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._warc, self._end)
        os.lseek(self._warc, self._end, os.SEEK_SET)
        if self._end == 0:
            self._append(warc.info_member(software, _now()))

    def keep(self, visit: Visit, answer: Answer, content_type: str, n_content_bytes: int) -> None:
        """Write a page: its response, request and metadata records, then its row."""
        members = page_members(visit, answer, content_type)
        offset = self._end
        self._append(members)
        self._row(
            visit,
            KEPT,
            final_url=visit.url.href,
            content_type=content_type,
            n_body_bytes=n_content_bytes,
            offset=offset,
            n_bytes=len(members),
        )
        self.n_body_bytes += n_content_bytes

    def drop(self, visit: Visit, reason: str) -> None:
        """Write the row of a URL that gave no page."""
        self._row(visit, reason)

    def sync(self, *, always: bool = False) -> None:
        """Bring what is written to the disk, at most every few seconds."""
        now = time.monotonic()
        if always or now - self._synced > SYNC_SECONDS:
            os.fsync(self._warc)
            os.fsync(self._index)
            self._synced = now

    def close(self) -> None:
        """Sync and close both files."""
        self.sync(always=True)
        os.close(self._warc)
        os.close(self._index)

    def _row(self, visit: Visit, outcome: str, **more: Any) -> None:
        row = {
            "id": visit.id,
            "url": orjson.loads(visit.line)["url"],
            "host": visit.url.host if visit.url else "",
            "outcome": outcome,
            "attempts": visit.attempts,
            "n_hops": len(visit.hops),
            **more,
        }
        _write_all(self._index, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self.done[visit.id] = outcome
        self.counts[outcome] += 1

    def _append(self, data: bytes) -> None:
        _write_all(self._warc, data)
        self._end += len(data)

    def _recover(self) -> None:
        """Read the index, cut off a torn row and rows whose records never reached the disk."""
        if not self.index_path.exists():
            return
        size = self.warc_path.stat().st_size if self.warc_path.exists() else 0
        good = 0
        with open(self.index_path, "rb") as file:
            for line in file:
                row = _whole_row(line)
                if row is None or row.get("offset", 0) + row.get("n_bytes", 0) > size:
                    break
                good += len(line)
                self._take(row)
        os.truncate(self.index_path, good)

    def _take(self, row: dict[str, Any]) -> None:
        outcome = row["outcome"]
        self.done[row["id"]] = outcome
        self.counts[outcome] += 1
        self._end = max(self._end, row.get("offset", 0) + row.get("n_bytes", 0))
        self.n_body_bytes += row.get("n_body_bytes", 0)
        if outcome in NETWORK_FAILURES or outcome == "host_down":
            self.failures[row["host"]] = self.failures.get(row["host"], 0) + row["attempts"]
        elif row["attempts"]:
            self.failures.pop(row["host"], None)


# Failures that tell on a host's health: after several in a row it counts as down.
NETWORK_FAILURES = frozenset(
    ["connect_failed", "timeout", "incomplete", "dns_error", "tls_error", "too_slow"]
)


def page_members(visit: Visit, answer: Answer, content_type: str) -> bytes:
    """The three records of one page as gzip members: response, request, and the link it came from as metadata."""
    date, response_id = _now(), warc.new_id()
    common = {"WARC-Date": date, "WARC-Target-URI": visit.url.href}
    block = response_block(answer)
    response = warc.member(
        "response",
        {
            "WARC-Record-ID": response_id,
            **common,
            "Content-Type": "application/http; msgtype=response",
            "WARC-Payload-Digest": warc.digest(answer.body),
            "WARC-Identified-Payload-Type": content_type or "text/html",
        },
        block,
        packed=bool(answer.header(b"content-encoding")),
    )
    request = warc.member(
        "request",
        {
            "WARC-Record-ID": warc.new_id(),
            **common,
            "WARC-Concurrent-To": response_id,
            "Content-Type": "application/http; msgtype=request",
        },
        answer.request,
    )
    link = orjson.loads(visit.line)
    if visit.hops:
        link["redirects"] = visit.hops
    metadata = warc.member(
        "metadata",
        {
            "WARC-Record-ID": warc.new_id(),
            **common,
            "WARC-Refers-To": response_id,
            "Content-Type": "application/json",
        },
        orjson.dumps(link),
    )
    return response + request + metadata


def response_block(answer: Answer) -> bytes:
    """The HTTP message to archive. Chunks are already put together, so the headers that told of them are renamed."""
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}".rstrip().encode("latin-1", "replace")]
    for name, value in answer.headers:
        lowered = name.lower()
        if lowered == b"transfer-encoding" or (
            lowered == b"content-length" and value != b"%d" % len(answer.body)
        ):
            name = b"X-Crawler-" + name
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", answer.body])


def _whole_row(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and {"id", "outcome", "host", "attempts"} <= row.keys() else None


def _write_all(handle: int, data: bytes) -> None:
    n_written = os.write(handle, data)
    while n_written < len(data):  # a full disk raises; a signal may cut a write short
        n_written += os.write(handle, data[n_written:])


def _now() -> str:
    return _date(int(time.time()))


@functools.lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_outcomes(index: Path) -> Counter[str]:
    """The outcomes in a finished index, counted."""
    counts: Counter[str] = Counter()
    with open(index, "rb") as file:
        for line in file:
            row = _whole_row(line)
            if row is None:
                raise UserError(f"{index} is damaged. Delete its folder and crawl again.")
            counts[row["outcome"]] += 1
    return counts
