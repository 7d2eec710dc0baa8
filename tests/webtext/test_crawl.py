import os
import resource
import time
from pathlib import Path

import orjson
import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest
from fourhorn.webtext import fetch
from fourhorn.webtext.crawl import crawl
from fourhorn.webtext.links import links
from fourhorn.webtext.pages import iter_pages, list_page_shards


def links_to(folder: Path, urls: list[str]) -> Path:
    (folder / "urls.txt").write_text("\n".join(urls) + "\n")
    links(folder / "urls.txt", folder / "links")
    return folder / "links"


def outcomes(pages: Path) -> dict[str, str]:
    rows = [orjson.loads(line) for index in sorted(pages.glob("*.index.jsonl")) for line in index.open("rb")]
    return {row["url"]: row["outcome"] for row in rows}


OPTIONS = {"allow_private": ("127.0.0.0/8",), "delay_seconds": 0.0}


def test_every_link_has_an_outcome_and_pages_come_back_as_they_were_served(web, tmp_path):
    urls = [f"http://site{h}.example/page/{p}" for h in range(6) for p in range(4)]
    urls += ["http://site0.example/missing", "http://site0.example/error", "http://site1.example/private/x"]
    urls += ["http://site2.example/move/9"]
    manifest = crawl(links_to(tmp_path, urls), tmp_path / "pages", resolve=web.hosts, **OPTIONS)
    assert (manifest.n_in, manifest.n_kept) == (28, 25)
    assert manifest.drops == {"http_404": 1, "http_500": 1, "robots_denied": 1}
    assert read_manifest(tmp_path / "pages") == manifest
    [shard] = list_page_shards(tmp_path / "pages")
    pages = {page.url: page for page in iter_pages(shard)}
    assert b"Page site3.example/page/2" in pages["http://site3.example/page/2"].body
    assert b"Page site2.example/page/9" in pages["http://site2.example/move/9"].body
    assert [page.id for page in iter_pages(shard)] == sorted(page.id for page in pages.values())
    assert web.asked["site0.example/robots.txt"] == 1
    assert web.asked["site1.example/private/x"] == 0
    assert web.asked["site0.example/error"] == 3


def test_a_second_run_asks_for_nothing(web, tmp_path):
    source = links_to(tmp_path, ["http://a.example/1", "http://b.example/2"])
    first = crawl(source, tmp_path / "pages", resolve=web.hosts, **OPTIONS)
    asked = web.asked.total()
    assert crawl(source, tmp_path / "pages", resolve=web.hosts, **OPTIONS) == first
    assert web.asked.total() == asked
    with pytest.raises(UserError, match="other options"):
        crawl(source, tmp_path / "pages", resolve=web.hosts, timeout_seconds=5, **OPTIONS)


def test_a_stopped_crawl_goes_on_without_asking_again(web, tmp_path, monkeypatch):
    urls = [f"http://site{h}.example/page/{p}" for h in range(5) for p in range(10)]
    source = links_to(tmp_path, urls)
    from fourhorn.webtext.archive import Archive

    keep, n_kept = Archive.keep, 0

    def stop_after_twenty(self, *args):
        nonlocal n_kept
        n_kept += 1
        if n_kept > 20:
            raise KeyboardInterrupt
        keep(self, *args)

    monkeypatch.setattr(Archive, "keep", stop_after_twenty)
    with pytest.raises(KeyboardInterrupt):
        crawl(source, tmp_path / "pages", resolve=web.hosts, **OPTIONS)
    assert read_manifest(tmp_path / "pages") is None
    assert not list((tmp_path / "pages").glob("part-*"))
    [work] = (tmp_path / "pages").glob(".work-*")
    [index] = work.glob("*.index.jsonl")
    done = [orjson.loads(line)["url"] for line in index.open("rb")]
    with index.open("ab") as file:
        file.write(b'{"id": "torn')
    with next(work.glob("*.warc.gz")).open("ab") as file:
        file.write(b"\x1f\x8b\x08 torn record")
    monkeypatch.setattr(Archive, "keep", keep)
    manifest = crawl(source, tmp_path / "pages", resolve=web.hosts, **OPTIONS)
    assert (manifest.n_in, manifest.n_kept, manifest.drops) == (50, 50, {})
    assert len(list(iter_pages(list_page_shards(tmp_path / "pages")[0]))) == 50
    assert len(done) == 20
    assert [web.asked[url.removeprefix("http://")] for url in done] == [1] * 20


def test_hosts_wait_their_delay_and_different_hosts_do_not_wait_for_each_other(web, tmp_path):
    source = links_to(tmp_path, [f"http://site{h}.example/{p}" for h in range(20) for p in range(3)])
    started = time.monotonic()
    options = {**OPTIONS, "delay_seconds": 0.2}
    assert crawl(source, tmp_path / "pages", resolve=web.hosts, **options).n_kept == 60
    seconds = time.monotonic() - started
    assert seconds >= 0.6  # robots.txt and three pages: three pauses on each host
    assert seconds < 20 * 0.6  # but not one after the other


def test_two_workers_find_the_same_pages_as_one(web, tmp_path):
    source = links_to(tmp_path, [f"http://site{h}.example/{p}" for h in range(8) for p in range(3)])
    one = crawl(source, tmp_path / "one", resolve=web.hosts, links_per_shard=10, **OPTIONS)
    two = crawl(source, tmp_path / "two", resolve=web.hosts, links_per_shard=10, workers=2, **OPTIONS)
    assert outcomes(tmp_path / "one") == outcomes(tmp_path / "two")
    assert (one.n_in, one.n_kept, sorted(one.outputs)) == (two.n_in, two.n_kept, sorted(two.outputs))
    assert len([name for name in one.outputs if name.endswith(".warc.gz")]) == 3


def test_hostile_servers_end_in_their_counted_reason(hostile_web, hostile_outcomes, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "SLOW_AFTER_SECONDS", 0.5)
    urls = [f"http://{name}.zoo/" for name in hostile_outcomes]
    urls += ["https://plain-behind-https.zoo/"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    manifest = crawl(
        links_to(tmp_path, urls),
        tmp_path / "pages",
        resolve=hostile_web.hosts,
        timeout_seconds=2,
        max_page_bytes=1 << 20,
        max_attempts=2,
        **OPTIONS,
    )
    seconds = time.monotonic() - started
    found = {
        url.split("/")[2].removesuffix(".zoo"): outcome
        for url, outcome in outcomes(tmp_path / "pages").items()
    }
    assert found.pop("plain-behind-https") == "tls_error"
    assert found == hostile_outcomes
    assert len(hostile_outcomes) >= 50
    assert manifest.n_in == len(urls)
    assert seconds < 30
    assert hostile_web.cookies == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200 << 20


def test_a_host_that_refuses_connections_and_a_name_without_address_are_counted(tmp_path):
    (tmp_path / "hosts").write_text("refuses.example 127.0.0.1:1\n")
    source = links_to(
        tmp_path, ["http://refuses.example/a", "http://refuses.example/b", "http://no-such-name.invalid/"]
    )
    manifest = crawl(source, tmp_path / "pages", resolve=tmp_path / "hosts", **OPTIONS)
    assert manifest.drops == {"connect_failed": 2, "dns_error": 1}


def test_mistakes_are_said_before_anything_is_written(tmp_path):
    source = links_to(tmp_path, ["http://a.example/"])
    for options, word in [
        ({"allow_private": ("localhost",)}, "allow-private"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"resolve": tmp_path / "none"}, "none"),
        ({"workers": 0}, "workers"),
    ]:
        with pytest.raises(UserError, match=word):
            crawl(source, tmp_path / "pages", **options)
    assert not os.path.exists(tmp_path / "pages")
