"""The local web answers by host and path, faults included."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from fourhorn.records import iter_records
from fourhorn.reproduce.local_web import local_web
from fourhorn.reproduce.server import hosts_file, serving


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder = tmp_path_factory.mktemp("web")
    local_web(folder, max_pages=60, packages=("packaging", "click"))
    with serving(folder) as port:
        yield folder, port


def get(port: int, host: str, path: str, limit: int = 100_000) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    body = response.read(limit)
    connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, body


def test_a_page_has_its_text_between_navigation_and_footer(web: tuple[Path, int]) -> None:
    row = next(
        r for r in iter_records(web[0] / "pages.jsonl.zst") if r["kind"] == "page" and r["charset"] != "wrong"
    )
    status, headers, body = get(web[1], row["host"], row["path"])
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<h1>" + row["title"].encode() in body
    assert b"<nav" in body or b"<aside>" in body


def test_robots_close_the_private_area(web: tuple[Path, int]) -> None:
    assert get(web[1], "click-docs.test", "/robots.txt")[2] == b"User-agent: *\nDisallow: /private/\n"


@pytest.mark.parametrize(
    ("host", "status", "header", "value"),
    [
        ("missing.test", 404, "content-type", "text/html; charset=utf-8"),
        ("broken.test", 500, "content-type", "text/plain; charset=utf-8"),
        ("binary.test", 200, "content-type", "application/pdf"),
        ("encyclopedia.test", 302, "location", "http://en.wikipedia.org/wiki/Unicorn"),
        ("loop.test", 302, "location", "/1.html"),
    ],
)
def test_each_fault_answers_as_it_should(
    web: tuple[Path, int], host: str, status: int, header: str, value: str
) -> None:
    answer = get(web[1], host, "/1.html")
    assert (answer[0], answer[1][header]) == (status, value)


def test_an_endless_page_does_not_end(web: tuple[Path, int]) -> None:
    assert len(get(web[1], "endless.test", "/1.html", limit=500_000)[2]) == 500_000


def test_an_unknown_host_or_path_is_not_found(web: tuple[Path, int]) -> None:
    assert get(web[1], "nowhere.test", "/")[0] == 404


def test_hosts_file_names_every_host_with_address_and_port(tmp_path: Path) -> None:
    path = hosts_file(tmp_path / "hosts.txt", {"b.test", "a.test"}, 8123)
    assert path.read_text() == "a.test 127.0.0.1:8123\nb.test 127.0.0.1:8123\n"
