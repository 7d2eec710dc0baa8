"""Documents as batches of bytes, of bounded size whatever the size of the input.

Section 2.2 works on documents: no piece crosses their ends. Batches are what one thread encodes or counts at a time. A
document longer than a batch is cut where a cut changes nothing: right before white space that follows something else.
In: text records (`records.py`) or an iterable of texts; plain `.txt` is passed on as raw bytes, UTF-8 or not.
"""

import itertools
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.files import chunk_reader, read_manifest, sha256_file
from fourhorn.records import DOCUMENT_SEPARATOR, iter_texts, kind, list_shards
from fourhorn.tokenizer.kernels import kernels
from fourhorn.tokenizer.memory import Buffers, address

BATCH_BYTES = 1 << 20
PADDING = 128  # bytes behind a text that may be read, behind ids that may be written
_SEPARATOR = DOCUMENT_SEPARATOR.encode()

# An ASCII space that follows no white space; what looks behind are the 25 characters of White_Space in UTF-8.
_SAFE_CUT = re.compile(
    rb"(?<![\t-\r ])(?<!\xc2[\x85\xa0])(?<!\xe1\x9a\x80)(?<!\xe2\x80[\x80-\x8a\xa8\xa9\xaf])(?<!\xe2\x81\x9f)"
    rb"(?<!\xe3\x80\x80)[\t-\r ]"
)


_TEXT = re.compile(rb"[^\t-\r ]")


@dataclass
class Batch:
    """Some documents; with `continues` the first part belongs to the last document of the batch before.

    Part i is `text[begins[i]:ends[i]]`; `PADDING` bytes behind the last one can be read, whatever they are.
    """

    text: bytes | NDArray[np.uint8]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    continues: bool = False

    @classmethod
    def of(cls, parts: Sequence[bytes], continues: bool = False) -> "Batch":
        """A batch of parts that lie in different places."""
        bounds = np.array([0, *itertools.accumulate(map(len, parts))], np.int64)
        return cls(b"".join((*parts, bytes(PADDING))), bounds[:-1], bounds[1:], continues)

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def _array(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.text, np.uint8)

    @property
    def n_documents(self) -> int:
        """How many documents begin in this batch."""
        return len(self) - self.continues

    @property
    def n_bytes(self) -> int:
        """How many bytes of text."""
        return int(self.ends.sum() - self.begins.sum())

    @property
    def room(self) -> int:
        """For how many ids there must be room where the batch is encoded to: one per byte, separators, padding."""
        return self.n_bytes + self.n_documents + PADDING

    @property
    def parts(self) -> list[bytes]:
        """A copy of each part."""
        text = self._array.data
        return [bytes(text[begin:end]) for begin, end in zip(self.begins.tolist(), self.ends.tolist())]

    def only(self, keep: NDArray[np.bool_]) -> "Batch":
        """The batch with some of its parts; it continues a document if the first is among them and did."""
        return Batch(self.text, self.begins[keep], self.ends[keep], self.continues and bool(keep[0]))

    def with_text(self) -> "Batch":
        """The batch without parts of nothing but ASCII white space; one that continues a document stays."""
        keep = (self.ends > self.begins) & (self._array[self.begins] > ord(" "))
        keep[0] |= self.continues
        if keep.all():
            return self
        for i in np.flatnonzero(~keep).tolist():
            keep[i] = _TEXT.search(self._array.data, self.begins[i], self.ends[i]) is not None
        return self.only(keep)


def last_cut(data: bytes | memoryview, start: int, end: int) -> int | None:
    """The last position in `(start, end)` at which a cut changes no token, if there is one."""
    window, upper = 1 << 7, end
    while upper > start + 1:
        lower = max(start + 1, upper - window)
        found = [m.start() for m in _SAFE_CUT.finditer(data, lower, upper)]
        if found:
            return found[-1]
        upper = lower
        window *= 4
    return None


def safe_cut(data: bytes, start: int, near: int) -> int:
    """The last position in `(start, near]` at which a cut changes no token, or the first one after; or the end."""
    before = last_cut(data, start, min(near + 1, len(data)))
    if before is not None:
        return before
    after = _SAFE_CUT.search(data, near + 1)
    return after.start() if after else len(data)


def batches(documents: Iterable[bytes], batch_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
    """Group documents into batches of about `batch_bytes`; empty documents are passed on."""
    parts: list[bytes] = []
    size = 0
    for document in documents:
        if len(document) >= 2 * batch_bytes:
            if parts:
                yield Batch.of(parts)
                parts, size = [], 0
            yield from _cut(document, batch_bytes)
            continue
        parts.append(document)
        size += len(document)
        if size >= batch_bytes:
            yield Batch.of(parts)
            parts, size = [], 0
    if parts:
        yield Batch.of(parts)


def _cut(document: bytes, batch_bytes: int) -> Iterator[Batch]:
    start = 0
    while start < len(document):
        end = (
            safe_cut(document, start, start + batch_bytes)
            if len(document) - start > batch_bytes
            else len(document)
        )
        if end + PADDING <= len(document):  # nothing is copied
            yield Batch(document, np.array([start]), np.array([end]), start > 0)
        else:
            yield Batch.of([document[start:end]], start > 0)
        start = end


def read_batches(
    source: str | Path,
    *,
    text_column: str = "text",
    batch_bytes: int = BATCH_BYTES,
    memory: Buffers | None = None,
) -> Iterator[Batch]:
    """The documents of a record file or of a folder of shards.

    The text of a batch may lie in an array from `memory`, to which it can be given back.
    """
    for shard in list_shards(source):
        if kind(shard) == ".txt":
            yield from _plain_batches(shard, batch_bytes, memory or Buffers())
        else:
            texts = iter_texts(shard, text_column=text_column)
            yield from batches((text.encode("utf-8", "replace") for text in texts), batch_bytes)


def _plain_batches(path: Path, batch_bytes: int, memory: Buffers) -> Iterator[Batch]:
    """Documents of a plain text file, cut near where it is read to: text without a place for a cut is held whole."""
    rest = np.empty(0, np.uint8)  # what was read and is not in a batch yet
    searched, continues = 0, False  # how much of it is known to have no separator and no place for a cut
    with chunk_reader(path) as read:
        while True:
            n, more = len(rest), max(batch_bytes, len(rest))
            text = memory.take(n + more + PADDING)
            text[:n] = rest
            n_read = read(text.data[n : n + more])
            n += n_read
            marks = separators(text, max(searched - len(_SEPARATOR) + 1, 0), n)
            begins = np.concatenate([[0], marks + len(_SEPARATOR)])
            ends = np.append(marks, n)
            end, goes_on = n, False
            if n_read:
                cut = last_cut(text.data, max(int(begins[-1]), searched - 1), n)
                end, goes_on = (int(begins[-1]), False) if cut is None else (cut, True)
                ends[-1] = end
            rest, searched = text[end:n].copy(), 0 if end else n
            batch = Batch(text, begins, ends, continues and end > 0).with_text()
            if len(batch):
                yield batch
            else:
                memory.give(text)
            continues = goes_on if end else continues
            if not n_read:
                return


def separators(text: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    """Where `<|endoftext|>` stands in `text[start:end]`, behind which `PADDING` bytes can be read."""
    modules = kernels()
    if modules:
        found = np.empty((end - start) // len(_SEPARATOR) + 1, np.int64)
        n = modules.split.find_separators(address(text), start, end, address(found))
        return found[:n]
    data, at, marks = text[:end].tobytes(), start, []
    while (at := data.find(_SEPARATOR, at)) >= 0:
        marks.append(at)
        at += len(_SEPARATOR)
    return np.array(marks, np.int64)


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
