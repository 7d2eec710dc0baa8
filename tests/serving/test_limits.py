"""Keys, hosts, sizes and times: what a client may not do is refused before anything is parsed or run."""

import base64
import json
import socket
import time

import pytest
import requests
from starlette.routing import Route

from fourhorn.serving.limits import LOOPBACK, Limits

KEY = "correct horse battery"


@pytest.fixture(scope="module")
def locked(start):
    limits = Limits(api_key=KEY, hosts=LOOPBACK, body_seconds=1.0, max_waiting=4)
    with start(limits=limits, max_sequences=2, header_seconds=1.0, n_ctx=1024) as server:
        yield server


def raw(port: int, data: bytes, *, wait: float = 5.0) -> bytes:
    """Send bytes, read until the server closes or `wait` seconds pass."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(data)
        connection.settimeout(wait)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def test_every_route_but_health_asks_for_the_key(locked):
    routes = [route for route in locked.app.routes if isinstance(route, Route)]
    paths = sorted({route.path for route in routes})
    assert paths == [
        "/",
        "/detokenize",
        "/health",
        "/metrics",
        "/openapi.json",
        "/tokenize",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{name:path}",
    ]
    for route in routes:
        path = route.path.replace("{name:path}", "tiny")
        for method in sorted(route.methods - {"HEAD"}):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {KEY}x"}):
                answer = requests.request(method, locked.url + path, headers=headers)
                assert answer.status_code == (200 if path == "/health" else 401), (path, headers)
                if path != "/health":
                    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert requests.get(f"{locked.url}/nowhere").status_code == 401


def test_the_key_opens_as_bearer_and_as_the_password_a_browser_asks_for(locked):
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    for value in (f"Bearer {KEY}", f"bearer {KEY}", f"Basic {basic}"):
        assert requests.get(f"{locked.url}/v1/models", headers={"authorization": value}).status_code == 200
    for value in ("Basic !!!", "Basic", "Bearer", "Digest x", f"Basic {KEY}"):
        assert requests.get(f"{locked.url}/v1/models", headers={"authorization": value}).status_code == 401
    assert "Basic" in requests.get(locked.url).headers["www-authenticate"]


def test_a_body_over_a_megabyte_is_refused_by_its_announced_size(locked):
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    head += "content-type: application/json\r\ncontent-length: 60000000\r\n\r\n"
    started = time.monotonic()
    answer = raw(locked.port, head.encode() + b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer
    assert time.monotonic() - started < 3


def test_a_body_over_a_megabyte_is_refused_by_its_counted_size(locked):
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    head += "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert raw(locked.port, head.encode() + chunk * 17).startswith(b"HTTP/1.1 413")


def test_a_body_of_just_under_a_megabyte_is_read(locked):
    body = json.dumps({"prompt": "a" * 1_040_000}).encode()
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    answer = requests.post(f"{locked.url}/v1/completions", data=body, headers=headers, timeout=30)
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_headers_that_do_not_arrive_are_timed_out(locked):
    for start in (b"", b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nx-slow: "):
        started = time.monotonic()
        answer = raw(locked.port, start)
        assert answer.startswith(b"HTTP/1.1 408")
        assert 0.8 < time.monotonic() - started < 4


def test_slow_headers_of_a_later_request_are_timed_out_too(locked):
    first = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answer = raw(locked.port, first + b"GET /health HTTP/1.1\r\nx-slow: ")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_a_body_that_does_not_arrive_is_timed_out(locked):
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    head += "content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    started = time.monotonic()
    answer = raw(locked.port, head.encode() + b'{"prompt": ')
    assert answer.startswith(b"HTTP/1.1 408")
    assert 0.8 < time.monotonic() - started < 4


def test_headers_that_are_too_large_are_refused(locked):
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: " + b"y" * 100_000
    assert raw(locked.port, head + b"\r\n\r\n").startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert raw(locked.port, head).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"prompt": 1e999}',
        b'{"temperature": NaN}',
        b'{"max_tokens": 1' + b"0" * 5000 + b"}",
    ],
)
def test_malformed_bodies_are_answered_400(server, body):
    answer = requests.post(
        f"{server.url}/v1/completions", data=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(answer.content) < 2000


def test_a_foreign_host_name_is_refused_on_this_machine(server):
    answer = requests.get(f"{server.url}/v1/models", headers={"host": "evil.example:8000"})
    assert answer.status_code == 403
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:8000"):
        assert requests.get(f"{server.url}/health", headers={"host": host}).status_code == 200


def test_a_page_elsewhere_cannot_post_a_form_or_plain_text(server):
    body = json.dumps({"prompt": "the"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = requests.post(f"{server.url}/v1/completions", data=body, headers={"content-type": kind})
        assert answer.status_code in (400, 415)


def test_a_full_queue_is_answered_429_and_says_when_to_come_back(locked):
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"prompt": ["the"] * 6, "max_tokens": 900, "stream": True, "stop": ["\x00never"]}
    for _ in range(20):  # a random model may end its texts before the next request comes
        with requests.post(
            f"{locked.url}/v1/completions", json=body, headers=headers, timeout=30, stream=True
        ) as first:
            assert first.status_code == 200
            refused = requests.post(f"{locked.url}/v1/completions", json={"prompt": "the"}, headers=headers)
        if refused.status_code == 429:
            break
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "2"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    too_many = requests.post(f"{locked.url}/v1/completions", json={"prompt": ["the"] * 7}, headers=headers)
    assert too_many.status_code == 400
    end = (
        time.monotonic() + 10
    )  # the first request's places are free once the server has seen that nobody listens
    status = 429
    while status == 429 and time.monotonic() < end:
        time.sleep(0.02)
        status = requests.post(
            f"{locked.url}/v1/completions", json={"prompt": "the"}, headers=headers, timeout=30
        ).status_code
    assert status == 200


def test_answers_carry_the_security_headers(server):
    for path in ("/", "/health", "/nowhere"):
        headers = requests.get(server.url + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
    assert (
        "default-src 'none'; script-src 'sha256-"
        in requests.get(server.url).headers["content-security-policy"]
    )
