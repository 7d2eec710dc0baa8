"""Decompress an HTTP body under a byte budget, so that a bomb costs no more than a page.

Takes the body as it was sent and its `Content-Encoding` (gzip, deflate, br, zstd, or several in a row) and returns
the content. Raises `TooLarge` as soon as the output passes the budget and `BadEncoding` when the bytes are damaged
or the encoding is unknown. A body that is not compressed although its header says so is returned as it is: some
servers, and WARC files of some programs, are like that.
"""

import importlib
import zlib
from typing import Any

from isal import isal_zlib

from fourhorn.zstd import MAGIC as ZSTD_MAGIC
from fourhorn.zstd import ZstdError, frame_reader

ENCODINGS = (
    "gzip, deflate, zstd"  # what a request may ask for; br is read too where the package brotli is there
)
MAX_ENCODINGS = 3
_DAMAGE: tuple[Any, ...] = (zlib.error, isal_zlib.error, ZstdError, EOFError)
_STEP_BYTES = 1 << 18
_MAX_PIECES = 1000  # gzip members or zstd frames in a body: what follows each is copied
_MAX_WINDOW_LOG = 23  # RFC 9659: zstd over HTTP uses windows of at most 8 MiB


class TooLarge(Exception):
    """The content is larger than the budget."""


class BadEncoding(Exception):
    """The body is not what its encoding says, or the encoding is unknown."""


def inflate(body: bytes, encodings: str, *, max_bytes: int) -> bytes:
    """The content of `body`, at most `max_bytes`, decoded by a `Content-Encoding` header's value."""
    names = [name.strip().lower() for name in encodings.split(",") if name.strip()]
    names = [name for name in names if name != "identity"]
    if len(names) > MAX_ENCODINGS:
        raise BadEncoding(f"{len(names)} encodings")
    for name in reversed(names):
        body = _decode(body, name, max_bytes)
    if len(body) > max_bytes:
        raise TooLarge
    return body


def _decode(body: bytes, name: str, max_bytes: int) -> bytes:
    if not body:
        return body
    try:
        if name in ("gzip", "x-gzip"):
            return _gzip(body, max_bytes) if body[:2] == b"\x1f\x8b" else body
        if name == "deflate":
            return _deflate(body, max_bytes)
        if name == "zstd":
            return _zstd(body, max_bytes) if body[:4] == ZSTD_MAGIC else body
        if name == "br":
            return _brotli(body, max_bytes)
    except _DAMAGE as error:
        raise BadEncoding(str(error)) from None
    raise BadEncoding(f"unknown encoding {name[:40]!r}")


def _gzip(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    n_bytes = n_members = 0
    while (
        body[:2] == b"\x1f\x8b"
    ):  # several members may follow each other; what else is at the end is padding
        n_members += 1
        if n_members > _MAX_PIECES:
            raise BadEncoding(f"more than {_MAX_PIECES:,} gzip members")
        stream = isal_zlib.decompressobj(31)
        while not stream.eof:
            part = stream.decompress(body, _STEP_BYTES)
            body = stream.unconsumed_tail
            n_bytes += len(part)
            parts.append(part)
            if n_bytes > max_bytes:
                raise TooLarge
            if not part and not stream.eof:
                raise BadEncoding("the gzip stream is cut off")
        body = stream.unused_data
    return b"".join(parts)


def _deflate(body: bytes, max_bytes: int) -> bytes:
    try:
        return _zlib(body, max_bytes, zlib.MAX_WBITS)
    except zlib.error:
        return _zlib(body, max_bytes, -zlib.MAX_WBITS)  # many servers send raw deflate without the zlib frame


def _zlib(body: bytes, max_bytes: int, wbits: int) -> bytes:
    stream = zlib.decompressobj(wbits)
    content = stream.decompress(body, max_bytes + 1)
    if len(content) > max_bytes:
        raise TooLarge
    if not stream.eof:
        raise BadEncoding("the deflate stream is cut off")
    return content


def _zstd(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes
    while body[:4] == ZSTD_MAGIC:  # several frames may follow each other; anything else at the end is padding
        if len(parts) == _MAX_PIECES:
            raise BadEncoding(f"more than {_MAX_PIECES:,} zstd frames")
        stream = frame_reader(_MAX_WINDOW_LOG)
        part = stream.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            raise TooLarge
        if not stream.eof:
            raise BadEncoding("the zstd stream is cut off")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def _brotli(body: bytes, max_bytes: int) -> bytes:
    try:
        brotli: Any = importlib.import_module("brotli")
    except ImportError:
        raise BadEncoding("br, and the package brotli is not installed") from None
    stream: Any = brotli.Decompressor()
    parts: list[bytes] = []
    n_bytes = 0
    try:
        part = stream.process(body, output_buffer_limit=_STEP_BYTES)
        while True:
            n_bytes += len(part)
            parts.append(part)
            if n_bytes > max_bytes:
                raise TooLarge
            if stream.is_finished():
                return b"".join(parts)
            if not part and stream.can_accept_more_data():
                raise BadEncoding("the brotli stream is cut off")
            part = stream.process(b"", output_buffer_limit=_STEP_BYTES)
    except brotli.error as error:
        raise BadEncoding(str(error)) from None
