"""Documents as batches of bytes, of bounded size whatever the size of the input.

Section 2.2 works on documents: no piece crosses their ends. Batches are what one thread encodes or counts at a time. A
document longer than a batch is cut where a cut changes nothing: right before white space that follows something else.
In: text records (`records.py`) or an iterable of texts; plain `.txt` is passed on as raw bytes, UTF-8 or not.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.files import read_chunks, read_manifest, sha256_file
from fourhorn.records import DOCUMENT_SEPARATOR, iter_texts, kind, list_shards

BATCH_BYTES = 1 << 20
_SEPARATOR = DOCUMENT_SEPARATOR.encode()

# An ASCII space that follows no white space; what looks behind are the 25 characters of White_Space in UTF-8.
_SAFE_CUT = re.compile(
    rb"(?<![\t-\r ])(?<!\xc2[\x85\xa0])(?<!\xe1\x9a\x80)(?<!\xe2\x80[\x80-\x8a\xa8\xa9\xaf])(?<!\xe2\x81\x9f)"
    rb"(?<!\xe3\x80\x80)[\t-\r ]"
)


@dataclass
class Batch:
    """Some documents; with `continues` the first part belongs to the last document of the batch before."""

    parts: list[bytes]
    continues: bool = False

    @property
    def n_documents(self) -> int:
        """How many documents begin in this batch."""
        return len(self.parts) - self.continues


def safe_cut(data: bytes, start: int, near: int) -> int:
    """The last position in `(start, near]` at which a cut changes no token, or the first one after; or the end."""
    window = 1 << 12
    lower = near
    while lower > start:
        upper, lower = lower, max(start, lower - window)
        found = [
            m.start() for m in _SAFE_CUT.finditer(data, max(lower, start + 1), min(upper + 1, len(data)))
        ]
        if found:
            return found[-1]
        window *= 4
    after = _SAFE_CUT.search(data, near + 1)
    return after.start() if after else len(data)


def batches(documents: Iterable[bytes], batch_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
    """Group documents into batches of about `batch_bytes`; empty documents are passed on."""
    parts: list[bytes] = []
    size = 0
    for document in documents:
        if len(document) >= 2 * batch_bytes:
            if parts:
                yield Batch(parts)
                parts, size = [], 0
            yield from _cut(document, batch_bytes)
            continue
        parts.append(document)
        size += len(document)
        if size >= batch_bytes:
            yield Batch(parts)
            parts, size = [], 0
    if parts:
        yield Batch(parts)


def _cut(document: bytes, batch_bytes: int) -> Iterator[Batch]:
    start = 0
    while start < len(document):
        end = (
            safe_cut(document, start, start + batch_bytes)
            if len(document) - start > batch_bytes
            else len(document)
        )
        yield Batch([document[start:end]], continues=start > 0)
        start = end


def read_batches(
    source: str | Path, *, text_column: str = "text", batch_bytes: int = BATCH_BYTES
) -> Iterator[Batch]:
    """The documents of a record file or of a folder of shards."""
    for shard in list_shards(source):
        if kind(shard) == ".txt":
            yield from _plain_batches(shard, batch_bytes)
        else:
            texts = iter_texts(shard, text_column=text_column)
            yield from batches((text.encode("utf-8", "replace") for text in texts), batch_bytes)


def _plain_batches(path: Path, batch_bytes: int) -> Iterator[Batch]:
    """Documents of a plain text file: at most two batches are held, however long a document is."""
    rest, continues = b"", False
    for chunk in read_chunks(path, batch_bytes):
        # A separator that lies wholly in what is left would have been found already.
        known = max(len(rest) - len(_SEPARATOR) + 1, 0)
        data = rest + chunk
        *documents, rest = data[known:].split(_SEPARATOR)
        if documents:
            documents[0] = data[:known] + documents[0]
        else:
            rest = data
        parts = [d for i, d in enumerate(documents) if has_text(d) or (continues and i == 0)]
        if parts:
            yield Batch(parts, continues)
        if documents:
            continues = False
        if len(rest) >= 2 * batch_bytes:
            # Keep the tail: it may hold the beginning of a separator, or of a run of spaces.
            end = safe_cut(rest, 0, len(rest) - batch_bytes)
            if end < len(rest):
                yield Batch([rest[:end]], continues)
                rest, continues = rest[end:], True
    if has_text(rest) or continues:
        yield Batch([rest], continues)


def has_text(data: bytes) -> bool:
    """Whether there is anything but ASCII white space."""
    return bool(data) and not data.isspace()


class InputHashes(threading.Thread):
    """Works out `input_hashes` while other work goes on: reading a large input only for that takes long."""

    def __init__(self, source: str | Path) -> None:
        super().__init__(daemon=True)
        self._shards = list_shards(source)  # raises here what there is to raise
        self._hashes: dict[str, str] | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """What the thread does."""
        try:
            self._hashes = input_hashes(self._shards)
        except (OSError, UserError) as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """The hashes, when they are known."""
        self.join()
        if self._hashes is None:
            raise self._error or RuntimeError("the thread that reads the input was stopped")
        return self._hashes


def input_hashes(shards: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each input file by name, from the manifest of the stage that wrote it where there is one."""
    hashes = {}
    for shard in shards:
        manifest = read_manifest(shard.parent)
        known = manifest.outputs.get(shard.name, {}).get("sha256") if manifest else None
        hashes[shard.name] = known or sha256_file(shard)
    return hashes
