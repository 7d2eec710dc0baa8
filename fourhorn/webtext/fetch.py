"""One HTTP request under every limit: an answer, or the reason why there is none.

`Fetcher.get(url)` asks for one URL without following redirects. Each failure has a name: `blocked_address`,
`blocked_port`, `dns_error`, `connect_failed`, `tls_error`, `timeout`, `too_slow`, `too_large`, `incomplete`,
`bad_http`. Limits: seconds for the whole exchange, bytes of the body, least bytes a second, header lines and
their sizes. Bodies stay as they were sent (compressed bodies are not inflated here), so nothing grows in memory.
No cookies, no proxies from the environment, no credentials, an honest user agent.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from fourhorn.files import version
from fourhorn.webtext.addresses import BlockedAddress, Guard, Resolver
from fourhorn.webtext.inflate import ENCODINGS
from fourhorn.webtext.manners import Manners

MAX_HEADER_LINE_BYTES = 16 << 10
MAX_HEADERS = 512
SLOW_AFTER_SECONDS = 5.0
CONNECT_SECONDS = 10.0
MAX_KEEP_ALIVE_SECONDS = 15.0
_CHUNK_BYTES = 1 << 16
_PORTS = (80, 443)


class Failed(Exception):
    """The exchange ended without a whole answer; `reason` is the name to count it by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers and body as they were sent, and the request that led to it."""

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    request: bytes

    def header(self, name: bytes) -> str:
        """The first value of a header, `""` when it is absent; `name` in lower case."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


def user_agent(contact: str | None) -> str:
    """`fourhorn/0.1.0 (+https://example.org/crawler)`: who asks, and where to complain."""
    return f"fourhorn/{version()}" + (f" (+{contact})" if contact else "")


class Fetcher:
    """A client session that can reach permitted addresses only."""

    def __init__(self, session: aiohttp.ClientSession, guard: Guard, manners: Manners) -> None:
        self._session, self._guard, self._manners = session, guard, manners

    async def get(
        self, url: Any, *, wanted: Callable[[int, str], bool], max_bytes: int | None = None, cut: bool = False
    ) -> Answer:
        """Ask for a parsed URL; the body is read only if `wanted(status, content_type)`.

        A body of more than `max_bytes` is cut there, or fails as `too_large` unless `cut`.
        """
        self._check(url)
        max_bytes = self._manners.max_page_bytes if max_bytes is None else max_bytes
        try:
            async with (
                asyncio.timeout(self._manners.timeout_seconds),
                self._session.get(_request_url(url), allow_redirects=False) as response,
            ):
                content_type = response.headers.get("Content-Type", "")
                body = b""
                if wanted(response.status, content_type):
                    body = await self._read(response, max_bytes, cut)
                return Answer(
                    response.status,
                    response.reason or "",
                    tuple(response.raw_headers),
                    body,
                    _request_bytes(response, url),
                )
        except Failed:
            raise
        except Exception as error:
            raise Failed(_reason(error)) from error

    def _check(self, url: Any) -> None:
        host = url.hostname
        literal = host.strip("[]")
        if (host.startswith("[") or literal.replace(".", "").isdigit()) and not self._guard.permits(literal):
            raise Failed("blocked_address")
        port = int(url.port or (443 if url.protocol == "https:" else 80))
        if port not in _PORTS and not self._manners.allow_private:
            raise Failed("blocked_port")

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int, cut: bool) -> bytes:
        length = response.content_length
        if length is not None and length > max_bytes and not cut:
            raise Failed("too_large")
        parts: list[bytes] = []
        n_bytes = 0
        started = time.monotonic()
        async for part in response.content.iter_any():
            parts.append(part)
            n_bytes += len(part)
            if n_bytes > max_bytes:
                if cut:
                    break
                raise Failed("too_large")
            seconds = time.monotonic() - started
            if seconds > SLOW_AFTER_SECONDS and n_bytes < seconds * self._manners.min_bytes_per_second:
                raise Failed("too_slow")
        return b"".join(parts)[:max_bytes]


@contextlib.asynccontextmanager
async def open_fetcher(manners: Manners) -> AsyncIterator[Fetcher]:
    """A fetcher for the time of a crawl."""
    guard = Guard(manners.allow_private)
    resolver = Resolver(guard, manners.hosts())
    connector = aiohttp.TCPConnector(
        limit=manners.connections,
        resolver=resolver,
        socket_factory=guard.socket,
        ssl=_tls(manners.verify_tls),
        ttl_dns_cache=300,
        keepalive_timeout=min(MAX_KEEP_ALIVE_SECONDS, manners.delay_seconds + 1.0),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        headers={
            "User-Agent": user_agent(manners.contact),
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
            "Accept-Language": "en,*;q=0.5",
            "Accept-Encoding": ENCODINGS,
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        max_line_size=MAX_HEADER_LINE_BYTES,
        max_field_size=MAX_HEADER_LINE_BYTES,
        max_headers=MAX_HEADERS,
        read_bufsize=_CHUNK_BYTES,
    )
    try:
        yield Fetcher(session, guard, manners)
    finally:
        await session.close()
        await resolver.close()


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _request_url(url: Any) -> URL:
    return URL(url.href.partition("#")[0], encoded=True)


def _request_bytes(response: aiohttp.ClientResponse, url: Any) -> bytes:
    """The request as it was sent, for the archive."""
    lines = [f"GET {url.pathname}{url.search} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in response.request_info.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


def _reason(error: BaseException | None) -> str:
    """The name of a failure, by the first error in its chain that tells."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, BlockedAddress):
            return "blocked_address"
        if isinstance(error, aiohttp.ClientConnectorError):
            inner = error.os_error
            if isinstance(inner, BlockedAddress) or "no public address" in str(inner):
                return "blocked_address"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "dns_error"
        if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError | ssl.CertificateError):
            return "tls_error"
        if isinstance(error, aiohttp.ServerTimeoutError | aiohttp.ConnectionTimeoutError):
            return "connect_failed"
        if isinstance(error, aiohttp.ClientConnectorError):
            return "connect_failed"
        if isinstance(error, TimeoutError):
            return "timeout"
        if isinstance(error, aiohttp.ClientPayloadError):
            return "incomplete"
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
            return "bad_http"
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError):
            return "incomplete"
        error = error.__cause__ or error.__context__
    return "bad_http"
