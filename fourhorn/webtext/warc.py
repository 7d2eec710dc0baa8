"""WARC records: written as one fast gzip member each, read strictly.

The crawl's archive format (ISO 28500, WARC 1.1; §2.1 keeps "scraped" pages, this keeps them so that any other
tool can read them). Writing: every record is its own gzip member (isal, level 1: 15 % larger than zlib 6, many
times as fast), with block and payload digests. Reading: gzip with or without a member per record, zstd, or plain;
lengths and digests are checked, for common readers pass a truncated record on in silence. What is damaged is
skipped and counted by reason (`damaged`, `truncated`, `bad_record`, `bad_digest`, `too_large`) and reading goes
on at the next record.
"""

import base64
import hashlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from isal import igzip, isal_zlib

from fourhorn.errors import UserError
from fourhorn.files import read_chunks

MAX_RECORD_BYTES = 64 << 20
_MAX_HEADER_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 14
_CHUNK_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b\x08"
_DAMAGE: tuple[Any, ...] = (isal_zlib.error, igzip.BadGzipFile, EOFError)
_SHORT_BYTES = 4 << 10
_GZIP_BITS = 31  # zlib's way of saying: with a gzip frame
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE32_PAIRS = [a + b for a in _BASE32 for b in _BASE32]  # by ten bits
_RECORD_START = re.compile(rb"WARC/(?:0\.\d+|1\.\d)\r?\n")


@dataclass(frozen=True, slots=True)
class Record:
    """One WARC record: its type, its header fields by lower-case name, its block."""

    type: str
    headers: dict[str, str]
    block: bytes

    @property
    def url(self) -> str:
        """The target URL, without the angle brackets some programs put around it."""
        return self.headers.get("warc-target-uri", "").strip("<>")

    @property
    def id(self) -> str:
        """The record's own id."""
        return self.headers.get("warc-record-id", "")


# ------------------------------------------------------------------------------------------------------ writing


def new_id() -> str:
    """A fresh record id: a random UUID (RFC 9562, version 4), written out here because there are three a page."""
    x = os.urandom(16).hex()
    return f"<urn:uuid:{x[:8]}-{x[8:12]}-4{x[13:16]}-{'89ab'[int(x[16], 16) & 3]}{x[17:20]}-{x[20:]}>"


def digest(data: bytes) -> str:
    """`sha1:` and the base32 SHA-1, the form every WARC tool knows."""
    number = int.from_bytes(hashlib.sha1(data).digest(), "big")
    return "sha1:" + "".join([_BASE32_PAIRS[number >> shift & 1023] for shift in range(150, -1, -10)])


def member(type: str, fields: dict[str, str], block: bytes, *, packed: bool = False) -> bytes:
    """One record as a gzip member; `fields` are the header fields besides type, length and block digest.

    A `packed` block, one that is compressed as it is, and a short one are not worth the time of level 1.
    """
    head = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    head = (
        f"WARC/1.1\r\nWARC-Type: {type}\r\n{head}"
        f"WARC-Block-Digest: {digest(block)}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    record = b"".join((head.encode(), block, b"\r\n\r\n"))
    if packed:
        return zlib.compress(record, 0, _GZIP_BITS)
    content: bytes = isal_zlib.compress(record, int(len(record) > _SHORT_BYTES), _GZIP_BITS)
    return content


def info_member(software: str, date: str) -> bytes:
    """The `warcinfo` record that opens a file."""
    block = f"software: {software}\r\nformat: WARC File Format 1.1\r\nrobots: obey\r\n".encode()
    fields = {"WARC-Record-ID": new_id(), "WARC-Date": date, "Content-Type": "application/warc-fields"}
    return member("warcinfo", fields, block)


# ------------------------------------------------------------------------------------------------------ reading


class _Damage(Exception):
    """The compressed stream is damaged here, its first argument says how; reading may go on behind it."""


Chunk = bytes | str  # decompressed bytes, or in their place the reason why some are missing


class _Stream:
    """Decompressed bytes with lines, exact reads and a search for the next record."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._position = 0
        self._damage = ""

    def _fill(self, n: int) -> bool:
        """Have at least `n` bytes ready; False at the end of the file."""
        if len(self._buffer) - self._position >= n:
            return True
        parts = [self._buffer[self._position :]]
        have = len(parts[0])
        try:
            while have < n:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                if isinstance(chunk, str):
                    self._damage = chunk
                    break
                parts.append(chunk)
                have += len(chunk)
        finally:
            self._buffer, self._position = b"".join(parts), 0
        if self._damage:
            # What was read before the damage belongs to a record that cannot be whole.
            damage, self._damage, self._buffer = self._damage, "", b""
            raise _Damage(damage)
        return have >= n

    def line(self) -> bytes | None:
        """The next line without its end; None at the end of the file."""
        size = 512
        while (end := self._buffer.find(b"\n", self._position)) < 0:
            if size > _MAX_LINE_BYTES or not self._fill(size):
                end = len(self._buffer)
                if end == self._position:
                    return None
                break
            size *= 4
        line = self._buffer[self._position : end]
        self._position = end + 1
        return line.removesuffix(b"\r")

    def take(self, n: int) -> bytes | None:
        """Exactly `n` bytes, or None when the file ends before."""
        if not self._fill(n):
            self._position = len(self._buffer)
            return None
        data = self._buffer[self._position : self._position + n]
        self._position += n
        return data

    def skip(self, n: int) -> bool:
        """Pass over `n` bytes without holding them."""
        while n > 0:
            step = min(n, _CHUNK_BYTES)
            if self.take(step) is None:
                return False
            n -= step
        return True

    def seek_record(self) -> tuple[bool, bool]:
        """Move to the next line that begins a record: whether there is one, and whether anything was passed over."""
        passed = False
        while True:
            found = _RECORD_START.search(self._buffer, self._position)
            end = found.start() if found else max(self._position, len(self._buffer) - 16)
            passed = passed or bool(self._buffer[self._position : end].strip())
            self._position = end
            if found:
                return True, passed
            more = self._fill(len(self._buffer) - end + 64)
            if not more and not _RECORD_START.search(self._buffer, self._position):
                return False, passed or bool(self._buffer[self._position :].strip())


def read_records(
    path: str | Path, drops: Counter[str], *, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Record]:
    """Every whole record of a WARC file; what is damaged is skipped and counted in `drops`."""
    stream = _Stream(_chunks(path))
    lost = False  # whether the place was lost, and that already counted
    while True:
        try:
            found, passed = stream.seek_record()
            if passed and not lost:
                drops["damaged"] += 1
            if not found:
                return
            record, reason = _read_record(stream, max_record_bytes)
        except _Damage as damage:
            lost = True
            drops[str(damage)] += 1
            continue
        lost = reason is not None
        if reason:
            drops[reason] += 1
        if record:
            yield record


def read_record_at(file: BinaryIO, offset: int, n_bytes: int) -> list[Record]:
    """The records in one stretch of gzip members, by an index's offset; damage is a `UserError`."""
    file.seek(offset)
    records = []
    try:
        stream = _Stream(iter([bytes(igzip.decompress(file.read(n_bytes)))]))  # type: ignore[no-untyped-call]
        while stream.seek_record()[0]:
            record, reason = _read_record(stream, MAX_RECORD_BYTES)
            if reason or record is None:
                raise UserError(f"{file.name} has a damaged record at byte {offset:,} ({reason}).")
            records.append(record)
    except _DAMAGE as error:
        raise UserError(f"{file.name} is damaged at byte {offset:,}: {error}.") from None
    return records


def _read_record(stream: _Stream, max_record_bytes: int) -> tuple[Record | None, str | None]:
    stream.line()
    headers: dict[str, str] = {}
    n_header_bytes = 0
    last = ""
    while True:
        line = stream.line()
        if line is None:
            return None, "truncated"
        if not line:
            break
        n_header_bytes += len(line)
        if n_header_bytes > _MAX_HEADER_BYTES:
            return None, "bad_record"
        text = line.decode("utf-8", "replace")
        name, colon, value = text.partition(":")
        if text[0] in " \t" and last:
            headers[last] += " " + text.strip()
        elif colon:
            last = name.strip().lower()
            headers.setdefault(last, value.strip())
        else:
            return None, "bad_record"
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        return None, "bad_record"
    if int(length) > max_record_bytes:
        return None, "too_large" if stream.skip(int(length)) else "truncated"
    block = stream.take(int(length))
    if block is None:
        return None, "truncated"
    if stream.take(4) not in (b"\r\n\r\n", None):
        return None, "bad_record"
    if not _digest_agrees(headers.get("warc-block-digest"), block):
        return None, "bad_digest"
    return Record(headers.get("warc-type", "").lower(), headers, block), None


def _digest_agrees(stated: str | None, data: bytes) -> bool:
    """Whether a stated digest holds; one by an unknown algorithm or in an unknown form is not held against the data."""
    if not stated:
        return True
    algorithm, _, value = stated.partition(":")
    name = algorithm.lower().replace("-", "")
    if name not in ("md5", "sha1", "sha256", "sha512"):
        return True
    actual = hashlib.new(name, data).digest()
    value = value.strip()
    if len(value) == 2 * len(actual):
        return value.lower() == actual.hex()
    try:
        return base64.b32decode(value.upper() + "=" * (-len(value) % 8)) == actual
    except ValueError:
        return False


def payload_digest_agrees(record: Record, payload: bytes) -> bool:
    """Whether the record's stated payload digest is that of `payload`."""
    return _digest_agrees(record.headers.get("warc-payload-digest"), payload)


# ------------------------------------------------------------------------------------------------- decompression


def _chunks(path: str | Path) -> Iterator[Chunk]:
    """Decompressed chunks, or reasons in their place where some are missing."""
    if "://" in str(path):
        import fsspec

        with fsspec.open(str(path), "rb") as file:
            yield from _gzip_chunks(file)
        return
    try:
        with open(path, "rb") as file:
            if file.read(2) == _GZIP_MAGIC[:2]:
                file.seek(0)
                yield from _gzip_chunks(file)
                return
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        yield from read_chunks(path, _CHUNK_BYTES)
    except UserError:
        yield "damaged"


def _gzip_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The content of gzip members; from a damaged one on to the next place that looks like a member."""
    data = file.read(_CHUNK_BYTES)
    while data:
        stream = isal_zlib.decompressobj(31)
        try:
            while not stream.eof:
                content = stream.decompress(data, _CHUNK_BYTES)
                data = stream.unconsumed_tail
                if content:
                    yield content
                if not data and not stream.eof:
                    data = file.read(_CHUNK_BYTES)
                    if not data:
                        yield "truncated"
                        return
            data = stream.unused_data or file.read(_CHUNK_BYTES)
        except _DAMAGE:
            yield "damaged"
            data = _next_member(file, data[1:])


def _next_member(file: BinaryIO, data: bytes) -> bytes:
    while True:
        found = data.find(_GZIP_MAGIC)
        if found >= 0:
            return data[found:]
        more = file.read(_CHUNK_BYTES)
        if not more:
            return b""
        data = data[-2:] + more
