"""Web servers for the crawl's tests: a plain one with many virtual hosts, and one that misbehaves in all ways known."""

import asyncio
import gzip
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

from fourhorn import zstd

PAGE = b"<html><body><p>A page with a few words of text in it.</p></body></html>"
ROBOTS = b"User-agent: *\nDisallow: /private/\n"


@dataclass
class Web:
    """A running server: its port, a hosts file that leads every name to it, and how often each URL was asked for."""

    port: int
    hosts: Path
    asked: Counter[str] = field(default_factory=Counter)
    cookies: list[bytes] = field(default_factory=list)


def answer(
    body: bytes = PAGE, *headers: bytes, status: bytes = b"200 OK", kind: bytes = b"text/html"
) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str, str, Web], object]


def _serve(handler: Handler, folder: Path) -> Iterator[Web]:
    loop = asyncio.new_event_loop()
    folder.mkdir(parents=True, exist_ok=True)
    web = Web(0, folder / "hosts.txt")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # a TLS greeting, answered as plain servers do
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                head = first + await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode("latin-1")
                fields = {
                    k.lower(): v.strip()
                    for k, _, v in (line.partition(b":") for line in head.split(b"\r\n")[1:])
                }
                host = fields.get(b"host", b"").decode("latin-1").partition(":")[0]
                web.asked[host + path] += 1
                if b"cookie" in fields:
                    web.cookies.append(fields[b"cookie"])
                await handler(reader, writer, host, path, web)  # type: ignore[misc]
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)

    server = loop.run_until_complete(start())
    web.port = server.sockets[0].getsockname()[1]
    web.hosts.write_text(f"* 127.0.0.1:{web.port}\n")
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield web

    async def stop() -> None:
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Many hosts of plain pages: `/missing…` is 404, `/error…` 500, `/private/…` closed by robots.txt."""

    async def handler(reader: object, writer: asyncio.StreamWriter, host: str, path: str, web: Web) -> None:
        if path == "/robots.txt":
            writer.write(answer(ROBOTS, kind=b"text/plain"))
        elif path.startswith("/missing"):
            writer.write(answer(b"gone", status=b"404 Not Found"))
        elif path.startswith("/error"):
            writer.write(answer(b"broken", status=b"500 Oops"))
        elif path.startswith("/move/"):
            writer.write(answer(b"", b"Location: /page/" + path[6:].encode(), status=b"301 Moved"))
        else:
            writer.write(answer(PAGE.replace(b"A page", f"Page {host}{path}".encode())))

    yield from _serve(handler, tmp_path / "web")


# ------------------------------------------------------------------------------------------------- the hostile web

BOMB = gzip.compress(bytes(64 << 20))


def _close(writer: asyncio.StreamWriter, data: bytes = b"") -> None:
    writer.write(data)
    writer.close()


async def _drip(writer: asyncio.StreamWriter, start: bytes, part: bytes, seconds: float) -> None:
    writer.write(start)
    while not writer.is_closing():
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(seconds)


async def _many_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        writer.write(b"".join(b"X-%d: y\r\n" % i for i in range(10_000)))
        await writer.drain()
    _close(writer, b"\r\n")


def _brotli_bomb() -> bytes:
    import brotli

    return bytes(brotli.compress(bytes(64 << 20), quality=1))


# What each host does with a request for its page, and how the crawl must count it.
PLAIN: dict[str, tuple[bytes, str]] = {
    "redirect-to-itself": (answer(b"", b"Location: /", status=b"302 Found"), "too_many_redirects"),
    "redirect-nowhere": (answer(b"", status=b"302 Found"), "bad_redirect"),
    "redirect-to-nonsense": (answer(b"", b"Location: http://[::1", status=b"302 Found"), "bad_redirect"),
    "redirect-to-file": (answer(b"", b"Location: file:///etc/passwd", status=b"302 Found"), "bad_redirect"),
    "redirect-to-private": (
        answer(b"", b"Location: http://10.0.0.1/", status=b"302 Found"),
        "blocked_address",
    ),
    "redirect-to-wikipedia": (
        answer(b"", b"Location: https://en.m.wikipedia.org/wiki/A", status=b"301 Moved"),
        "wikipedia",
    ),
    "bad-charset": (answer(b"<p>\xff\xfe caf\xe9</p>", kind=b"text/html; charset=no-such-thing"), "kept"),
    "binary": (answer(bytes(range(256)), kind=b"application/pdf"), "not_html"),
    "untyped-binary": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x7fELF", "not_html"),
    "untyped-html": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n <p>x</p>", "kept"),
    "empty": (answer(b"  \n"), "empty"),
    "no-content": (b"HTTP/1.1 204 No Content\r\n\r\n", "http_204"),
    "always-500": (answer(b"no", status=b"500 Oops"), "http_500"),
    "odd-status": (answer(b"no", status=b"999 Denied"), "bad_http"),
    "gzip-bomb": (answer(BOMB, b"Content-Encoding: gzip"), "too_large"),
    "double-gzip-bomb": (answer(gzip.compress(BOMB), b"Content-Encoding: gzip, gzip"), "too_large"),
    "deflate-bomb": (answer(zlib.compress(bytes(64 << 20)), b"Content-Encoding: deflate"), "too_large"),
    "zstd-bomb": (answer(zstd.compress(bytes(64 << 20)), b"Content-Encoding: zstd"), "too_large"),
    "bad-gzip": (answer(b"\x1f\x8b\x08\x00 not gzip at all", b"Content-Encoding: gzip"), "bad_encoding"),
    "cut-gzip": (answer(gzip.compress(PAGE)[:40], b"Content-Encoding: gzip"), "bad_encoding"),
    "unknown-encoding": (answer(PAGE, b"Content-Encoding: rot13"), "bad_encoding"),
    "gzip-in-name-only": (answer(PAGE, b"Content-Encoding: gzip"), "kept"),
    "negative-length": (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + PAGE, "bad_http"),
    "two-lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n" + PAGE, "bad_http"),
    "huge-header": (b"HTTP/1.1 200 OK\r\nX-Huge: " + b"y" * (1 << 20) + b"\r\n\r\n", "bad_http"),
    "null-in-header": (b"HTTP/1.1 200 OK\r\nX-Null: a\0b\r\nContent-Length: 4\r\n\r\nabcd", "bad_http"),
    "large-by-length": (answer(b"x", b"X-Pad: 1").replace(b"Length: 1", b"Length: 99999999999"), "too_large"),
    "cookies": (answer(PAGE, b"Set-Cookie: id=1; Path=/"), "kept"),
}
CLOSING: dict[str, tuple[bytes, str]] = {
    "closes-at-once": (b"", "incomplete"),
    "closes-in-headers": (b"HTTP/1.1 200 OK\r\nContent-Ty", "incomplete"),
    "short-body": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n<p>",
        "incomplete",
    ),
    "cut-chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n<p>x",
        "incomplete",
    ),
    "bad-chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n<p>x\r\n0\r\n\r\n",
        "bad_http",
    ),
    "not-http": (b"SSH-2.0-OpenSSH_9.9\r\n" * 3, "bad_http"),
    "bare-html": (PAGE + b"\r\n\r\n", "bad_http"),
    "until-close": (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE, "kept"),
}
SPECIAL = {
    "slow-headers": "timeout",
    "slow-body": "too_slow",
    "endless-body": "too_large",
    "endless-100-continue": "timeout",
    "silent": "timeout",
    "million-headers": "bad_http",
    "redirect-pair": "too_many_redirects",
    "br-bomb": "too_large",
    "busy-once": "kept",
    "busy-until-a-date": "kept",
    "busy-for-years": "http_429",
    "robots-500": "robots_unreachable",
    "robots-endless": "kept",
    "robots-loop": "kept",
    "robots-silent": "timeout",
    "robots-slow-host": "crawl_delay_too_long",
    "robots-closed": "robots_denied",
}
HOSTILE = {name: outcome for table in (PLAIN, CLOSING) for name, (_, outcome) in table.items()} | SPECIAL


async def _misbehave(reader: object, writer: asyncio.StreamWriter, host: str, path: str, web: Web) -> None:
    name = host.removesuffix(".zoo")
    n = web.asked[host + path]
    if path == "/robots.txt":
        await _robots(writer, name)
    elif name in PLAIN:
        writer.write(PLAIN[name][0])
    elif name in CLOSING:
        _close(writer, CLOSING[name][0])
    elif name == "slow-headers":
        await _drip(writer, b"HTTP/1.1 200 OK\r\n", b"X", 0.2)
    elif name == "slow-body":
        await _drip(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"x", 0.1)
    elif name == "endless-body":
        await _drip(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", PAGE * 500, 0.0)
    elif name == "endless-100-continue":
        await _drip(writer, b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001)
    elif name == "silent":
        await asyncio.sleep(60)
    elif name == "million-headers":
        await _many_headers(writer)
    elif name == "redirect-pair":
        other = b"/b" if path == "/" else b"/"
        writer.write(answer(b"", b"Location: " + other, status=b"307 Temporary"))
    elif name == "br-bomb":
        writer.write(answer(_brotli_bomb(), b"Content-Encoding: br"))
    elif name == "busy-once":
        busy = answer(b"", b"Retry-After: 1", status=b"429 Too Many Requests")
        writer.write(busy if n == 1 else answer())
    elif name == "busy-until-a-date":
        later = formatdate(usegmt=True).encode()
        writer.write(answer(b"", b"Retry-After: " + later, status=b"503 Busy") if n == 1 else answer())
    elif name == "busy-for-years":
        writer.write(answer(b"", b"Retry-After: 99999999", status=b"429 Too Many Requests"))
    else:
        writer.write(answer())


async def _robots(writer: asyncio.StreamWriter, name: str) -> None:
    if name == "robots-500":
        writer.write(answer(b"no", status=b"500 Oops"))
    elif name == "robots-endless":
        await _drip(writer, b"HTTP/1.1 200 OK\r\n\r\nUser-agent: x\n", b"Disallow: /nowhere\n" * 4000, 0.0)
    elif name == "robots-loop":
        writer.write(answer(b"", b"Location: /robots.txt", status=b"301 Moved"))
    elif name == "robots-silent":
        await asyncio.sleep(60)
    elif name == "robots-slow-host":
        writer.write(answer(b"User-agent: *\nCrawl-delay: 3600\n", kind=b"text/plain"))
    elif name == "robots-closed":
        writer.write(
            answer(b"User-agent: *\nDisallow: /\n\nUser-agent: good\nAllow: /\n", kind=b"text/plain")
        )
    else:
        writer.write(answer(b"", status=b"404 Not Found"))


@pytest.fixture
def hostile_web(tmp_path: Path) -> Iterator[Web]:
    """One host for every misbehavior in `HOSTILE`, each named `<misbehavior>.zoo`."""
    yield from _serve(_misbehave, tmp_path / "hostile")


@pytest.fixture
def hostile_outcomes() -> dict[str, str]:
    """How each misbehavior must be counted."""
    return HOSTILE
