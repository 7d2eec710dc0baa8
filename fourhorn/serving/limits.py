"""What a request may cost before anyone reads it: keys, hosts, sizes, and the time to send headers and body.

Plain ASGI around the application, so that a refusal costs no parsing: a wrong key is 401 on every route but /health, a
body over the limit is 413 by its announced or its counted size, a body that does not arrive in time is 408. Headers
that do not arrive in time are cut off one level lower, in `TimedProtocol`, since ASGI sees only whole headers.

In: `Limits`. Out: an ASGI application. Raises: nothing; answers are in OpenAI's error shape.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from fourhorn.serving.metrics import Metrics
from fourhorn.serving.protocol import ApiError

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
OPEN_ROUTES = ("/health",)
HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 32 << 10
# The page has no outside parts: its own script and style, its own server, no frames.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)


@dataclass(frozen=True)
class Limits:
    """What one client may ask for."""

    api_key: str | None = None
    """Key that every route but /health asks for; None asks for none."""
    max_body_bytes: int = 1 << 20
    """Largest request body."""
    body_seconds: float = 10.0
    """Time for a whole body to arrive."""
    max_waiting: int = 256
    """Sequences that may wait for a slot; more are answered 429."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may be addressed to; empty allows all. Stops web pages that rebind their own name."""


class Guard:
    """ASGI middleware that holds a request to its limits before the application sees it."""

    def __init__(self, app: AsgiApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the whole body at hand."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        guarded = watched(scope, send, self.metrics)
        try:
            headers = dict(scope["headers"])
            self.check_host(headers)
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
                raise ApiError(
                    431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.", code="headers_too_large"
                )
            if scope["path"] not in OPEN_ROUTES:
                self.check_key(headers)
            body = await self.read_body(headers, receive)
        except ApiError as error:
            await answer(error, guarded)
            return
        except ConnectionResetError:
            return  # the client left while sending
        await self.app(scope, replay(body, receive), guarded)

    def check_host(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a foreign Host header, where a list is kept."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.limits.hosts and name not in self.limits.hosts:
            raise ApiError(
                403,
                "This server is not addressed by that name. Start it with --host to serve others.",
                code="host",
            )

    def check_key(self, headers: dict[bytes, bytes]) -> None:
        """Compare the key in constant time; browsers may give it as the password of Basic authentication."""
        key = self.limits.api_key
        if key is not None and not hmac.compare_digest(given_key(headers), key.encode()):
            raise ApiError(
                401,
                "The API key is missing or wrong. Send the header: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"www-authenticate": 'Basic realm="fourhorn: any name, the API key as password"'},
            )

    async def read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, within its size and time."""
        limit = self.limits.max_body_bytes
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            raise too_large(limit)
        chunks: list[bytes] = []
        n_bytes = 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    chunks.append(message.get("body", b""))
                    n_bytes += len(chunks[-1])
                    if n_bytes > limit:
                        raise too_large(limit)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise ApiError(
                408,
                f"The body did not arrive within {self.limits.body_seconds:g} seconds.",
                code="request_timeout",
                headers={"connection": "close"},
            ) from None


def too_large(limit: int) -> ApiError:
    """The refusal of a body over the limit."""
    message = f"The body is larger than {limit} bytes."
    return ApiError(413, message, code="request_too_large", headers={"connection": "close"})


def given_key(headers: dict[bytes, bytes]) -> bytes:
    """The key a client sent, as Bearer or as the password of Basic authentication."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, and then whatever the connection says: that the client left."""
    waiting = [body]

    async def receive_again() -> AsgiMessage:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


def watched(scope: Scope, send: Send, metrics: Metrics) -> Send:
    """A `send` that counts each answer and adds the security headers to it."""

    async def send_more(message: AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            route = getattr(scope.get("route"), "path", "none")
            metrics.responses[route, message["status"]] += 1
            message = {**message, "headers": [*message.get("headers", []), *SECURITY_HEADERS]}
        await send(message)

    return send_more


async def answer(error: ApiError, send: Send) -> None:
    """Send an error as JSON."""
    body = orjson.dumps(error.body)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol, closing connections whose headers do not arrive in time."""

    header_seconds = HEADER_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection its time for the first headers."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.header_seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Stop the clock when headers are whole; start it again when later ones begin."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The next request's headers may have begun to arrive already."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        in_headers = self.conn.their_state is h11.IDLE
        if not in_headers:
            self._stop()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._timer = self.loop.call_later(self.header_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            body = orjson.dumps(
                ApiError(408, "The headers did not arrive in time.", code="request_timeout").body
            )
            head = f"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
            self.transport.close()
