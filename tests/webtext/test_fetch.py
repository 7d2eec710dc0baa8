import asyncio

import pytest

from fourhorn.files import version
from fourhorn.webtext.fetch import Failed, open_fetcher, user_agent
from fourhorn.webtext.manners import Manners
from fourhorn.webtext.urls import parse


def get(url: str, **options):
    async def run():
        async with open_fetcher(Manners(delay_seconds=0.0, **options)) as fetcher:
            return await fetcher.get(parse(url), wanted=lambda status, kind: status == 200)

    return asyncio.run(run())


def test_an_answer_has_the_bytes_that_were_sent_and_the_request_that_was_made(web):
    answer = get(
        "http://a.example/p?q=1#part",
        resolve=str(web.hosts),
        allow_private=("127.0.0.0/8",),
        contact="me@e.com",
    )
    assert answer.status == 200
    assert answer.header(b"content-type") == "text/html"
    assert b"Page a.example/p?q=1" in answer.body
    assert answer.request.startswith(b"GET /p?q=1 HTTP/1.1\r\n")
    assert f"User-Agent: fourhorn/{version()} (+me@e.com)\r\n".encode() in answer.request
    assert b"Cookie" not in answer.request


def test_an_unwanted_body_is_not_read(web):
    answer = get("http://a.example/missing", resolve=str(web.hosts), allow_private=("127.0.0.0/8",))
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/", "blocked_address"),
        ("http://[::1]/", "blocked_address"),
        ("http://example.com:22/", "blocked_port"),
        ("https://example.com:80/", "blocked_address"),
    ],
)
def test_what_may_not_be_asked_fails_by_its_name(url, reason, tmp_path):
    (tmp_path / "hosts").write_text("* 10.0.0.1\n")
    with pytest.raises(Failed) as failed:
        get(url, resolve=str(tmp_path / "hosts"))
    assert failed.value.reason == reason


def test_the_user_agent_says_who_asks():
    assert user_agent(None) == f"fourhorn/{version()}"
    assert user_agent("https://e.com/bot") == f"fourhorn/{version()} (+https://e.com/bot)"
